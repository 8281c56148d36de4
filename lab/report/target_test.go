package report

import (
	"bytes"
	"strings"
	"testing"

	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// The report names the target, says which records were compared and how many requests of others there were, and has no number for what is
// not known.
func TestTextOfATarget(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		target  record.Target
		through string
		want    string // the line below the title
		row     string // the end of the table's row
	}{
		{record.Target{Name: "http://lab:8080", Changes: true}, "", "target: http://lab:8080; reconciled: client alone; nginx's access log, instances' records: none; ignored: 12 requests of others", "-             -    -         -"},
		{record.Target{Name: "k8s:lab", AccessLog: true, Nginxes: 2, Changes: true}, "", "target: k8s:lab; reconciled: client and nginx; instances' records: none; ignored: 12 requests of others", "1             -    0         pod-a 150  pod-b 150"},
		{record.Target{Name: "k8s:lab", AccessLog: true, Calls: true, Changes: true}, scenario.ThroughService, "target: k8s:lab; reconciled: client and instances; nginx's access log: none; ignored: 12 requests of others", "-             0    -         -"},
		{record.Target{Name: "compose:lab", AccessLog: true, Calls: true, Nginxes: 1}, "", "target: compose:lab; reconciled: client, nginx and instances; ignored: 12 requests of others", "1             0    0         pod-a 150  pod-b 150"},
	} {
		m := measure.Planned(300, 2, 1, 1)
		m.FirstAttempts = measure.InstanceCounts{"pod-a": 150, "pod-b": 150}
		m = m.Without(measure.Missing(&test.target, test.through))
		manifest := record.Manifest{Target: &test.target, Scenario: scenario.Scenario{Through: test.through}}
		v := Variant{Name: scenario.Only, Instances: 2, Workers: 1, Verdict: Passed, Trials: []Trial{{
			Target: &test.target, Reconciled: reconciled(manifest), Others: 12,
			Phases: []measure.Phase{{Name: "during", Groups: []measure.Group{{Name: scenario.HTTP, Protocol: scenario.HTTP, Metrics: m}}}},
		}}}
		var b bytes.Buffer
		Text{Writer: &b}.variant(Experiment{Trials: 1}, v)
		if text := b.String(); !strings.Contains(line(text), test.want) || !strings.Contains(text, test.row+"\n") || !strings.Contains(text, "  "+test.target.Name) {
			t.Errorf("%s\nwant %q and %q", text, test.want, test.row)
		}
	}
	if text := reconciled(record.Manifest{}); text != "" {
		t.Errorf("a fleet of the trial's own: %q", text)
	}
}
