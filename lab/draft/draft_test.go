package draft_test

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/draft"
	"trivet/lab/experiment"
	"trivet/lab/labtest"
	"trivet/lab/scenario"
	"trivet/nginx/confedit"
)

// read writes a history's file and reads it.
func read(t *testing.T, h draft.History) (file *experiment.File, text string) {
	t.Helper()
	yaml, err := h.YAML("saved", "")
	if err != nil {
		t.Fatalf("%v\n%+v", err, h)
	}
	if strings.Count(string(yaml), "# These overlap.") > 1 {
		t.Errorf("a comment is there more than once:\n%s", yaml)
	}
	return accepted(t, string(yaml)), string(yaml)
}

// accepted fails the test unless a file with the text is one.
func accepted(t *testing.T, text string) *experiment.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "saved.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := experiment.Read(path)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return file
}

const second = time.Second

// The configurations that generated histories have.
var configurations = []struct {
	edits    []confedit.Edit
	settings []string
}{
	{},
	{[]confedit.Edit{{Context: "upstream whoami_http", Directive: "least_conn"}, {Context: "upstream whoami_grpc", Directive: "least_conn"}}, []string{"least connections"}},
	{[]confedit.Edit{{Context: "upstream whoami_http", Directive: "keepalive 4"}}, []string{"keepalive: small", "at: \"once\" # {x}"}},
	{[]confedit.Edit{{Context: "upstream whoami_http server", Parameter: "max_fails=1"}, {Context: "upstream whoami_grpc server", Parameter: "max_fails=1"}}, nil},
}

// generate makes a history as a person could, of segments without a gap: with times in milliseconds, and actions that make sense.
func generate(r *rand.Rand) draft.History {
	h := draft.History{Instances: 1 + r.IntN(12), Front: r.IntN(2), MTLS: r.IntN(8) == 0}
	ms := func(from, to int) time.Duration { return time.Duration(from+r.IntN(to-from)) * time.Millisecond }
	at := ms(1, 100_000)
	configuration := 0
	for range 1 + r.IntN(6) {
		if r.IntN(4) == 0 {
			configuration = r.IntN(len(configurations))
		}
		s := draft.Segment{From: at, To: at + ms(1000, 20_000), Retry: r.IntN(2) == 0, Edits: configurations[configuration].edits, Settings: configurations[configuration].settings}
		s.HTTP, s.GRPC, s.Streams = float64(r.IntN(3)*r.IntN(500)), float64(r.IntN(3)*r.IntN(500_000))/1000, float64(r.IntN(2)*r.IntN(50))
		if s.HTTP+s.GRPC+s.Streams == 0 {
			s.GRPC = 0.5 + r.Float64()
		}
		s.Deadline = []time.Duration{0, 10 * time.Millisecond, 2 * second, 60 * second}[r.IntN(4)]
		h.Segments, at = append(h.Segments, s), s.To
	}
	names := append(scenario.ServiceNames(h.Instances, h.Front), scenario.Nginx)
	for t := h.Segments[0].From + ms(0, 5000); t < at && r.IntN(10) > 0; t += ms(1, 6000) {
		a := draft.Action{At: t, Until: t + ms(0, 3000), Process: names[r.IntN(len(names))], Kind: scenario.NginxKinds[r.IntN(len(scenario.NginxKinds))]}
		h.Actions = append(h.Actions, a)
	}
	return h
}

// timed are the operations of a scenario by their names, with their planned starts, if each takes as long as its action took.
func timed(t *testing.T, s scenario.Scenario, took map[string][]time.Duration) map[string][]time.Duration {
	t.Helper()
	planned := map[string][]time.Duration{}
	for i, p := range s.Phases {
		from, _ := s.Bounds(i)
		operations := p.Operations()
		var started, ended []time.Duration
		of := func(all *[]time.Duration) func(int) (time.Duration, bool) {
			return func(n int) (time.Duration, bool) { return (*all)[n], n < len(*all) }
		}
		for _, o := range operations {
			at, ok := o.Planned(of(&started), of(&ended))
			if !ok {
				t.Fatalf("%s waits for what comes later", o.Name())
			}
			length := o.Wait
			if o.Process != "" && p.Name != "prepare" {
				name := o.Name()
				length = took[name][len(planned[name])]
				planned[name] = append(planned[name], from+at)
			}
			started, ended = append(started, at), append(ended, at+length)
			if ended[len(ended)-1] >= p.For {
				t.Errorf("%s ends %v after the start of phase %s, which is over after %v", o.Name(), ended[len(ended)-1], p.Name, p.For)
			}
		}
	}
	return planned
}

