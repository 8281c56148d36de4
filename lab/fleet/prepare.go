package fleet

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/nginx/confedit"
)

// prepare does all that can fail before a process is started: the directory, the instances' settings, the load balancer's configuration.
func (f *Fleet) prepare(ctx context.Context) error {
	if err := f.prepareDir(); err != nil {
		return fmt.Errorf("%w: %w; set TMPDIR to a directory that every user may pass through, like /tmp", record.ErrRunDir, err)
	}
	if err := f.issue(); err != nil {
		return err
	}
	if err := f.checkSettings(ctx); err != nil {
		return err
	}
	if err := f.install(f.options.Dir, nil); err != nil {
		return err
	}
	return f.balancer.Test(ctx, f.options.Dir)
}

func (f *Fleet) prepareDir() error {
	if !filepath.IsAbs(f.options.Dir) {
		return fmt.Errorf("%s: want an absolute path", f.options.Dir)
	}
	if err := os.MkdirAll(filepath.Join(f.options.Dir, "logs"), 0o711); err != nil {
		return err
	}
	return record.Usable(f.options.Dir)
}

// checkSettings lets whoami check the settings that all instances share, with the flags of the first: one error instead of a failed start
// per instance.
func (f *Fleet) checkSettings(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, f.options.Whoami, append([]string{"config"}, f.instanceArgs(scenario.InstanceName(1))...)...)
	cmd.Env = f.instanceEnv()
	cmd.WaitDelay = time.Second
	var settings, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &settings, &stderr
	err := cmd.Run()
	switch {
	case err == nil:
		// In prod nginx passes no diagnostics on (nginx/conf/site/public.conf), and reflection is one.
		f.diagnostics = !hasSetting(settings.String(), "ENVIRONMENT=prod")
		f.reflection = f.diagnostics && hasSetting(settings.String(), "REFLECTION=true")
		f.settings = ownSettings(settings.String())
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 2 {
		return fmt.Errorf("%w:\n%s", ErrSettings, settingErrors(stderr.String()))
	}
	return fmt.Errorf("%s config: %w\n%s", f.options.Whoami, err, strings.TrimSpace(stderr.String()))
}

// hasSetting reports whether a line of `whoami config` is NAME=value; the value's source follows as a comment.
func hasSetting(config, want string) bool {
	for line := range strings.Lines(config) {
		if shown, _, _ := strings.Cut(line, "#"); strings.TrimSpace(shown) == want {
			return true
		}
	}
	return false
}

// ownSettings are those of `whoami config` from a file or the environment, as NAME=value, but not those that a fleet sets there.
func ownSettings(config string) (all []string) {
	for line := range strings.Lines(config) {
		shown, source, _ := strings.Cut(line, " # ")
		source, shown = strings.TrimSpace(source), strings.TrimSpace(shown)
		name, _, _ := strings.Cut(shown, "=")
		if source != "default" && !strings.HasPrefix(source, "--") && !slices.Contains([]string{"RECORDS", "HOPS_HTTP", "HOPS_GRPC", "START_ID"}, name) {
			all = append(all, shown)
		}
	}
	return all
}

// settingErrors are the lines of whoami's errors, without its name before them and without its last line, which is advice for those that
// typed whoami.
func settingErrors(stderr string) string {
	var lines []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "whoami: ")
		if line != "" && !strings.HasPrefix(line, "nothing was started") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// install writes the load balancer's configuration into a directory, with further edits. It listens on the addresses as given, 0.0.0.0
// included.
func (f *Fleet) install(dir string, edits []confedit.Edit) error {
	listen := func(protocol string) string { return f.bound(scenario.Nginx, protocol).String() }
	site := Site{
		HTTP: listen(httpListener), GRPC: listen(grpcListener), Admin: listen(adminListener),
		Instances: f.Instances(), Diagnostics: f.diagnostics, Edits: edits,
	}
	if f.options.TLS {
		site.TLS, site.EdgeCertificate, site.CA = listen(tlsListener), f.authority.Path(edgeCertificate), f.authority.CA()
	}
	if f.options.MTLS {
		site.OwnCertificate, site.CA = f.authority.Path(scenario.Nginx), f.authority.CA()
	}
	err := f.balancer.Install(dir, site)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w; set TMPDIR to a directory with room", record.ErrRunDir, err)
	}
	return err
}

