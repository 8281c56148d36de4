package trace

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"trivet/lab/record"
)

// A Summary is what is known of a request without its trace.
type Summary struct {
	Request  string        `json:"request"`
	Method   string        `json:"method"`
	Begin    time.Time     `json:"begin"`
	Took     time.Duration `json:"took"` // nanoseconds, from the client's start to its end; without client records nginx's duration
	Note     string        `json:"note"` // how it ended
	Failed   bool          `json:"failed"`
	Sends    int           `json:"client_attempts"` // without client records: its access-log entries
	Attempts int           `json:"nginx_attempts"`  // those of its hops included
	Entries  int           `json:"nginx_entries"`   // those of its hops included
}

// Retried reports whether the client sent the request more than once, or nginx, or an instance one of its hops.
func (s Summary) Retried() bool { return s.Sends > 1 || s.Attempts > s.Entries }

// surveyed is how much of the access log of a trivet up is surveyed: its end, in bytes, some 70,000 requests.
const surveyed = 64 << 20

// Survey returns a summary of each request that was sent, by their begin. Of a trivet up these are the newest.
func (s *Source) Survey() ([]Summary, error) {
	all := make(map[string]*Summary)
	var err error
	if s.manifest != nil {
		err = s.surveyClient(all)
	} else {
		err = s.surveyNginx(all)
	}
	found := make([]Summary, 0, len(all))
	for _, summary := range all {
		found = append(found, *summary)
	}
	slices.SortFunc(found, func(x, y Summary) int { return cmp.Or(x.Begin.Compare(y.Begin), cmp.Compare(x.Request, y.Request)) })
	return found, err
}

// surveyClient is the survey of a trial. Of the access log it decodes nothing.
func (s *Source) surveyClient(all map[string]*Summary) error {
	err := lines(s.file(record.ClientFile), 0, func(id string, line []byte) {
		var c record.Client
		if json.Unmarshal(line, &c) != nil || c.V != record.ClientVersion || !c.Sent() {
			return
		}
		all[id] = &Summary{
			Request: id, Method: c.Method, Begin: c.Planned.Add(time.Duration(c.Late) * time.Microsecond), Took: time.Duration(c.Service) * time.Microsecond,
			Note: cmp.Or(c.Reason, c.Code), Failed: c.Outcome != record.OK, Sends: c.Attempts,
		}
	})
	known := func(id string) bool { return all[id] != nil }
	return errors.Join(err, lines(s.file(record.AccessLogFile), 0, func(id string, line []byte) {
		if root, ok := ancestor(id, known); ok {
			all[root].Attempts += attemptsIn(line)
			all[root].Entries++
		}
	}))
}

// attemptsIn is how many attempts a line of the access log has, at least 1.
func attemptsIn(line []byte) int {
	_, rest, _ := bytes.Cut(line, []byte(`"upstream_addr":"`))
	list, _, _ := bytes.Cut(rest, []byte(`"`))
	return 1 + bytes.Count(list, []byte(", ")) + bytes.Count(list, []byte(" : "))
}

// surveyNginx is the survey of a trivet up, from the access log.
func (s *Source) surveyNginx(all map[string]*Summary) error {
	var from int64
	if info, err := os.Stat(s.file(record.AccessLogFile)); err == nil {
		from = max(0, info.Size()-surveyed)
	}
	var hops []Summary // A hop may be logged before the request that made it.
	err := lines(s.file(record.AccessLogFile), from, func(id string, line []byte) {
		var e entry
		if json.Unmarshal(line, &e) != nil || e.V != record.AccessLogVersion || strings.HasPrefix(id, record.ProbeIDPrefix) {
			return
		}
		next := Summary{
			Request: id, Method: strings.TrimSpace(e.Method + " " + path(e.URI)), Begin: e.Begin(), Took: e.Took(), Note: e.Status,
			Failed: len(e.Status) != 3 || e.Status >= "400", Sends: 1, Attempts: attemptsIn(line), Entries: 1,
		}
		if code := grpcCode(cmp.Or(e.HeaderStatus, e.Trailer)); code != "" {
			next.Note, next.Failed = code, code != codes.OK.String()
		}
		if parentOf(id) != "" {
			hops = append(hops, next)
			return
		}
		if before := all[id]; before != nil { // The client sent it again.
			next.Begin, next.Took = before.Begin, e.When().Sub(before.Begin)
			next.Sends, next.Attempts, next.Entries = before.Sends+1, before.Attempts+next.Attempts, before.Entries+1
		}
		all[id] = &next
	})
	known := func(id string) bool { return all[id] != nil }
	for _, h := range hops {
		if root, ok := ancestor(h.Request, known); ok {
			all[root].Attempts += h.Attempts
			all[root].Entries++
		} else {
			all[h.Request] = &h // An ID of the client's that looks like a hop's.
		}
	}
	return err
}

// How many traces of a trial [Choose] takes.
const (
	mostTroubled = 700
	mostSlow     = 150
	mostOthers   = 150
)

// Choose takes the requests of a trial whose traces are kept, at most 1000 of any number: those that failed or were retried, 700 evenly
// spread if there are more; of the others the 150 slowest, and 150 evenly spread over the trial.
func Choose(all []Summary) (ids []string) {
	var troubled, others []Summary
	for _, s := range all {
		if s.Failed || s.Retried() {
			troubled = append(troubled, s)
		} else {
			others = append(others, s)
		}
	}
	slow := slices.Clone(others)
	slices.SortStableFunc(slow, func(x, y Summary) int { return cmp.Compare(y.Took, x.Took) })
	slow = slow[:min(len(slow), mostSlow)]
	isSlow := make(map[string]bool)
	for _, s := range slow {
		isSlow[s.Request] = true
	}
	others = slices.DeleteFunc(others, func(s Summary) bool { return isSlow[s.Request] })
	chosen := slices.Concat(Spread(troubled, mostTroubled), slow, Spread(others, mostOthers))
	slices.SortFunc(chosen, func(x, y Summary) int { return cmp.Or(x.Begin.Compare(y.Begin), cmp.Compare(x.Request, y.Request)) })
	for _, s := range chosen {
		ids = append(ids, s.Request)
	}
	return ids
}

// Spread takes at most n, at equal distances.
func Spread[T any](all []T, n int) []T {
	if len(all) <= n {
		return all
	}
	some := make([]T, n)
	for i := range some {
		some[i] = all[i*len(all)/n]
	}
	return some
}

// Chosen are the traces that Choose takes, by their begin.
func (s *Source) Chosen() ([]*Trace, error) {
	all, err := s.Survey()
	if err != nil {
		return nil, err
	}
	return s.Requests(Choose(all))
}
