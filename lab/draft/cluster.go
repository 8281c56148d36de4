package draft

import (
	"slices"
	"time"

	"trivet/lab/scenario"
)

// A cluster is actions of which each begins while one before it goes on; most often it is one alone.
type cluster struct {
	from, to time.Duration
	margin   time.Duration // for which its phase goes on: an action may take longer the next time
	actions  []Action
}

// margins are how long a phase goes on after an action: a process takes a while to start and to end.
const (
	shortMargin = 500 * time.Millisecond
	longMargin  = 2 * time.Second
)

// signals take effect at once: until they end they only make sure of it.
var signals = []string{scenario.Kill, scenario.Pause, scenario.Resume}

// clustersOf are those of actions by time. Of two actions on one process the first ends when the second begins: one process can be done one
// thing to at a time. A signal during which anything else begins takes no time: the file reads better so, and is off by milliseconds.
func clustersOf(actions []Action) (all []cluster) {
	actions = slices.Clone(actions)
	for i := range actions {
		a := &actions[i]
		for _, later := range actions[i+1:] {
			if later.At < a.Until && slices.Contains(signals, a.Kind) {
				a.Until = a.At
			} else if later.Process == a.Process {
				a.Until = min(a.Until, later.At)
			}
		}
	}
	for _, a := range actions {
		if n := len(all) - 1; n < 0 || a.At >= all[n].to {
			all = append(all, cluster{from: a.At, to: a.At, margin: shortMargin})
		}
		c := &all[len(all)-1]
		c.to, c.actions = max(c.to, a.Until), append(c.actions, a)
		if slices.Contains([]string{scenario.Drain, scenario.Start, scenario.Restart, scenario.Reload}, a.Kind) {
			c.margin = longMargin
		}
	}
	return all
}

func (c *cluster) shift(by time.Duration) {
	c.from, c.to = c.from+by, c.to+by
	c.actions = slices.Clone(c.actions)
	for i := range c.actions {
		c.actions[i].At, c.actions[i].Until = c.actions[i].At+by, c.actions[i].Until+by
	}
}

// processes are those of the cluster in the order of their first actions, each with its own.
func (c cluster) processes() (all [][]Action) {
	for _, a := range c.actions {
		n := slices.IndexFunc(all, func(have []Action) bool { return have[0].Process == a.Process })
		if n < 0 {
			all, n = append(all, nil), len(all)
		}
		all[n] = append(all[n], a)
	}
	return all
}
