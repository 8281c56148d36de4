package record

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"trivet/lab/scenario"
)

// ErrInvalid is in the error about a line that is JSON and still no record: it holds impossible values.
var ErrInvalid = errors.New("not a record")

const (
	// rounding is by how many microseconds the sum of two times may differ from the whole, each cut to microseconds.
	rounding = 2
	// early is how long before its time a deadline may appear to pass.
	early = time.Millisecond
	// longest is more than any time in a record, in microseconds: no deadline is as long, and no lab waits so long.
	longest = int64(24 * time.Hour / time.Microsecond)
)

// A clientLine is a line of a Client. Its times hide those of the Client, because one that is missing or null is not 0.
type clientLine struct {
	Client
	Late    *int64 `json:"late_us"`
	Latency *int64 `json:"latency_us"`
	Service *int64 `json:"service_us"`
}

// client is the record, and an error that wraps ErrInvalid if a time is missing.
func (l clientLine) client() (Client, error) {
	for _, time := range []struct {
		key      string
		from, to *int64
	}{{"late_us", l.Late, &l.Client.Late}, {"latency_us", l.Latency, &l.Client.Latency}, {"service_us", l.Service, &l.Client.Service}} {
		if time.from == nil {
			return l.Client, fmt.Errorf("%w: no %s", ErrInvalid, time.key)
		}
		*time.to = *time.from
	}
	return l.Client, nil
}

// validate returns an error that wraps ErrInvalid if values contradict each other or the manifest.
func (r Client) validate(m Manifest) error {
	for _, contradiction := range []string{r.checkTimes(m), r.checkID(m), r.checkOutcome()} {
		if contradiction != "" {
			return fmt.Errorf("%w: %s", ErrInvalid, contradiction)
		}
	}
	return nil
}

