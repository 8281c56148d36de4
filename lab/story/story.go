// Package story puts a request's trace into sentences: what each source recorded of it, in the order in which it happened.
package story

import (
	"fmt"
	"strings"
	"time"

	"trivet/internal/words"
	"trivet/lab/trace"
)

// A Story is one request's, as the page shows it.
type Story struct {
	ID        string       `json:"id"`       // request ID
	Protocol  string       `json:"protocol"` // "http" or "grpc"
	Method    string       `json:"method"`
	Begin     time.Time    `json:"begin"`
	Took      int64        `json:"took_us"` // from the client's start to its end; without a client's record from the first begin to the last end
	Outcome   string       `json:"outcome"` // see package record; of a request without a client's record "ok" or "failed"
	Failed    bool         `json:"failed"`
	Sentences []string     `json:"sentences"`
	Trace     *trace.Trace `json:"trace"`
}

// Options are what a trace does not say of its trial.
type Options struct {
	Begin       time.Time // of the trial: times count from it; zero: times of day
	NoInstances bool      // the instances wrote no records, so that a missing one means nothing
}

// Of is the story of a trace.
func Of(t *trace.Trace, o Options) Story {
	begin, end := t.Bounds()
	s := Story{ID: t.Request, Protocol: "http", Begin: begin, Took: end.Sub(begin).Microseconds(), Outcome: string(trace.OK), Trace: t}
	for _, span := range t.All {
		if _, grpc := value[int64](span, "rpc.grpc.status_code"); grpc || strings.Count(span.Name, "/") == 2 && strings.Contains(span.Name, ".v1.") {
			s.Protocol = "grpc"
		}
		if span.Request == t.Request && (span.Kind == trace.Client || span.Kind == trace.Nginx) {
			break // A hop may have the other protocol.
		}
	}
	if len(t.Roots) > 0 {
		root := t.Roots[len(t.Roots)-1] // Of several, the last is what the client got.
		s.Method = root.Name
		if root.Result != trace.OK {
			s.Outcome, s.Failed = string(trace.Failed), true
		}
		if root.Kind == trace.Client {
			s.Took = root.Took().Microseconds()
			s.Outcome, _ = value[string](root, "trivet.outcome")
		}
	}
	n := narrator{Options: o, of: t}
	n.narrate()
	s.Sentences = n.sentences
	return s
}

// value is an attribute of a span.
func value[T any](s *trace.Span, key string) (v T, ok bool) {
	for _, a := range s.Attributes {
		if a.Key == key {
			v, ok = a.Value.(T)
			return v, ok
		}
	}
	return v, false
}

// A narrator writes a story's sentences.
type narrator struct {
	Options
	of        *trace.Trace
	sentences []string
}

// say adds a sentence about a request: before it, which one, unless it is that of the story.
func (n *narrator) say(about, format string, args ...any) {
	n.sentences = append(n.sentences, about+words.Printable(fmt.Sprintf(format, args...)))
}

// narrate writes all of them.
func (n *narrator) narrate() {
	if len(n.of.Roots) == 0 {
		return
	}
	client := n.of.Roots[0]
	if client.Kind != trace.Client {
		n.say("", "It began at %s. There is no record of the client.", n.clock(n.of.Roots[0].Begin))
		n.parts(n.of.Roots, "", 0)
		n.executions()
		return
	}
	n.sent(client)
	n.parts(client.Children, "", client.Took())
	n.executions()
	n.got(client)
}

// clock is a point in time.
func (n *narrator) clock(t time.Time) string {
	if n.Begin.IsZero() {
		return t.Local().Format("15:04:05.000")
	}
	return fmt.Sprintf("%+.3f s", t.Sub(n.Begin).Seconds())
}

// parts says what nginx and the instances did with a request: entries of nginx's access log, and executions that no attempt has.
func (n *narrator) parts(spans []*trace.Span, about string, within time.Duration) {
	entries := 0
	for _, s := range spans {
		if s.Kind == trace.Nginx {
			entries++
		}
	}
	nth := 0
	for _, s := range spans {
		switch s.Kind {
		case trace.Nginx:
			nth++
			of := about
			if entries > 1 {
				of += fmt.Sprintf("Client attempt %d: ", nth)
			}
			n.entry(s, of)
		case trace.Instance:
			n.execution(s, about)
		case trace.Hop:
			n.hop(s)
		}
	}
	if entries == 0 && within > 0 {
		n.say(about, "nginx has no entry of it in its access log.")
	}
}