// effective are the actions of a history that change something, by a second reading of the rules.
func effective(h draft.History) (all []draft.Action) {
	const up, down, paused = 0, 1, 2
	state := map[string]int{}
	for _, a := range h.Actions {
		now := state[a.Process]
		allowed := map[string][]int{
			scenario.Kill: {up, paused}, scenario.Drain: {up, paused}, scenario.Pause: {up}, scenario.Resume: {paused},
			scenario.Start: {down}, scenario.Restart: {up, paused}, scenario.Reload: {up},
		}[a.Kind]
		if !slices.Contains(allowed, now) || a.Kind == scenario.Reload && a.Process != scenario.Nginx {
			continue
		}
		state[a.Process] = map[string]int{scenario.Kill: down, scenario.Drain: down, scenario.Pause: paused}[a.Kind]
		all = append(all, a)
	}
	return all
}

func TestGeneratedHistoriesAreReadBack(t *testing.T) {
	t.Parallel()
	const histories = 20
	exact := 0
	for seed := range uint64(histories) {
		h := generate(rand.New(rand.NewPCG(seed, 1)))
		file, text := read(t, h)
		if !strings.HasPrefix(text, "# yaml-language-server: $schema=schema.json\n") {
			t.Fatalf("no schema:\n%s", text)
		}
		if seed < histories/4 {
			accepted(t, strings.ReplaceAll(text, "\n  # - ", "\n  - "))
		}
		var edits [][]confedit.Edit
		for _, s := range h.Segments {
			if !slices.ContainsFunc(edits, func(have []confedit.Edit) bool { return slices.Equal(have, s.Edits) }) {
				edits = append(edits, s.Edits)
			}
		}
		moved := strings.Contains(text, "changed somewhat later") || strings.Contains(text, "were longer") || strings.Contains(text, "are left out, as")
		if !moved && len(file.Scenarios) != len(edits) {
			t.Fatalf("seed %d: %d variants, want %d\n%s", seed, len(file.Scenarios), len(edits), text)
		}
		for i, s := range file.Scenarios {
			if s.Instances != h.Instances || s.Front != h.Front || s.TLS || s.MTLS != h.MTLS {
				t.Errorf("seed %d: fleet of %+v", seed, s)
			}
			if moved {
				timedOf(t, s, h)
				continue
			}
			exact++
			if !slices.Equal(s.Edits, edits[i]) {
				t.Errorf("seed %d: edits %v, want %v\n%s", seed, s.Edits, edits[i], text)
			}
			same(t, s, h, text)
		}
	}
	if exact < histories/4 {
		t.Errorf("only %d scenarios could be compared exactly: want a quarter of %d", exact, histories)
	}
}

func tookOf(h draft.History) map[string][]time.Duration {
	took := map[string][]time.Duration{}
	all := effective(h)
	for i, a := range all {
		until := a.Until
		for _, later := range all[i+1:] {
			if later.At < until && slices.Contains([]string{scenario.Kill, scenario.Pause, scenario.Resume}, a.Kind) {
				until = a.At
			} else if later.Process == a.Process {
				until = min(until, later.At)
			}
		}
		name := a.Kind + " " + a.Process
		took[name] = append(took[name], until-a.At)
	}
	return took
}

func timedOf(t *testing.T, s scenario.Scenario, h draft.History) map[string][]time.Duration {
	t.Helper()
	took := tookOf(h)
	if slices.ContainsFunc(s.Phases, func(p scenario.Phase) bool { return p.Name == "prepare" }) {
		return nil // Not all actions are in the file.
	}
	return timed(t, s, took)
}

