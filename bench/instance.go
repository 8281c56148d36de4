package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"trivet/bench/launch"
	"trivet/bench/proc"
	"trivet/lab/scenario"
)

// Metrics of instances.
const (
	firstMS      metric = "start to first response, ms"
	firstS       metric = "start to first response, s"
	idleMB       metric = "resident, idle, MB"
	loadedMB     metric = "resident under load, MB"
	residentMB   metric = "resident per instance, MB"
	proportional metric = "proportional per instance, MB"
)

// instanceJobs measure one instance, and `trivet up` with few and with many.
func (b *bench) instanceJobs() []*job {
	few, many, most := 3, 30, 300
	if b.smoke {
		many, most = 6, 12
	}
	memory := []goal{{residentMB, nil}, {proportional, nil}}
	// Linear at worst: ten times as many take at most ten times as long.
	linear := func(n, m int) []goal { return append([]goal{{firstS, atMost(float64(n / m))}}, memory...) }
	return []*job{
		{what: "4 one instance", a: "whoami", goals: []goal{{firstMS, atMost(50)}, {idleMB, atMost(20)}, {"size of bin/whoami, MB", nil}, {"size of bin/trivet, MB", nil}}, block: b.one},
		{what: "4 three instances", a: "whoami", goals: []goal{{loadedMB, nil}}, block: b.loaded},
		b.upJob([]goal{{firstS, atMost(1)}}, few),
		b.upJob(linear(many, few), many, few),
		b.upJob(linear(most, many), most, many),
	}
}

// one measures the start of an instance and its memory at rest.
func (b *bench) one(ctx context.Context, dir string) (block, error) {
	up, err := b.start(ctx, alone("whoami", whoami), filepath.Join(dir, "warm")) // So that the program is in the page cache.
	if err != nil {
		return nil, err
	}
	up.group.Stop()
	ports, err := launch.FreePorts(2)
	if err != nil {
		return nil, err
	}
	group := launch.NewGroup(dir)
	defer group.Stop()
	p, err := group.Start(launch.Program{Path: b.whoami(), Args: whoamiArgs(scenario.InstanceName(1), ports[0], ports[1])})
	if err != nil {
		return nil, err
	}
	err = p.Await(ctx, 500*time.Microsecond, func(ctx context.Context) error {
		_, err := fetch(ctx, launch.Local(ports[0]))
		return err
	})
	if err != nil {
		return nil, err
	}
	got := block{firstMS: {time.Since(p.Began).Seconds() * 1000}}
	select {
	case <-time.After(200 * time.Millisecond): // Garbage of the start belongs to an idle instance, not to a loaded one.
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	memory, err := proc.Memory([]int{p.PID})
	got.add(idleMB, 0, memory.Resident)
	for _, name := range []string{"bin/whoami", "bin/trivet"} {
		info, e := os.Stat(filepath.Join(b.tree, name))
		if e != nil {
			return nil, e
		}
		got.add(metric("size of "+name+", MB"), 0, float64(info.Size())/(1<<20))
	}
	return got, err
}

// loaded measures the memory of instances while both listeners get as many requests as they can take.
func (b *bench) loaded(ctx context.Context, dir string) (block, error) {
	s := ours("whoami")
	up, err := b.start(ctx, s, filepath.Join(dir, "0"))
	if err != nil {
		return nil, err
	}
	defer up.group.Stop()
	ended := make(chan error, 2)
	for _, grpc := range []bool{false, true} {
		go func() {
			_, err := b.closed(ctx, comparison{grpc: grpc}, s, up, 2*b.options.slice)
			ended <- err
		}()
	}
	<-time.After(b.options.slice)
	memory, err := proc.Memory(up.programs)
	return block{loadedMB: {memory.Resident}}, errors.Join(err, <-ended, <-ended)
}

// upJob runs `trivet up` with each number of instances.
func (b *bench) upJob(goals []goal, sizes ...int) *job {
	j := &job{what: "5 trivet up", a: fmt.Sprint(sizes[0], " instances"), goals: goals}
	if len(sizes) > 1 {
		j.b = fmt.Sprint(sizes[1])
	}
	j.block = func(ctx context.Context, dir string) (block, error) {
		got := block{}
		for _, i := range b.rng.Perm(len(sizes)) {
			if err := b.up(ctx, sizes[i], dir, func(m metric, v float64) { got.add(m, i, v) }); err != nil {
				return nil, fmt.Errorf("trivet up -n %d: %w", sizes[i], err)
			}
		}
		return got, nil
	}
	return j
}

// up runs `trivet up` until a response came through nginx, and stops it.
func (b *bench) up(ctx context.Context, instances int, dir string, add func(metric, float64)) error {
	logs := filepath.Join(dir, fmt.Sprint(instances))
	if err := os.Mkdir(logs, 0o711); err != nil {
		return err
	}
	group := launch.NewGroup(logs)
	defer group.Stop()
	p, err := group.Start(launch.Program{
		Path: b.trivet(), Env: []string{"TMPDIR=" + dir},
		Args: []string{"up", "--json", "-n", strconv.Itoa(instances), "--http", "0", "--grpc", "0", "--nginx", b.nginxAt.Path},
	})
	if err != nil {
		return err
	}
	address := ""
	err = p.Await(ctx, 2*time.Millisecond, func(ctx context.Context) error {
		text, err := p.Output()
		if err == nil {
			address, err = upAddress(text)
		}
		return err
	})
	if err != nil {
		return err
	}
	if _, err := fetch(ctx, address); err != nil {
		return err
	}
	add(firstS, time.Since(p.Began).Seconds())
	children, err := proc.Children(p.PID)
	if err != nil {
		return err
	}
	var pids []int
	for _, pid := range children {
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && string(name) == "whoami\n" {
			pids = append(pids, pid)
		}
	}
	if len(pids) != instances {
		return fmt.Errorf("%d instances run, want %d", len(pids), instances)
	}
	memory, err := proc.Memory(pids)
	if err != nil {
		return err
	}
	add(residentMB, memory.Resident)
	add(proportional, memory.Proportional)
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	_, err = p.Wait(ctx)
	return err
}

// upAddress returns where `trivet up --json` accepts HTTP, or an error while its events do not say so.
func upAddress(events []byte) (string, error) {
	for line := range bytes.Lines(events) {
		var event struct{ Event, HTTP string }
		if err := json.Unmarshal(line, &event); err == nil && event.Event == "up" {
			return event.HTTP, nil
		}
	}
	return "", errors.New("it is not up")
}