// entry says what nginx did.
func (n *narrator) entry(s *trace.Span, about string) {
	tried := 0
	for _, a := range s.Children {
		if a.Kind == trace.Attempt {
			tried++
			n.attempt(a, tried, about)
		}
	}
	reply, local := value[string](s, "trivet.local_reply")
	switch {
	case s.Note == "client left" || strings.HasPrefix(s.Note, "client left"):
		n.say(about, "The client left before nginx had a whole response for it (499).")
	case local && reply != strings.TrimSuffix(s.Note, " by nginx"):
		n.say(about, "nginx generated the response itself (a local reply): %s, %s.", reply, strings.TrimSuffix(s.Note, " by nginx"))
	case local:
		n.say(about, "nginx generated the response itself (a local reply): %s.", reply)
	case tried == 0:
		n.say(about, "nginx responded %s, and tried no instance.", s.Note)
	}
	for _, c := range s.Children {
		if c.Kind == trace.Instance {
			n.execution(c, about)
		}
	}
}

// attempt says what became of one of nginx's attempts, and what the instance's own records say.
func (n *narrator) attempt(a *trace.Span, number int, about string) {
	instance, _ := value[string](a, "trivet.instance")
	took := whole(a.Took())
	switch {
	case a.Note == "no live upstreams":
		n.say(about, "nginx tried no instance: no live upstreams, because it had ejected all of them.")
		return
	case a.Result == trace.InDoubt:
		n.say(about, "nginx tried %s (%d): no response header %s.", instance, number, took)
		n.say(about, "nginx cannot know whether %s executed it.", instance)
		if len(a.Children) == 0 && !n.NoInstances {
			n.say(about, "%s's own records: it did not begin to execute it.", instance)
		}
	case a.Result == trace.Failed && (a.Note == "refused" || a.Note == "no connection" || a.Note == "client left"):
		n.say(about, "nginx tried %s (%d): no connection (%s) %s.", instance, number, strings.Replace(a.Note, "no connection", "timed out", 1), took)
	default:
		n.say(about, "nginx tried %s (%d): %s %s.", instance, number, a.Note, took)
	}
	for _, e := range a.Children {
		n.execution(e, about)
	}
}

// execution says what an instance recorded.
func (n *narrator) execution(s *trace.Span, about string) {
	if s.Kind != trace.Instance {
		return
	}
	if s.Unfinished {
		n.say(about, "%s's own records: it began to execute it at %s, and did not complete it.", s.Process, n.clock(s.Begin))
	}
	for _, h := range s.Children {
		if h.Kind == trace.Hop {
			n.hop(h)
		}
	}
	n.parts(withoutHops(s.Children), about+"Recorded by nginx alone: ", 0)
	if !s.Unfinished {
		n.say(about, "%s executed it in %s: %s.", s.Process, exact(s.Took()), s.Note)
	}
}

// withoutHops are the spans of calls that the instance did not record.
func withoutHops(spans []*trace.Span) []*trace.Span {
	var all []*trace.Span
	for _, s := range spans {
		if s.Kind != trace.Hop {
			all = append(all, s)
		}
	}
	return all
}

// hop says what became of a call that an instance made, and what it led to.
func (n *narrator) hop(s *trace.Span) {
	number := strings.TrimPrefix(strings.TrimPrefix(s.Request, n.of.Request), ".")
	about := fmt.Sprintf("Call %s: ", number)
	n.say(about, "%s made it at %s: %s.", s.Process, n.clock(s.Begin), s.Name)
	n.parts(s.Children, about, s.Took())
	n.say(about, "%s got %s after %s.", s.Process, s.Note, exact(s.Took()))
}

// executions says it if instances executed the request more than once.
func (n *narrator) executions() {
	var by []string
	for _, s := range n.of.All {
		if s.Kind == trace.Instance && s.Request == n.of.Request {
			by = append(by, s.Process)
		}
	}
	if len(by) > 1 {
		n.say("", "It was executed %d times (duplicated): by %s and %s.", len(by), strings.Join(by[:len(by)-1], ", "), by[len(by)-1])
	}
}