func TestOneVariantPerConfiguration(t *testing.T) {
	t.Parallel()
	h := draft.History{Instances: 3, Actions: []draft.Action{{At: 12 * second, Until: 12 * second, Kind: scenario.Kill, Process: "whoami-2"}}}
	for i, c := range configurations {
		h.Segments = append(h.Segments, draft.Segment{From: time.Duration(4*i) * second, To: time.Duration(4*i+4) * second, HTTP: 100, Edits: c.edits, Settings: c.settings})
	}
	file, text := read(t, h)
	if len(file.Scenarios) != len(configurations) || !strings.Contains(text, "a scenario has one: so each is a variant") {
		t.Fatalf("%d variants, want %d, and why\n%s", len(file.Scenarios), len(configurations), text)
	}
	for i, s := range file.Scenarios {
		if !slices.Equal(s.Edits, configurations[i].edits) || s.Description == "" || len(s.Phases[len(s.Phases)-2].Do) == 0 {
			t.Errorf("variant %s: %+v, want edits %v, a description and the kill", s.Variant, s, configurations[i].edits)
		}
	}
	if err := file.Test(t.Context(), labtest.Nginx(t)); err != nil {
		t.Error(err)
	}
}

// steady is load of one kind for so long.
func steady(seconds int) draft.History {
	return draft.History{Instances: 3, Segments: []draft.Segment{{From: 5 * second, To: time.Duration(5+seconds) * second, HTTP: 100, GRPC: 50}}}
}

func action(kind, process string, at, until time.Duration) draft.Action {
	return draft.Action{Kind: kind, Process: process, At: at, Until: until}
}

func TestFileSays(t *testing.T) {
	t.Parallel()
	again := steady(30)
	again.Segments = append(again.Segments, draft.Segment{From: 60 * second, To: 64 * second, GRPC: 20, Streams: 10, Hold: 2 * second, Deadline: second})
	again.Actions = []draft.Action{
		action(scenario.Kill, "whoami-1", 10*second, 10*second), action(scenario.Pause, "whoami-2", 20*second, 20*second), action(scenario.Resume, "whoami-2", 25*second, 25*second),
		action(scenario.Start, "whoami-1", 62*second, 62*second+300*time.Millisecond), action(scenario.Kill, "whoami-3", 70*second, 70*second),
	}
	overlap := steady(12)
	overlap.Actions = []draft.Action{
		action(scenario.Drain, "whoami-1", 7*second, 12*second), action(scenario.Kill, "whoami-2", 9*second, 9*second), action(scenario.Start, "whoami-2", 10*second, 10*second+200*time.Millisecond),
		action(scenario.Restart, "whoami-3", 14*second, 16*second), action(scenario.Kill, "whoami-2", 15*second, 15*second),
	}
	quiet := steady(100)
	quiet.Actions = []draft.Action{action(scenario.Kill, "whoami-1", 45*second, 45*second), action(scenario.Start, "whoami-1", 95*second, 95*second+100*time.Millisecond)}
	busy := steady(2)
	for i := range 40 {
		from := time.Duration(7+2*i) * second
		busy.Segments = append(busy.Segments, draft.Segment{From: from, To: from + 2*second, HTTP: float64(10 + i)})
	}
	busy.Actions = []draft.Action{action(scenario.Pause, "whoami-1", 8*second, 8*second), action(scenario.Drain, "whoami-2", 9*second, 9*second+second/2)}
	late := steady(10)
	late.Actions = []draft.Action{action(scenario.Pause, "whoami-1", 14*second, 14*second), action(scenario.Pause, "whoami-1", 14*second+second/2, 14*second+second/2)}
	during := steady(4)
	during.Segments = append(during.Segments, draft.Segment{From: 9 * second, To: 20 * second, HTTP: 200})
	during.Actions = []draft.Action{action(scenario.Restart, "whoami-1", 8*second, 10*second)}
	down := steady(5)
	down.Actions = []draft.Action{action(scenario.Kill, scenario.Nginx, second, second)}
	says(t, map[string]saying{
		"load alone": {steady(10), []string{"- {protocol: http, rate: 100/s}\n", "- {protocol: grpc, rate: 50/s}\n", "- {name: steady, for: 10s}\n", "- total.http.failed == 0\n"}, []string{"nginx:", "variants", "What is not", "\nfleet:"}},
		"from the last start of load, with what was down then": {again, []string{
			"- {name: prepare, for: 1.1s, do: [{kill: whoami-1}]}\n", "- {name: during, for: 4.3s, do: [{wait: 2s}, {start: whoami-1}]}",
			"{protocol: grpc, name: streams, call: watch, hold: 2s, deadline: 3s, rate: {phases: {", ": 5/s",
			"after.grpc.recovery.fair_at_end\n", "not after.grpc.recovery.failed or after.grpc.recovery.recovered\n", "on for 1.7s after the last action: here it does for 5s",
			"# - what was done after the end of the load is left out: kill whoami-3\n",
		}, []string{"http", "whoami-2", "{kill: whoami-3"}},
		"actions at the same time": {overlap, []string{
			"- together:\n", "- {drain: whoami-1}\n", "- {repeat: {times: 1, every: 1ms, do: [{wait: 2s}, {kill: whoami-2}, {wait: 1s}, {start: whoami-2}]}}\n",
		}, []string{"fair_at_end"}},
		"quiet times":               {quiet, []string{"times without a change were longer, by 1m in all", "{name: before, for: 14.5s}", "{wait: 15s}", "after.http.recovery.fair_at_end"}, nil},
		"more than a file can hold": {busy, []string{"are left out, as a file has at most 20 phases", "{pause: whoami-1}, {kill: whoami-2}"}, []string{"- {protocol: http, name: http_", "fair_at_end"}},
		"an action at the end, without effect the second time": {late, []string{
			"pause whoami-1 is left out: it was paused already", "- before.http.failed == 0\n", "- during.http.failed <= 0.01",
		}, []string{"recovered", "fair_at_end"}},
		"change of load during an action": {during, []string{"changed somewhat later here", "{name: during, for: 4.5s,"}, nil},
		"nginx is down":                   {down, []string{"{kill: nginx}", "- total.http.ok == 0\n"}, []string{"failed == 0"}},
	})
}

