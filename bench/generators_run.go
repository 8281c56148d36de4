package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"trivet/bench/stats"
	"trivet/lab/load"
)

// runTime is how long a generator may take that is to send for d.
func runTime(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 3*d+5*time.Second)
}

// load is `trivet load`, as `trivet run` starts it: over HTTP, unless there is only an address for gRPC.
func (b *bench) load(dir, http, grpc string) func(context.Context, int, time.Duration) (spent, error) {
	s := load.Stream{Protocol: load.HTTP, Call: load.Unary, Deadline: 5 * time.Second}
	if http == "" {
		s.Protocol, s.Channels = load.GRPC, 1
	}
	records := filepath.Join(dir, "records.jsonl")
	return func(ctx context.Context, rate int, d time.Duration) (spent, error) {
		ctx, cancel := runTime(ctx, d)
		defer cancel()
		s.Rate = []load.Point{{Rate: float64(rate)}}
		if err := os.Remove(records); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return spent{}, err
		}
		plan, err := json.Marshal(load.Plan{HTTP: http, GRPC: grpc, Records: records, Begin: time.Now().Add(100 * time.Millisecond), For: d, Streams: []load.Stream{s}})
		if err != nil {
			return spent{}, err
		}
		cmd := exec.CommandContext(ctx, b.trivet(), "load")
		// It ends at once when its standard input does: that stays open until it has ended.
		read, write, err := os.Pipe()
		if err != nil {
			return spent{}, err
		}
		defer read.Close()
		defer write.Close()
		if _, err := write.Write(append(plan, '\n')); err != nil {
			return spent{}, err
		}
		cmd.Stdin = read
		cpu, err := timed(ctx, cmd)
		if err != nil {
			return spent{}, err
		}
		late, err := lateOfRecords(records, s.Count(d))
		return spent{cpu, late}, err
	}
}

// lateOfRecords is the p99 lateness that the records tell, of which there must be so many, all OK.
func lateOfRecords(name string, planned int) (time.Duration, error) {
	file, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	var late []float64
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var r load.Record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return 0, err
		}
		if r.Outcome != load.OK {
			return 0, fmt.Errorf("load: a request ended as %s: %s %s", r.Outcome, r.Reason, r.Error)
		}
		late = append(late, float64(r.Late)*1000)
	}
	if len(late) != planned {
		return 0, fmt.Errorf("load: %d of %d requests have a record", len(late), planned)
	}
	return time.Duration(stats.Quantile(late, 0.99)), nil
}

// vegeta is `vegeta attack`, with its defaults.
func vegeta(path, dir, http string) func(context.Context, int, time.Duration) (spent, error) {
	results := filepath.Join(dir, "results.bin")
	return func(ctx context.Context, rate int, d time.Duration) (spent, error) {
		ctx, cancel := runTime(ctx, d)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, "attack", "-rate", fmt.Sprintf("%d/s", rate), "-duration", d.String(), "-output", results)
		cmd.Stdin = strings.NewReader("GET http://" + http + "/\n")
		cpu, err := timed(ctx, cmd)
		if err != nil {
			return spent{}, err
		}
		encoded, err := exec.CommandContext(ctx, path, "encode", "-to", "csv", results).Output()
		if err != nil {
			return spent{}, err
		}
		starts, err := startsOfVegeta(encoded)
		// At the end of its time vegeta may leave the last one out.
		if err == nil && len(starts) < int(float64(rate)*d.Seconds())-1 {
			err = fmt.Errorf("vegeta: %d requests, of %d a second for %v", len(starts), rate, d)
		}
		if err != nil {
			return spent{}, err
		}
		return spent{cpu, lateness(starts, rate)}, nil
	}
}

// startsOfVegeta reads `vegeta encode -to csv`: the start in nanoseconds since 1970, the status, the latency and so on.
func startsOfVegeta(text []byte) ([]time.Time, error) {
	lines, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		return nil, err
	}
	var starts []time.Time
	for _, fields := range lines {
		if len(fields) < 6 || fields[1] != "200" {
			return nil, fmt.Errorf("vegeta: a request ended as %v", fields)
		}
		start, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			return nil, err
		}
		starts = append(starts, time.Unix(0, start))
	}
	return starts, nil
}

// ghz calls without waiting for answers (--async), as an open loop does, over one connection, as load does.
func (b *bench) ghz(path, dir, rpc string) func(context.Context, int, time.Duration) (spent, error) {
	results := filepath.Join(dir, "results.json")
	return func(ctx context.Context, rate int, d time.Duration) (spent, error) {
		ctx, cancel := runTime(ctx, d)
		defer cancel()
		planned := int(float64(rate) * d.Seconds())
		cmd := exec.CommandContext(ctx, path, "--insecure", "--proto", filepath.Join(b.tree, "proto", "whoami", "v1", "whoami.proto"),
			"--call", "whoami.v1.WhoAmIService/WhoAmI", "--async", "--connections", "1", "--rps", strconv.Itoa(rate), "--total", strconv.Itoa(planned),
			"--concurrency", strconv.Itoa(min(50, planned)), "--format", "json", "--output", results, rpc)
		cpu, err := timed(ctx, cmd)
		if err != nil {
			return spent{}, err
		}
		text, err := os.ReadFile(results)
		if err != nil {
			return spent{}, err
		}
		starts, err := startsOfGhz(text)
		if err == nil && len(starts) != planned {
			err = fmt.Errorf("ghz: %d of %d calls", len(starts), planned)
		}
		if err != nil {
			return spent{}, err
		}
		return spent{cpu, lateness(starts, rate)}, nil
	}
}

// startsOfGhz reads ghz's JSON, of which a call's timestamp is its end.
func startsOfGhz(text []byte) ([]time.Time, error) {
	var report struct {
		Details []struct {
			Timestamp time.Time
			Latency   time.Duration
			Status    string
			Error     string
		}
	}
	if err := json.Unmarshal(text, &report); err != nil {
		return nil, err
	}
	var starts []time.Time
	for _, d := range report.Details {
		if d.Status != "OK" {
			return nil, fmt.Errorf("ghz: a call ended as %s: %s", d.Status, d.Error)
		}
		starts = append(starts, d.Timestamp.Add(-d.Latency))
	}
	return starts, nil
}
