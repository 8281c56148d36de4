package trial

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/nginx/confedit"
)

// treeLoads are of requests for which instances call each other: with retries, at the same time, until a deadline, and to be refused.
func treeLoads() []scenario.Load {
	chain, short, fan, refused := grpcLoad("chain", 20), grpcLoad("short", 10), httpLoad(10), grpcLoad("refused", 3)
	chain.Hops = []string{"grpc*3,http", "http,grpc*2"}
	short.Hops, short.Deadline = []string{"http", "grpc+500ms"}, 100*time.Millisecond
	fan.Hops, refused.Hops = []string{"grpc,grpc", "grpc*2"}, []string{"grpc*3", "grpc*3"}
	for _, l := range []*scenario.Load{&chain, &fan, &refused} {
		l.Deadline = 5 * time.Second
	}
	refused.Retry = false
	return []scenario.Load{chain, short, fan, refused}
}

// Whatever becomes of instances and of nginx meanwhile, each call between instances is accounted for, and retries multiply exactly.
func TestCallsBetweenInstancesAreReconciled(t *testing.T) {
	t.Parallel()
	s := during(2500*time.Millisecond, wait(time.Second), on(scenario.Pause, "whoami-2"), wait(100*time.Millisecond), on(scenario.Kill, "whoami-2"), on(scenario.Start, "whoami-2"),
		on(scenario.Pause, "whoami-3"), wait(100*time.Millisecond), on(scenario.Resume, "whoami-3"), on(scenario.Kill, scenario.WorkerName(1)), reload, on(scenario.Restart, "whoami-1"))
	s.Phases = []scenario.Phase{{Name: "before", For: time.Second}, s.Phases[0]}
	s.Loads = treeLoads()
	s.Edits = []confedit.Edit{
		{Context: "http", Add: `map $id $refused { "~^[0-9]+[.]grpc[.]3[.]([^.]+[.]){2}[^.]+$" 1; default ""; }`},
		{Context: "grpc-locations.conf location ^~ /whoami.v1.WhoAmIService/", Add: "if ($refused) { return 502; }"},
	}
	set := setup(t, s, local(t, whoami))
	if err := run(t, t.Context(), set); err != nil {
		t.Fatal(err)
	}
	r := checked(t, set.Dir)
	metrics := func(group string) measure.Metrics {
		m, ok := r.Metrics("before", group)
		if !ok {
			t.Fatalf("no metrics of %s", group)
		}
		return m
	}
	if one, two := metrics("refused_hop1"), metrics("refused_hop2"); one.Requests != 3 || one.ClientAttempts != 9 || one.Executions != 9 || two.Requests != 9 || two.ClientAttempts != 27 || two.LocalReplies != 27 || two.Executions != 0 {
		t.Errorf("%+v\n%+v", one, two)
	}
	if one, two := metrics("chain_hop1"), metrics("chain_hop2"); one.Requests != 40 || two.Requests != 80 || one.Failed+two.Failed > 0 {
		t.Errorf("%+v\n%+v", one, two)
	}
	if m := metrics("short_hop2"); m.OK > 0 { // Its work would outlast the deadline.
		t.Errorf("%+v", m)
	}
	checkShortCalls(t, set.Dir)
	// What is taken away is missed.
	path := filepath.Join(set.Dir, record.InstancesFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	lost := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, `"outgoing"`) && strings.Contains(l, `"code":"OK"`) })
	if err := os.WriteFile(path, []byte(strings.Join(slices.Delete(lines, lost, lost+1), "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := result(t, set.Dir); r.DiscrepancyCount == 0 {
		t.Error("a call without its caller's record is no discrepancy")
	}
}

// checkShortCalls wants the deadline to end the work at each hop: no execution took as long as the work of the last.
func checkShortCalls(t *testing.T, dir string) {
	t.Helper()
	completed := 0
	eachLine(t, filepath.Join(dir, record.InstancesFile), func(c record.Call) {
		if c.Event != record.Completion || !strings.HasPrefix(c.ID, "1.grpc.1.") {
			return
		}
		if completed++; c.Code == "OK" || c.Code == "200" {
			t.Errorf("%+v", c)
		}
	})
	if completed == 0 {
		t.Error("no call completed")
	}
}
