package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"trivet/nginx"
)

// place is where trivet looks for programs.
type place struct {
	module     string // root of Trivet's source tree around the working directory, else around trivet; "": none
	executable string // directory of the running trivet
}

func here() place {
	var p place
	if exe, err := os.Executable(); err == nil {
		p.executable = filepath.Dir(exe)
	}
	if wd, err := os.Getwd(); err == nil {
		p.module = moduleAbove(wd)
	}
	if p.module == "" && p.executable != "" {
		p.module = moduleAbove(p.executable) // bin/trivet, called from elsewhere
	}
	return p
}

// moduleAbove returns the nearest directory from dir upwards that holds Trivet's go.mod; "" if there is none.
func moduleAbove(dir string) string {
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil {
			if strings.HasPrefix(string(text), "module trivet\n") {
				return dir
			}
			return "" // Another module, which Trivet's tree may contain.
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
		dir = filepath.Dir(dir)
	}
}

// finder is nginx.Find.
type finder func(ctx context.Context, name string) (nginx.Binary, error)

// nginx finds the program to use: the named one, else the one on PATH, else the one that make nginx got.
func (p place) nginx(ctx context.Context, find finder, named string) (nginx.Binary, error) {
	if named != "" {
		b, err := find(ctx, named)
		if errors.Is(err, nginx.ErrNoVerdict) || err != nil && ctx.Err() != nil {
			return b, err // Not the choice is wrong.
		}
		if err != nil {
			return b, usageError{fmt.Errorf("--nginx: %w", err)}
		}
		return b, nil
	}
	b, err := find(ctx, "nginx")
	if err == nil || p.module == "" {
		return b, err
	}
	cached, cachedErr := find(ctx, filepath.Join(p.module, ".cache", "nginx", "nginx"))
	if cachedErr == nil {
		return cached, nil
	}
	if !errors.Is(cachedErr, nginx.ErrMissing) {
		return b, cachedErr
	}
	return b, err
}

// usageError is an error that ends trivet with exitUsage.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// Programs of the services that have instances.
const (
	whoami = "whoami"
	front  = "front"
)

// program returns the path of a service's program; "" if it has to be built first, in p.module. The error says how to get one.
func (p place) program(service string) (string, error) {
	beside := filepath.Join(p.executable, service)
	if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
		return beside, nil
	}
	if p.module != "" {
		if _, err := exec.LookPath("go"); err == nil {
			return "", nil
		}
	}
	if path, err := exec.LookPath(service); err == nil && ours(path) {
		return filepath.Abs(path)
	}
	return "", fmt.Errorf("%s, the program of its instances, is neither beside trivet nor on PATH; to build it, run in Trivet's source tree: make build", service)
}

// ours reports whether a program is a service's, and not, for example, the whoami of every Unix, which prints the user's name.
func ours(path string) bool {
	// The timeout is for a program of that name that waits for something.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Else Ctrl-C would end it, and it would not count as ours.
	output, err := cmd.Output()
	return err == nil && strings.HasPrefix(string(output), filepath.Base(path)+" ") && !strings.Contains(string(output), "coreutils)")
}

// build builds a service's program into dir: for `go tool trivet` and `go run`, which leave none beside trivet.
func (p place) build(ctx context.Context, service, dir string) (string, error) {
	path := filepath.Join(dir, service)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "trivet/cmd/"+service)
	cmd.Dir = p.module
	if output, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", fmt.Errorf("build %s in %s: %w\n%s", service, p.module, err, strings.TrimSpace(string(output)))
	}
	return path, nil
}

// servicePrograms are where the paths of the programs go that a fleet needs, by service.
type servicePrograms map[string]*string

// find fills in the paths. Those that have to be built first stay "".
func (all servicePrograms) find(p place) error {
	var errs []error
	for _, service := range slices.Sorted(maps.Keys(all)) {
		path, err := p.program(service)
		*all[service] = path
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// build builds into dir those that have no path. say gets what is built.
func (all servicePrograms) build(ctx context.Context, p place, dir string, say func(string)) (err error) {
	for _, service := range slices.Sorted(maps.Keys(all)) {
		if *all[service] != "" {
			continue
		}
		say("building " + service + ", because there is none beside this trivet")
		if *all[service], err = p.build(ctx, service, dir); err != nil {
			return err
		}
	}
	return nil
}

// pin replaces the path of a program by a link in dir with that name, which starts the same program also after a rebuild has replaced its
// file, until the file that it returns is closed. The link leads to this open file. A copy could lack room in dir, or dir be mounted noexec.
func pin(dir, name string, program *string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.Open(*program)
	if err != nil {
		return nil, err
	}
	*program = filepath.Join(dir, name)
	if err := os.Symlink(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()), *program); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// grpcurl returns how to call grpcurl here.
func (p place) grpcurl() string {
	if _, err := exec.LookPath("grpcurl"); err != nil && p.module != "" {
		return "go tool -modfile=tools.mod grpcurl"
	}
	return "grpcurl"
}

// contract returns the flags that name the proto file for grpcurl, where instances offer no reflection.
func (p place) contract(reflection bool) string {
	switch {
	case reflection:
		return ""
	case p.module == "":
		return "-proto whoami.proto "
	}
	return "-import-path proto -proto whoami/v1/whoami.proto "
}

// self returns how to call this trivet again.
func (p place) self() string {
	if path, err := exec.LookPath("trivet"); err == nil && filepath.Dir(path) == p.executable {
		return "trivet"
	}
	if strings.Contains(p.executable, "go-build") { // Built by the Go tool into its cache.
		return "go tool trivet"
	}
	return os.Args[0]
}
