package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"trivet/nginx"
	"trivet/nginx/confedit"
)

// prepare does all that can fail without anything having been started: the run folder, the instances' settings, nginx's
// configuration.
func (f *Fleet) prepare(ctx context.Context) error {
	if err := f.prepareFolder(); err != nil {
		return fmt.Errorf("%w: %w; set TMPDIR to a folder that everybody can pass, like /tmp", ErrRunFolder, err)
	}
	if err := f.checkSettings(ctx); err != nil {
		return err
	}
	if err := f.layOut(); err != nil {
		return err
	}
	if err := f.options.Nginx.Test(ctx, f.options.Dir); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w:\n%w", ErrConf, err)
	}
	return nil
}

func (f *Fleet) prepareFolder() error {
	if !filepath.IsAbs(f.options.Dir) {
		return fmt.Errorf("%s: want an absolute path", f.options.Dir)
	}
	if err := os.MkdirAll(filepath.Join(f.options.Dir, "logs"), 0o711); err != nil {
		return err
	}
	if err := roomy(f.options.Dir); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return nil
	}
	return passable(f.options.Dir)
}

// checkSettings asks whoami what it thinks of the settings that all instances share, with the flags of the first: one answer instead
// of as many failed starts as there are instances.
func (f *Fleet) checkSettings(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, f.options.Whoami, append([]string{"config"}, f.instanceArgs(instance(1))...)...)
	cmd.Env = append(environ(), f.options.Env...)
	cmd.WaitDelay = time.Second
	var said, settings bytes.Buffer
	cmd.Stdout, cmd.Stderr = &settings, &said
	err := cmd.Run()
	switch {
	case err == nil:
		// In prod nginx lets no diagnostics through (nginx/conf/site/public.conf), and reflection is one.
		f.diagnostics = !setting(settings.String(), "ENVIRONMENT=prod")
		f.reflects = f.diagnostics && setting(settings.String(), "REFLECTION=true")
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 2 {
		return fmt.Errorf("%w:\n%s", ErrSettings, complaints(said.String()))
	}
	return fmt.Errorf("%s config: %w\n%s", f.options.Whoami, err, strings.TrimSpace(said.String()))
}

// setting reports whether a line of `whoami config` says NAME=value; its source follows.
func setting(config, want string) bool {
	for line := range strings.Lines(config) {
		if shown, _, _ := strings.Cut(line, "#"); strings.TrimSpace(shown) == want {
			return true
		}
	}
	return false
}

// complaints are whoami's own lines, without its name before them and without its advice, which is for who typed whoami.
func complaints(said string) string {
	var lines []string
	for line := range strings.Lines(said) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "whoami: ")
		if line != "" && !strings.HasPrefix(line, "nothing was started") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func (f *Fleet) layOut() error {
	site := nginx.Site{Workers: f.options.Workers, User: workersUser(), Diagnostics: f.diagnostics}
	for _, p := range f.ports {
		if p.owner == Nginx {
			// nginx listens where it was told to, all of the machine's addresses included.
			switch p.speaks {
			case "HTTP":
				site.HTTP = p.address.String()
			case "gRPC":
				site.GRPC = p.address.String()
			default:
				site.Admin = p.address.String()
			}
		}
	}
	for n := 1; n <= f.options.Instances; n++ {
		site.Servers = append(site.Servers, nginx.Server{
			HTTP: f.address(instance(n), "HTTP").String(),
			GRPC: f.address(instance(n), "gRPC").String(),
		})
	}
	err := site.Install(f.options.Dir, f.options.Conf, f.options.Nginx.Version)
	if err == nil {
		err = confedit.Apply(filepath.Join(f.options.Dir, "conf"), f.options.Edits)
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w; set TMPDIR to a folder with room", ErrRunFolder, err)
	}
	return err
}
