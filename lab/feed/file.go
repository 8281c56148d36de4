package feed

import (
	"compress/gzip"
	"encoding/json"
	"fmt"

	"trivet/internal/words"
	"trivet/lab/story"
	"trivet/lab/trace"
)

// StoryBudget is the room for stories in a file, in bytes when they are compressed: with it the file on a minute at 1,000 requests per
// second stays below 1 MB.
const StoryBudget = 400_000

// leastStory is less than a story takes when it is compressed, so that StoryBudget/leastStory candidates are enough.
const leastStory = 150

// OfFile is OfRun with the stories that a file has room for: those of all failed requests, if they fit, then those of others that
// trace.Choose takes, the retried and the slowest first of all. An Omitted says what did not fit.
func OfFile(dir string, budget int) ([]Message, error) {
	r, err := ofRun(dir)
	if err != nil {
		return nil, err
	}
	failed, others := r.candidates(budget / leastStory)
	failed, size := fitting(failed, budget)
	others, _ = fitting(others, budget-size)
	all := append(r.Snapshot(), failed...)
	if n := failures(all) - len(failed); n > 0 {
		all = append(all, Message{Omitted: &Omitted{n, fmt.Sprintf("The stories of %s are not in this file: trivet view %s", words.Count(n, "failed request"), r.dir)}})
	}
	return append(all, others...), nil
}

// candidates are the stories that a file may have: at most that many of failed requests, and of others.
func (r *RunSource) candidates(most int) (failed, others []Message) {
	type request struct {
		trial *runTrial
		id    string
	}
	var ids, otherIDs []request
	for _, t := range r.trials {
		isFailed := make(map[string]bool)
		for _, m := range t.messages {
			if m.Failures == nil {
				continue
			}
			for _, f := range m.Failures.Requests {
				isFailed[f.ID] = true
				ids = append(ids, request{t, f.ID})
			}
		}
		if t.source == nil {
			continue
		}
		chosen, _ := choose(t.dir) // Trial.Problem says what cannot be read; there are no stories of it.
		for _, id := range chosen {
			if !isFailed[id] {
				otherIDs = append(otherIDs, request{t, id})
			}
		}
	}
	wanted := make(map[*runTrial][]string)
	first := make(map[*runTrial]int) // of the IDs, so many are of failed requests
	for _, one := range trace.Spread(ids, most) {
		wanted[one.trial] = append(wanted[one.trial], one.id)
		first[one.trial]++
	}
	for _, one := range trace.Spread(otherIDs, most) {
		wanted[one.trial] = append(wanted[one.trial], one.id)
	}
	for _, t := range r.trials {
		of, _ := t.stories(wanted[t])
		for i, id := range wanted[t] {
			if m, ok := of[id]; ok && i < first[t] {
				failed = append(failed, m)
			} else if ok {
				others = append(others, m)
			}
		}
	}
	return failed, others
}

// choose are the IDs of the requests of a trial that trace.Choose takes.
func choose(dir string) ([]string, error) {
	source, err := trace.Open(dir)
	if err != nil {
		return nil, err
	}
	all, err := source.Survey()
	return trace.Choose(all), err
}

// stories are those of a trial's requests, by ID.
func (t *runTrial) stories(ids []string) (map[string]Message, error) {
	of := make(map[string]Message)
	if len(ids) == 0 {
		return of, nil
	}
	source, err := trace.Open(t.dir)
	if err != nil {
		return nil, err
	}
	traces, err := source.Requests(ids)
	if err != nil {
		return nil, err
	}
	for _, one := range traces {
		text, err := json.Marshal(struct {
			Trial int `json:"trial"`
			story.Story
		}{t.about.Trial, story.Of(one, story.Options{Begin: source.Trial().Begin, NoInstances: !source.HasInstances()})})
		if err != nil {
			return nil, err
		}
		of[one.Request] = Message{Story: text}
	}
	return of, nil
}

// fitting are so many of the messages, evenly spread, that they take at most a budget of bytes when compressed, and how many they take.
func fitting(all []Message, budget int) (some []Message, size int) {
	for some = all; len(some) > 0; some = trace.Spread(some, max(0, min(len(some)-1, len(some)*budget/size*95/100))) {
		if size = compressed(some); size <= budget {
			return some, size
		}
	}
	return nil, 0
}

// compressed is how many bytes messages take in a file.
func compressed(all []Message) int {
	var size written
	z := gzip.NewWriter(&size)
	encoder := json.NewEncoder(z)
	for _, m := range all {
		_ = encoder.Encode(m) // It writes to memory.
	}
	_ = z.Close()
	return int(size)
}

// written counts bytes.
type written int

func (w *written) Write(p []byte) (int, error) {
	*w += written(len(p))
	return len(p), nil
}

// failures is how many requests failed.
func failures(all []Message) (n int) {
	for _, m := range all {
		if m.Bins == nil {
			continue
		}
		for _, b := range m.Bins.Bins {
			for _, f := range b.Flows {
				n += f.InstanceErrors + f.NginxErrors + f.Incomplete
			}
		}
	}
	return n
}
