package load

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// overdue is how late a request may start. A later one is not sent: a load that makes up for seconds in a burst is not what was planned.
	overdue = time.Second
	// mostInFlight bounds the requests in flight, of all streams together.
	mostInFlight = 10_000
)

// A caller sends the requests of one stream. Its methods may be called at the same time.
type caller interface {
	// connect makes what connections can be made before the first request, until ctx ends. Those that cannot, the requests find out.
	connect(ctx context.Context)
	// call sends the stream's n-th request, under the id in the record, and returns when it is over, at the end of ctx at the latest. It
	// fills the record from Outcome on.
	call(ctx context.Context, n int, r *Record)
	close()
}

// player starts the requests of one stream at their times.
type player struct {
	Stream
	index    int
	planned  Plan
	prefix   string // of the ids
	method   string
	caller   caller
	records  *recorder
	heart    *heart
	inFlight *atomic.Int64
	begin    time.Time // Plan.Begin on the monotonic clock
	idle     chan job  // to workers that wait for another request: their stacks have grown already
	workers  sync.WaitGroup
}

// job is one planned request.
type job struct {
	n      int
	offset time.Duration
}

// recruit makes a player for each stream. Beside an error it returns those that it made.
func recruit(p Plan, records *recorder, heart *heart) ([]*player, error) {
	var players []*player
	inFlight := new(atomic.Int64)
	for i, s := range p.Streams {
		made := &player{
			Stream: s, index: i, planned: p, records: records, heart: heart, inFlight: inFlight, idle: make(chan job),
			prefix: strconv.FormatUint(p.Seed, 10) + "." + s.Protocol + "." + strconv.Itoa(i) + ".",
			method: method(s),
		}
		if s.Protocol == HTTP {
			made.caller = newHTTPCaller(p.HTTP, s)
		} else {
			caller, err := newGRPCCaller(p.GRPC, s)
			if err != nil {
				return players, err
			}
			made.caller = caller
		}
		players = append(players, made)
	}
	return players, nil
}

// play returns when every request is over, or soon after ctx has ended.
func play(ctx context.Context, players []*player, begin time.Time) {
	var all sync.WaitGroup
	for _, p := range players {
		p.begin = begin
		all.Go(func() { p.play(ctx) })
	}
	all.Wait()
}

func (p *player) play(ctx context.Context) {
	early, cancel := context.WithDeadline(ctx, p.begin)
	p.caller.connect(early)
	cancel()
	defer p.workers.Wait()
	defer close(p.idle)
	timer := time.NewTimer(0)
	defer timer.Stop()
	n := 0
	for offset := range p.Offsets(p.planned.For) {
		if wait := time.Until(p.begin.Add(offset)); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		} else if ctx.Err() != nil {
			return
		}
		p.start(ctx, job{n, offset})
		n++
	}
}

// start never waits.
func (p *player) start(ctx context.Context, j job) {
	if time.Since(p.begin.Add(j.offset)) > overdue {
		p.drop(j, Overdue)
		return
	}
	if p.inFlight.Add(1) > mostInFlight {
		p.inFlight.Add(-1)
		p.drop(j, TooMany)
		return
	}
	select {
	case p.idle <- j:
	default:
		p.workers.Go(func() { p.work(ctx, j) })
	}
}

// work carries out one job, and those that come while it is idle.
func (p *player) work(ctx context.Context, j job) {
	for more := true; more; j, more = <-p.idle {
		p.carryOut(ctx, j)
		p.inFlight.Add(-1)
	}
}

func (p *player) carryOut(ctx context.Context, j job) {
	r := p.blank(j)
	due := p.begin.Add(j.offset)
	start := time.Now()
	request, cancel := context.WithDeadline(ctx, start.Add(p.Deadline))
	p.caller.call(request, j.n, &r)
	cancel()
	end := time.Now()
	if ctx.Err() != nil {
		return // How it ended is our doing, and says nothing about it.
	}
	r.Late, r.Latency, r.Service = start.Sub(due).Microseconds(), end.Sub(due).Microseconds(), end.Sub(start).Microseconds()
	r.Stalled = p.heart.stalled(due, end).Microseconds()
	p.records.put(&r)
}

// drop records a request that is not sent.
func (p *player) drop(j job, reason string) {
	r := p.blank(j)
	r.Late = time.Since(p.begin.Add(j.offset)).Microseconds()
	r.Outcome, r.Reason = NotStarted, reason
	p.records.put(&r)
}

func (p *player) blank(j job) Record {
	return Record{
		V: RecordVersion, ID: p.prefix + strconv.Itoa(j.n), Stream: p.index, Protocol: p.Protocol, Method: p.method,
		Planned: p.planned.Begin.Add(j.offset),
	}
}
