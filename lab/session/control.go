package session

import (
	"slices"

	"trivet/lab/scenario"
)

// Limits of a load.
const (
	MinRate     = 0.01 // requests per second, of each protocol: with fewer, an hour may have none
	MaxRate     = 5000 //
	MaxStreams  = 500
	MinDeadline = 10     // milliseconds
	MaxDeadline = 60_000 //
	// DefaultDeadline is for a load that names none.
	DefaultDeadline = 2000
)

// Control is what can be done to the fleet, and what is set: the control message of a feed.
type Control struct {
	Load       LoadState           `json:"load"`
	Nginx      NginxState          `json:"nginx"`
	Actions    map[string][]string `json:"actions"` // what makes sense now, by process; none while one is carried out
	History    int                 `json:"history"` // how much of what was done a saved experiment has: loads, changes and actions
	Reconciled Reconciled          `json:"reconciled"`
}

// LoadState is the load.
type LoadState struct {
	Running    bool       `json:"running"`
	HTTP       float64    `json:"http"`        // requests per second
	GRPC       float64    `json:"grpc"`        //
	Streams    int        `json:"streams"`     // held open at once
	DeadlineMS int        `json:"deadline_ms"` // of a request
	Retry      bool       `json:"retry"`
	Since      int64      `json:"since"`           // milliseconds from the feed's begin to the load's; 0 if none runs
	Lateness   int64      `json:"lateness_p99_us"` // 99th percentile of the newest requests, in microseconds: how late the generator sent, or stalled
	Problem    string     `json:"problem"`         // why the last load ended otherwise than asked; "": it did not
	Limits     LoadLimits `json:"limits"`
}

// LoadLimits are what a load can be.
type LoadLimits struct {
	Rate     float64 `json:"rate"`
	Streams  int     `json:"streams"`
	Deadline [2]int  `json:"deadline_ms"`
}

// NginxState is what is set of nginx's configuration.
type NginxState struct {
	Settings []Setting `json:"settings"`
	Refused  string    `json:"refused"` // what nginx, or the editor, said of the last change; "": it was taken
}

// Reconciled are the loads that have ended, and were reconciled with all records.
type Reconciled struct {
	Loads         int    `json:"loads"`
	Requests      int    `json:"requests"`
	OK            int    `json:"ok"`
	Failed        int    `json:"failed"`
	Discrepancies int    `json:"discrepancies"`
	Problem       string `json:"problem"` // the first discrepancy, or why the last load could not be reconciled
}

// Control is what can be done now, and what is set.
func (s *Session) Control() Control {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := Control{
		Load:  LoadState{DeadlineMS: DefaultDeadline, Problem: s.problem, Limits: LoadLimits{MaxRate, MaxStreams, [2]int{MinDeadline, MaxDeadline}}},
		Nginx: NginxState{slices.Clone(s.settings), s.refused}, Actions: make(map[string][]string), History: s.history.len(), Reconciled: s.reconciled,
	}
	if l := s.wanted; l != (Load{}) {
		c.Load.HTTP, c.Load.GRPC, c.Load.Streams, c.Load.DeadlineMS, c.Load.Retry = l.HTTP, l.GRPC, l.Streams, l.DeadlineMS, l.Retry
	}
	if s.current != nil {
		c.Load.Running, c.Load.Since, c.Load.Lateness = true, s.current.manifest.Begin.Sub(s.options.Begin).Milliseconds(), s.current.lateness
	}
	for _, name := range append([]string{scenario.Nginx}, s.options.Fleet.Names()...) {
		c.Actions[name] = s.possible(name)
	}
	return c
}
