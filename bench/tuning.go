package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"

	"trivet/bench/slow"
	whoamiv1 "trivet/gen/whoami/v1"
)

// A tuning is a setting of the instance that is not for every service, with the value that it is measured with.
type tuning struct {
	name     string
	env      string
	grpcOnly bool // It does nothing for REST.
}

// tunings are those that are off unless set; docs/performance.md says what each costs.
func tunings() []tuning {
	return []tuning{
		{"raw system calls", "RAW_SYSCALLS=true", false},
		{gogc, gogc, false},
		{"64 stream workers", "STREAM_WORKERS=64", true},
	}
}

const (
	gogc            = "GOGC=400"
	measuredWindows = "FIXED_WINDOWS=false"
)

// tuned is the environment of an instance with all of them.
func tuned() []string {
	var env []string
	for _, t := range tunings() {
		env = append(env, t.env)
	}
	return env
}

// tuningJobs are what each tuning gives, alone and with the others, and what fixed windows, which are the default, give and cost.
func (b *bench) tuningJobs() []job {
	var all []job
	for _, t := range tunings() {
		all = append(all, job{"7 tuning: " + t.name + ", on against off", func(ctx context.Context) error {
			return b.onAgainstOff(ctx, t.name, t.grpcOnly, t.env)
		}})
	}
	return append(all,
		job{"7 tuning: all of them, on against off", func(ctx context.Context) error { return b.onAgainstOff(ctx, "all on", false, tuned()...) }},
		job{"7 tuning: fixed windows, on against off", b.windows},
		job{"7 tuning: fixed windows, upload over a line of 50 ms, on against off", b.uploads},
	)
}

// onAgainstOff compares a fleet that has something more in its environment with the shipped one.
func (b *bench) onAgainstOff(ctx context.Context, name string, grpcOnly bool, env ...string) error {
	off, on, stop, err := b.shippedAndWith(ctx, env)
	if err != nil {
		return err
	}
	defer stop()
	if !grpcOnly {
		if err := b.compare(ctx, "7 tuning, REST", on.side(name, false), off.side("off", false), question{instanceCPU, nil}); err != nil {
			return err
		}
	}
	return b.compare(ctx, "7 tuning, gRPC", on.side(name, true), off.side("off", true), question{instanceCPU, nil})
}

// windows compares the shipped fleet with one that measures its clients' bandwidth.
func (b *bench) windows(ctx context.Context) error {
	on, off, stop, err := b.shippedAndWith(ctx, []string{measuredWindows})
	if err != nil {
		return err
	}
	defer stop()
	return b.compare(ctx, "7 tuning, gRPC", on.side("fixed windows", true), off.side("off", true), question{instanceCPU, nil})
}

// shippedAndWith returns the shipped fleet, and one that has something more in its environment.
func (b *bench) shippedAndWith(ctx context.Context, env []string) (ours, with *shipped, stop func(), err error) {
	if ours, err = b.ours(ctx); err != nil {
		return nil, nil, nil, err
	}
	with, stop, err = b.withEnv(ctx, env)
	return ours, with, stop, err
}

// withEnv starts a fleet on the shipped files that has something more in its environment; the shipped one if there is nothing.
func (b *bench) withEnv(ctx context.Context, env []string) (*shipped, func(), error) {
	if len(env) == 0 {
		s, err := b.ours(ctx)
		return s, func() {}, err
	}
	if err := b.knows(ctx, env); err != nil {
		return nil, nil, err
	}
	f, err := b.startFleet(ctx, "tuned", env...)
	if err != nil {
		return nil, nil, err
	}
	stop := func() { _ = f.Stop(context.Background()) }
	s, err := inspect(ctx, f)
	if err != nil {
		stop()
		return nil, nil, err
	}
	return s, stop, nil
}

// knows returns an error for what bin/whoami does not take from its environment: a row that compares a program with itself says nothing.
func (b *bench) knows(ctx context.Context, env []string) error {
	config := exec.CommandContext(ctx, b.whoami(), "config")
	config.Env = append(os.Environ(), env...)
	says, err := config.Output()
	if err != nil {
		return fmt.Errorf("whoami config with %s: %w", strings.Join(env, " "), err)
	}
	for _, e := range env {
		if !slices.ContainsFunc(strings.Split(string(says), "\n"), func(line string) bool {
			return strings.HasPrefix(line, e+" ") && strings.HasSuffix(line, "# environment")
		}) {
			return &unavailable{"bin/whoami has no setting for " + e}
		}
	}
	return nil
}

// What an upload is: as much as a phone's photograph, in calls that are under way at the same time on one connection.
const (
	roundTrip   = 50 * time.Millisecond
	uploadCalls = 64
	callBytes   = 62 << 10 // an instance takes messages of 64 KiB
)

// uploads measures how long an upload takes that goes to an instance over a long line, straight and through nginx.
func (b *bench) uploads(ctx context.Context) error {
	on, off, stop, err := b.shippedAndWith(ctx, []string{measuredWindows})
	if err != nil {
		return err
	}
	defer stop()
	calls, pairs := uploadCalls, min(b.pairs, 3) // What is measured is waiting, which hardly varies.
	if b.smoke {
		calls = 1
	}
	for _, way := range []struct {
		name string
		of   func(*shipped) string
	}{
		{"directly", func(s *shipped) string { return s.servers[0].GRPC }},
		{"through nginx", func(s *shipped) string { return s.fleet.GRPC() }},
	} {
		row := Row{What: "7 upload, " + way.name, Figure: fmt.Sprintf("ms for %.1f MB, %d ms RTT", float64(calls*callBytes)/megabyte, roundTrip.Milliseconds()), A: "fixed windows", B: "off"}
		for n := range pairs {
			b.progress.step(fmt.Sprintf("%s, pair %d of %d", way.name, n+1, pairs))
			var pair [2]float64
			for side, s := range []*shipped{on, off} {
				took, err := upload(ctx, way.of(s), calls)
				if err != nil {
					return err
				}
				pair[side] = float64(took.Microseconds()) / 1000
			}
			row.Pairs = append(row.Pairs, pair)
		}
		row.judge()
		b.add(row)
	}
	return nil
}

// upload sends calls with large requests, all at once, over a line and connection of their own.
func upload(ctx context.Context, address string, calls int) (time.Duration, error) {
	line, err := slow.NewLine(address, roundTrip)
	if err != nil {
		return 0, err
	}
	defer line.Close()
	channel, err := grpc.NewClient("passthrough:///"+line.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 0, err
	}
	defer channel.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("an upload takes longer than a minute"))
	defer cancel()
	client := whoamiv1.NewWhoAmIServiceClient(channel)
	if _, err := client.WhoAmI(ctx, &whoamiv1.WhoAmIRequest{}); err != nil { // Connected, before time is taken.
		return 0, err
	}
	failed := make([]error, calls)
	began := time.Now()
	var all sync.WaitGroup
	for n := range calls {
		all.Go(func() { _, failed[n] = client.WhoAmI(ctx, large()) })
	}
	all.Wait()
	took := time.Since(began)
	return took, errors.Join(slices.DeleteFunc(failed, func(err error) bool { return err == nil })...)
}

// large is a request with a field that the instance does not know, and passes over once it has received it.
func large() *whoamiv1.WhoAmIRequest {
	r := &whoamiv1.WhoAmIRequest{}
	r.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 1000, protowire.BytesType), make([]byte, callBytes)))
	return r
}
