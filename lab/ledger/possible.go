package ledger

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"trivet/lab/load"
)

// A clientLine is a client's record as it stands in the file: what is missing there is told apart from a zero.
type clientLine struct {
	load.Record
	Late    *int64 `json:"late_us"`
	Latency *int64 `json:"latency_us"`
	Service *int64 `json:"service_us"`
}

func parseClient(text []byte) (load.Record, error) {
	var l clientLine
	if err := json.Unmarshal(text, &l); err != nil || l.V != load.RecordVersion {
		return l.Record, err
	}
	for _, field := range []struct {
		name string
		from *int64
		to   *int64
	}{{"late_us", l.Late, &l.Record.Late}, {"latency_us", l.Latency, &l.Record.Latency}, {"service_us", l.Service, &l.Record.Service}} {
		switch {
		case field.from == nil:
			return l.Record, fmt.Errorf("%w: it has no %s", errNoRecord, field.name)
		case *field.from < 0:
			return l.Record, fmt.Errorf("%w: %s is %d", errNoRecord, field.name, *field.from)
		}
		*field.to = *field.from
	}
	return l.Record, nil
}

const (
	// rounding is by how many microseconds the sum of two times may differ from the whole, each cut to microseconds.
	rounding = 2
	// early is how long before its time a deadline may seem to pass.
	early = time.Millisecond
)

// impossible says what in a client's record cannot be, by itself and by the scene.
func (s Scene) impossible(r load.Record) error {
	for _, fault := range []string{s.times(r), s.place(r), outcome(r)} {
		if fault != "" {
			return fmt.Errorf("%w: %s", errNoRecord, fault)
		}
	}
	return nil
}

func (s Scene) times(r load.Record) string {
	at := r.Planned.Sub(s.Begin)
	switch {
	case at < 0 || at > s.end():
		return fmt.Sprintf("planned %s, and the run lasted from %s to %s", stamp(r.Planned), stamp(s.Begin), stamp(s.Begin.Add(s.end())))
	case r.Outcome == load.NotStarted && (r.Latency != 0 || r.Service != 0):
		return fmt.Sprintf("it was not started, and took %d µs", max(r.Latency, r.Service))
	case r.Outcome != load.NotStarted && (r.Latency < r.Late+r.Service-rounding || r.Latency > r.Late+r.Service+rounding):
		return fmt.Sprintf("latency_us %d is not late_us %d and service_us %d", r.Latency, r.Late, r.Service)
	}
	return ""
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// place compares a record with its id, and with its load.
func (s Scene) place(r load.Record) string {
	parts := strings.Split(r.ID, ".")
	if len(parts) != 4 {
		return "" // It is foreign, and told as such.
	}
	if index := fmt.Sprint(r.Stream); parts[1] != r.Protocol || parts[2] != index {
		return fmt.Sprintf("protocol %s and stream %s, and the id is %s", r.Protocol, index, r.ID)
	}
	if r.Outcome != load.AtClient || r.Reason != load.Deadline || r.Stream < 0 || r.Stream >= len(s.Loads) {
		return ""
	}
	if deadline, took := s.Loads[r.Stream].Deadline, time.Duration(r.Service)*time.Microsecond; took < deadline-early {
		return fmt.Sprintf("the deadline of %v passed after %v", deadline, took)
	}
	return ""
}

// outcome compares the outcome with what the client got.
func outcome(r load.Record) string {
	well := r.Code == codes.OK.String()
	if r.Protocol == load.HTTP {
		well = len(r.Code) == 3 && r.Code[0] == '2'
	}
	named := r.Instance != ""
	impossible := false
	switch r.Outcome {
	case load.OK:
		impossible = !well
	case load.ByInstance:
		impossible = well || r.Code == "" || !named
	case load.ByNginx:
		impossible = well || r.Code == "" || named
	case load.AtClient:
		impossible = r.Reason == "" || well && r.Protocol == load.GRPC || r.Code == "" && r.Attempts > 0 && len(r.Own) == 0
	case load.NotStarted:
		impossible = r.Reason == "" || r.Code != "" || named
	}
	switch {
	case impossible:
		return fmt.Sprintf("outcome %q, and code %q, reason %q, instance %q, %d reasons of its own", r.Outcome, r.Code, r.Reason, r.Instance, len(r.Own))
	case r.Attempts < 0 || len(r.Own) > r.Attempts:
		return fmt.Sprintf("%d reasons of the client's own for %d attempts", len(r.Own), r.Attempts)
	}
	return ""
}

// impossible says what in an instance's record cannot be.
func (c Call) impossible() error {
	switch {
	case c.Time.IsZero() || c.PID <= 0 || c.Call == 0:
		return fmt.Errorf("%w: time %s, pid %d, call %d", errNoRecord, stamp(c.Time), c.PID, c.Call)
	case c.Duration < 0:
		return fmt.Errorf("%w: duration_us is %d", errNoRecord, c.Duration)
	case c.Event == Completion && c.Code == "":
		return fmt.Errorf("%w: a completion without a code", errNoRecord)
	}
	return nil
}
