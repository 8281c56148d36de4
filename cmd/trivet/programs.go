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

// whoami returns the path of the instances' program; "" if it has to be built first, in p.module. The error says how to get one.
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
	return "", errors.New("whoami, the instances' program, is neither beside trivet nor on PATH; to build it, run in Trivet's source tree: make build")
}

// ours reports whether a program is the instances', and not the whoami of every Unix, which prints the user's name.
func ours(path string) bool {
	// The timeout is for a program of that name that waits for something.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Else Ctrl-C would end it, and it would not count as ours.
	output, err := cmd.Output()
	return err == nil && strings.HasPrefix(string(output), "whoami ") && !strings.Contains(string(output), "coreutils)")
}

// buildWhoami builds the instances' program into dir: for `go tool trivet` and `go run`, which leave none beside trivet.
func (p place) buildWhoami(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "whoami")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "trivet/cmd/whoami")
	cmd.Dir = p.module
	if output, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", fmt.Errorf("build whoami in %s: %w\n%s", p.module, err, strings.TrimSpace(string(output)))
	}
	return path, nil
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