func TestFileSaysWhatNoExperimentHas(t *testing.T) {
	t.Parallel()
	quick := steady(10)
	quick.Actions = []draft.Action{
		action(scenario.Kill, "whoami-1", 7*second, 7*second+20*time.Millisecond), action(scenario.Kill, "whoami-2", 7*second+5*time.Millisecond, 7*second+15*time.Millisecond),
		action(scenario.Start, "whoami-1", 7*second+12*time.Millisecond, 7*second+12*time.Millisecond), action(scenario.Start, "whoami-2", 8*second, 8*second),
	}
	streams := steady(10)
	streams.Segments[0].Streams, streams.Segments[0].Hold, streams.Segments[0].Interval, streams.Segments[0].Channels = 100, 5*second, second/2, 3
	large := steady(10)
	large.Instances, large.Front, large.Workers, large.Unlike = 100, 1, 32, []string{"the instances had settings: # here: \"not\""}
	large.Actions = []draft.Action{action(scenario.Kill, "whoami-99", 7*second, 7*second)}
	ejecting := steady(10)
	ejecting.Segments[0].Edits = []confedit.Edit{{Context: "upstream whoami_http server", Parameter: "max_fails=1"}, {Context: "upstream whoami_http server", Parameter: "fail_timeout=10s"}}
	ejecting.Actions = []draft.Action{action(scenario.Kill, "whoami-1", 10*second, 10*second), action(scenario.Start, "whoami-1", 14*second, 14*second)}
	without := steady(10)
	without.Segments[0].To = 10 * second
	without.Segments = append(without.Segments, draft.Segment{From: 10 * second, To: 15 * second, HTTP: 100, Edits: configurations[1].edits, Settings: configurations[1].settings})
	without.Actions = []draft.Action{action(scenario.Drain, "whoami-1", second, second), action(scenario.Pause, "whoami-2", second, second)}
	says(t, map[string]saying{
		"actions that follow at once": {quick, []string{"      - {kill: whoami-1}\n      - {wait: 5ms}\n      - {kill: whoami-2}\n      - {wait: 7ms}\n      - {start: whoami-1}\n"}, []string{"together"}},
		"streams":                     {streams, []string{"call: watch, hold: 5s, request: {message: {interval: 0.5s}}, channels: 3, deadline: 10s, rate: 20/s}"}, nil},
		"a fleet that no experiment has": {large, []string{
			"# - there were 100 instances of whoami: here there are 60, the most of an experiment\n", "# - there were 32 workers of nginx: here there are 16,",
			"# - the instances had settings: # here: \"not\"\n", "# - kill whoami-99 is left out: no experiment can do that\n", "fleet: {instances: 60, front: 1, workers: 16}",
		}, nil},
		"nginx may eject all": {ejecting, []string{"here it does for 15s, to show how the system recovers", "{name: after, for: 13s}", "a fleet of its own: 24s\n"}, nil},
		"nothing but other instances and configurations": {without, []string{
			"question: Does nginx serve this load without a failure while whoami-1 is down and whoami-2 is paused in each configuration?\n", "a fleet of its own: 2 variants, 11s each\n",
		}, nil},
	})
}

