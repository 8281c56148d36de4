package session

import (
	"sync"

	"trivet/lab/feed"
	"trivet/lab/record"
)

// A Shared is a feed.LiveSource for several goroutines: the one that shows it, and a Session.
type Shared struct {
	mu   sync.Mutex
	live *feed.LiveSource
}

// Share makes a LiveSource safe for concurrent use. Nothing else may use it then.
func Share(l *feed.LiveSource) *Shared { return &Shared{live: l} }

// Advance reads what has been written since.
func (s *Shared) Advance() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live.Advance()
}

// Changed is what changed since the last call.
func (s *Shared) Changed() []feed.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live.Changed()
}

// Snapshot is everything that a reader needs.
func (s *Shared) Snapshot() []feed.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live.Snapshot()
}

// Close closes the source.
func (s *Shared) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live.Close()
}

// AddLoad adds a load directory.
func (s *Shared) AddLoad(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live.AddLoad(dir)
}

// EndLoad is for a load that plans nothing more.
func (s *Shared) EndLoad(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live.EndLoad(dir)
}

// Event adds what happened to the fleet.
func (s *Shared) Event(e record.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live.Event(e)
}

// Say adds a row in words.
func (s *Shared) Say(e feed.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live.Say(e)
}
