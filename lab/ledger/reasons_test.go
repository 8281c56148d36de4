package ledger

import (
	"testing"
	"time"
)

// What was done late, what nobody asked nginx for, and a generator that did not end make a run invalid.
func TestReasonsOfTheDiary(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration, e Event) Event {
		e.Time = stage(1).Begin.Add(d)
		return e
	}
	begins := func(phase, verb string) Event {
		return Event{Event: ActionBegan, Phase: phase, Verb: verb, Target: "whoami-1"}
	}
	ends := func(phase, verb string) Event {
		return Event{Event: ActionDone, Phase: phase, Verb: verb, Target: "whoami-1"}
	}
	wait := Event{Event: ActionBegan, Phase: "before", Verb: "wait", Wait: 1_500_000}
	kill := begins("before", "kill")
	for _, c := range []struct {
		events []Event
		want   string // "": nothing of the kind
	}{
		{[]Event{at(1500*time.Millisecond, Event{Event: NginxDid, Kind: WorkerEnded, PID: 69, Exit: "signal SIGKILL"})}, "nginx's worker 69 ended (signal SIGKILL) about 2s after the load began"},
		{[]Event{at(1500*time.Millisecond, Event{Event: NginxDid, Kind: WorkerReplaced, PID: 71})}, "nginx started worker 71 about 2s after the load began"},
		{[]Event{at(1500*time.Millisecond, Event{Event: NginxDid, Kind: Reconfigured})}, "nginx was reloaded about 2s after the load began"},
		{[]Event{at(2*time.Second, Event{Event: NginxDid, Kind: "painted"})}, `nginx does nothing of the kind "painted"`},
		{[]Event{Event{Event: StoodStill}}, "the generator stood still, and was killed: 100 of 100 planned requests have no record"},
		{[]Event{at(250*time.Millisecond, kill)}, ""},
		{[]Event{at(251*time.Millisecond, kill)}, "phase before: kill whoami-1 was begun 251ms after its time: the laboratory was late"},
		{[]Event{at(1750*time.Millisecond, begins("before", "start")), at(1800*time.Millisecond, ends("before", "start")), at(2*time.Second, kill)}, "phase before: start whoami-1 was begun 1.75s"},
		{[]Event{at(0, begins("before", "start")), at(3*time.Second, ends("before", "start")), at(3250*time.Millisecond, kill)}, ""},
		{[]Event{at(0, begins("before", "start")), at(3*time.Second, ends("before", "start")), at(3251*time.Millisecond, kill)}, "phase before: kill whoami-1 was begun 251ms"},
		{[]Event{at(3750*time.Millisecond, begins("during", "kill"))}, ""},
		{[]Event{at(5300*time.Millisecond, begins("during", "kill"))}, "phase during: kill whoami-1 was begun 1.8s after its time"},
		{[]Event{at(3600*time.Millisecond, Event{Event: PhaseBegan, Phase: "before"})}, ""},
		{[]Event{at(0, wait), at(1750*time.Millisecond, Event{Event: ActionDone, Phase: "before", Verb: "wait"})}, ""},
		{[]Event{at(0, wait), at(1751*time.Millisecond, Event{Event: ActionDone, Phase: "before", Verb: "wait"})}, "phase before: a wait of 1.5s took 251ms longer"},
	} {
		s := stage(100)
		s.Loads = s.Loads[:1]
		book := NewBook(s)
		for _, e := range append(c.events, Event{Event: Ended}) {
			book.Event(e)
		}
		checkReasons(t, book.Settle().Reasons, c.want)
	}
}
