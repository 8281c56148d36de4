package fleet

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
