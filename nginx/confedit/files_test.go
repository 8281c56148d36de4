package confedit

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"trivet/nginx"
)

func TestAddedFilesCanBeIncluded(t *testing.T) {
	t.Parallel()
	b := realNginx(t)
	dir := t.TempDir()
	site := local()
	site.HTTP, site.GRPC, site.Admin = free(t), free(t), free(t)
	if err := site.Install(dir, nginx.Conf(), b.Version); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "conf")
	files := map[string]string{"policies/limits/users.conf": "limit_req_zone $arg_user zone=users:1m rate=10r/s;\n", "site/more.conf": "limit_req zone=users;\n"}
	if err := AddFiles(conf, files); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if got := read(t, filepath.Join(conf, name)); got != text {
			t.Errorf("%s: %q", name, got)
		}
	}
	edits := []Edit{
		{Context: "http", Add: "include policies/*/*.conf"},
		{Context: "http-listener.conf server location /", Add: "include site/more.conf"},
		{Context: "policies/limits/users.conf limit_req_zone", Parameter: "rate=20r/s"},
	}
	if err := Apply(conf, edits, nil); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(conf, "policies/limits/users.conf")); !strings.HasPrefix(got, "limit_req_zone $arg_user zone=users:1m rate=20r/s; # was: ") {
		t.Error(got)
	}
	if err := b.Test(t.Context(), dir); err != nil {
		t.Error(err)
	}
}

func TestFilesThatCannotBeAddedAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	outside := t.TempDir()
	if err := local().Install(dir, nginx.Conf(), nginx.Oldest); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "conf")
	before := tree(t, dir)
	if err := os.Symlink(outside, filepath.Join(conf, "up")); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"good.conf": "", "a/b": "", "a/b/c": ""}
	for name, message := range map[string]string{
		"nginx.conf": "is in the configuration already", "site/process.conf": "is in the configuration already", "site": "is in the configuration already",
		"nginx.conf/a": "nginx.conf is a file", "a/b/c": "a/b is a file", "/etc/a.conf": "is absolute",
		"../a.conf": "no name of a file", "a/../../b.conf": "no name of a file", "": "no name of a file", ".": "no name of a file", "a/": "no name of a file",
		"*.conf": "no name of a file", ".hidden": "no name of a file", `a\b`: "no name of a file", "a b": "no name of a file",
	} {
		files[name] = "events { }"
		err := AddFiles(conf, map[string]string{name: "", "a/b": ""})
		if e, ok := errors.AsType[*FileError](err); !ok || e.Name != name || !strings.Contains(e.Message, message) {
			t.Errorf("%q: got %v, want %s", name, err, message)
		}
	}
	if got := len(AddFiles(conf, files).(interface{ Unwrap() []error }).Unwrap()); got != len(files)-2 {
		t.Errorf("%d errors of %d files, 2 of them good", got, len(files))
	}
	if err := AddFiles(conf, map[string]string{"up/a.conf": ""}); err == nil {
		t.Error("a link was followed")
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
	if err := os.Remove(filepath.Join(conf, "up")); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(before, tree(t, dir)) {
		t.Error("AddFiles wrote something")
	}
}

// An edit that includes what cannot be read is the one that is wrong, not the ones after it.
func TestUnreadableIncludeIsAnErrorOfItsEdit(t *testing.T) {
	t.Parallel()
	for _, broken := range []int{0, 1} {
		dir := t.TempDir()
		if err := local().Install(dir, nginx.Conf(), nginx.Oldest); err != nil {
			t.Fatal(err)
		}
		conf := filepath.Join(dir, "conf")
		if err := AddFiles(conf, map[string]string{"broken.conf": "a;\n}"}); err != nil {
			t.Fatal(err)
		}
		edits := []Edit{{Context: "http", Directive: "server_tokens on"}, {Context: "http", Directive: "server_tokens build"}}
		edits[broken] = Edit{Context: "http", Add: "include broken.conf"}
		err := Apply(conf, edits, nil)
		all, ok := err.(interface{ Unwrap() []error })
		if !ok || len(all.Unwrap()) != 1 {
			t.Fatalf("got %v", err)
		}
		if e := all.Unwrap()[0].(*Error); e.Index != broken || e.Field != "Add" || e.Message != `broken.conf:2: unexpected "}"` {
			t.Errorf("got %+v", e)
		}
	}
}

func TestReadReturnsWhatNginxReads(t *testing.T) {
	t.Parallel()
	got, err := Read(fstest.MapFS{
		"nginx.conf": {Data: []byte("a 1;\nhttp {\n  include *.inc; include no*.conf; include missing.conf; include /etc/x.conf; include ../y*;\n  b \"c d\" { e; }\n}\n")},
		"1.inc":      {Data: []byte("f 1;\ninclude 3.conf;")},
		"2.inc":      {Data: []byte("g { }")},
		"3.conf":     {Data: []byte("h;")},
	})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	var list func(indent string, all []*Directive)
	list = func(indent string, all []*Directive) {
		for _, d := range all {
			if d.Block != (d.Body != nil) && d.Name() != "g" {
				t.Errorf("%+v", d)
			}
			lines = append(lines, indent+d.Place()+" "+d.String())
			list(indent+" ", d.Body)
		}
	}
	list("", got)
	want := []string{
		"nginx.conf:1 a 1", "nginx.conf:2 http", " 1.inc:1 f 1", " 3.conf:1 h", " 2.inc:1 g", " nginx.conf:3 include missing.conf", " nginx.conf:3 include /etc/x.conf",
		" nginx.conf:3 include ../y*", " nginx.conf:4 b \"c d\"", "  nginx.conf:4 e",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got  %q\nwant %q", lines, want)
	}
	if _, err := Read(nginx.Conf()); err != nil {
		t.Error(err)
	}
	if _, err := Read(fstest.MapFS{"nginx.conf": {Data: []byte("a {")}}); err == nil {
		t.Error("no error")
	}
}
