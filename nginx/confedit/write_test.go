package confedit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// TestMain makes the test binary edit the configuration at CONFEDIT_DIR forever, if that is set, until a test kills it.
func TestMain(m *testing.M) {
	dir := os.Getenv("CONFEDIT_DIR")
	if dir == "" {
		os.Exit(m.Run())
	}
	for n := 1; ; n++ {
		if err := Apply(dir, []Edit{{Context: "events", Directive: "worker_connections " + strconv.Itoa(n)}}, nil); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(original), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// original is so long that a test can see the temporary file while it is written.
var original = "events {\n\tworker_connections 1;\n}\n" + strings.Repeat("# comment\n", 100_000)

// TestEditAfterCrash checks that a process killed between create and rename leaves nothing that prevents the next edit.
func TestEditAfterCrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "nginx.conf")
	write(t, name, original)
	for left := false; !left; {
		left = killBetween(t, dir)
		write(t, name, original) // The process may have been killed while it wrote the original.
	}
	if err := Apply(dir, []Edit{{Context: "events", Directive: "worker_connections 7"}}, nil); err != nil {
		t.Fatal(err)
	}
	if got := read(t, name); !strings.HasPrefix(got, "events {\n\tworker_connections 7; # was: worker_connections 1;\n}\n") || len(got) < len(original) {
		t.Errorf("%.100s", got)
	}
	tree(t, dir) // Fails on what is left over.
}

// killBetween starts a process that edits, kills it once its temporary file exists, and reports whether that file remains.
func killBetween(t *testing.T, dir string) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "CONFEDIT_DIR="+dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	there := func() bool {
		_, err := os.Lstat(filepath.Join(dir, temporary("nginx.conf")))
		return err == nil
	}
	for !there() { // Without a pause: the file is there for about a millisecond.
		select {
		case err := <-ended:
			t.Fatalf("the process ended by itself: %v", err)
		default:
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-ended
	return there()
}

// TestStaleFilesAreRemoved checks that Apply also removes the temporary files of files that it does not change, if those are part of the
// configuration.
func TestStaleFilesAreRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "nginx.conf"), "events { }\nhttp { include site/a.conf; }\n")
	write(t, filepath.Join(dir, "site", "a.conf"), "tcp_nopush on;\n")
	write(t, filepath.Join(dir, ".nginx.conf.edit"), "half of it")
	write(t, filepath.Join(dir, "site", ".a.conf.edit"), "half of it")
	write(t, filepath.Join(dir, "site", "b.conf.edit"), "not ours")
	if err := Apply(dir, []Edit{{Context: "events", Directive: "worker_connections 7"}}, nil); err != nil {
		t.Fatal(err)
	}
	if after := tree(t, dir); len(after) != 3 || after["site/b.conf.edit"] != "not ours" {
		t.Errorf("%q", after)
	}
}

// TestLinkInPlaceOfTemporaryFileIsNotFollowed checks that a link never makes Apply write to another file.
func TestLinkInPlaceOfTemporaryFileIsNotFollowed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "nginx.conf"), "events { }\n")
	write(t, filepath.Join(dir, "other"), "other\n")
	if err := os.Symlink("other", filepath.Join(dir, temporary("nginx.conf"))); err != nil {
		t.Fatal(err)
	}
	if err := Apply(dir, []Edit{{Context: "events", Directive: "worker_connections 7"}}, nil); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(dir, "other")); got != "other\n" {
		t.Errorf("other file is now %q", got)
	}
	if info, err := os.Lstat(filepath.Join(dir, "nginx.conf")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("nginx.conf: %v, %v", info.Mode(), err)
	}
}

func TestModeIsKept(t *testing.T) {
	t.Parallel()
	for _, mode := range []fs.FileMode{0o600, 0o640, 0o644} {
		dir := t.TempDir()
		name := filepath.Join(dir, "nginx.conf")
		write(t, name, "events { }\n")
		if err := errors.Join(os.Chmod(name, mode), Apply(dir, []Edit{{Context: "events", Directive: "worker_connections 7"}}, nil)); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(name); err != nil || info.Mode() != mode {
			t.Errorf("mode %v, %v, want %v", info.Mode(), err, mode)
		}
	}
}

// TestConcurrentEdits checks that concurrent edits do not lose each other.
func TestConcurrentEdits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "nginx.conf")
	write(t, name, "events { }\n")
	const editors = 20
	var all sync.WaitGroup
	for n := range editors {
		all.Go(func() {
			if err := Apply(dir, []Edit{{Context: "main", Directive: fmt.Sprintf("env N%d", n)}}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := strings.Count(read(t, name), "env N"); got != editors {
		t.Errorf("%d of %d edits were made", got, editors)
	}
	tree(t, dir)
}
