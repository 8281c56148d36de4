package instance

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// A record holds what both lines of a request have in the records file. Each request to either listener writes two lines of
// JSON, at arrival and completion, matched by call. A line has further fields: before these v (recordVersion), event (arrival
// or completion) and time (wall clock), and after them, only at completion, code (the name of the gRPC code, or the number of
// the HTTP status) and duration_us (microseconds since arrival). A call that the service makes for a request has a third line, outgoing.
type record struct {
	Instance string   `json:"instance"` //
	PID      int      `json:"pid"`      //
	Start    string   `json:"start"`    // START_ID: distinguishes the starts of one instance, also in containers, where every pid is 1
	Call     uint64   `json:"call"`     // number of the arrival in this start, from 1
	ID       string   `json:"id"`       // request ID
	Protocol Protocol `json:"protocol"` // http or grpc
	Method   string   `json:"method"`   // "GET /" or "/whoami.v1.WhoAmIService/WhoAmI"
	Attempts string   `json:"previous_attempts,omitempty"`
}

// An Outgoing is a call that a service made for the call of a context.
type Outgoing struct {
	ID       string   `json:"id"` // request ID
	Protocol Protocol `json:"protocol"`
	Method   string   `json:"method"`
	Code     string   `json:"code"`     // gRPC code by name, or HTTP status
	Attempts int      `json:"attempts"` // sends begun
	// MaybeUnlogged has a reason for each attempt that got no response, and Reason is why there was none at all, or not a whole one, in the
	// words of docs/records.md.
	MaybeUnlogged []string  `json:"maybe_unlogged,omitempty"`
	Reason        string    `json:"reason,omitempty"`
	Began         time.Time `json:"-"`
}

// Record records that o has ended, for the call of ctx. Without a records file, and outside a call, it does nothing.
func (o Outgoing) Record(ctx context.Context) {
	if c := callFrom(ctx); c != nil {
		c.records.outgoing(c, o)
	}
}

// recordVersion is raised when a field changes its meaning, not for a new one.
const recordVersion = 2

// recorder writes records; a nil recorder writes none. It may be used concurrently.
//
// Each line is written at once: an arrival before its handler runs, a completion before the end of its response. So SIGKILL
// loses no line of a response that a client has, and no handler runs without a record. Batches would lose some and gain
// nothing: docs/performance.md.
type recorder struct {
	file     *recordFile
	instance string
	start    string
	log      *slog.Logger
	calls    atomic.Uint64
	failed   atomic.Bool // a failure has been logged
}

// openRecorder returns a nil recorder if RECORDS is off.
func openRecorder(c Config, log *slog.Logger) (*recorder, error) {
	if c.Records == "" {
		return nil, nil
	}
	file, err := openRecordFile(c.Records, c.RawSyscalls)
	if err != nil {
		return nil, err
	}
	return &recorder{file: file, instance: c.Instance, start: c.StartID, log: log}, nil
}

// arrive records the arrival of c.
func (r *recorder) arrive(c *Call, attempts string) {
	if r == nil {
		return
	}
	c.number = r.calls.Add(1)
	c.record, _ = json.Marshal(record{ // It cannot fail: these are strings and numbers.
		Instance: r.instance, PID: os.Getpid(), Start: r.start, Call: c.number,
		ID: c.ID, Protocol: c.Protocol, Method: c.Method, Attempts: attempts,
	})
	r.write("arrival", c.Began, c.record, "")
}

// complete records the completion of c.
func (r *recorder) complete(c *Call, code string) {
	if r == nil {
		return
	}
	now := time.Now()
	r.write("completion", now, c.record, `,"code":"`+code+`","duration_us":`+strconv.FormatInt(now.Sub(c.Began).Microseconds(), 10))
}

// outgoing records the end of a call made for c.
func (r *recorder) outgoing(c *Call, o Outgoing) {
	if r == nil {
		return
	}
	now := time.Now()
	fields, _ := json.Marshal(struct {
		Instance string `json:"instance"`
		PID      int    `json:"pid"`
		Start    string `json:"start"`
		Call     uint64 `json:"call"`
		Outgoing
		Duration int64 `json:"duration_us"`
	}{r.instance, os.Getpid(), r.start, c.number, o, now.Sub(o.Began).Microseconds()})
	r.write("outgoing", now, fields, "")
}

// write writes a line with the fields of a record and those that end it. The record is encoded once for both lines, because
// encoding/json takes half as long as writing to the file.
func (r *recorder) write(event string, at time.Time, fields []byte, end string) {
	line := make([]byte, 0, len(fields)+len(end)+80) // 80 bytes hold version, event and time.
	line = append(line, `{"v":`...)
	line = strconv.AppendInt(line, recordVersion, 10)
	line = append(line, `,"event":"`...)
	line = append(line, event...)
	line = append(line, `","time":"`...)
	line = at.AppendFormat(line, time.RFC3339Nano)
	line = append(line, `",`...)
	line = append(line, fields[1:len(fields)-1]...) // Without the braces.
	line = append(line, end...)
	line = append(line, "}\n"...)
	if err := r.file.append(line); err != nil && !r.failed.Swap(true) {
		// Only the first: a full disk must neither fill the log nor fail calls.
		r.log.Error("records are incomplete from here on", "error", err)
	}
}

// close closes the file, but not standard output. Calls that are still running lose their completion record.
func (r *recorder) close() error {
	if r == nil {
		return nil
	}
	return r.file.close()
}
