package feed

import (
	"fmt"
	"strings"
	"time"

	"trivet/internal/words"
	"trivet/lab/scenario"
)

// A clock puts a time since the begin of a trial into words.
type clock func(time.Duration) string

// sinceBegin is of a trial: "+6.2 s".
func sinceBegin(at time.Duration) string { return fmt.Sprintf("%+.1f s", at.Seconds()) }

// wallClock is of a live stack: "14:03:07".
func wallClock(begin time.Time, zone *time.Location) clock {
	return func(at time.Duration) string { return begin.Add(at).In(zone).Format("15:04:05") }
}

// actionWords are an action's while it goes on, and when it is done.
var actionWords = map[string][2]string{
	scenario.Kill:    {"killing", "killed"},
	scenario.Drain:   {"draining", "drained"},
	scenario.Pause:   {"pausing", "paused"},
	scenario.Resume:  {"resuming", "resumed"},
	scenario.Start:   {"starting", "started"},
	scenario.Restart: {"restarting", "restarted"},
	scenario.Reload:  {"reloading", "reloaded"},
	scenario.RollOut: {"rolling out", "rolled out"},
	scenario.Scale:   {"scaling", "scaled"},
}

// actionText is "killing whoami-2", and then "whoami-2 killed".
func actionText(action, process string, done bool) string {
	of, known := actionWords[action]
	switch name := strings.ReplaceAll(action, "_", " "); {
	case known && done:
		return process + " " + of[1]
	case known:
		return of[0] + " " + process
	case done:
		return strings.TrimSpace(name + " " + process + ": done")
	default:
		return strings.TrimSpace(name + " " + process)
	}
}

// failedWords are "2 HTTP requests, 3 gRPC calls and 1 stream failed".
func failedWords(failed [flows]int) string {
	var all []string
	for i, noun := range []string{"HTTP request", "gRPC call", "stream"} {
		if failed[i] > 0 {
			all = append(all, words.Count(failed[i], noun))
		}
	}
	if last := len(all) - 1; last > 0 {
		all = []string{strings.Join(all[:last], ", "), all[last]}
	}
	return strings.Join(all, " and ") + " failed"
}
