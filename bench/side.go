package main

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"trivet/bench/launch"
	"trivet/bench/proc"
	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/lab/scenario"
	"trivet/nginx"
	"trivet/nginx/confedit"
)

// A backend is a program that serves requests.
type backend struct {
	program func(b *bench, name string, http, grpc int) (launch.Program, error)
	get     string // path of a unary request over HTTP
	call    string // the same over gRPC
	onePort bool   // gRPC, if any, is on the HTTP port
}

var (
	whoami = backend{
		program: func(b *bench, name string, http, grpc int) (launch.Program, error) {
			return launch.Program{Path: b.whoami(), Args: whoamiArgs(name, http, grpc)}, nil
		},
		get: "/", call: whoamiv1.WhoAmIService_WhoAmI_FullMethodName,
	}
	// scraped is whoami with an admin listener, on which it serves metrics unless METRICS=false.
	scraped = backend{
		program: func(b *bench, name string, http, grpc int) (launch.Program, error) {
			admin, err := launch.FreePorts(1)
			if err != nil {
				return launch.Program{}, err
			}
			args := append(whoamiArgs(name, http, grpc), "--admin-port", strconv.Itoa(admin[0])) // The last one counts.
			return launch.Program{Path: b.whoami(), Args: args}, nil
		},
		get: whoami.get, call: whoami.call,
	}
	bare    = bareOf(0)
	podinfo = backend{
		program: func(b *bench, _ string, http, grpc int) (launch.Program, error) {
			path, err := b.fetched("podinfo", "podinfo")
			return launch.Program{Path: path, Args: []string{
				"--host", "127.0.0.1", "--port", strconv.Itoa(http), "--grpc-port", strconv.Itoa(grpc), "--level", "error",
			}}, err
		},
		get: "/", call: "/info.InfoService/Info",
	}
	traefik = backend{
		program: func(b *bench, name string, http, _ int) (launch.Program, error) {
			return launch.Program{Path: b.traefik, Args: []string{"--port", strconv.Itoa(http), "--name", name}}, nil
		},
		get: "/api", call: "/whoami.Whoami/Whoami", onePort: true,
	}
	fastAPI = backend{
		program: func(b *bench, name string, http, _ int) (launch.Program, error) {
			python, err := b.fetched("python", "")
			return launch.Program{
				Path: "/usr/bin/python3", Dir: filepath.Join(b.tree, "bench", "fastapi"),
				Env:  []string{"PYTHONPATH=" + filepath.Join(python, "usr", "lib", "python3", "dist-packages"), "PYTHONDONTWRITEBYTECODE=1", "INSTANCE=" + name},
				Args: []string{"-m", "uvicorn", "app:app", "--port", strconv.Itoa(http), "--no-access-log", "--log-level", "warning"},
			}, err
		},
		get: "/", onePort: true,
	}
)

// bareOf returns the bare libraries with responses of at least size bytes.
func bareOf(size int) backend {
	return backend{
		program: func(b *bench, name string, http, grpc int) (launch.Program, error) {
			return launch.Program{Path: filepath.Join(b.tree, cache, "bin", "bare"), Args: append(whoamiArgs(name, http, grpc), "--size", strconv.Itoa(size))}, nil
		},
		get: "/", call: whoamiv1.WhoAmIService_WhoAmI_FullMethodName,
	}
}

func (b *bench) whoami() string { return filepath.Join(b.tree, "bin", "whoami") }
func (b *bench) trivet() string { return filepath.Join(b.tree, "bin", "trivet") }

func whoamiArgs(name string, http, grpc int) []string {
	return []string{"--instance", name, "--port", strconv.Itoa(http), "--grpc-port", strconv.Itoa(grpc), "--admin-port", "off"}
}

// A side is one of two that are compared: three programs behind nginx, unless direct.
type side struct {
	name    string
	backend backend
	env     []string // of each program; $DIR is the side's directory
	direct  bool     // one program without nginx
	nginx   front
}

// A front is how nginx differs from the shipped files.
type front struct {
	defaults bool // nginx's own defaults
	local    bool // nginx responds itself, with an instance's body
	workers  int  // 0: one per CPU
	edits    []confedit.Edit
}

// running is a side that has been started.
type running struct {
	group      *launch.Group
	http, grpc string         // where clients connect
	servers    []nginx.Server // the programs
	programs   []int          // their process IDs
	nginx      []int          // its master and workers
}

