package ledger_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"trivet/lab/labtest"
	"trivet/lab/ledger"
	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

func open(t *testing.T, dir string) *measure.Trial {
	t.Helper()
	trial, err := measure.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return trial
}

func closed(t *testing.T, trial *measure.Trial) measure.Result {
	t.Helper()
	r, err := trial.Close()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// write appends.
func write(t *testing.T, dir, name string, text []byte) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// Whatever happened lawfully, and in whatever order it is read, is counted the same. This tests package measure, here, where Lawful is.
func TestLawfulHistoryIsCounted(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		h, want := ledger.Lawful(seed, 200)
		var first measure.Result
		for round := range uint64(2) {
			if round > 0 {
				h.Records = ledger.Shuffled(h.Records, seed)
			}
			got := closed(t, open(t, labtest.TrialDir(t, h.Manifest, h.Files(t))))
			if round > 0 {
				if !reflect.DeepEqual(got, first) {
					t.Errorf("seed %d: in another order\n%+v\nwant\n%+v", seed, got, first)
				}
				continue
			}
			first = got
			// Dropped requests make a trial invalid.
			if other := slices.ContainsFunc(got.Reasons, func(r string) bool { return !strings.Contains(r, "the generator dropped") }); got.DiscrepancyCount != 0 || other || len(got.Reasons) == 0 {
				t.Errorf("seed %d: %q %v", seed, got.Reasons, got.Discrepancies)
			}
			checkCounts(t, h.Scenario, want, got)
		}
	}
}

// Calls that instances made are counted in groups of their own, by depth.
func TestCallsAreCountedByDepth(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		h, want := ledger.Plant(seed, 60)
		got := closed(t, open(t, labtest.TrialDir(t, h.Manifest, h.Files(t))))
		if got.DiscrepancyCount > 0 {
			t.Fatalf("%v", got.Discrepancies)
		}
		for depth, want := range want {
			have := make(map[string]int)
			for _, group := range []string{scenario.HTTP, scenario.GRPC} {
				if depth > 0 {
					group = scenario.HopGroup(group, depth)
				}
				m, ok := got.Metrics(scenario.Total, group)
				adjusted, _ := got.Adjusted(scenario.Total, group)
				if err := errors.Join(m.Validate(), adjusted.Validate()); err != nil || !ok || m.ServiceTime.Count == 0 || m.RoundRobin.WholeUpstream != (group == scenario.HTTP) {
					t.Errorf("seed %d, %s: %t, %v, %+v", seed, group, ok, err, m)
				}
				for field, v := range reflect.ValueOf(m).Fields() {
					if v.Kind() == reflect.Int {
						have[field.Tag.Get("expr")] += int(v.Int())
					}
				}
			}
			for name, n := range want.Counts {
				if have[name] != n {
					t.Errorf("seed %d, depth %d: %s is %d, want %d", seed, depth, name, have[name], n)
				}
			}
		}
		if _, ok := got.Metrics(scenario.Total, "grpc_hop4"); ok {
			t.Error("there are calls at depth 4")
		}
	}
}

// checkCounts compares all counts with those that the history was made of.
func checkCounts(t *testing.T, s scenario.Scenario, all map[[2]int]*ledger.Want, got measure.Result) {
	t.Helper()
	var wrong []string
	for key, want := range all {
		phase, load := s.Phases[key[1]].Name, s.Loads[key[0]].Name
		m, _ := got.Metrics(phase, load)
		for field, v := range reflect.ValueOf(m).Fields() {
			name := field.Tag.Get("expr")
			if slices.Contains([]string{"late", "instance_errors", "nginx_errors", "incomplete"}, name) || field.Type.Kind() != reflect.Int {
				continue
			}
			if v.Int() != int64(want.Counts[name]) {
				wrong = append(wrong, fmt.Sprintf("%s of load %s in phase %s: %d, want %d", name, load, phase, v.Int(), want.Counts[name]))
			}
		}
		if !maps.Equal(m.FirstAttempts, want.FirstAttempts) {
			wrong = append(wrong, fmt.Sprintf("first_attempts of load %s in phase %s: %v, want %v", load, phase, m.FirstAttempts, want.FirstAttempts))
		}
		if err := m.Validate(); err != nil {
			t.Errorf("%+v\n%v", m, err)
		}
		if adjusted, _ := got.Adjusted(phase, load); adjusted.Validate() != nil {
			t.Errorf("%+v\n%v", adjusted, adjusted.Validate())
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		t.Fatalf("metrics differ from what lab/ledger/lawful_test.go counted while it made up the records (Want): count a new metric there\n%s", strings.Join(wrong, "\n"))
	}
	for _, group := range []string{"web", "calls", "more", scenario.HTTP, scenario.GRPC} {
		total, ok := got.Metrics(scenario.Total, group)
		sum := 0
		for _, phase := range []string{"before", "during", "after"} {
			m, _ := got.Metrics(phase, group)
			sum += m.Executions + m.Latency.Count + m.FailedServiceTime.Count
		}
		if again, _ := got.Metrics("", group); !ok || sum == 0 || total.Executions+total.Latency.Count+total.FailedServiceTime.Count != sum || !reflect.DeepEqual(total, again) {
			t.Errorf("total of %s is %+v", group, total)
		}
	}
}

// A trial that is read while it runs yields the same Result as one read afterwards: with files that do not exist yet and lines that are
// half written.
func TestLiveAndAfterwardsAreTheSame(t *testing.T) {
	t.Parallel()
	h, _ := ledger.Lawful(0, 500)
	ledger.Drop("nginx")(&h, ledger.Plain(h, 5)) // So that there are discrepancies.
	files := h.Files(t)
	want := closed(t, open(t, labtest.TrialDir(t, h.Manifest, files)))

	dir := labtest.TrialDir(t, h.Manifest, nil)
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "logs"), 0o755), os.Mkdir(filepath.Join(dir, "records"), 0o755)); err != nil {
		t.Fatal(err)
	}
	trial := open(t, dir)
	rng := rand.New(rand.NewPCG(0, 5))
	names := slices.Sorted(maps.Keys(files))
	for len(files) > 0 {
		name := names[rng.IntN(len(names))]
		part := files[name][:min(len(files[name]), rng.IntN(10_000))]
		if files[name] = files[name][len(part):]; len(files[name]) == 0 {
			delete(files, name)
		}
		write(t, dir, name, part)
		if err := trial.Advance(); err != nil {
			t.Fatal(err)
		}
	}
	progress := trial.Progress()
	got := closed(t, trial)
	if !reflect.DeepEqual(got, want) || got.DiscrepancyCount != 2 || got.Ending.Event != record.Ended || !reflect.DeepEqual(got.Manifest, trial.Manifest()) {
		t.Errorf("live %q %v, afterwards %q %v", got.Reasons, got.Discrepancies, want.Reasons, want.Discrepancies)
	}
	for protocol, c := range progress.Protocols {
		m, _ := got.Metrics("", protocol)
		executions := 0
		for _, n := range progress.Executions[protocol] {
			executions += n
		}
		if c != (measure.Counts{OK: m.OK, Failed: m.Failed, Dropped: m.Dropped}) || executions != m.Executions {
			t.Errorf("%s: progress %+v, %d executions; metrics %+v", protocol, c, executions, m)
		}
	}
	if progress.Phase != "after" {
		t.Errorf("phase %q", progress.Phase)
	}
}
