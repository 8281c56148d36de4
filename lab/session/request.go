package session

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"trivet/lab/feed"
	"trivet/lab/load"
	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/lab/trace"
)

// requestLeads are from the click to the request, in which a generator has to start and to connect: if it was a second too late, the next.
var requestLeads = []time.Duration{300 * time.Millisecond, 3 * time.Second, 20 * time.Second}

const (
	// requestDeadline is that of a single request, and its trace comes within traceTimeout after its end.
	requestDeadline = 10 * time.Second
	traceTimeout    = 2 * time.Second
)

// Request sends one request through nginx, GET / or a WhoAmI call, without retries, and returns its ID and its trace. It is a load of one
// request, so that the client's record says what any other would.
func (s *Session) Request(ctx context.Context, protocol string) (id string, _ *trace.Trace, err error) {
	one := scenario.Load{
		Name: protocol, Protocol: protocol, Call: scenario.Unary, Deadline: requestDeadline,
		Rate: scenario.Rate{Shape: scenario.Constant, PerSecond: []float64{100}},
	}
	switch protocol {
	case scenario.HTTP:
		one.Users = 1
	case scenario.GRPC:
		one.Channels = 1
	default:
		return "", nil, wrong("protocol is %q: want %s or %s", protocol, scenario.HTTP, scenario.GRPC)
	}
	if err := s.task(); err != nil {
		return "", nil, err
	}
	defer s.tasks.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	var t *trace.Trace
	for _, lead := range requestLeads {
		id, t, err = s.request(ctx, one, lead)
		if err != nil {
			return id, nil, err
		}
		if t.Roots[0].Note != record.Overdue {
			break
		}
	}
	s.say(feed.Event{Kind: "request", Tone: tone(t), Text: fmt.Sprintf("one %s request sent: %s", map[string]string{scenario.HTTP: "HTTP", scenario.GRPC: "gRPC"}[protocol], t.Roots[0].Note)})
	return id, t, nil
}

// request sends a load of one request.
func (s *Session) request(ctx context.Context, one scenario.Load, lead time.Duration) (id string, _ *trace.Trace, err error) {
	f := s.options.Fleet
	p := load.Plan{
		Seed: uint64(rand.Uint32()), HTTP: f.HTTP(), GRPC: f.GRPC(), Records: filepath.Join(s.dir, record.ClientFile),
		Begin: time.Now().Add(lead), For: 10 * time.Millisecond, Loads: []scenario.Load{one},
	}
	id = record.IDPrefix(p.Seed, one.Protocol, 0) + "0"
	if err := record.MkdirAll(filepath.Dir(p.Records)); err != nil {
		return id, nil, fmt.Errorf("%w: %w", record.ErrRunDir, err)
	}
	source, err := trace.Open(s.dir)
	if err != nil {
		return id, nil, err
	}
	source.From(s.sizes())
	g, err := load.Start(s.options.Trivet, p)
	if err != nil {
		return id, nil, err
	}
	select {
	case <-g.Done():
	case <-ctx.Done():
		return id, nil, errors.Join(context.Cause(ctx), g.Stop())
	}
	if err := g.Wait(); err != nil {
		return id, nil, err
	}
	t, err := whole(ctx, source, id)
	return id, t, err
}

// sizes are those of the files of records now.
func (s *Session) sizes() map[string]int64 {
	all := make(map[string]int64)
	for _, name := range []string{record.ClientFile, record.AccessLogFile, record.InstancesFile} {
		if info, err := os.Stat(filepath.Join(s.dir, name)); err == nil {
			all[name] = info.Size()
		}
	}
	return all
}

// whole is the trace of a request that has ended at the client, once nginx and the instances have recorded it; what has not come in time is
// missing in it.
func whole(ctx context.Context, source *trace.Source, id string) (*trace.Trace, error) {
	for late := time.Now().Add(traceTimeout); ; {
		t, err := source.Request(id)
		switch {
		case err != nil:
			return nil, err
		case t != nil && (ended(t) || time.Now().After(late)):
			return t, nil
		case time.Now().After(late):
			return nil, errors.New("no source has a record of the request")
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// ended reports whether nginx has logged the request, and no instance executes it any more.
func ended(t *trace.Trace) bool {
	logged, finished := false, true
	var visit func(all []*trace.Span)
	visit = func(all []*trace.Span) {
		for _, s := range all {
			logged = logged || s.Kind == trace.Nginx
			finished = finished && !s.Unfinished
			visit(s.Children)
		}
	}
	visit(t.Roots)
	return logged && finished
}

func tone(t *trace.Trace) string {
	if t.Roots[0].Result == trace.OK {
		return feed.Good
	}
	return feed.Bad
}