func (r Client) checkTimes(m Manifest) string {
	length := m.Scenario.Length()
	at := r.Planned.Sub(m.Begin)
	switch {
	case min(r.Late, r.Latency, r.Service, r.Stalled) < 0, max(r.Late, r.Latency, r.Service, r.Stalled) > longest:
		return fmt.Sprintf("late_us is %d, latency_us %d, service_us %d, stalled_us %d", r.Late, r.Latency, r.Service, r.Stalled)
	case at < 0 || at > length:
		return fmt.Sprintf("planned %s, but the trial lasted from %s to %s", stamp(r.Planned), stamp(m.Begin), stamp(m.Begin.Add(length)))
	case r.Outcome == Dropped && (r.Latency != 0 || r.Service != 0):
		return fmt.Sprintf("it was dropped, and took %d µs", max(r.Latency, r.Service))
	case !r.Sent() && r.Service != 0:
		return fmt.Sprintf("it was never sent, and took %d µs", r.Service)
	case r.Outcome != Dropped && (r.Latency < r.Late+r.Service-rounding || r.Latency > r.Late+r.Service+rounding):
		return fmt.Sprintf("latency_us %d is not late_us %d plus service_us %d", r.Latency, r.Late, r.Service)
	}
	return ""
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// checkID compares the record with its ID, and with its load.
func (r Client) checkID(m Manifest) string {
	parts := strings.Split(r.ID, ".")
	if len(parts) != 4 {
		return "" // Not planned: the ledger reports that.
	}
	if index := fmt.Sprint(r.Load); parts[1] != r.Protocol || parts[2] != index {
		return fmt.Sprintf("protocol %s and load %s, but the id is %s", r.Protocol, index, r.ID)
	}
	if r.Outcome != Incomplete || r.Reason != Deadline || r.Load < 0 || r.Load >= len(m.Scenario.Loads) {
		return ""
	}
	if deadline, took := m.Scenario.Loads[r.Load].Deadline, time.Duration(r.Service)*time.Microsecond; took < deadline-early {
		return fmt.Sprintf("the deadline of %v passed after only %v", deadline, took)
	}
	return ""
}

// checkOutcome compares the outcome with the response.
func (r Client) checkOutcome() string {
	well := r.Code == codes.OK.String()
	if r.Protocol == scenario.HTTP {
		well = len(r.Code) == 3 && r.Code[0] == '2'
	}
	named := r.Instance != ""
	contradicts := false
	switch r.Outcome {
	case OK:
		contradicts = !well
	case InstanceError:
		contradicts = well || r.Code == "" || !named
	case NginxError:
		contradicts = well || r.Code == "" || named
	case Incomplete:
		contradicts = r.Reason == "" || r.Reason == Overdue || !r.Sent() && (r.Code != "" || named) || well && r.Protocol == scenario.GRPC || r.Code == "" && r.Attempts > 0 && len(r.MaybeUnlogged) == 0
	case Dropped:
		contradicts = r.Reason != Overdue || r.Code != "" || named
	default:
		return fmt.Sprintf("outcome %q", r.Outcome)
	}
	switch {
	case contradicts:
		return fmt.Sprintf("outcome %q with code %q, reason %q, instance %q, %d attempts that may be unlogged", r.Outcome, r.Code, r.Reason, r.Instance, len(r.MaybeUnlogged))
	case r.Attempts < 0 || len(r.MaybeUnlogged) > r.Attempts:
		return fmt.Sprintf("%d attempts may be unlogged, of %d", len(r.MaybeUnlogged), r.Attempts)
	}
	return ""
}

// validate returns an error that wraps ErrInvalid if the record holds impossible values.
func (l AccessLogEntry) validate() error {
	if l.ID == "" {
		return fmt.Errorf("%w: no id", ErrInvalid)
	}
	if _, err := l.Attempts(); err != nil {
		return err
	}
	if l.End <= 0 || l.Duration < 0 {
		return fmt.Errorf("%w: end is %v, duration %v", ErrInvalid, l.End, l.Duration)
	}
	return nil
}

// validate returns an error that wraps ErrInvalid if the record holds impossible values.
func (e Event) validate() error {
	if e.Time.IsZero() || e.Wait < 0 {
		return fmt.Errorf("%w: time %s, wait_us %d", ErrInvalid, stamp(e.Time), e.Wait)
	}
	return nil
}

// validate returns an error that wraps ErrInvalid if the record holds impossible values.
func (c Call) validate() error {
	switch {
	case c.ID == "" || c.Instance == "" || c.Event != Arrival && c.Event != Completion && c.Event != OutgoingCall || c.Protocol != scenario.HTTP && c.Protocol != scenario.GRPC:
		return fmt.Errorf("%w: id %q, instance %q, event %q, protocol %q", ErrInvalid, c.ID, c.Instance, c.Event, c.Protocol)
	case c.Time.IsZero() || c.PID <= 0 || c.Start == "" || c.Call == 0:
		return fmt.Errorf("%w: time %s, pid %d, start %q, call %d", ErrInvalid, stamp(c.Time), c.PID, c.Start, c.Call)
	case c.Duration < 0:
		return fmt.Errorf("%w: duration_us is %d", ErrInvalid, c.Duration)
	case c.Event == Completion && c.Code == "":
		return fmt.Errorf("%w: a completion without a code", ErrInvalid)
	}
	return nil
}

// validate returns an error that wraps ErrInvalid if the record holds impossible values.
func (o Outgoing) validate() error {
	if err := o.Call.validate(); err != nil {
		return err
	}
	c := o.Client(0)
	known := slices.Contains(codeNames, o.Code)
	if o.Protocol == scenario.HTTP {
		known = c.Code == "" && c.Reason != "" || len(c.Code) == 3 && c.Code >= "100" && c.Code <= "599"
	}
	switch {
	case o.Duration > longest:
		return fmt.Errorf("%w: duration_us is %d", ErrInvalid, o.Duration)
	case o.Attempts < 0 || len(c.MaybeUnlogged) > o.Attempts:
		return fmt.Errorf("%w: %d attempts may be unlogged, of %d", ErrInvalid, len(c.MaybeUnlogged), o.Attempts)
	case !known, c.Attempts == 0 && c.Outcome == OK, c.Reason != "" && (c.Reason == Overdue || c.Code == codes.OK.String()):
		return fmt.Errorf("%w: an outgoing call with code %q, reason %q and %d attempts", ErrInvalid, o.Code, o.Reason, o.Attempts)
	}
	return nil
}
