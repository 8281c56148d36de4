package fleet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/nginx"
	"trivet/nginx/confedit"
)

// nginxBalancer is nginx as a Balancer.
type nginxBalancer struct {
	binary  nginx.Binary
	conf    fs.FS
	files   map[string]string
	edits   []confedit.Edit
	workers int
}

func (nginxBalancer) Info() BalancerInfo {
	return BalancerInfo{
		AllAttempts: true, Reloads: true, Edits: true, Workers: true,
		// SIGQUIT is a graceful shutdown. Before nginx serves it has no handler for it, and would dump core.
		Stop:       []StopStep{{Signal: syscall.SIGQUIT, Wait: 5 * time.Second, ReadyFirst: true}, {Signal: syscall.SIGTERM, Wait: 3 * time.Second}},
		ListenHint: "its configuration must include site/http-listen.conf and site/grpc-listen.conf",
	}
}

func (b nginxBalancer) Install(dir string, s Site) error {
	site := nginx.Site{HTTP: s.HTTP, GRPC: s.GRPC, Admin: s.Admin, Workers: b.workers, User: workersUser(), Diagnostics: s.Diagnostics}
	var names []string
	for _, i := range s.Instances {
		if server := (nginx.Server{HTTP: i.HTTP, GRPC: i.GRPC}); scenario.IsFront(i.Name) {
			site.Front = append(site.Front, server)
		} else {
			site.Servers = append(site.Servers, server)
		}
		names = append(names, i.Name)
	}
	if s.TLS != "" {
		site.TLS = &nginx.EdgeTLS{Listen: s.TLS, Certificate: s.EdgeCertificate, Key: s.EdgeCertificate, ClientCA: s.CA}
	}
	if s.OwnCertificate != "" {
		site.Mesh = &nginx.MeshTLS{Certificate: s.OwnCertificate, Key: s.OwnCertificate, CA: s.CA}
	}
	if err := site.Install(dir, b.conf, b.binary.Version); err != nil {
		return err
	}
	conf := filepath.Join(dir, "conf")
	if err := confedit.AddFiles(conf, b.files); err != nil {
		return err
	}
	edits := slices.Concat(b.edits, s.Edits)
	return record.KeepShipped(dir, func() error { return confedit.Apply(conf, edits, site.Endpoints(names)) })
}

// workersUser is the account for nginx's workers: "" (nginx's own choice) unless this process is root and an account of nginx packages
// exists. Its group must exist too: nginx takes the group of the same name.
func workersUser() string {
	if os.Getuid() != 0 {
		return ""
	}
	for _, name := range []string{"www-data", "nginx"} {
		_, noUser := user.Lookup(name)
		_, noGroup := user.LookupGroup(name)
		if noUser == nil && noGroup == nil {
			return name
		}
	}
	return ""
}

func (b nginxBalancer) Test(ctx context.Context, dir string) error {
	err := b.binary.Test(ctx, dir)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w:\n%w", ErrConf, err)
	}
	return nil
}

func (b nginxBalancer) Command(dir string) (path string, args []string) {
	return b.binary.Path, b.binary.Args(dir)
}

// reloadTimeout bounds the time from SIGHUP to new workers.
const reloadTimeout = 10 * time.Second

// Reload works as `nginx -s reload` does. Old workers may still be finishing requests when it returns.
func (b nginxBalancer) Reload(ctx context.Context, dir string, p *Process) error {
	master := p.PID()
	return reload(ctx, dir, master, func() error { return p.Signal(syscall.SIGHUP) }, func() bool { return p.PID() == master })
}

// reload returns when a master that was sent SIGHUP has new workers.
func reload(ctx context.Context, dir string, master int, signal func() error, runs func() bool) error {
	path := record.LogFile(dir, scenario.Nginx)
	before := workers(master)
	log, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := signal(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, reloadTimeout, fmt.Errorf("nginx has no new workers %v after SIGHUP; its error log is %s", reloadTimeout, path))
	defer cancel()
	return await(ctx, func() (bool, error) {
		if reloaded(before, workers(master)) {
			return true, nil
		}
		if !runs() {
			return false, errors.New("nginx ended during the reload")
		}
		if line := refusal(path, log.Size()); line != "" {
			return false, fmt.Errorf("%w: %s", ErrConf, line)
		}
		return false, nil
	})
}

// reloaded reports whether a reload is over, from nginx's workers before it and now: there are new ones, all of them serve, and no old
// one takes connections. nginx makes the old ones leave once it has forked all new ones.
func reloaded(before, now []worker) bool {
	anyNew := false
	for _, w := range now {
		old := slices.ContainsFunc(before, func(b worker) bool { return b.pid == w.pid })
		if w.booting || old && !w.leaving {
			return false
		}
		anyNew = anyNew || !old
	}
	return anyNew
}

// refusal is the first line of nginx's log, after an offset, that says that nginx keeps its old configuration: because of a port that it
// cannot get, for example, which nginx -t does not notice.
func refusal(path string, offset int64) string {
	log, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer log.Close()
	lines := bufio.NewScanner(io.NewSectionReader(log, offset, 1<<20))
	for lines.Scan() {
		if strings.Contains(lines.Text(), "[emerg]") {
			return lines.Text()
		}
	}
	return ""
}
