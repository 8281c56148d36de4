package whoami

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// A record is one line of the records file, JSON. Each request of either listener writes two, its arrival and its
// completion, distinguished by event and matched by call.
type record struct {
	Version  int       `json:"v"`        // 1
	Event    string    `json:"event"`    // arrival or completion
	Time     time.Time `json:"time"`     // wall clock
	Instance string    `json:"instance"` //
	PID      int       `json:"pid"`      // distinguishes the starts of one instance
	Call     uint64    `json:"call"`     // counts the arrivals of this process from 1
	ID       string    `json:"id"`       // request ID
	Protocol protocol  `json:"protocol"` // http or grpc
	Method   string    `json:"method"`   // "GET /" or "/whoami.v1.WhoAmIService/WhoAmI"
	Attempts string    `json:"previous_attempts,omitempty"`
	// Only at completion.
	Code     string `json:"code,omitempty"`        // gRPC code by name, like OK; over HTTP the status by number
	Duration int64  `json:"duration_us,omitempty"` // microseconds since arrival
}

// recorder writes records. A nil recorder writes none. It may be used concurrently.
//
// Each line is one unbuffered write to a file opened for appending, so that SIGKILL loses none and several processes
// may share a file.
type recorder struct {
	file     *os.File
	instance string
	log      *slog.Logger
	calls    atomic.Uint64
	failed   atomic.Bool // a failure was logged
	torn     atomic.Bool // the file ends within a line
}

// recordTimeout bounds a write to a FIFO whose reader does not read: a record is lost rather than a call delayed.
const recordTimeout = time.Second

// openRecorder appends to the file at path; an empty path is no recorder.
func openRecorder(path, instance string, log *slog.Logger) (*recorder, error) {
	if path == "" {
		return nil, nil
	}
	// O_NONBLOCK: opening a FIFO would wait for a reader, for ever.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY|syscall.O_NONBLOCK, 0o644)
	if errors.Is(err, syscall.ENXIO) {
		return nil, fmt.Errorf("RECORDS=%s: no process reads this FIFO: start its reader first, or name a file", path)
	}
	if err != nil {
		return nil, fmt.Errorf("RECORDS=%s: %w: want a file that can be appended to", path, err)
	}
	return &recorder{file: f, instance: instance, log: log}, nil
}

// arrive records the arrival of c, and returns what complete takes.
func (r *recorder) arrive(c *call, attempts string) *record {
	if r == nil {
		return nil
	}
	line := &record{
		Version: 1, Event: "arrival", Time: c.began, Instance: r.instance, PID: os.Getpid(), Call: r.calls.Add(1),
		ID: c.id, Protocol: c.protocol, Method: c.method, Attempts: attempts,
	}
	r.write(line)
	return line
}

// complete records the completion of the call that arrived as line.
func (r *recorder) complete(line *record, code string) {
	if r == nil || line == nil {
		return
	}
	now := time.Now()
	line.Event, line.Code, line.Duration, line.Time = "completion", code, now.Sub(line.Time).Microseconds(), now
	r.write(line)
}

// write logs only the first failure: a full disk must not fill the log as well, nor fail the calls.
func (r *recorder) write(line *record) {
	b, err := json.Marshal(line)
	if err == nil {
		err = r.append(append(b, '\n'))
	}
	if err != nil && !r.failed.Swap(true) {
		r.log.Error("records are incomplete from here on", "error", err)
	}
}

// append writes one line. After a write that failed midway the next line begins with a newline: it must not continue
// the torn one.
func (r *recorder) append(line []byte) error {
	torn := r.torn.Swap(false)
	if torn {
		line = append([]byte{'\n'}, line...)
	}
	_ = r.file.SetWriteDeadline(time.Now().Add(recordTimeout)) // A regular file has no deadline, and needs none.
	n, err := r.file.Write(line)
	if onlyNewline := torn && n == 1; n < len(line) && !onlyNewline {
		r.torn.Store(torn || n > 0)
	}
	return err
}

// close ends the records. Calls that still run lose theirs.
func (r *recorder) close() error {
	if r == nil {
		return nil
	}
	return r.file.Close()
}
