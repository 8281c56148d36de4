package whoami

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// A record is one line of the records file, JSON. Each request of either door writes two: its arrival and its
// completion, told apart by event and tied together by call.
type record struct {
	Version  int       `json:"v"`        // 1
	Event    string    `json:"event"`    // arrival or completion
	Time     time.Time `json:"time"`     // wall clock
	Instance string    `json:"instance"` //
	PID      int       `json:"pid"`      // tells the lives of one instance apart
	Call     uint64    `json:"call"`     // counts this life's arrivals from 1
	ID       string    `json:"id"`       // request id
	Protocol protocol  `json:"protocol"` // http or grpc
	Method   string    `json:"method"`   // "GET /" or "/whoami.v1.WhoAmIService/WhoAmI"
	Attempts string    `json:"previous_attempts,omitempty"`
	// Only at completion.
	Code     string `json:"code,omitempty"`        // gRPC code by name, like OK; over HTTP the status by number
	Duration int64  `json:"duration_us,omitempty"` // microseconds since arrival
}

// recorder writes records. A nil recorder writes none.
//
// Each line is one unbuffered write to a file opened for appending, so that SIGKILL loses none and several processes
// may share a file.
type recorder struct {
	file     *os.File
	instance string
	log      *slog.Logger
	calls    atomic.Uint64
	failed   atomic.Bool
}

// openRecorder appends to the file at path; an empty path means no recorder.
func openRecorder(path, instance string, log *slog.Logger) (*recorder, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("RECORDS=%s: %w: want a file that can be appended to", path, err)
	}
	return &recorder{file: f, instance: instance, log: log}, nil
}

// arrive records an arrival, and gives what records the completion.
func (r *recorder) arrive(c call, method, attempts string) func(code string) {
	if r == nil {
		return func(string) {}
	}
	began := time.Now()
	line := record{
		Version: 1, Event: "arrival", Time: began, Instance: r.instance, PID: os.Getpid(), Call: r.calls.Add(1),
		ID: c.id, Protocol: c.protocol, Method: method, Attempts: attempts,
	}
	r.write(line)
	return func(code string) {
		now := time.Now()
		line.Event, line.Time, line.Code, line.Duration = "completion", now, code, now.Sub(began).Microseconds()
		r.write(line)
	}
}

// write logs the first failure alone: a full disk must not fill the log as well, nor fail the calls.
func (r *recorder) write(line record) {
	b, err := json.Marshal(line)
	if err == nil {
		_, err = r.file.Write(append(b, '\n'))
	}
	if err != nil && !r.failed.Swap(true) {
		r.log.Error("records are incomplete from here on", "error", err)
	}
}

// close ends the records. Calls that still run lose theirs.
func (r *recorder) close() error {
	if r == nil {
		return nil
	}
	return r.file.Close()
}
