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

// A record is one JSON line of the records file. Each request to either listener writes two, at arrival and completion,
// distinguished by event and matched by call.
type record struct {
	Version  int       `json:"v"`        // recordVersion
	Event    string    `json:"event"`    // arrival or completion
	Time     time.Time `json:"time"`     // wall clock
	Instance string    `json:"instance"` //
	PID      int       `json:"pid"`      //
	Start    string    `json:"start"`    // START_ID: distinguishes the starts of one instance, also in containers, where every pid is 1
	Call     uint64    `json:"call"`     // number of the arrival in this start, from 1
	ID       string    `json:"id"`       // request ID
	Protocol protocol  `json:"protocol"` // http or grpc
	Method   string    `json:"method"`   // "GET /" or "/whoami.v1.WhoAmIService/WhoAmI"
	Attempts string    `json:"previous_attempts,omitempty"`
	// Only at completion.
	Code     string `json:"code,omitempty"`        // name of the gRPC code, like OK; over HTTP the number of the status
	Duration int64  `json:"duration_us,omitempty"` // microseconds since arrival
}

// recordVersion is raised when a field changes its meaning, not for a new one.
const recordVersion = 2

// recorder writes records; a nil recorder writes none. It may be used concurrently.
//
// Each line is one unbuffered write to a file opened for appending, so that SIGKILL loses no line and several processes
// can share a file.
type recorder struct {
	file     *os.File
	instance string
	start    string
	log      *slog.Logger
	calls    atomic.Uint64
	failed   atomic.Bool // a failure has been logged
	torn     atomic.Bool // the file ends with an incomplete line
}

// recordTimeout bounds a write to a FIFO whose reader does not read: losing a record is better than delaying a call.
const recordTimeout = time.Second

// openRecorder opens the file at path for appending. It returns a nil recorder if path is empty.
func openRecorder(path, instance, start string, log *slog.Logger) (*recorder, error) {
	if path == "" {
		return nil, nil
	}
	// O_NONBLOCK: otherwise opening a FIFO waits for a reader, possibly forever.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY|syscall.O_NONBLOCK, 0o644)
	if errors.Is(err, syscall.ENXIO) {
		return nil, fmt.Errorf("RECORDS=%s: no process reads this FIFO: start its reader first, or name a file", path)
	}
	if err != nil {
		return nil, fmt.Errorf("RECORDS=%s: %w: want a file that can be appended to", path, err)
	}
	return &recorder{file: f, instance: instance, start: start, log: log}, nil
}

// arrive records the arrival of c, and returns the record to pass to complete.
func (r *recorder) arrive(c *call, attempts string) *record {
	if r == nil {
		return nil
	}
	line := &record{
		Version: recordVersion, Event: "arrival", Time: c.began, Instance: r.instance, PID: os.Getpid(), Start: r.start,
		Call: r.calls.Add(1), ID: c.id, Protocol: c.protocol, Method: c.method, Attempts: attempts,
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

// write logs only the first failure: a full disk must neither fill the log nor fail calls.
func (r *recorder) write(line *record) {
	b, err := json.Marshal(line)
	if err == nil {
		err = r.append(append(b, '\n'))
	}
	if err != nil && !r.failed.Swap(true) {
		r.log.Error("records are incomplete from here on", "error", err)
	}
}

// append writes one line. After a write that failed midway it first ends the torn line with a newline.
func (r *recorder) append(line []byte) error {
	torn := r.torn.Swap(false)
	if torn {
		line = append([]byte{'\n'}, line...)
	}
	_ = r.file.SetWriteDeadline(time.Now().Add(recordTimeout)) // Fails on regular files, which need no deadline.
	n, err := r.file.Write(line)
	if onlyNewline := torn && n == 1; n < len(line) && !onlyNewline {
		r.torn.Store(torn || n > 0)
	}
	return err
}

// close closes the file. Calls that are still running lose their completion record.
func (r *recorder) close() error {
	if r == nil {
		return nil
	}
	return r.file.Close()
}
