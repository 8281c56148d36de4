package report

import (
	"path/filepath"
	"strings"
	"testing"

	"trivet/lab/experiment"
)

// A report wants neither room for a configuration, nor that the files which are shipped today still have what was edited.
func TestAReportTriesNoEdits(t *testing.T) {
	dir := index(t, strings.Replace(oneVariant, "seed: 7", "seed: 7\nnginx: {set: [{context: nowhere any more, remove: banana}]}", 1))
	told(t, 3).write(t, filepath.Join(dir, "1-one", experiment.Only))
	t.Setenv("TMPDIR", "/proc")
	if r := made(t, dir); r.Verdict != Held {
		t.Errorf("%+v", r)
	}
}