// A saying is what the file of a history says, and what it does not.
type saying struct {
	history draft.History
	says    []string
	not     []string
}

// says has a test for each of some sayings.
func says(t *testing.T, all map[string]saying) {
	t.Helper()
	for name, c := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, text := read(t, c.history)
			for _, want := range c.says {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
			for _, bad := range c.not {
				if strings.Contains(text, bad) {
					t.Errorf("%q in\n%s", bad, text)
				}
			}
		})
	}
}

func TestNothingToSave(t *testing.T) {
	t.Parallel()
	for want, h := range map[string]draft.History{
		"no load was sent: start some":                            {Instances: 3, Segments: []draft.Segment{{To: second}}},
		"planned no request; send it for longer":                  {Instances: 3, Segments: []draft.Segment{{To: second, HTTP: 0.01}}},
		"planned too many requests; send it at a lower rate, and": {Instances: 3, Segments: []draft.Segment{{To: second, HTTP: 200_000}}},
	} {
		if _, err := h.YAML("saved", ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestForeignTextsStayTexts(t *testing.T) {
	t.Parallel()
	h := steady(3)
	h.Segments[0].Edits, h.Segments[0].Settings = configurations[2].edits, []string{"a: \"b\" # {c}\nexpect: [true]"}
	const question = "Is this: a # question?\nanswer: 'no'"
	yaml, err := h.YAML("a b\nquestion: x", question)
	if err != nil {
		t.Fatal(err)
	}
	file := accepted(t, string(yaml))
	if want := strings.ReplaceAll(question, "\n", " "); file.Question != want || len(file.Expect) != 2 {
		t.Errorf("question %q, expectations %v\n%s", file.Question, file.Expect, yaml)
	}
}

// same compares a scenario with the history that it was made of, which fits as it is.
func same(t *testing.T, s scenario.Scenario, h draft.History, text string) {
	t.Helper()
	begin := h.Segments[0].From
	want := map[string][]time.Duration{}
	for _, a := range effective(h) {
		name := a.Kind + " " + a.Process
		want[name] = append(want[name], a.At-begin)
	}
	got := timedOf(t, s, h)
	if len(got) != len(want) {
		t.Errorf("actions %v, want %v\n%s", got, want, text)
	}
	for name, times := range want {
		if len(got[name]) != len(times) {
			t.Errorf("%s at %v, want %v\n%s", name, got[name], times, text)
			continue
		}
		for i, at := range times {
			if d := got[name][i] - at; d.Abs() > time.Millisecond {
				t.Errorf("%s at %v, want %v\n%s", name, got[name][i], at, text)
			}
		}
	}
	for _, segment := range h.Segments {
		at := (segment.From+segment.To)/2 - begin
		rates := map[string]float64{}
		for _, l := range s.Loads {
			rate := rateAt(s, l, at)
			if rate == 0 {
				continue
			}
			rates[l.Protocol+l.Call] += rate
			deadline := segment.Deadline
			if deadline == 0 {
				deadline = 5 * second
			}
			if l.Call == scenario.Unary && l.Deadline != deadline || l.Retry != segment.Retry {
				t.Errorf("load %+v at %v, want that of %+v\n%s", l, at, segment, text)
			}
		}
		for kind, rate := range map[string]float64{"httpunary": segment.HTTP, "grpcunary": segment.GRPC, "grpcwatch": segment.Streams / draft.DefaultHold.Seconds()} {
			if math.Abs(rates[kind]-rate) > 0.001 {
				t.Errorf("%s %v/s at %v, want %v\n%s", kind, rates[kind], at, rate, text)
			}
		}
	}
}

// rateAt is a load's rate at a time.
func rateAt(s scenario.Scenario, l scenario.Load, at time.Duration) float64 {
	if l.Rate.Shape == scenario.Constant {
		return l.Rate.PerSecond[0]
	}
	for i, length := range l.Rate.For {
		if at -= length; at < 0 {
			return l.Rate.PerSecond[i]
		}
	}
	return 0
}
