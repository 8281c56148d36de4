package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"trivet/bench/launch"
	"trivet/bench/wire"
	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/lab/fleet"
	"trivet/nginx"
	"trivet/nginx/confedit"
)

const (
	connections = 32 // Each with one request at a time: behind nginx that is what instances see of any client.
	method      = whoamiv1.WhoAmIService_WhoAmI_FullMethodName
	// traefikMethod is what traefik/whoami has in its place.
	traefikMethod = "/whoami.Whoami/Whoami"
)

// doorJobs are what is measured of the two doors, and of nginx.
func (b *bench) doorJobs() []job {
	return []job{
		{"1a REST through nginx, against bare net/http", func(ctx context.Context) error {
			return b.againstBare(ctx, false, nil, share(), "net/http",
				question{instanceCPU, atMost(1.25)}, question{balancerCPU, nil}, question{perSecond, atLeast(0.95)})
		}},
		{"1a REST through nginx, tuned, against bare net/http", func(ctx context.Context) error {
			return b.againstBare(ctx, false, tuned(), append(share(), gogc), "net/http, "+gogc, question{instanceCPU, atMost(1.1)})
		}},
		{"1a REST through nginx, against bare net/http with all cores", func(ctx context.Context) error {
			return b.againstBare(ctx, false, nil, nil, "net/http, all cores", question{instanceCPU, nil})
		}},
		{"1b REST through nginx, against traefik/whoami", func(ctx context.Context) error { return b.againstTraefik(ctx, false) }},
		{"1c REST through nginx, against FastAPI", b.againstFastAPI},
		{"1d REST through nginx, against nginx's own return 200", b.againstReturn},
		{"2a gRPC through nginx, against bare grpc-go", func(ctx context.Context) error {
			return b.againstBare(ctx, true, nil, share(), "grpc-go",
				question{instanceCPU, atMost(0.75)}, question{balancerCPU, nil}, question{perSecond, atLeast(1.8)})
		}},
		{"2a gRPC through nginx, tuned, against bare grpc-go", func(ctx context.Context) error {
			return b.againstBare(ctx, true, tuned(), append(share(), gogc), "grpc-go, "+gogc, question{instanceCPU, atMost(0.6)})
		}},
		{"2a gRPC through nginx, against bare grpc-go with all cores", func(ctx context.Context) error {
			return b.againstBare(ctx, true, nil, nil, "grpc-go, all cores", question{instanceCPU, nil})
		}},
		{"2a gRPC directly, against bare grpc-go", b.directlyAgainstBare},
		{"2b gRPC through nginx, against traefik/whoami", func(ctx context.Context) error { return b.againstTraefik(ctx, true) }},
		{"2b gRPC directly, against traefik/whoami", b.directlyAgainstTraefik},
		{"3 shipped nginx files, against nginx's defaults", b.againstDefaults},
		{"6 records on, against off", b.recordsCost},
	}
}

// shipped is a fleet of three on the shipped files: side A of most rows.
type shipped struct {
	fleet     *fleet.Fleet
	instances []int
	balancer  []int
	servers   []nginx.Server
	body      []byte // what GET / answers
	message   []byte // what WhoAmI answers
}

func (s *shipped) stop() error { return s.fleet.Stop(context.Background()) }

// ours is that fleet, which is started once.
func (b *bench) ours(ctx context.Context) (*shipped, error) {
	if b.shipped != nil {
		return b.shipped, nil
	}
	f, err := b.startFleet(ctx, "shipped")
	if err != nil {
		return nil, err
	}
	s, err := inspect(ctx, f)
	if err != nil {
		return nil, errors.Join(err, f.Stop(context.Background()))
	}
	b.shipped = s
	return s, nil
}

// inspect finds the pids, the doors and the answers of a fleet.
func inspect(ctx context.Context, f *fleet.Fleet) (*shipped, error) {
	s := &shipped{fleet: f}
	var err error
	if s.balancer, err = launch.WithWorkers(ctx, f.Process(fleet.Nginx).PID()); err != nil {
		return nil, err
	}
	for _, name := range f.Names() {
		p := f.Process(name)
		s.instances = append(s.instances, p.PID())
		s.servers = append(s.servers, nginx.Server{HTTP: p.HTTP(), GRPC: p.GRPC()})
	}
	if s.body, err = fetch(ctx, "http://"+f.HTTP()+"/"); err != nil {
		return nil, err
	}
	channel, err := grpc.NewClient("passthrough:///"+f.GRPC(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer channel.Close()
	answer, err := whoamiv1.NewWhoAmIServiceClient(channel).WhoAmI(ctx, &whoamiv1.WhoAmIRequest{})
	if err != nil {
		return nil, err
	}
	s.message, err = proto.Marshal(answer)
	return s, err
}

func fetch(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}).Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", url, answer.Status)
	}
	return body, err
}

