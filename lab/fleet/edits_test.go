package fleet

import (
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trivet/lab/record"
	"trivet/nginx/confedit"
)

func TestEditsAreAppliedBeforeNginxStarts(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 1)
	o.Edits = []confedit.Edit{{Context: "upstream whoami_http", Directive: "keepalive 4"}}
	f, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(filepath.Join(o.Dir, "conf", "upstreams.conf"))
	if err != nil || !strings.Contains(string(text), "keepalive 4; # was: keepalive 256;") {
		t.Errorf("%s, %v", text, err)
	}
	shipped, err := os.ReadFile(filepath.Join(o.Dir, record.ShippedDir, "upstreams.conf"))
	if edited := strings.Replace(string(shipped), "keepalive 256;", "keepalive 4; # was: keepalive 256;", 1); err != nil || edited != string(text) {
		t.Errorf("kept before the edit: %s, %v", shipped, err)
	}
	if kept, err := filepath.Glob(filepath.Join(o.Dir, record.ShippedDir, "*")); err != nil || len(kept) != 1 {
		t.Errorf("kept %q, %v, want the edited file alone", kept, err)
	}
}

func TestWrongEditsStartNothing(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 1)
	o.Edits = []confedit.Edit{{Context: "upstream whoami_http", Directive: "keepalive 4"}, {Context: "banana", Directive: "keepalive 4"}}
	_, err := Start(t.Context(), o)
	if e, ok := errors.AsType[*confedit.Error](err); !ok || e.Index != 1 {
		t.Errorf("got %v", err)
	}
	o = testOptions(t, 1)
	o.Edits = []confedit.Edit{{Context: "upstream whoami_http", Directive: "banana on"}}
	if _, err := Start(t.Context(), o); !errors.Is(err, ErrConf) || !strings.Contains(err.Error(), "banana") {
		t.Errorf("got %v", err)
	}
}

// Names of instances stand for the endpoints that they really have. Round robin by weight is exact: any twelve responses in a row are
// two cycles.
func TestEditsOfOneServerWeighItsShare(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 3)
	o.Workers = 1
	o.Files = map[string]string{"extra/teapot.conf": "location = /teapot { return 418; }\n"}
	o.Edits = []confedit.Edit{
		{Context: "upstream whoami_http server whoami-2", Parameter: "weight=2"},
		{Context: "upstream whoami_http server whoami-3", Parameter: "weight=3"},
		{Context: "upstream whoami_grpc server whoami-1", Parameter: "backup"},
		{Context: "http-listener.conf server", Add: "include extra/*.conf"},
	}
	f := begin(t, o)
	got := map[string]int{}
	for range 12 {
		got[instanceAt(t, f.HTTP())]++
	}
	if want := map[string]int{"whoami-1": 2, "whoami-2": 4, "whoami-3": 6}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for name, backup := range map[string]string{"whoami-1": " backup;", "whoami-2": ";"} {
		want := "server " + f.Process(name).grpc + " max_fails=0" + backup
		if text, err := os.ReadFile(filepath.Join(o.Dir, "conf", "site", "grpc-servers.conf")); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s, %v; want %s", text, err, want)
		}
	}
	response, err := http.Get("http://" + f.HTTP() + "/teapot")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusTeapot {
		t.Errorf("got %s", response.Status)
	}
}

func TestWrongFilesStartNothing(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 1)
	o.Files = map[string]string{"nginx.conf": "events { }"}
	if _, err := Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), `file "nginx.conf": is in the configuration already`) {
		t.Errorf("got %v", err)
	}
}
