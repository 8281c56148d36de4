package ledger

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/load"
)

// A history is what the witnesses of a run say that keeps all rules, in the order of their times.
type history struct {
	Scene
	said []said
	want map[[2]int]Figures // by load and phase: what can be counted while it is made up
}

// A said is one record: a load.Record, NginxLine, Call or Event.
type said struct {
	at     time.Time
	record any
}

// stage is a scene of three phases, two HTTP loads and a gRPC load, each of n requests.
func stage(n int) Scene {
	s := Scene{
		V: SceneVersion, Seed: 11, Begin: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC), Workers: 2,
		Phases: []Phase{{"before", 3500 * time.Millisecond}, {"during", 4 * time.Second}, {"after", 3 * time.Second}},
		Loads:  []Load{{"web", load.HTTP, n, time.Second}, {"calls", load.GRPC, n, time.Second}, {"more", load.HTTP, n, time.Second}},
	}
	for i := range 3 {
		s.Instances = append(s.Instances, Instance{fmt.Sprint("whoami-", i+1), fmt.Sprint("127.0.0.1:", 8001+i), fmt.Sprint("127.0.0.1:", 9001+i)})
	}
	return s
}

// teller makes up a history.
type teller struct {
	*rand.Rand
	history
	calls uint64
}

func lawful(seed uint64, n int) history {
	h := &teller{Rand: rand.New(rand.NewPCG(seed, 1)), history: history{Scene: stage(n), want: make(map[[2]int]Figures)}}
	for stream := range h.Loads {
		for i := range n {
			h.request(stream, i, h.end()*time.Duration(i)/time.Duration(n))
		}
	}
	h.own()
	at := func(d time.Duration, e Event) {
		e.V, e.Time = SceneVersion, h.Begin.Add(d)
		h.said = append(h.said, said{e.Time, e})
	}
	at(-time.Second, Event{Event: ProcessIs, Kind: "started", Name: "nginx"})
	at(0, Event{Event: PhaseBegan, Phase: "before"})
	at(3500*time.Millisecond, Event{Event: PhaseBegan, Phase: "during"})
	at(3501*time.Millisecond, Event{Event: ActionBegan, Phase: "during", Verb: "kill", Target: "whoami-2"})
	at(3502*time.Millisecond, Event{Event: ProcessIs, Kind: "died", Name: "whoami-2", Exit: "signal SIGKILL"})
	at(3503*time.Millisecond, Event{Event: ActionDone, Phase: "during", Verb: "kill", Target: "whoami-2"})
	at(3504*time.Millisecond, Event{Event: ActionBegan, Phase: "during", Verb: "reload", Target: "nginx"})
	at(3600*time.Millisecond, Event{Event: ActionDone, Phase: "during", Verb: "reload", Target: "nginx"})
	at(7500*time.Millisecond, Event{Event: PhaseBegan, Phase: "after"})
	at(time.Minute, Event{Event: Ended})
	slices.SortStableFunc(h.said, func(a, b said) int { return a.at.Compare(b.at) })
	return h.history
}

// own are questions of the laboratory's own, which count for nothing.
func (h *teller) own() {
	for i := range 5 {
		at := h.Begin.Add(-time.Duration(i) * time.Millisecond)
		h.said = append(h.said, said{at, Call{V: 1, Event: Arrival, Time: at, Instance: "whoami-1", PID: 1, Call: h.number(), ID: OwnID + "fleet", Protocol: load.HTTP}},
			said{at, h.line(OwnID+"fleet", at, part{0, answered})})
	}
}

func (h *teller) number() uint64 { h.calls++; return h.calls }

// A part is an attempt of nginx's in the making.
type part struct {
	instance int
	fate     fate
}

