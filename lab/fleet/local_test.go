package fleet

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"trivet/internal/proctest"
	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/nginx/confedit"
)

// A trial's fleet is as its scenario says, whatever this process's environment has.
func TestLocalStartsFleetOfScenario(t *testing.T) {
	for name, value := range map[string]string{"ENVIRONMENT": "prod", "DRAIN_DELAY": "1h", "LOG_LEVEL": "error", "LOG_FORMAT": "json", "RECORDS": "/nowhere", "INSTANCE": "mine",
		"MAX_CONNECTIONS": "1", "READ_TIMEOUT": "100ms", "GOGC": "10", "GOMAXPROCS": "7",
	} {
		t.Setenv(name, value)
	}
	dir := proctest.Passable(t)
	if err := os.Mkdir(filepath.Join(dir, "records"), 0o700); err != nil {
		t.Fatal(err)
	}
	var events []record.Event
	f, err := Local{Nginx: labtest.Nginx(t), Whoami: whoami}.Start(t.Context(), scenario.Scenario{
		Instances: 2, Workers: 1, Edits: []confedit.Edit{{Context: "upstream whoami_http", Directive: "random"}},
	}, dir, func(e record.Event) { events = append(events, e) })
	if err != nil {
		t.Fatal(err)
	}
	instances := f.Instances()
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", f.Process("whoami-2").PID()))
	if names := f.Names(); err != nil || len(instances) != 2 || !slices.Equal(names, []string{"whoami-1", "whoami-2"}) {
		t.Errorf("%v, %+v, %v", names, instances, err)
	}
	for _, i := range instances {
		if instanceAt(t, i.HTTP) != i.Name {
			t.Errorf("%+v: %q responds", i, instanceAt(t, i.HTTP))
		}
	}
	env := strings.FieldsFunc(string(environment), func(r rune) bool { return r == 0 })
	share := fmt.Sprintf("GOMAXPROCS=%d", max(1, runtime.GOMAXPROCS(0)/2))
	for _, want := range []string{"RECORDS=" + filepath.Join(dir, record.InstancesFile), share, "HOPS_HTTP=http://" + f.HTTP(), "HOPS_GRPC=" + f.GRPC()} {
		if !slices.Contains(env, want) {
			t.Errorf("no %s in the environment", want)
		}
		env = slices.DeleteFunc(env, func(e string) bool { return e == want })
	}
	for _, e := range env {
		if name, _, _ := strings.Cut(e, "="); name != "START_ID" && !slices.Contains(inherited, name) {
			t.Errorf("%s is in the environment", e)
		}
	}
	if err := f.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	for file, want := range map[string]string{"conf/upstreams.conf": "random;", "conf/site/process.conf": "worker_processes 1;"} {
		if text, err := os.ReadFile(filepath.Join(dir, file)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: no %s, %v", file, want, err)
		}
	}
	probes := 0
	events = slices.DeleteFunc(events, func(e record.Event) bool {
		if e.Event == record.Probe {
			probes++
		}
		healthy := e.Event == record.HealthEvent && e.Kind == record.Serving && strings.HasPrefix(e.Process, "whoami-")
		return (healthy || e.Event == record.Probe && strings.HasPrefix(e.ID, record.ProbeIDPrefix)) && !e.Time.IsZero()
	})
	if probes < 4 {
		t.Errorf("%d probes, want one of each instance and one over each protocol", probes)
	}
	for _, process := range []string{"whoami-1", "whoami-2", scenario.Nginx} {
		var kinds []string
		for _, e := range events {
			if e.Process == process {
				kinds = append(kinds, e.Kind)
			}
			if e.Event != record.ProcessEvent || e.Time.IsZero() || e.PID == 0 || (e.Exit != nil) != (e.Kind == record.Stopped) || (e.Start != "") != (e.Process != scenario.Nginx) {
				t.Errorf("%+v", e)
			}
		}
		if !slices.Equal(kinds, []string{record.Started, record.Ready, record.Stopped}) {
			t.Errorf("%s: %v", process, kinds)
		}
	}
}