// side is the fleet as seen through nginx.
func (s *shipped) side(name string, rpc bool) side {
	return side{name: name, target: through(s.fleet.HTTP(), s.fleet.GRPC(), rpc), instances: s.instances, balancer: s.balancer}
}

func through(http, rpc string, asRPC bool) wire.Spec {
	if asRPC {
		return wire.Spec{Address: rpc, GRPC: true, Path: method, Connections: connections}
	}
	return wire.Spec{Address: http, Path: "/", Connections: connections}
}

// share is what the fleet gives each of three instances in its environment. The other side of a judged row gets the same: with all cores
// a Go program spends more CPU time on a request, because its threads wake each other.
func share() []string {
	if os.Getenv("GOMAXPROCS") != "" {
		return nil // Both sides have that.
	}
	return []string{"GOMAXPROCS=" + strconv.Itoa(max(1, runtime.GOMAXPROCS(0)/3))}
}

// backends is three programs of one kind, and what stops them.
type backends struct {
	group   *launch.Group
	pids    []int
	servers []nginx.Server
}

// start starts so many programs; of makes one for its two ports, and each is waited for until it takes connections on both (the second
// may be none, 0).
func (b *bench) start(ctx context.Context, name string, count int, of func(http, rpc int) (launch.Program, int)) (*backends, error) {
	dir, err := b.part(name)
	if err != nil {
		return nil, err
	}
	ports, err := launch.FreePorts(2 * count)
	if err != nil {
		return nil, err
	}
	t := &backends{group: launch.NewGroup(dir)}
	for n := range count {
		program, rpc := of(ports[2*n], ports[2*n+1])
		server := nginx.Server{HTTP: at(ports[2*n]), GRPC: at(rpc)}
		p, err := t.group.Start(program)
		if err == nil {
			err = p.Await(ctx, 5*time.Millisecond, launch.Listening(server.HTTP))
		}
		if err == nil {
			err = p.Await(ctx, 5*time.Millisecond, launch.Listening(server.GRPC))
		}
		if err != nil {
			t.group.Stop()
			return nil, err
		}
		t.pids = append(t.pids, p.PID)
		t.servers = append(t.servers, server)
	}
	return t, nil
}