// line is a line of nginx's.
func (h *teller) line(id string, at time.Time, parts ...part) NginxLine {
	l := NginxLine{V: 1, ID: id, End: float64(at.UnixMilli()) / 1000}
	var addrs, headers, sent []string
	for _, p := range parts {
		addr := h.Instances[p.instance].HTTP
		if strings.Contains(id, ".grpc.") {
			addr = h.Instances[p.instance].GRPC
		}
		header, bytes := "-", "0"
		switch p.fate {
		case doubtful:
			bytes = "254"
		case answered:
			header, bytes = "0.001", "254"
		case expired:
			header, bytes, l.HeaderStatus = "0.001", "254", "4"
		case noLive:
			addr = "whoami_group"
		}
		addrs, headers, sent = append(addrs, addr), append(headers, header), append(sent, bytes)
	}
	separator := []string{", ", " : "}[h.IntN(2)]
	l.Addr, l.HeaderTime, l.BytesSent = strings.Join(addrs, separator), strings.Join(headers, separator), strings.Join(sent, separator)
	return l
}

// request makes up one request and what all say of it.
func (h *teller) request(stream, n int, planned time.Duration) {
	l := h.Loads[stream]
	r := load.Record{
		V: load.RecordVersion, ID: fmt.Sprintf("%d.%s.%d.%d", h.Seed, l.Protocol, stream, n), Stream: stream, Protocol: l.Protocol,
		Planned: h.Begin.Add(planned), Late: h.Int64N(900), Outcome: load.OK, Code: "200", Attempts: 1,
	}
	r.Service = 1000 + h.Int64N(9000)
	key := [2]int{stream, h.phaseAt(planned)}
	f := h.want[key]
	if f.FirstAttempts == nil {
		f.FirstAttempts = make(map[string]int)
	}
	at, before := r.Planned, f.Executions
	for _, parts := range h.plot(&r) {
		if len(parts) > 0 && parts[0].fate != noLive {
			f.FirstAttempts[h.Instances[parts[0].instance].Name]++
		}
		for _, p := range parts {
			at = at.Add(time.Duration(h.IntN(1000)) * time.Microsecond)
			h.execute(r.ID, at, p, &f)
		}
		h.said = append(h.said, said{at, h.line(r.ID, at, parts...)})
	}
	if r.Outcome == load.NotStarted {
		r.Late, r.Service = 0, 0
		f.NotStarted++
	}
	switch executed := f.Executions - before; {
	case executed > 1:
		f.ExecutedTwice++
	case executed == 0 && r.Outcome != load.NotStarted:
		f.ReachedNobody++
	}
	r.Latency = r.Late + r.Service
	h.said = append(h.said, said{r.Planned.Add(time.Duration(r.Latency) * time.Microsecond), r})
	f.Requests++
	f.ClientAttempts += r.Attempts
	switch r.Outcome {
	case load.OK:
		f.OK++
	case load.ByNginx, load.ByInstance, load.AtClient:
		f.Failed++
	}
	h.want[key] = f
}

// plot makes up how a request went, and says it in the client's record: a line of nginx's each.
func (h *teller) plot(r *load.Record) [][]part {
	a, b, c := h.IntN(3), h.IntN(3), h.IntN(3)
	own := func(outcome, reason string, attempts int, reasons ...string) {
		r.Outcome, r.Reason, r.Attempts, r.Own, r.Code = outcome, reason, attempts, reasons, ""
	}
	ok := part{c, answered}
	if h.IntN(3) > 0 {
		r.Instance = h.Instances[c].Name
		return [][]part{{ok}}
	}
	switch h.IntN(12) {
	case 0:
		own(load.NotStarted, load.TooMany, 0)
		return nil
	case 1: // The next instance, of one that refused.
		return [][]part{{{a, unsent}, ok}}
	case 2: // And of one that was killed.
		return [][]part{{{a, doubtful}, {b, unsent}, ok}}
	case 3:
		r.Outcome, r.Code = load.ByNginx, "502"
		return [][]part{{{a, noLive}}}
	case 4: // The client's own retry.
		r.Attempts = 2
		return [][]part{{{a, doubtful}}, {ok}}
	case 5:
		own(load.AtClient, load.Deadline, 1, load.Deadline)
		return nil
	case 6:
		own(load.AtClient, load.Deadline, 1, load.Deadline)
		return [][]part{{{a, doubtful}}}
	case 7: // A silent replay, or a transparent retry.
		own(load.OK, "", 2, load.Lost)
		return [][]part{{ok}}
	case 8:
		own(load.AtClient, load.Deadline, 3, load.Deadline)
		return [][]part{{{a, doubtful}}, {{b, unsent}, {a, doubtful}}}
	case 9: // nginx asks nobody.
		r.Outcome, r.Code = load.ByNginx, "429"
		return [][]part{{}}
	case 10:
		r.Outcome, r.Code, r.Instance = load.ByInstance, "DeadlineExceeded", h.Instances[a].Name
		return [][]part{{{a, expired}}}
	default:
		own(load.AtClient, load.Reset, 1, load.Reset)
		return [][]part{{ok}}
	}
}

