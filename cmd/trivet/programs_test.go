package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"trivet/nginx"
)

func TestNginxIsFoundInOrder(t *testing.T) {
	t.Parallel()
	cached := filepath.Join("/src", ".cache", "nginx", "nginx")
	there := nginx.Binary{Path: "/x/nginx"}
	for _, test := range []struct {
		name, module, named string
		have                map[string]error // what find says, nil for found; else ErrMissing
		want                string           // the name that was found
		err                 error
		usage               bool
	}{
		{name: "the one on PATH", module: "/src", have: map[string]error{"nginx": nil, cached: nil}, want: "nginx"},
		{name: "else the one that make nginx got", module: "/src", have: map[string]error{cached: nil}, want: cached},
		{name: "also when that on PATH is too old", module: "/src", have: map[string]error{"nginx": nginx.ErrTooOld, cached: nil}, want: cached},
		{name: "none at all", module: "/src", err: nginx.ErrMissing},
		{name: "none outside the source tree", err: nginx.ErrMissing},
		{name: "too old and no other", module: "/src", have: map[string]error{"nginx": nginx.ErrTooOld}, err: nginx.ErrTooOld},
		{name: "the cached one is broken", module: "/src", have: map[string]error{cached: nginx.ErrNotNginx}, err: nginx.ErrNotNginx},
		{name: "the named one", module: "/src", named: "./mine", have: map[string]error{"nginx": nil, "./mine": nil}, want: "./mine"},
		{name: "a missing named one is not replaced", module: "/src", named: "./mine", have: map[string]error{"nginx": nil}, err: nginx.ErrMissing, usage: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var found string
			find := func(_ context.Context, name string) (nginx.Binary, error) {
				err, known := test.have[name]
				if !known {
					err = nginx.ErrMissing
				}
				if err != nil {
					return nginx.Binary{}, fmt.Errorf("%s: %w", name, err)
				}
				found = name
				return there, nil
			}
			_, err := place{module: test.module}.nginx(t.Context(), find, test.named)
			if !errors.Is(err, test.err) || found != test.want {
				t.Errorf("found %q, error %v", found, err)
			}
			if _, usage := errors.AsType[usageError](err); usage != test.usage {
				t.Errorf("usage error: %v", usage)
			}
		})
	}
}

func TestModuleAboveStopsAtNearestModule(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ours, theirs := filepath.Join(dir, "ours"), filepath.Join(dir, "ours", "theirs")
	for _, mod := range []struct{ dir, text string }{{ours, "module trivet\n\ngo 1.26\n"}, {theirs, "module trivet/other\n"}} {
		if err := errors.Join(os.MkdirAll(filepath.Join(mod.dir, "a", "b"), 0o700), os.WriteFile(filepath.Join(mod.dir, "go.mod"), []byte(mod.text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for from, want := range map[string]string{
		ours: ours, filepath.Join(ours, "a", "b"): ours, filepath.Join(theirs, "a"): "", dir: "",
	} {
		if got := moduleAbove(from); got != want {
			t.Errorf("from %s: %q, want %q", from, got, want)
		}
	}
}

func TestMissingWhoamiIsBuilt(t *testing.T) {
	t.Parallel()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	p := place{module: moduleAbove(wd), executable: t.TempDir()}
	if path, err := p.program(whoami); path != "" || err != nil {
		t.Fatalf("found %q, error %v; want that it must be built", path, err)
	}
	path, err := p.build(t.Context(), whoami, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if !ours(path) {
		t.Error("what was built is not ours")
	}
	if system, err := exec.LookPath("/usr/bin/whoami"); err == nil && ours(system) {
		t.Error("the system's own whoami counts as ours")
	}
	p.module = t.TempDir()
	if _, err := p.build(t.Context(), whoami, t.TempDir()); err == nil || !strings.Contains(err.Error(), "build whoami") {
		t.Errorf("where nothing can be built: %v", err)
	}
}

func TestOwnPathsReplacePathsOfCopies(t *testing.T) {
	t.Parallel()
	own := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(own, "nginx.conf"), nil, 0o600), os.Mkdir(filepath.Join(own, "site"), 0o700),
		os.WriteFile(filepath.Join(own, "site", "newer.conf"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`unknown directive "x" in /tmp/run/conf/nginx.conf:2`: `unknown directive "x" in ` + own + `/nginx.conf:2`,
		`open() "/tmp/run/conf/nginx.conf" failed`:            `open() "` + own + `/nginx.conf" failed`,
		`in /tmp/run/conf/site/newer.conf:1`:                  `in /tmp/run/conf/site/newer.conf:1`, // A file of the copy alone.
		`in /tmp/run/conf/other.conf:1`:                       `in /tmp/run/conf/other.conf:1`,
		`no path at all`:                                      `no path at all`,
	} {
		if got := ownPaths(text, "/tmp/run/conf", own); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", text, got, want)
		}
	}
}

func TestGrpcurlGetsProtoFileWithoutReflection(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		p          place
		reflection bool
		want       string
	}{
		{place{module: "/src"}, true, ""},
		{place{module: "/src"}, false, "-import-path proto -proto whoami/v1/whoami.proto "},
		{place{}, false, "-proto whoami.proto "},
	} {
		if got := test.p.contract(test.reflection); got != test.want {
			t.Errorf("%+v: %q, want %q", test.p, got, test.want)
		}
	}
}

// A program named whoami may wait for something: it is not ours, and the search goes on.
func TestWhoamiThatHangsIsNotOurs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "whoami")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nsleep 20\necho whoami v1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if ours(path) {
		t.Error("a program that does not return counts as ours")
	}
}