// start starts a side in a new directory. Each Go program gets its share of the cores as GOMAXPROCS, as the fleet of `trivet up` does, so that both
// sides of a row have the same: with all cores a Go program spends more CPU time per request, because its threads wake each other.
func (b *bench) start(ctx context.Context, s side, dir string) (r *running, err error) {
	if err := os.Mkdir(dir, 0o711); err != nil {
		return nil, err
	}
	count := 3
	if s.direct {
		count = 1
	}
	var env []string
	if os.Getenv("GOMAXPROCS") == "" {
		env = append(env, fmt.Sprintf("GOMAXPROCS=%d", max(1, runtime.GOMAXPROCS(0)/count)))
	}
	for _, e := range s.env {
		env = append(env, os.Expand(e, func(string) string { return dir }))
	}
	ports, err := launch.FreePorts(2*count + 3)
	if err != nil {
		return nil, err
	}
	r = &running{group: launch.NewGroup(dir)}
	defer func() {
		if err != nil {
			r.group.Stop()
		}
	}()
	var started []*launch.Process
	for n := range count {
		http, grpc := ports[2*n], ports[2*n+1]
		if s.backend.onePort {
			grpc = http
		}
		program, err := s.backend.program(b, scenario.InstanceName(n+1), http, grpc)
		if err != nil {
			return nil, err
		}
		program.Env = append(program.Env, env...)
		p, err := r.group.Start(program)
		if err != nil {
			return nil, err
		}
		started = append(started, p)
		r.programs = append(r.programs, p.PID)
		r.servers = append(r.servers, nginx.Server{HTTP: launch.Local(http), GRPC: launch.Local(grpc)})
	}
	for n, p := range started {
		if err := p.Await(ctx, 5*time.Millisecond, launch.Listening(r.servers[n].HTTP, r.servers[n].GRPC)); err != nil {
			return nil, err
		}
	}
	if s.direct {
		r.http, r.grpc = r.servers[0].HTTP, r.servers[0].GRPC
		return r, nil
	}
	return r, b.startNginx(ctx, r, s.nginx, dir, ports[2*count:])
}

//go:embed nginx-defaults.conf
var nginxDefaults []byte

// startNginx starts nginx in front of r's servers.
func (b *bench) startNginx(ctx context.Context, r *running, f front, dir string, ports []int) error {
	r.http, r.grpc = launch.Local(ports[0]), launch.Local(ports[1])
	site := nginx.Site{HTTP: r.http, GRPC: r.grpc, Admin: launch.Local(ports[2]), Servers: r.servers, Workers: f.workers, User: workersUser()}
	if err := site.Install(dir, nginx.Conf(), b.nginxAt.Version); err != nil {
		return err
	}
	edits := f.edits
	if f.local {
		body, err := fetch(ctx, r.servers[0].HTTP)
		if err != nil {
			return err
		}
		edits = append(edits, confedit.Edit{Context: "http-listener.conf server location /", Directive: "return 200 '" + string(body) + "'"})
	}
	if err := confedit.Apply(filepath.Join(dir, "conf"), edits, nil); err != nil {
		return err
	}
	if f.defaults {
		if err := os.WriteFile(filepath.Join(dir, "conf", "nginx.conf"), nginxDefaults, 0o644); err != nil {
			return err
		}
	}
	p, err := r.group.Start(launch.Program{Path: b.nginxAt.Path, Args: b.nginxAt.Args(dir)})
	if err != nil {
		return err
	}
	if err := p.Await(ctx, 2*time.Millisecond, launch.Listening(r.http, r.grpc)); err != nil {
		return err
	}
	// The master forks its workers after it listens.
	return p.Await(ctx, 5*time.Millisecond, func(context.Context) error {
		workers, err := proc.Children(p.PID)
		before := len(r.nginx)
		r.nginx = append([]int{p.PID}, workers...)
		if err == nil && (len(workers) == 0 || len(r.nginx) != before) {
			err = fmt.Errorf("nginx has %d workers so far", len(workers))
		}
		return err
	})
}

// workersUser returns the account of nginx's workers: "" leaves nginx's default, a group of which Debian lacks.
func workersUser() string {
	if _, err := user.Lookup("www-data"); err != nil || os.Getuid() != 0 {
		return ""
	}
	return "www-data"
}

// fetch returns the body of GET /, on a new connection.
func fetch(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}).Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET http://%s/: status %s", address, response.Status)
	}
	return body, err
}
