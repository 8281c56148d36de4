package experiment

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trivet/lab/labtest"
	"trivet/nginx"
)

func TestNginxAcceptsTheExamples(t *testing.T) {
	t.Parallel()
	b := labtest.Nginx(t)
	for _, name := range examples(t) {
		f, err := Read(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if err := f.Test(t.Context(), b); err != nil {
			t.Error(err)
		}
	}
}

func TestNginxsOwnWordsStandAtTheEdit(t *testing.T) {
	t.Parallel()
	b := labtest.Nginx(t)
	text := strings.Replace(small, "load:\n", `nginx:
  set:
    - {context: upstream whoami_http, directive: least_conn}
    - {context: upstream whoami_http, directive: keepalive banana}
    - {context: http, directive: 'map $before $after { default 1; }'} # Wants the next one.
    - {context: http, directive: 'map $arg_x $before { default 1; }'}
    - {context: upstream whoami_grpc, directive: keepalive 0x3}
    - {context: upstream whoami_grpc, directive: least_conn}
variants:
  shipped: {}
  other: {nginx: {set: [{context: http, directive: banana on}]}}
  neither: {nginx: {}}
load:
`, 1)
	path := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	faults := unjoin(f.Test(t.Context(), b))
	if len(faults) != 3 {
		t.Fatalf("%v", faults)
	}
	for i, want := range []struct {
		line, column int
		words        []string
	}{
		{5, 50, []string{"nginx " + b.Version.String() + " refuses: nginx: [emerg] ", `"banana"`, " in conf/upstreams.conf:"}},
		{8, 50, []string{`"0x3"`, " in conf/upstreams.conf:"}},
		{12, 52, []string{`unknown directive "banana" in conf/nginx.conf:`}},
	} {
		fault, ok := errors.AsType[*Fault](faults[i])
		if !ok || fault.Line != want.line || fault.Column != want.column {
			t.Errorf("%v, want %d:%d", faults[i], want.line, want.column)
			continue
		}
		for _, words := range want.words {
			if !strings.Contains(fault.Message, words) {
				t.Errorf("%s, want %s", fault.Message, words)
			}
		}
	}
}

// Faults of the file keep nobody from asking nginx about its edits; but there must be edits that can be made.
func TestNginxIsAskedBesideOtherFaults(t *testing.T) {
	t.Parallel()
	b := labtest.Nginx(t)
	text := strings.Replace(small, "load:\n", `seed: none
nginx: {set: [{context: http, directive: banana on}]}
variants:
  shipped: {}
  other: {nginx: {set: [{context: http, directive: cherry on}, {context: server, remove: listen}]}}
load:
`, 1)
	path := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Read(path)
	if len(unjoin(err)) != 2 || f == nil {
		t.Fatalf("%v, %v", f, err)
	}
	faults := unjoin(f.Test(t.Context(), b))
	if len(faults) != 1 || !strings.Contains(faults[0].Error(), `x.yaml:3:42: nginx `) || !strings.Contains(faults[0].Error(), "banana") {
		t.Errorf("%v", faults)
	}
}

// A copy in a run folder can be read when nobody could carry it out any more.
func TestReadCopy(t *testing.T) {
	t.Setenv("TMPDIR", "/proc")
	path := filepath.Join("testdata", "good", "everything.yaml")
	if _, err := Read(path); !errors.Is(err, ErrMachine) {
		t.Error(err)
	}
	if f, err := ReadCopy(path); err != nil || f.Question == "" {
		t.Error(err)
	}
	if _, err := ReadCopy("testdata"); err == nil {
		t.Error("a folder is read")
	}
}

// keepaliveMinTimeout is the first nginx whose site files have that directive.
var keepaliveMinTimeout = nginx.Version{Major: 1, Minor: 27, Patch: 4}

// What only some versions' files have can be edited for those.
func TestEditsOfNewerFiles(t *testing.T) {
	t.Parallel()
	b := labtest.Nginx(t)
	f := experimentOf(t, "-", "nginx: {set: [{context: http, remove: keepalive_min_timeout}]}", "during.http.failed == 0")
	err := f.Test(t.Context(), b)
	if newer := b.Version.Compare(keepaliveMinTimeout) >= 0; newer != (err == nil) {
		t.Errorf("nginx %s: %v", b.Version, err)
	}
	if err != nil && !strings.Contains(err.Error(), "x.yaml:3:39: for nginx "+b.Version.String()+": remove") {
		t.Error(err)
	}
}

func TestTestEndsWithItsContext(t *testing.T) {
	t.Parallel()
	f, err := Read("testdata/good/kill-one.yaml")
	if err != nil {
		t.Fatal(err)
	}
	b := labtest.Nginx(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Test(ctx, b); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
