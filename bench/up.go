package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"trivet/bench/proc"
	"trivet/bench/stats"
)

// upJobs are what is measured of `trivet up`.
func (b *bench) upJobs() []job {
	return []job{{"5 trivet up with 3, 30 and 300 instances", b.upRows}}
}

// ascent is one `trivet up`.
type ascent struct {
	seconds                float64 // from its start to the first answer through nginx
	resident, proportional float64 // megabytes of an instance
}

func (b *bench) upRows(ctx context.Context) error {
	few, many, most := 3, 30, 300
	if b.smoke {
		many, most = 6, 12
	}
	sizes := map[int][]ascent{}
	climb := func(instances int) error {
		b.progress.step(fmt.Sprintf("%d instances, for the %d. time", instances, len(sizes[instances])+1))
		a, err := b.ascend(ctx, instances)
		if err != nil {
			return fmt.Errorf("trivet up -n %d: %w", instances, err)
		}
		sizes[instances] = append(sizes[instances], a)
		return nil
	}
	for range b.pairs {
		for _, instances := range []int{few, many, most} {
			if err := climb(instances); err != nil {
				return err
			}
		}
	}
	pick := func(instances int, of func(ascent) float64) []float64 {
		var values []float64
		for _, a := range sizes[instances] {
			values = append(values, of(a))
		}
		return values
	}
	seconds := func(a ascent) float64 { return a.seconds }
	b.addValues("5 trivet up", fmt.Sprintf("%d instances, to first answer", few), pick(few, seconds), &stats.Bar{AtMost: true, Value: 1, Unit: "s"})
	// Linear at worst: ten times as many take ten times as long, or less.
	b.addGrowth(fmt.Sprintf("to first answer, s: %d / %d", most, many), pick(most, seconds), pick(many, seconds), float64(most/many))
	b.addGrowth(fmt.Sprintf("to first answer, s: %d / %d", many, few), pick(many, seconds), pick(few, seconds), float64(many/few))
	resident := func(a ascent) float64 { return a.resident }
	b.addGrowth(fmt.Sprintf("resident MB an instance: %d / %d", most, few), pick(most, resident), pick(few, resident), 0)
	proportional := func(a ascent) float64 { return a.proportional }
	b.addGrowth(fmt.Sprintf("proportional MB an instance: %d / %d", most, few), pick(most, proportional), pick(few, proportional), 0)
	return nil
}

func (b *bench) addGrowth(figure string, large, small []float64, bar float64) {
	r := Row{What: "5 trivet up", Figure: figure}
	if bar > 0 {
		r.Bar = atMost(bar)
	}
	for i := range large {
		r.Pairs = append(r.Pairs, [2]float64{large[i], small[i]})
	}
	r.judge()
	b.add(r)
}

// ascend starts `trivet up` with so many instances, waits until it says that it is up and then for one more answer, and stops it.
func (b *bench) ascend(ctx context.Context, instances int) (a ascent, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("two minutes have passed"))
	defer cancel()
	cmd := exec.CommandContext(ctx, b.trivet(), "up", "--json", "-n", strconv.Itoa(instances), "--http", "0", "--grpc", "0", "--nginx", b.nginxAt.Path)
	// Its run folders stay among this run's. It ends its processes by itself when it is told to, and the kernel does when it dies.
	cmd.Env = append(os.Environ(), "TMPDIR="+b.folder)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	// The kernel tells it of this thread's death, so the thread must not end before.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return a, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return a, err
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		// It writes events until it has stopped; one that nobody reads would wait.
		for lines := bufio.NewScanner(out); lines.Scan(); {
		}
		if ended := cmd.Wait(); err == nil && ctx.Err() == nil {
			err = ended
		}
		if err == nil {
			err = context.Cause(ctx)
		}
	}()
	address, err := awaitUp(bufio.NewScanner(out))
	if err != nil {
		return a, err
	}
	if _, err := fetch(ctx, "http://"+address+"/"); err != nil {
		return a, err
	}
	a.seconds = time.Since(begin).Seconds()
	a.resident, a.proportional, err = instancesMemory(cmd.Process.Pid, instances)
	return a, err
}

// awaitUp reads events until one says that the fleet serves, and returns where it takes HTTP.
func awaitUp(lines *bufio.Scanner) (string, error) {
	for lines.Scan() {
		var event struct{ Event, HTTP, Error, Message string }
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return "", fmt.Errorf("%w in %s", err, lines.Bytes())
		}
		switch event.Event {
		case "up":
			return event.HTTP, nil
		case "error":
			return "", errors.New(lines.Text())
		}
	}
	return "", errors.Join(errors.New("it ended before it was up"), lines.Err())
}

// instancesMemory are the mean megabytes of the instances that a trivet has started.
func instancesMemory(trivet, instances int) (resident, proportional float64, err error) {
	children, err := proc.Children(trivet)
	if err != nil {
		return 0, 0, err
	}
	found := 0
	for _, pid := range children {
		if name, err := proc.Name(pid); err != nil || name != "whoami" {
			continue
		}
		found++
		r, err1 := proc.Resident(pid)
		p, err2 := proc.Proportional(pid)
		if err := errors.Join(err1, err2); err != nil {
			return 0, 0, err
		}
		resident += float64(r) / megabyte
		proportional += float64(p) / megabyte
	}
	if found != instances {
		return 0, 0, fmt.Errorf("%d instances run, want %d", found, instances)
	}
	return resident / float64(found), proportional / float64(found), nil
}