// program is the path of an instance's program.
func (f *Fleet) program(instance string) string {
	if scenario.IsFront(instance) {
		return f.options.FrontProgram
	}
	return f.options.Whoami
}

// instancePlan is how an instance is run. A drain ends within DRAIN_TIMEOUT, 10 s unless set; here a longer one is cut off after 12 s.
func (f *Fleet) instancePlan(name string) plan {
	return plan{
		start: func() (*child, error) {
			id := rand.Text()
			c, err := f.spawner.start(command{
				path: f.program(name), args: f.instanceArgs(name), env: append(f.instanceEnv(), "START_ID="+id),
				log: f.LogFile(name), parentDeath: syscall.SIGKILL,
			})
			if err == nil {
				c.start = id
			}
			return c, err
		},
		ready: func(ctx context.Context) error { return f.awaitReadyz(ctx, name, f.endpoint(name, httpListener)) },
		stop:  []StopStep{{Signal: syscall.SIGTERM, Wait: 12 * time.Second}},
	}
}

// inherited are the variables that instances get from this process in a fleet with CleanEnv.
var inherited = []string{"PATH", "HOME", "TMPDIR", "TZ"}

// instanceEnv is an instance's environment. GOMAXPROCS is its share of the cores, like a container's CPU limit: instances that each assume
// all cores wake more threads than there are cores for. A GOMAXPROCS of this process's is kept, unless the environment must be clean.
func (f *Fleet) instanceEnv() []string {
	env := environ()
	if f.options.CleanEnv {
		env = slices.DeleteFunc(env, func(e string) bool {
			name, _, _ := strings.Cut(e, "=")
			return !slices.Contains(inherited, name)
		})
	}
	if f.options.CleanEnv || os.Getenv("GOMAXPROCS") == "" {
		env = append(env, "GOMAXPROCS="+strconv.Itoa(max(1, runtime.GOMAXPROCS(0)/(f.options.Instances+f.options.Front))))
	}
	env = append(env, f.options.Env...)
	// Calls that requests want go through this nginx, unless a setting says otherwise: of two values the last counts.
	return append(f.hops(), env...)
}

// hops are the settings of where calls go that requests want. They are encrypted where instances have what that takes: an authority to
// trust.
func (f *Fleet) hops() []string {
	if f.options.TLS && f.options.MTLS {
		return []string{"HOPS_HTTP=https://" + f.TLS(), "HOPS_GRPC=https://" + f.TLS()}
	}
	return []string{"HOPS_HTTP=http://" + f.HTTP(), "HOPS_GRPC=" + f.GRPC()}
}

func (f *Fleet) instanceArgs(name string) []string {
	http, grpc := f.bound(name, httpListener), f.bound(name, grpcListener)
	args := []string{
		"--instance", name, "--bind", http.Addr().String(),
		"--port", fmt.Sprint(http.Port()), "--grpc-port", fmt.Sprint(grpc.Port()),
	}
	if f.options.instanceAdmin() {
		a := f.bound(name, adminListener)
		args = append(args, "--admin-bind", a.Addr().String(), "--admin-port", fmt.Sprint(a.Port()))
	} else {
		args = append(args, "--admin-port", "off")
	}
	if !f.options.Numbered {
		args = append(args, "--metrics=false") // Their ports are known to the fleet alone.
	}
	if f.options.MTLS {
		own := f.authority.Path(name)
		args = append(args, "--tls-cert", own, "--tls-key", own, "--tls-ca", f.authority.TrustedBy(name))
	}
	if f.options.EnvFile != "" {
		args = append(args, "--env-file", f.options.EnvFile)
	}
	return args
}

// balancerPlan is how the load balancer is run. SIGTERM at this process's death and not SIGKILL: an nginx master that is killed leaves its
// workers serving.
func (f *Fleet) balancerPlan() plan {
	path, args := f.balancer.Command(f.options.Dir)
	info := f.balancer.Info()
	c := command{path: path, args: args, env: environ(), log: f.LogFile(scenario.Nginx), parentDeath: syscall.SIGTERM, children: true}
	return plan{
		start: func() (*child, error) { return f.spawner.start(c) },
		ready: f.awaitBalancer,
		stop:  info.Stop,
		// An action waits for open requests longer than the end of a fleet does, and nothing but SIGKILL ends them early.
		drain: []StopStep{{Signal: info.Stop[0].Signal, Wait: actionTimeout, ReadyFirst: info.Stop[0].ReadyFirst}},
	}
}
