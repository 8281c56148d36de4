package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"trivet/bench/launch"
	"trivet/bench/proc"
	"trivet/bench/stats"
	"trivet/bench/wire"
)

const megabyte = 1 << 20

// singleJobs are what is measured of one instance.
func (b *bench) singleJobs() []job {
	return []job{{"4 one instance", b.single}}
}

func (b *bench) single(ctx context.Context) error {
	ours, err := b.ours(ctx) // Before, so that the program is warm: in the page cache.
	if err != nil {
		return err
	}
	var first, idle []float64
	for n := range b.pairs {
		b.progress.step(fmt.Sprintf("start %d of %d", n+1, b.pairs))
		took, resident, err := b.once(ctx)
		if err != nil {
			return err
		}
		first, idle = append(first, took), append(idle, resident)
	}
	loaded, err := b.loaded(ctx, ours)
	if err != nil {
		return err
	}
	b.addValues("4 one instance", "start to first answer", first, &stats.Bar{AtMost: true, Value: 50, Unit: "ms"})
	b.addValues("4 one instance", "resident, idle", idle, &stats.Bar{AtMost: true, Value: 20, Unit: "MB"})
	b.addValues("4 one instance", "resident under load", loaded, nil)
	for _, name := range []string{b.whoami(), b.trivet()} {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		b.addValues("4 one instance", "size of "+name[len(b.tree)+1:], []float64{float64(info.Size()) / megabyte}, nil)
	}
	return nil
}

// loaded are the resident megabytes of the fleet's instances while as much as they can take comes in by both doors.
func (b *bench) loaded(ctx context.Context, ours *shipped) ([]float64, error) {
	b.progress.step("memory under load")
	d := b.options.slice
	ended := make(chan error, 2)
	for _, rpc := range []bool{false, true} {
		s := ours.side("whoami", rpc)
		go func() {
			r, err := wire.Closed(ctx, s.target, 2*d)
			ended <- check(s, r, err)
		}()
	}
	<-time.After(d)
	var all []float64
	var faults error
	for _, pid := range ours.instances {
		resident, err := proc.Resident(pid)
		faults = errors.Join(faults, err)
		all = append(all, float64(resident)/megabyte)
	}
	return all, errors.Join(faults, <-ended, <-ended)
}

// addValues adds a row of one side alone.
func (b *bench) addValues(what, figure string, values []float64, bar *stats.Bar) {
	r := Row{What: what, Figure: figure, Values: values, Bar: bar}
	switch {
	case bar != nil:
		r.Figure += ", " + bar.Unit
	default:
		r.Figure += ", MB"
	}
	r.judge()
	b.add(r)
}

// once starts an instance, and tells after how many milliseconds GET / was answered, and its resident megabytes a moment later.
func (b *bench) once(ctx context.Context) (took, resident float64, err error) {
	dir, err := b.part("once")
	if err != nil {
		return 0, 0, err
	}
	ports, err := launch.FreePorts(2)
	if err != nil {
		return 0, 0, err
	}
	group := launch.NewGroup(dir)
	defer group.Stop()
	program, _ := b.whoamiProgram(ports[0], ports[1])
	p, err := group.Start(program)
	if err != nil {
		return 0, 0, err
	}
	err = p.Await(ctx, 500*time.Microsecond, func(ctx context.Context) error {
		_, err := fetch(ctx, "http://"+at(ports[0])+"/")
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	answered := time.Since(p.Began)
	select {
	case <-time.After(200 * time.Millisecond): // What starting leaves to be collected is part of an idle instance, not of a loaded one.
	case <-ctx.Done():
		return 0, 0, context.Cause(ctx)
	}
	bytes, err := proc.Resident(p.PID)
	return float64(answered.Microseconds()) / 1000, float64(bytes) / megabyte, err
}
