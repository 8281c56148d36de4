package nginx

import (
	"flag"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var update = flag.Bool("update", false, "rewrite golden files")

// local is the site whose files are shipped.
func local() Site {
	return Site{HTTP: "127.0.0.1:8080", GRPC: "127.0.0.1:9090", Admin: "127.0.0.1:7080", Diagnostics: true, Servers: []Server{
		{"127.0.0.1:8001", "127.0.0.1:9001"},
		{"127.0.0.1:8002", "127.0.0.1:9002"},
		{"127.0.0.1:8003", "127.0.0.1:9003"},
	}}
}

// TestShippedSiteFilesHoldReplacedDirectives checks that each directive that Install replaces is in its shipped file, once, and that Install
// writes all shipped files.
func TestShippedSiteFilesHoldReplacedDirectives(t *testing.T) {
	other := Site{HTTP: "[::1]:80", GRPC: "[::1]:90", Admin: "[::1]:70", Workers: 2, User: "nginx", Front: []Server{{}},
		TLS: &EdgeTLS{ClientCA: "ca"}, Mesh: &MeshTLS{}}
	for _, v := range []Version{Oldest, {1, 30, 6}} {
		edits := other.edits(v)
		if got, want := strings.Join(slices.Sorted(maps.Keys(edits)), " "), names(t, "conf/site"); got != want {
			t.Errorf("Install writes %s, shipped are %s", got, want)
		}
		for name, pairs := range edits {
			text := read(t, "conf/site/"+name)
			for i := 0; i < len(pairs); i += 2 {
				if n := strings.Count(text, pairs[i]); n != 1 {
					t.Errorf("%q occurs %d times in conf/site/%s, want once", pairs[i], n, name)
				}
			}
		}
	}
}

func TestSiteFilesElsewhere(t *testing.T) {
	s := Site{HTTP: "0.0.0.0:80", GRPC: "[::1]:9090", Admin: "[::1]:7080", Workers: 4, User: "www-data", Servers: []Server{
		{"[2001:db8::1]:8001", "[2001:db8::1]:9001"},
		{"whoami-2:8000", "whoami-2:9000"},
	}}
	for name, text := range s.files(Version{1, 30, 6}) {
		golden(t, filepath.Join("testdata", "site-1.30.6", name), text)
	}
}

// TestSiteFilesOfMesh has what differs with the TLS edge, mutual TLS and front.
func TestSiteFilesOfMesh(t *testing.T) {
	plain := local()
	s := plain
	s.Front = []Server{{"127.0.0.1:8101", "127.0.0.1:9101"}, {"front-2:8102", "front-2:9102"}}
	s.TLS = &EdgeTLS{Listen: "[::1]:8443", Certificate: "tls/edge.pem", Key: "tls/edge.key", ClientCA: "/etc/ca.pem"}
	s.Mesh = &MeshTLS{Certificate: "tls/nginx.pem", Key: "/etc/nginx.key", CA: "tls/ca.pem"}
	before := plain.files(Oldest)
	for name, text := range s.files(Oldest) {
		if text != before[name] {
			golden(t, filepath.Join("testdata", "site-mesh", name), text)
		}
	}
	if n := len(strings.Fields(names(t, "testdata/site-mesh"))); n != 11 {
		t.Errorf("%d files differ, want 11", n)
	}
	if got := s.files(Version{1, 25, 1})["tls-listen.conf"]; !strings.Contains(got, "listen [::1]:8443 ssl so_keepalive=60s:10s:3;\nhttp2 on;") {
		t.Errorf("for 1.25.1: %s", got)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v; to create it, run: go test ./nginx -update", err)
	}
	if got != string(want) {
		t.Errorf("%s is\n%s\ngot\n%s\nto update it, run: go test ./nginx -update", name, want, got)
	}
}

func TestValidateReportsAllErrors(t *testing.T) {
	s := Site{HTTP: "8080", GRPC: "127.0.0.1:0", Admin: "localhost", Workers: -1, User: "www-data; daemon on", Servers: []Server{
		{"127.0.0.1:70000", "::1:9001"},
		{":8002", "[fe80::1%eth0]:9002"},
		{"a b:8003", "x;y:9003"},
	}}
	err := s.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`HTTP is "8080"`, `GRPC is "127.0.0.1:0"`, `Admin is "localhost"`, "Workers is -1", `User is "www-data; daemon on"`,
		`Servers[0].HTTP is "127.0.0.1:70000"`, `Servers[0].GRPC is "::1:9001"`,
		`Servers[1].HTTP is ":8002"`, `Servers[1].GRPC is "[fe80::1%eth0]:9002"`,
		`Servers[2].HTTP is "a b:8003"`, `Servers[2].GRPC is "x;y:9003"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no error about %s in:\n%v", want, err)
		}
	}
	if n := len(strings.Split(err.Error(), "\n")); n != 11 {
		t.Errorf("%d lines, want 11:\n%v", n, err)
	}
}

func TestValidate(t *testing.T) {
	edit := func(f func(*Site)) Site { s := local(); f(&s); return s }
	for _, c := range []struct {
		name string
		site Site
		err  string
	}{
		{"local fleet", local(), ""},
		{"IPv6", edit(func(s *Site) { s.HTTP, s.GRPC = "[::]:8080", "[::1]:9090" }), ""},
		{"host name", edit(func(s *Site) { s.Servers = []Server{{"whoami-1:8000", "localhost:9000"}} }), ""},
		{"zero value", Site{}, "Servers is empty"},
		{"one address for HTTP and gRPC", edit(func(s *Site) { s.GRPC = s.HTTP }), "want two addresses"},
		{"one address for HTTP and admin", edit(func(s *Site) { s.Admin = s.HTTP }), `HTTP and Admin are both "127.0.0.1:8080"`},
		{"named port, which SplitHostPort accepts", edit(func(s *Site) { s.HTTP = "127.0.0.1:http" }), "1 to 65535"},
		{"signed port", edit(func(s *Site) { s.HTTP = "127.0.0.1:+80" }), "1 to 65535"},
		{"TLS edge and mutual TLS", edit(func(s *Site) {
			s.TLS = &EdgeTLS{Listen: "127.0.0.1:8443", Certificate: "tls/edge.pem", Key: "/run/tls/edge.pem", ClientCA: "tls/ca.pem"}
			s.Mesh = &MeshTLS{Certificate: "tls/nginx.pem", Key: "tls/nginx.pem", CA: "tls/ca.pem"}
			s.Front = []Server{{"127.0.0.1:8101", "127.0.0.1:9101"}}
		}), ""},
		{"one address for HTTP and TLS", edit(func(s *Site) { s.TLS = &EdgeTLS{Listen: s.HTTP, Certificate: "c", Key: "k"} }), `HTTP and TLS.Listen are both "127.0.0.1:8080"`},
		{"no certificate", edit(func(s *Site) { s.TLS = &EdgeTLS{Listen: "127.0.0.1:8443", Key: "k"} }), `TLS.Certificate is ""`},
		{"variable in a path", edit(func(s *Site) { s.Mesh = &MeshTLS{Certificate: "c", Key: "$k", CA: "ca"} }), `Mesh.Key is "$k"`},
		{"front without gRPC", edit(func(s *Site) { s.Front = []Server{{HTTP: "127.0.0.1:8101"}} }), `Front[0].GRPC is ""`},
		{"line break", edit(func(s *Site) { s.HTTP = "127.0.0.1\n:80" }), "want an address or name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.site.Validate()
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}

// tree returns the files under dir with their content. It fails if a write left a temporary file.
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
		text, err := os.ReadFile(name)
		rel, _ := filepath.Rel(dir, name)
		all[filepath.ToSlash(rel)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestInstall(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if err := local().Install(dir, Conf(), Version{1, 22, 1}); err != nil {
		t.Fatal(err)
	}
	shipped, installed := tree(t, "conf"), tree(t, filepath.Join(dir, "conf"))
	if !maps.Equal(shipped, installed) {
		t.Errorf("installed %q, shipped %q, or their content differs", slices.Sorted(maps.Keys(installed)), slices.Sorted(maps.Keys(shipped)))
	}
	for _, sub := range []string{"", "conf", "conf/site", "logs", "temp"} {
		info, err := os.Stat(filepath.Join(dir, sub))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o711 {
			t.Errorf("%q has mode %v", sub, info.Mode())
		}
	}
}

func TestInstallAgainReplacesFilesAndOpensDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := local().Install(dir, Conf(), Version{1, 22, 1}); err != nil {
		t.Fatal(err)
	}
	s := local()
	s.HTTP = "[::1]:8081"
	if err := s.Install(dir, Conf(), Version{1, 30, 6}); err != nil {
		t.Fatal(err)
	}
	installed := tree(t, filepath.Join(dir, "conf"))
	if got := installed["site/http-listen.conf"]; !strings.Contains(got, "listen [::1]:8081 ") {
		t.Errorf("second Install wrote %q", got)
	}
	if got := installed["site/newer.conf"]; !strings.Contains(got, "\nkeepalive_min_timeout 10s;") {
		t.Errorf("newer.conf for 1.30.6: %q", got)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
}

func TestInstallCopiesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	custom := fstest.MapFS{
		"nginx.conf":            {Data: []byte("events {}")},
		"site/own.conf":         {Data: []byte("# mine")},
		"site/http-listen.conf": {Data: []byte("listen 1;")},
		"certs/a/key.pem":       {Data: []byte("k")},
	}
	if err := local().Install(dir, custom, Oldest); err != nil {
		t.Fatal(err)
	}
	installed := tree(t, filepath.Join(dir, "conf"))
	if installed["nginx.conf"] != "events {}" || installed["site/own.conf"] != "# mine" || installed["certs/a/key.pem"] != "k" {
		t.Errorf("installed %q", installed)
	}
	if !strings.Contains(installed["site/http-listen.conf"], "listen 127.0.0.1:8080 ") {
		t.Errorf("site/http-listen.conf was not replaced: %q", installed["site/http-listen.conf"])
	}
}

func TestInstallRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		site Site
		dir  string
		conf fs.FS
		err  string
	}{
		{"invalid site", Site{}, "new", Conf(), "Servers is empty"},
		{"no nginx.conf", local(), "new", fstest.MapFS{"http-listener.conf": {}}, "no nginx.conf: name the directory"},
		{"directory of that name", local(), "new", fstest.MapFS{"nginx.conf/x": {}}, "nginx.conf is not a regular file"},
		{"named pipe", local(), "", fstest.MapFS{"nginx.conf": {}, "pipe": {Mode: fs.ModeNamedPipe}}, "pipe is neither a regular file nor a directory"},
		{"no parent", local(), "no/parent", Conf(), "no such file"},
		{"file in place of dir", local(), file, Conf(), "not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := c.dir
			if !filepath.IsAbs(dir) {
				dir = filepath.Join(t.TempDir(), dir)
			}
			err := c.site.Install(dir, c.conf, Oldest)
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if c.dir == "new" {
				if _, err := os.Stat(dir); err == nil {
					t.Error("Install wrote something")
				}
			}
		})
	}
}

// FuzzAddress checks that a valid address is one word of a configuration file: no part of it can end a directive or start another.
func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"127.0.0.1:80", "[::1]:80", "host-1:65535", "a b:1", "x;y:1", "#:1", "[::1%eth0]:1", "$h:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if address("f", value) == nil && strings.ContainsAny(value, " \t\r\n;{}#$\"'\\") {
			t.Errorf("%q is accepted", value)
		}
	})
}
