package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/benchmark/latency"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"

	whoamiv1 "trivet/gen/whoami/v1"
)

// An upload is as much as a phone's photograph, in calls that run at the same time on one connection.
const (
	roundTrip   = 50 * time.Millisecond
	uploadCalls = 64
	callBytes   = 62 << 10 // An instance accepts messages of 64 KiB.
)

// uploadJobs compare how long an upload to an instance takes over a long line, with fixed flow-control windows and without.
func (b *bench) uploadJobs() []*job {
	calls := uploadCalls
	if b.smoke {
		calls = 1
	}
	took := metric(fmt.Sprintf("ms for %.1f MB, %d ms RTT", float64(calls*callBytes)/(1<<20), roundTrip.Milliseconds()))
	var jobs []*job
	for _, direct := range []bool{true, false} {
		sides := [2]side{ours("fixed windows"), ours("off", measuredWindows)}
		sides[0].direct, sides[1].direct = direct, direct
		what := "7 upload through nginx"
		if direct {
			what = "7 upload directly"
		}
		jobs = append(jobs, &job{what: what, a: sides[0].name, b: sides[1].name, goals: []goal{{took, nil}}, block: func(ctx context.Context, dir string) (block, error) {
			means := block{}
			for _, i := range b.rng.Perm(2) {
				up, err := b.start(ctx, sides[i], filepath.Join(dir, fmt.Sprint(i)))
				if err != nil {
					return nil, err
				}
				defer up.group.Stop()
				d, err := upload(ctx, up.grpc, calls)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", sides[i].name, err)
				}
				means.add(took, i, d.Seconds()*1000)
			}
			return means, nil
		}})
	}
	return jobs
}

// forward connects each accepted connection to the address, until the listener closes.
func forward(from net.Listener, address string) {
	for {
		near, err := from.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", address)
		if err != nil {
			near.Close()
			continue
		}
		go func() { _, _ = io.Copy(far, near); far.Close() }()
		go func() { _, _ = io.Copy(near, far); near.Close() }()
	}
}

// upload sends calls with large requests, all at once, over a new line and connection.
func upload(ctx context.Context, address string, calls int) (time.Duration, error) {
	line, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer line.Close()
	network := latency.Network{Latency: roundTrip / 2}
	go forward(network.Listener(line), address)
	conn, err := grpc.NewClient("passthrough:///"+line.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, to string) (net.Conn, error) {
			return network.ContextDialer((&net.Dialer{}).DialContext)(ctx, "tcp", to)
		}))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("an upload took longer than a minute"))
	defer cancel()
	client := whoamiv1.NewWhoAmIServiceClient(conn)
	if _, err := client.WhoAmI(ctx, &whoamiv1.WhoAmIRequest{}); err != nil { // Connects before the clock starts.
		return 0, err
	}
	// A field that the instance does not know: it receives it and ignores it.
	request := &whoamiv1.WhoAmIRequest{}
	request.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 1000, protowire.BytesType), make([]byte, callBytes)))
	errs := make([]error, calls)
	began := time.Now()
	var all sync.WaitGroup
	for n := range calls {
		all.Go(func() { _, errs[n] = client.WhoAmI(ctx, request) })
	}
	all.Wait()
	return time.Since(began), errors.Join(errs...)
}
