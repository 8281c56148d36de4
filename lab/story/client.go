package story

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"trivet/internal/words"
	"trivet/lab/trace"
)

// Outcomes and reasons of client records; package record defines them.
const (
	ok            = "ok"
	instanceError = "instance_error"
	nginxError    = "nginx_error"
	dropped       = "dropped"

	deadline         = "deadline"
	refused          = "refused"
	reset            = "reset"
	connectionClosed = "connection_closed"
	canceled         = "canceled"
	inFlightLimit    = "in_flight_limit"
)

// sent says when the client sent the request, and how late.
func (n *narrator) sent(s *trace.Span) {
	late, _ := value[int64](s, "trivet.late_us")
	outcome, _ := value[string](s, "trivet.outcome")
	switch {
	case outcome == dropped:
		n.say("", "The client never sent it: more than a second after its planned start it was dropped.")
		return
	case strings.HasSuffix(s.Note, inFlightLimit):
		n.say("", "The client never sent it: too many requests were in flight.")
		return
	case late < 50:
		n.say("", "The client sent it at %s, on time.", n.clock(s.Begin))
	default:
		n.say("", "The client sent it at %s, %s late.", n.clock(s.Begin), exact(time.Duration(late)*time.Microsecond))
	}
	if attempts, _ := value[int64](s, "trivet.client_attempts"); attempts > 1 {
		n.say("", "It made %s, as its retry policy allows.", words.Count(int(attempts), "attempt"))
	}
}

// got says what the client got.
func (n *narrator) got(s *trace.Span) {
	outcome, _ := value[string](s, "trivet.outcome")
	instance, _ := value[string](s, "trivet.instance")
	late, _ := value[int64](s, "trivet.late_us")
	latency := "; latency " + exact(s.Took()+time.Duration(late)*time.Microsecond)
	from := ""
	if instance != "" {
		from = " from " + instance
	}
	switch code, reason, _ := strings.Cut(s.Note, " "); outcome {
	case dropped:
		return
	case ok:
		n.say("", "The client got %s%s%s.", s.Note, from, latency)
	case instanceError:
		n.say("", "The client got the error %s%s%s.", s.Note, from, latency)
	case nginxError:
		n.say("", "The client got the error %s%s. It names no instance, so it is nginx's.", s.Note, latency)
	default:
		if why := incomplete(cmp.Or(reason, code)); why != "" {
			n.say("", "The client got no complete response%s: %s%s.", from, why, latency)
		}
	}
	if message, _ := value[string](s, "error.message"); message != "" {
		n.say("", "The client's error: %s.", strings.TrimSuffix(message, "."))
	}
}

// incomplete is a reason in words; "" if sent has said it.
func incomplete(reason string) string {
	switch reason {
	case deadline:
		return "its deadline passed"
	case refused:
		return "no connection to nginx"
	case reset:
		return "the connection or the stream was reset"
	case connectionClosed:
		return "the connection was closed"
	case canceled:
		return "it canceled the stream"
	case inFlightLimit:
		return ""
	}
	return strings.ReplaceAll(reason, "_", " ")
}

// exact is a duration that was measured in microseconds.
func exact(d time.Duration) string {
	ms := float64(d.Microseconds()) / 1000
	switch {
	case ms >= 10_000:
		return fmt.Sprintf("%.1f s", ms/1000)
	case ms >= 100:
		return fmt.Sprintf("%.0f ms", ms)
	case ms >= 0.1:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return strconv.FormatInt(d.Microseconds(), 10) + " µs"
}

// whole is how long one of nginx's attempts took: nginx counts whole milliseconds.
func whole(d time.Duration) string {
	if d < time.Millisecond {
		return "in less than 1 ms"
	}
	return fmt.Sprintf("after %d ms", d.Milliseconds())
}
