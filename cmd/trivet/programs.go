package main

import (
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
)

// place is where programs are looked for.
type place struct {
	module     string // root of Trivet's own source tree, if we are in it or were built in it; "": neither
	executable string // folder of the running trivet
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

// moduleAbove is the nearest folder from dir upwards that holds Trivet's go.mod.
func moduleAbove(dir string) string {
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil {
			if strings.HasPrefix(string(text), "module trivet\n") {
				return dir
			}
			return "" // Somebody else's module; what is above it is not meant.
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
		dir = filepath.Dir(dir)
	}
}

// finder is nginx.Find.
type finder func(ctx context.Context, name string) (nginx.Binary, error)

// nginx finds the one to use: the named one, else that of the system, else the one that `make nginx` got.
func (p place) nginx(ctx context.Context, find finder, named string) (nginx.Binary, error) {
	if named != "" {
		b, err := find(ctx, named)
		if errors.Is(err, nginx.ErrNoVerdict) || err != nil && ctx.Err() != nil {
			return b, err // That is nobody's wrong choice.
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

// usageError is an error for which the exit code is that of wrong use.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// whoami is the path of the instances' program; "" if it has to be built first, in p.module. The error says what to type.
func (p place) whoami() (string, error) {
	beside := filepath.Join(p.executable, "whoami")
	if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
		return beside, nil
	}
	if p.module != "" {
		if _, err := exec.LookPath("go"); err == nil {
			return "", nil
		}
	}
	if path, err := exec.LookPath("whoami"); err == nil && ours(path) {
		return filepath.Abs(path)
	}
	return "", errors.New("the instances' program, whoami, is neither beside trivet nor on PATH; in Trivet's source tree type: make build")
}

// ours tells our whoami from the one of every Unix, which tells the user's name.
func ours(path string) bool {
	// A program that waits for something must not stop trivet from starting.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Else Ctrl-C ends it, and it would be none of ours.
	said, err := cmd.Output()
	return err == nil && strings.HasPrefix(string(said), "whoami ") && !strings.Contains(string(said), "coreutils)")
}

// buildWhoami builds the instances' program into dir: for `go tool trivet` and `go run`, which leave none beside trivet.
func (p place) buildWhoami(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "whoami")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "trivet/cmd/whoami")
	cmd.Dir = p.module
	if said, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", fmt.Errorf("building whoami in %s: %w\n%s", p.module, err, strings.TrimSpace(string(said)))
	}
	return path, nil
}

// grpcurl is how to call grpcurl here.
func (p place) grpcurl() string {
	if _, err := exec.LookPath("grpcurl"); err != nil && p.module != "" {
		return "go tool -modfile=tools.mod grpcurl"
	}
	return "grpcurl"
}

// contract is how to tell grpcurl the services, where the instances do not.
func (p place) contract(reflection bool) string {
	switch {
	case reflection:
		return ""
	case p.module == "":
		return "-proto whoami.proto "
	}
	return "-import-path proto -proto whoami/v1/whoami.proto "
}

// self is how to call this trivet again.
func (p place) self() string {
	if path, err := exec.LookPath("trivet"); err == nil && filepath.Dir(path) == p.executable {
		return "trivet"
	}
	if strings.Contains(p.executable, "go-build") { // The Go tool built it into its cache.
		return "go tool trivet"
	}
	return os.Args[0]
}