func at(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// bareProgram answers what an instance of the fleet answers.
func (b *bench) bareProgram(s *shipped, env []string) func(http, rpc int) (launch.Program, int) {
	return func(http, rpc int) (launch.Program, int) {
		return launch.Program{Path: b.bare(), Env: env, Args: []string{
			"--http", at(http), "--grpc", at(rpc),
			"--body", base64.StdEncoding.EncodeToString(s.body), "--message", base64.StdEncoding.EncodeToString(s.message),
		}}, rpc
	}
}

// balanced puts the shipped files in front of a backends.
func (b *bench) balanced(ctx context.Context, t *backends, edits ...confedit.Edit) (*launch.Balancer, error) {
	dir, err := b.part("nginx")
	if err != nil {
		return nil, err
	}
	return launch.Nginx(ctx, b.nginxAt, dir, nginx.Site{Servers: t.servers}, edits)
}

// againstBare compares a fleet that has tuning in its environment with the bare library that has env.
func (b *bench) againstBare(ctx context.Context, rpc bool, tuning, env []string, name string, questions ...question) error {
	ours, stop, err := b.withEnv(ctx, tuning)
	if err != nil {
		return err
	}
	defer stop()
	t, err := b.start(ctx, "bare", 3, b.bareProgram(ours, env))
	if err != nil {
		return err
	}
	defer t.group.Stop()
	n, err := b.balanced(ctx, t)
	if err != nil {
		return err
	}
	defer n.Stop()
	other := side{name: name, target: through(n.HTTP, n.GRPC, rpc), instances: t.pids, balancer: n.PIDs}
	what, mine := "1a REST through nginx", "whoami"
	if rpc {
		what = "2a gRPC through nginx"
	}
	if len(tuning) > 0 {
		mine = "whoami, tuned"
	}
	return b.compare(ctx, what, ours.side(mine, rpc), other, questions...)
}

// traefikProgram is traefik/whoami, if there is one: one port for both protocols.
func (b *bench) traefikProgram() (func(http, rpc int) (launch.Program, int), error) {
	path := b.traefik
	if path == "" {
		var err error
		if path, err = b.fetched("whoami"); err != nil {
			return nil, err
		}
	}
	path, err := filepath.Abs(path)
	return func(http, _ int) (launch.Program, int) {
		return launch.Program{Path: path, Args: []string{"--port", strconv.Itoa(http), "--name", "whoami-1"}}, http
	}, err
}

func (b *bench) againstTraefik(ctx context.Context, rpc bool) error {
	program, err := b.traefikProgram()
	if err != nil {
		return err
	}
	ours, err := b.ours(ctx)
	if err != nil {
		return err
	}
	t, err := b.start(ctx, "traefik", 3, program)
	if err != nil {
		return err
	}
	defer t.group.Stop()
	n, err := b.balanced(ctx, t)
	if err != nil {
		return err
	}
	defer n.Stop()
	other := side{name: "traefik", target: through(n.HTTP, n.GRPC, rpc), instances: t.pids, balancer: n.PIDs}
	if rpc {
		other.target.Path = traefikMethod
		return b.compare(ctx, "2b gRPC through nginx", ours.side("whoami", true), other,
			question{instanceCPU, atMost(0.67)}, question{perSecond, atLeast(1.5)})
	}
	other.target.Path = "/api"
	return b.compare(ctx, "1b REST through nginx", ours.side("whoami", false), other,
		question{instanceCPU, atMost(0.33)}, question{perSecond, atLeast(3)})
}

func (b *bench) againstFastAPI(ctx context.Context) error {
	packages := filepath.Join(b.tree, cache, "python", "usr", "lib", "python3", "dist-packages")
	env := []string{"PYTHONPATH=" + packages, "PYTHONDONTWRITEBYTECODE=1"}
	if why := b.lacks("python", ""); why.Error() != "" {
		return why
	}
	ours, err := b.ours(ctx)
	if err != nil {
		return err
	}
	t, err := b.start(ctx, "fastapi", 3, func(http, _ int) (launch.Program, int) {
		return launch.Program{Path: "/usr/bin/python3", Dir: filepath.Join(b.tree, "bench", "fastapi"), Env: env, Args: []string{
			"-m", "uvicorn", "app:app", "--port", strconv.Itoa(http), "--no-access-log", "--log-level", "warning",
		}}, http
	})
	if ctx.Err() == nil && err != nil {
		return &unavailable{err.Error()}
	} else if err != nil {
		return err
	}
	defer t.group.Stop()
	dir, err := b.part("nginx")
	if err != nil {
		return err
	}
	n, err := launch.Default(ctx, b.nginxAt, dir, t.servers)
	if err != nil {
		return err
	}
	defer n.Stop()
	other := side{name: "FastAPI", target: through(n.HTTP, "", false), instances: t.pids, balancer: n.PIDs}
	return b.compare(ctx, "1c REST through nginx", ours.side("whoami", false), other,
		question{instanceCPU, atMost(0.167)}, question{perSecond, atLeast(6)})
}

// againstReturn compares with the same nginx that answers by itself.
func (b *bench) againstReturn(ctx context.Context) error {
	ours, err := b.ours(ctx)
	if err != nil {
		return err
	}
	n, err := b.balanced(ctx, &backends{servers: ours.servers}, returning(ours.body))
	if err != nil {
		return err
	}
	defer n.Stop()
	other := side{name: "return 200", target: through(n.HTTP, n.GRPC, false), balancer: n.PIDs}
	return b.compare(ctx, "1d REST through nginx", ours.side("whoami", false), other, question{allCPU, nil}, question{perSecond, nil})
}

// returning makes nginx answer GET / itself.
func returning(body []byte) confedit.Edit {
	return confedit.Edit{Context: "http-listener.conf server location /", Directive: "return 200 '" + string(body) + "'"}
}

// againstDefaults puts nginx's defaults in front of the same instances.
func (b *bench) againstDefaults(ctx context.Context) error {
	ours, err := b.ours(ctx)
	if err != nil {
		return err
	}
	dir, err := b.part("nginx")
	if err != nil {
		return err
	}
	n, err := launch.Default(ctx, b.nginxAt, dir, ours.servers)
	if err != nil {
		return err
	}
	defer n.Stop()
	for _, rpc := range []bool{false, true} {
		what := "3 nginx's files, REST"
		if rpc {
			what = "3 nginx's files, gRPC"
		}
		other := side{name: "defaults", target: through(n.HTTP, n.GRPC, rpc), instances: ours.instances, balancer: n.PIDs}
		if err := b.compare(ctx, what, ours.side("shipped", rpc), other,
			question{balancerCPU, atMost(0.5)}, question{allCPU, nil}, question{perSecond, atLeast(2)}); err != nil {
			return err
		}
	}
	return nil
}

// recordsCost compares instances that write records with those that do not.
func (b *bench) recordsCost(ctx context.Context) error {
	ours, err := b.ours(ctx)
	if err != nil {
		return err
	}
	f, err := b.startFleet(ctx, "records", "RECORDS="+filepath.Join(b.folder, "records.jsonl"))
	if err != nil {
		return err
	}
	defer f.Stop(context.Background())
	recording, err := inspect(ctx, f)
	if err != nil {
		return err
	}
	for _, rpc := range []bool{false, true} {
		what := "6 records, REST"
		if rpc {
			what = "6 records, gRPC"
		}
		if err := b.compare(ctx, what, recording.side("records on", rpc), ours.side("off", rpc), question{instanceCPU, nil}); err != nil {
			return err
		}
	}
	return nil
}
