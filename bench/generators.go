package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"trivet/bench/launch"
	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/lab/load"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

const generatorCPU metric = "its own µs/request"

// A generator sends requests at a rate for d and returns its CPU time and how many it sent. It is an error if one failed, or if more than
// a tenth was not sent: vegeta leaves requests out that would start after d.
type generator struct {
	name string
	run  func(ctx context.Context, dir, address string, rate int, d time.Duration) (used time.Duration, sent int, err error)
}

// generatorJobs compare `trivet load` with other generators, on targets that take more requests than any of them sends: nginx that
// responds itself, and a bare grpc-go server.
func (b *bench) generatorJobs() []*job {
	local := front{local: true, workers: 1}
	return []*job{
		b.generatorJob(behind("nginx", whoami, local), 1.5, func(r *running) string { return r.http },
			generator{"load", b.load(scenario.HTTP)}, generator{"vegeta", b.vegeta}),
		b.generatorJob(alone("grpc-go", bare), 1, func(r *running) string { return r.grpc },
			generator{"load", b.load(scenario.GRPC)}, generator{"ghz", b.ghz}),
	}
}

func (b *bench) generatorJob(target side, bar float64, address func(*running) string, generators ...generator) *job {
	// Far below what any of them holds, and what experiments use. A smoke must work on a busy machine too.
	rate, d := 2000, max(3*b.options.slice, 500*time.Millisecond)
	if b.smoke {
		rate = 200
	}
	j := &job{what: "6 load generator", a: generators[0].name, b: generators[1].name, goals: []goal{{generatorCPU, atMost(bar)}}}
	j.block = func(ctx context.Context, dir string) (block, error) {
		up, err := b.start(ctx, target, filepath.Join(dir, "target"))
		if err != nil {
			return nil, err
		}
		defer up.group.Stop()
		got := block{fixedRate: {float64(rate)}}
		for _, i := range b.rng.Perm(len(generators)) {
			// A run of one request is what starting and ending costs.
			idle, _, err := generators[i].run(ctx, dir, address(up), 10, 100*time.Millisecond)
			if err != nil {
				return nil, err
			}
			used, sent, err := generators[i].run(ctx, dir, address(up), rate, d)
			if planned := float64(rate) * d.Seconds(); err == nil && float64(sent) < 0.9*planned {
				err = fmt.Errorf("%s sent %d of %.0f requests", generators[i].name, sent, planned)
			}
			if err != nil {
				return nil, err
			}
			got.add(generatorCPU, i, float64((used-idle).Nanoseconds())/1e3/float64(sent))
		}
		return got, nil
	}
	return j
}

// generate runs a generator and returns its CPU time. One that runs on long after its time is killed.
func generate(ctx context.Context, dir string, d time.Duration, p launch.Program) (time.Duration, error) {
	group := launch.NewGroup(dir)
	defer group.Stop()
	ctx, cancel := context.WithTimeout(ctx, 3*d+10*time.Second)
	defer cancel()
	started, err := group.Start(p)
	if err != nil {
		return 0, err
	}
	return started.Wait(ctx)
}

// load is `trivet load`, as `trivet run` starts it.
func (b *bench) load(protocol string) func(context.Context, string, string, int, time.Duration) (time.Duration, int, error) {
	return func(ctx context.Context, dir, address string, rate int, d time.Duration) (time.Duration, int, error) {
		records := filepath.Join(dir, "records.jsonl")
		if err := os.RemoveAll(records); err != nil {
			return 0, 0, err
		}
		l := scenario.Load{
			Name: protocol, Protocol: protocol, Call: scenario.Unary, Deadline: 5 * time.Second,
			Rate: scenario.Rate{Shape: scenario.Constant, PerSecond: []float64{float64(rate)}},
		}
		p := load.Plan{HTTP: address, Records: records, Begin: time.Now().Add(100 * time.Millisecond), For: d}
		if protocol == scenario.GRPC {
			l.Channels = 1
			p.HTTP, p.GRPC = "", address
		}
		p.Loads = []scenario.Load{l}
		plan, err := json.Marshal(p)
		if err != nil {
			return 0, 0, err
		}
		read, write, err := os.Pipe() // It ends when its standard input does.
		if err != nil {
			return 0, 0, err
		}
		defer read.Close()
		defer write.Close()
		if _, err := write.Write(append(plan, '\n')); err != nil {
			return 0, 0, err
		}
		used, err := generate(ctx, dir, d, launch.Program{Path: b.trivet(), Args: []string{"load"}, Stdin: read})
		if err != nil {
			return 0, 0, err
		}
		sent, err := okRecords(records)
		return used, sent, err
	}
}

