package confedit

import (
	"cmp"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trivet/nginx"
)

// realNginx returns the nginx for the tests: $TRIVET_NGINX, else the one on PATH, else the one that nginx/fetch got.
func realNginx(t *testing.T) nginx.Binary {
	t.Helper()
	named := os.Getenv("TRIVET_NGINX")
	b, err := nginx.Find(t.Context(), cmp.Or(named, "nginx"))
	if named == "" && errors.Is(err, nginx.ErrMissing) {
		b, err = nginx.Find(t.Context(), filepath.Join("..", "..", ".cache", "nginx", "nginx"))
	}
	if err != nil {
		t.Fatalf("these tests need a real nginx: run make nginx, or set TRIVET_NGINX: %v", err)
	}
	return b
}

// local returns the site whose files are shipped.
func local() nginx.Site {
	return nginx.Site{HTTP: "127.0.0.1:8080", GRPC: "127.0.0.1:9090", Admin: "127.0.0.1:7080", Servers: []nginx.Server{
		{HTTP: "127.0.0.1:8001", GRPC: "127.0.0.1:9001"},
		{HTTP: "127.0.0.1:8002", GRPC: "127.0.0.1:9002"},
		{HTTP: "127.0.0.1:8003", GRPC: "127.0.0.1:9003"},
	}}
}

// instances names the servers of local.
var instances = []string{"whoami-1", "whoami-2", "whoami-3"}

// free returns an address on which nothing listens.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// tree returns the files under dir with their content. It fails if a write has left a temporary file behind.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if strings.HasPrefix(entry.Name(), ".") {
			t.Errorf("%s is left over", name)
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		all[filepath.ToSlash(rel)] = read(t, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// write writes a file, and the directories above it.
func write(t *testing.T, name, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}
