package launch

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"trivet/bench/proc"
	"trivet/nginx"
	"trivet/nginx/confedit"
)

// Balancer is an nginx that serves.
type Balancer struct {
	HTTP, GRPC string
	PIDs       []int // its master and its workers
	process    *Process
	group      *Group
}

// Stop ends it.
func (b *Balancer) Stop() { b.group.Stop() }

// Nginx starts one on the shipped files, with edits, in front of the servers. dir is a new folder, which every user may pass.
func Nginx(ctx context.Context, binary nginx.Binary, dir string, site nginx.Site, edits []confedit.Edit) (*Balancer, error) {
	ports, err := FreePorts(3)
	if err != nil {
		return nil, err
	}
	site.HTTP, site.GRPC, site.Admin, site.User = local(ports[0]), local(ports[1]), local(ports[2]), WorkersUser()
	if err := site.Install(dir, nginx.Conf(), binary.Version); err != nil {
		return nil, err
	}
	if err := confedit.Apply(filepath.Join(dir, "conf"), edits); err != nil {
		return nil, err
	}
	return run(ctx, binary, dir, site.HTTP, site.GRPC)
}

// Default starts one that has nginx's own defaults for everything: no more than the lines without which it balances nothing. The two
// exceptions are in favour of the defaults: a worker for each CPU, as packages ship it, where nginx itself would start one; and the
// folders, which an nginx that is not installed has elsewhere.
func Default(ctx context.Context, binary nginx.Binary, dir string, servers []nginx.Server) (*Balancer, error) {
	ports, err := FreePorts(3)
	if err != nil {
		return nil, err
	}
	b := &Balancer{HTTP: local(ports[0]), GRPC: local(ports[1])}
	// The layout gives the folders and who may pass them; its nginx.conf is replaced.
	layout := nginx.Site{HTTP: b.HTTP, GRPC: b.GRPC, Admin: local(ports[2]), Servers: servers}
	if err := layout.Install(dir, nginx.Conf(), binary.Version); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "conf", "nginx.conf"), []byte(defaultConf(b, binary, servers)), 0o644); err != nil {
		return nil, err
	}
	return run(ctx, binary, dir, b.HTTP, b.GRPC)
}

func defaultConf(b *Balancer, binary nginx.Binary, servers []nginx.Server) string {
	var http, grpc strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&http, "\t\tserver %s;\n", s.HTTP)
		fmt.Fprintf(&grpc, "\t\tserver %s;\n", s.GRPC)
	}
	who := ""
	if user := WorkersUser(); user != "" {
		who = "user " + user + ";\n"
	}
	listen := "listen " + b.GRPC + " http2;"
	if binary.Version.Compare(nginx.Version{Major: 1, Minor: 25, Patch: 1}) >= 0 {
		listen = "listen " + b.GRPC + "; http2 on;"
	}
	return who + `worker_processes auto;
pid nginx.pid;
error_log logs/error.log;
events {}
http {
	access_log            logs/access.log;
	client_body_temp_path temp/client_body;
	proxy_temp_path       temp/proxy;
	fastcgi_temp_path     temp/fastcgi;
	uwsgi_temp_path       temp/uwsgi;
	scgi_temp_path        temp/scgi;
	upstream http_servers {
` + http.String() + `	}
	upstream grpc_servers {
` + grpc.String() + `	}
	server {
		listen ` + b.HTTP + `;
		location / { proxy_pass http://http_servers; }
	}
	server {
		` + listen + `
		location / { grpc_pass grpc://grpc_servers; }
	}
}
`
}

func run(ctx context.Context, binary nginx.Binary, dir, http, grpc string) (*Balancer, error) {
	if err := binary.Test(ctx, dir); err != nil {
		return nil, err
	}
	b := &Balancer{HTTP: http, GRPC: grpc, group: NewGroup(filepath.Join(dir, "logs"))}
	var err error
	if b.process, err = b.group.Start(Program{Path: binary.Path, Args: binary.Args(dir), Quit: syscall.SIGTERM}); err != nil {
		b.group.Stop()
		return nil, err
	}
	for _, address := range []string{http, grpc} {
		if err := b.process.Await(ctx, 2*time.Millisecond, Listening(address)); err != nil {
			b.group.Stop()
			return nil, err
		}
	}
	if b.PIDs, err = WithWorkers(ctx, b.process.PID); err != nil {
		b.group.Stop()
		return nil, err
	}
	return b, nil
}

// WithWorkers are the pids of an nginx: its master's and its workers'. The master forks them after it listens.
func WithWorkers(ctx context.Context, master int) ([]int, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	last := -1
	for {
		workers, err := proc.Children(master)
		if err != nil {
			return nil, err
		}
		if len(workers) > 0 && len(workers) == last {
			return append([]int{master}, workers...), nil
		}
		last = len(workers)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// WorkersUser is whom nginx's workers should run as: nobody in particular unless this process is root.
func WorkersUser() string {
	if os.Getuid() != 0 {
		return ""
	}
	if _, err := user.Lookup("www-data"); err != nil {
		return ""
	}
	if _, err := user.LookupGroup("www-data"); err != nil {
		return ""
	}
	return "www-data"
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