// okRecords returns how many records of a load there are, all of which must be OK.
func okRecords(name string) (int, error) {
	file, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	sent := 0
	for lines := bufio.NewScanner(file); lines.Scan(); sent++ {
		var r record.Client
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return 0, err
		}
		if r.Outcome != record.OK {
			return 0, fmt.Errorf("load: a request ended as %s: %s %s", r.Outcome, r.Reason, r.Error)
		}
	}
	return sent, nil
}

// vegeta is `vegeta attack` with its defaults.
func (b *bench) vegeta(ctx context.Context, dir, address string, rate int, d time.Duration) (time.Duration, int, error) {
	path, err := b.fetched("vegeta", "vegeta")
	if err != nil {
		return 0, 0, err
	}
	targets, results, report := filepath.Join(dir, "targets"), filepath.Join(dir, "results.bin"), filepath.Join(dir, "report.json")
	if err := os.WriteFile(targets, []byte("GET http://"+address+"/\n"), 0o644); err != nil {
		return 0, 0, err
	}
	used, err := generate(ctx, dir, d, launch.Program{Path: path, Args: []string{
		"attack", "-targets", targets, "-rate", fmt.Sprintf("%d/s", rate), "-duration", d.String(), "-output", results,
	}})
	if err != nil {
		return 0, 0, err
	}
	if _, err := generate(ctx, dir, d, launch.Program{Path: path, Args: []string{"report", "-type", "json", "-output", report, results}}); err != nil {
		return 0, 0, err
	}
	sent, err := okResponses(report, "200")
	return used, sent, err
}

// ghz calls without waiting for responses (--async), as an open loop does, over one connection, as load does.
func (b *bench) ghz(ctx context.Context, dir, address string, rate int, d time.Duration) (time.Duration, int, error) {
	path, err := b.fetched("ghz", "ghz")
	if err != nil {
		return 0, 0, err
	}
	contract := filepath.Join(dir, "contract.binpb")
	if err := writeContract(contract); err != nil {
		return 0, 0, err
	}
	report := filepath.Join(dir, "report.json")
	calls := int(math.Round(float64(rate) * d.Seconds()))
	used, err := generate(ctx, dir, d, launch.Program{Path: path, Args: []string{
		"--insecure", "--protoset", contract, "--call", "whoami.v1.WhoAmIService/WhoAmI",
		"--async", "--connections", "1", "--rps", strconv.Itoa(rate), "--total", strconv.Itoa(calls), "--concurrency", strconv.Itoa(min(50, calls)),
		"--format", "json", "--output", report, address,
	}})
	if err != nil {
		return 0, 0, err
	}
	sent, err := okResponses(report, "OK")
	return used, sent, err
}

// writeContract writes the contract as descriptors: ghz's parser of .proto files refuses fields that proto3 marks optional.
func writeContract(path string) error {
	set := &descriptorpb.FileDescriptorSet{}
	file := whoamiv1.File_whoami_v1_whoami_proto
	for i := range file.Imports().Len() {
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file.Imports().Get(i).FileDescriptor))
	}
	set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
	text, err := proto.Marshal(set)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// okResponses returns the responses in a report of vegeta or ghz, all of which must have the code.
func okResponses(name, code string) (int, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	var report struct {
		Vegeta map[string]int `json:"status_codes"`
		GHZ    map[string]int `json:"statusCodeDistribution"`
	}
	if err := json.Unmarshal(text, &report); err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	codes := report.Vegeta
	if codes == nil {
		codes = report.GHZ
	}
	if len(codes) != 1 || codes[code] == 0 {
		return 0, fmt.Errorf("responses by code: %v, want %s alone", codes, code)
	}
	return codes[code], nil
}
