package feed

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trivet/lab/labtest"
	"trivet/lab/record"
)

// storiesIn are the IDs of the requests of which there are stories, of a trial.
func storiesIn(t *testing.T, all []Message, trial int) (ids []string) {
	t.Helper()
	for _, m := range all {
		if m.Story == nil {
			continue
		}
		var s struct {
			Trial int
			ID    string
			Trace struct{ Spans []any }
		}
		if err := json.Unmarshal(m.Story, &s); err != nil || len(s.Trace.Spans) == 0 {
			t.Errorf("%s: %v", m.Story, err)
		}
		if s.Trial == trial {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

func TestFileHasTheStoriesThatFit(t *testing.T) {
	t.Parallel()
	made := begin(t, []string{"plain", "other"})
	var failed []string
	for _, variant := range []string{"plain", "other"} {
		dir, m := made.trial(0, variant)
		for n := range 6 {
			all := labtest.Ordinary(m, n)
			if client := all[3].(record.Client); n%2 == 1 {
				client.Outcome, client.Code, client.Instance = record.NginxError, "502", ""
				all[3] = client
				failed = append(failed, client.ID)
			}
			made.write(dir, all...)
		}
		made.write(dir, event(record.Ended, m))
	}
	if err := made.run.Close(); err != nil {
		t.Fatal(err)
	}
	all, err := OfFile(made.run.Dir, StoryBudget)
	if err != nil {
		t.Fatal(err)
	}
	var stories []Message // of failed requests
	for _, m := range all {
		if m.Story != nil && len(stories) < len(failed) {
			stories = append(stories, m)
		}
	}
	tight := compressed(stories) - 1
	for _, c := range []struct{ budget, failed, others int }{{StoryBudget, 6, 6}, {tight, 5, 0}, {0, 0, 0}} {
		all, err := OfFile(made.run.Dir, c.budget)
		if err != nil {
			t.Fatal(err)
		}
		plain, other := storiesIn(t, all, 0), storiesIn(t, all, 1)
		has := slices.Concat(plain, other)
		others := slices.DeleteFunc(slices.Clone(has), func(id string) bool { return slices.Contains(failed, id) })
		omitted := 0
		for _, m := range all {
			if m.Omitted != nil {
				omitted = m.Omitted.Stories
			}
		}
		got := len(has) - len(others)
		if got > c.failed || c.failed > 0 && got < c.failed-1 || len(others) != c.others || got+omitted != len(failed) {
			t.Errorf("with %d bytes: %d stories of failed requests, %d omitted, %d of others; want %d, %d", c.budget, got, omitted, len(others), c.failed, c.others)
		}
		if c.failed > 0 && (len(plain) == 0 || len(other) == 0) {
			t.Errorf("with %d bytes: stories of only one trial: %q, %q", c.budget, plain, other)
		}
	}
}

func TestFittingStaysWithinItsBudget(t *testing.T) {
	t.Parallel()
	var all []Message
	for n := range 300 {
		text, err := json.Marshal(map[string]any{"trial": 0, "id": n, "text": [3]int{n * n, n * 7919, n * 104729}})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, Message{Story: text})
	}
	total := compressed(all)
	for _, budget := range []int{0, 10, total / 100, total / 2, total - 1, total} {
		some, size := fitting(all, budget)
		if size > budget || len(some) > 0 && size != compressed(some) || budget >= total/2 && len(some) < 100 || budget == total && len(some) != len(all) {
			t.Errorf("of %d bytes %d may be used: %d of %d messages, %d bytes", total, budget, len(some), len(all), size)
		}
	}
	if some, size := fitting(nil, 100); len(some) > 0 || size > 0 {
		t.Errorf("nothing takes %d bytes", size)
	}
}

// What trace cannot read has no stories, and all else is there.
func TestFileIsWrittenWithoutWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	made := begin(t, []string{"plain", "other"})
	made.whole(0, "plain", record.Ended)
	made.whole(0, "other", record.Ended)
	log := filepath.Join(made.index.Experiments[0].Trial(made.run.Dir, "plain", 1), record.AccessLogFile)
	if err := errors.Join(os.Remove(log), os.Mkdir(log, 0o755)); err != nil {
		t.Fatal(err)
	}
	all, err := OfFile(made.run.Dir, StoryBudget)
	if err != nil {
		t.Fatal(err)
	}
	trials := trialsIn(all)
	if len(trials) != 2 || !strings.Contains(trials[0].Problem, log) || trials[1].Problem != "" {
		t.Errorf("got %+v", trials)
	}
	if plain, other := storiesIn(t, all, 0), storiesIn(t, all, 1); len(plain) > 0 || len(other) != 6 {
		t.Errorf("stories of %q and %q", plain, other)
	}
}