// execute makes up the instance's records of an attempt.
func (h *teller) execute(id string, at time.Time, p part, f *Figures) {
	arrives, ends := p.fate == answered, p.fate == answered
	if p.fate == doubtful || p.fate == expired {
		arrives = h.IntN(2) == 0
		ends = arrives && h.IntN(2) == 0
	}
	switch p.fate {
	case noLive:
		f.NoLive++
	case doubtful:
		f.UnknownToNginx++
	}
	if p.fate != noLive {
		f.NginxAttempts++
	}
	if p.fate == doubtful || p.fate == unsent {
		f.FailedAttempts++
	}
	if !arrives {
		return
	}
	f.Executions++
	protocol := load.HTTP
	if strings.Contains(id, ".grpc.") {
		protocol = load.GRPC
	}
	c := Call{V: 1, Event: Arrival, Time: at, Instance: h.Instances[p.instance].Name, PID: 100 + p.instance, Call: h.number(), ID: id, Protocol: protocol}
	h.said = append(h.said, said{at, c})
	if ends {
		// A stopped instance goes on whenever it is let.
		c.Event, c.Time = Completion, at.Add(time.Duration(h.Int64N(int64(5*time.Second))))
		h.said = append(h.said, said{c.Time, c})
	}
}

// shuffled is the history as it may come when nobody waits for anybody: only events keep their order.
func (h history) shuffled(seed uint64) history {
	rng := rand.New(rand.NewPCG(seed, 2))
	h.said = slices.Clone(h.said)
	var events []said
	for _, s := range h.said {
		if _, ok := s.record.(Event); ok {
			events = append(events, s)
		}
	}
	rng.Shuffle(len(h.said), func(i, j int) { h.said[i], h.said[j] = h.said[j], h.said[i] })
	for i, s := range h.said {
		if _, ok := s.record.(Event); ok {
			h.said[i], events = events[0], events[1:]
		}
	}
	return h
}

// feed tells a book all of it.
func (h history) feed(t testing.TB, b *Book) {
	t.Helper()
	for _, s := range h.said {
		var err error
		switch r := s.record.(type) {
		case load.Record:
			err = b.Client(r)
		case NginxLine:
			err = b.Nginx(r)
		case Call:
			err = b.Call(r)
		case Event:
			b.Event(r)
		}
		if err != nil {
			t.Fatalf("%+v: %v", s.record, err)
		}
	}
}

// write is the history as the files of a run folder, each whole.
func (h history) write(t testing.TB) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	for _, s := range h.said {
		name := ClientFile
		switch s.record.(type) {
		case NginxLine:
			name = NginxFile
		case Call:
			name = InstancesFile
		case Event:
			name = EventsFile
		}
		line, err := json.Marshal(s.record)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = append(append(files[name], line...), '\n')
	}
	return files
}

// folder is a run folder with the scene and those files.
func folder(t testing.TB, s Scene, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := s.Write(dir); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// everything is all figures that can be asked for, as text.
func everything(t testing.TB, b *Book) string {
	t.Helper()
	var all strings.Builder
	for _, phase := range []string{"", "before", "during", "after"} {
		for _, name := range []string{"web", "calls", "more", load.HTTP, load.GRPC} {
			f, ok := b.Figures(phase, name)
			if !ok {
				t.Fatalf("no figures of %q in %q", name, phase)
			}
			text, err := json.Marshal(f)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&all, "%s.%s %s\n", phase, name, text)
		}
	}
	return all.String()
}

func okay(id string, planned time.Time) load.Record {
	return load.Record{
		V: load.RecordVersion, ID: id, Protocol: load.HTTP, Method: "GET /", Planned: planned, Latency: 1000, Service: 900, Late: 100,
		Outcome: load.OK, Code: "200", Instance: "whoami-1", Attempts: 1,
	}
}
