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

func TestExamplesAreAcceptedByNginx(t *testing.T) {
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

func TestNginxErrorsAreReportedAtTheEdit(t *testing.T) {
	t.Parallel()
	b := labtest.Nginx(t)
	text := strings.Replace(small, "load:\n", `nginx:
  edits:
    - {context: upstream whoami_http, directive: least_conn}
    - {context: upstream whoami_http, directive: keepalive banana}
    - {context: http, directive: 'map $before $after { default 1; }'} # Wants the next one.
    - {context: http, directive: 'map $arg_x $before { default 1; }'}
    - {context: upstream whoami_grpc, directive: keepalive 0x3}
    - {context: upstream whoami_grpc, directive: least_conn}
variants:
  shipped: {}
  other: {nginx: {edits: [{context: http, directive: banana on}]}}
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
	found := unjoin(f.Test(t.Context(), b))
	if len(found) != 3 {
		t.Fatalf("%v", found)
	}
	for i, want := range []struct {
		line, column int
		words        []string
	}{
		{5, 50, []string{"nginx " + b.Version.String() + " refuses: nginx: [emerg] ", `"banana"`, " in conf/upstreams.conf:"}},
		{8, 50, []string{`"0x3"`, " in conf/upstreams.conf:"}},
		{12, 54, []string{`unknown directive "banana" in conf/nginx.conf:`}},
	} {
		one, ok := errors.AsType[*Diagnostic](found[i])
		if !ok || one.Line != want.line || one.Column != want.column {
			t.Errorf("%v, want %d:%d", found[i], want.line, want.column)
			continue
		}
		for _, words := range want.words {
			if !strings.Contains(one.Message, words) {
				t.Errorf("%s, want %s", one.Message, words)
			}
		}
	}
}

// Other errors in the file do not keep nginx from testing its edits, as long as they can be made.
func TestNginxTestsEditsOfAFileWithErrors(t *testing.T) {
	t.Parallel()
	b := labtest.Nginx(t)
	text := strings.Replace(small, "load:\n", `seed: none
nginx: {edits: [{context: http, directive: banana on}]}
variants:
  shipped: {}
  other: {nginx: {edits: [{context: http, directive: cherry on}, {context: server, remove: listen}]}}
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
	found := unjoin(f.Test(t.Context(), b))
	if len(found) != 1 || !strings.Contains(found[0].Error(), `x.yaml:3:44: nginx `) || !strings.Contains(found[0].Error(), "banana") {
		t.Errorf("%v", found)
	}
}

func TestUnwritableTempDirIsAMachineError(t *testing.T) {
	t.Setenv("TMPDIR", "/proc")
	if _, err := Read(filepath.Join("testdata", "good", "everything.yaml")); !errors.Is(err, ErrMachine) {
		t.Error(err)
	}
}

// keepaliveMinTimeout is the first nginx whose site files have that directive.
var keepaliveMinTimeout = nginx.Version{Major: 1, Minor: 27, Patch: 4}

func TestEditsOfNewerFilesAreTestedPerVersion(t *testing.T) {
	t.Parallel()
	b := labtest.Nginx(t)
	f := experimentOf(t, "-", "nginx: {edits: [{context: http, remove: keepalive_min_timeout}]}", "during.http.failed == 0")
	err := f.Test(t.Context(), b)
	if newer := b.Version.Compare(keepaliveMinTimeout) >= 0; newer != (err == nil) {
		t.Errorf("nginx %s: %v", b.Version, err)
	}
	if err != nil && !strings.Contains(err.Error(), "x.yaml:3:41: for nginx "+b.Version.String()+": remove") {
		t.Error(err)
	}
}

func TestTestEndsWhenItsContextDoes(t *testing.T) {
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
