package dashboard

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"trivet/lab/record"
	"trivet/lab/story"
	"trivet/lab/trace"
)

// Stories returns the directory with the records of a request of a trial, which has them also if there are others; "" if there is no such
// trial.
type Stories func(trial int, id string) string

// LiveStories are those of a trivet up with that run directory: the trial is 0. A request of a load has its records in the load's directory.
func LiveStories(dir string) Stories {
	return func(trial int, id string) string {
		if trial != 0 {
			return ""
		}
		loads, _ := os.ReadDir(filepath.Join(dir, record.LoadsDir)) // There may be none yet.
		for _, load := range loads {
			m, err := record.ReadManifest(filepath.Join(dir, record.LoadsDir, load.Name()))
			if err == nil && strings.HasPrefix(id, strconv.FormatUint(m.Scenario.Seed, 10)+".") {
				return filepath.Join(dir, record.LoadsDir, load.Name())
			}
		}
		return dir
	}
}

// story sends the story of a request.
func (s *Server) story(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	trial, id := query.Get("trial"), query.Get("id")
	n, err := strconv.Atoi(trial)
	var wrong []string
	if err != nil || n < 0 {
		wrong = append(wrong, fmt.Sprintf("trial is %q: want a number, 0 or more", trial))
	}
	if id == "" {
		wrong = append(wrong, "id is missing: want a request ID")
	}
	if len(wrong) > 0 {
		refuse(w, &Refusal{Code: http.StatusBadRequest, Text: strings.Join(wrong, "; ")})
		return
	}
	dir := ""
	if s.options.Stories != nil {
		dir = s.options.Stories(n, id)
	}
	if dir == "" {
		refuse(w, &Refusal{Code: http.StatusNotFound, Text: fmt.Sprintf("there is no trial %d", n)})
		return
	}
	patient(w)
	// One after the other: each reads all records of its trial.
	s.reading.Lock()
	defer s.reading.Unlock()
	text, err := storyOf(dir, id, !s.options.Live)
	switch {
	case err != nil:
		refuse(w, err)
	case text == nil:
		refuse(w, &Refusal{Code: http.StatusNotFound, Text: fmt.Sprintf("no record of request %q yet", id)})
	default:
		respond(w, http.StatusOK, text)
	}
}

// storyOf is the story of a request in a directory with records, as JSON; nil if there is no record of it. Its times count from the begin of
// the trial, or are times of day.
func storyOf(dir, id string, fromBegin bool) (json.RawMessage, error) {
	source, err := trace.Open(dir)
	if err != nil {
		return nil, err
	}
	t, err := source.Request(id)
	if err != nil || t == nil {
		return nil, err
	}
	o := story.Options{NoInstances: !source.HasInstances()}
	if m := source.Trial(); m != nil && fromBegin {
		o.Begin = m.Begin
	}
	return json.Marshal(story.Of(t, o))
}
