package fleet

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"trivet/lab/scenario"
	"trivet/nginx/confedit"
)

// nginx uses another configuration at once and after a restart; one that does not fit, or that nginx refuses, changes nothing.
func TestReconfigure(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 3)
	o.Workers = 1
	o.Edits = []confedit.Edit{{Context: "upstream whoami_grpc", Directive: "keepalive 5"}}
	f := begin(t, o)
	conf := filepath.Join(o.Dir, "conf")
	weigh := func(instance string) []confedit.Edit {
		return []confedit.Edit{{Context: "upstream whoami_http server " + instance, Parameter: "weight=1000"}}
	}
	chosen := func() string { // of three in turn, the one that has nearly all the weight
		t.Helper()
		first, second := instanceAt(t, f.HTTP()), instanceAt(t, f.HTTP())
		if first != second {
			t.Errorf("%s and %s responded, want one of them twice", first, second)
		}
		return first
	}
	if err := f.Reconfigure(t.Context(), weigh("whoami-2")); err != nil || chosen() != "whoami-2" {
		t.Fatalf("%v", err)
	}
	before, err := os.ReadFile(filepath.Join(conf, "site", "http-servers.conf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		edits []confedit.Edit
		want  []string
		conf  bool // whether nginx said so
	}{
		{append(weigh("whoami-3"), confedit.Edit{Context: "upstream banana", Directive: "least_conn"}), []string{`edit 3: context "upstream banana"`}, false},
		{append(weigh("whoami-3"), confedit.Edit{Context: "upstream whoami_http", Directive: "banana on"}), []string{`nginx: [emerg] unknown directive "banana" in ` + conf + "/upstreams.conf:"}, true},
	} {
		err := f.Reconfigure(t.Context(), c.edits)
		_, fits := errors.AsType[*confedit.Error](err)
		if errors.Is(err, ErrConf) != c.conf || fits == c.conf {
			t.Errorf("got %v", err)
		}
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		}
		if after, err := os.ReadFile(filepath.Join(conf, "site", "http-servers.conf")); err != nil || string(after) != string(before) {
			t.Errorf("%s, %v", after, err)
		}
	}
	if got := chosen(); got != "whoami-2" {
		t.Errorf("%s responds", got)
	}
	nginx := f.Process(scenario.Nginx)
	killed := nginx.PID()
	if err := nginx.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// Workers of the one that was killed may respond for a moment.
	eventually(t, "nginx is back", func() bool { return nginx.PID() != killed && nginx.PID() != 0 && instanceAt(t, f.HTTP()) != "" })
	if got := chosen(); got != "whoami-2" {
		t.Errorf("%s responds after a restart of nginx", got)
	}
	if err := f.Reconfigure(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(conf, "upstreams.conf"))
	if err != nil || !strings.Contains(string(text), "keepalive 5; # was") || strings.Contains(string(text), "weight") {
		t.Errorf("%s, %v", text, err)
	}
	if left, err := filepath.Glob(filepath.Join(o.Dir, "next*")); err != nil || len(left) > 0 {
		t.Errorf("%v stays, %v", left, err)
	}
}

func TestReconfigureNeedsNginxThatRuns(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 1)
	o.NoRestart = true
	f := begin(t, o)
	if err := f.Do(t.Context(), scenario.Operation{Kind: scenario.Drain, Process: scenario.Nginx}); err != nil {
		t.Fatal(err)
	}
	if err := f.Reconfigure(t.Context(), nil); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("got %v", err)
	}
}
