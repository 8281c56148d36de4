package record

import (
	"fmt"
	"time"
)

// SampleVersion is in every Sample.
const SampleVersion = 1

// A Sample is what the processes of a trial did in one window of time, about 100 ms: a line of SamplesFile. Each window begins where the
// one before it ended.
type Sample struct {
	V       int       `json:"v"`            // SampleVersion
	Time    time.Time `json:"time"`         // the end of the window
	Window  int64     `json:"window_us"`    // its length, in microseconds
	Outside float64   `json:"outside_cpus"` // how many CPUs other programs used on average, or a hypervisor took
	// Processes are those that ran in the window: scenario.Nginx, its workers, instances, scenario.Generator and scenario.Lab.
	Processes []ProcessSample `json:"processes"`
}

// A ProcessSample is what one process did in a window, all its threads together.
type ProcessSample struct {
	Process string `json:"process"`
	PID     int    `json:"pid"`
	Run     int64  `json:"run_us"`            // time on a CPU, in microseconds
	Delay   int64  `json:"delay_us"`          // time for which it could have run and had no CPU, in microseconds; from /proc/PID/task/TID/schedstat
	Stopped bool   `json:"stopped,omitempty"` // whether it was stopped (SIGSTOP) when the window ended
}

// validate returns an error that wraps ErrInvalid if a value is impossible.
func (s Sample) validate() error {
	if s.Window <= 0 || s.Window > longest || s.Outside < 0 {
		return fmt.Errorf("%w: window_us is %d, outside_cpus %g", ErrInvalid, s.Window, s.Outside)
	}
	for _, p := range s.Processes {
		if p.Process == "" || p.Run < 0 || p.Delay < 0 {
			return fmt.Errorf("%w: process %q has run_us %d, delay_us %d", ErrInvalid, p.Process, p.Run, p.Delay)
		}
	}
	return nil
}
