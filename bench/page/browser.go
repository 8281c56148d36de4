package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/shirou/gopsutil/v4/process"

	"trivet/bench/proc"
)

// browser opens the page in a Chromium, and measures that.
func (s *stack) browser(ctx context.Context, o options, say func(string)) ([]row, error) {
	path := o.chromium
	if path == "" {
		found, err := exec.CommandContext(ctx, "e2e/browser/fetch", "--which").Output()
		if err != nil {
			return nil, fmt.Errorf("no Chromium: %w; run make chromium, or name one with --chromium", err)
		}
		path = strings.TrimSpace(string(found))
	}
	allocated, release := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1280, 900))...)
	defer release()
	tab, closeTab := chromedp.NewContext(allocated)
	defer closeTab()
	if err := chromedp.Do(tab, chromedp.Navigate(s.join("/")), chromedp.WaitVisible(chromedp.CSS("#picture"))); err != nil {
		return nil, fmt.Errorf("open the page: %w", err)
	}
	opened := time.Now()
	pid := chromedp.FromContext(tab).Browser.Process().Pid
	core := row{what: "browser, all its processes", unit: "% of a core", limit: "≤ 33.3", met: func(v float64) bool { return v <= mostOfCore }}
	say("the page is open in Chromium")
	if err := wait(ctx, settle); err != nil {
		return nil, err
	}
	for range o.blocks {
		used, err := cpuOfTree(ctx, pid, o.slice)
		if err != nil {
			return nil, err
		}
		core.values = append(core.values, used)
	}
	heaps := make([]float64, 2)
	for i, at := range []time.Duration{o.early, o.late} {
		say(fmt.Sprintf("its heap is measured %v after the page was opened", at))
		if err := wait(ctx, time.Until(opened.Add(at))); err != nil {
			return nil, err
		}
		var err error
		if heaps[i], err = heapAfterGC(tab); err != nil {
			return nil, err
		}
	}
	return []row{
		core,
		{what: fmt.Sprintf("browser's heap after GC, at %v", o.early), unit: "MB", values: heaps[:1]},
		{what: fmt.Sprintf("browser's heap after GC, at %v", o.late), unit: "MB", values: heaps[1:]},
		{what: "the second / the first", unit: "", values: []float64{heaps[1] / heaps[0]}, limit: fmt.Sprintf("≤ %v", mostGrowth), met: func(v float64) bool { return v <= mostGrowth }},
	}, nil
}

// heapAfterGC is the JavaScript heap in use, in MB.
func heapAfterGC(tab context.Context) (megabytes float64, err error) {
	for range 2 { // The first may leave what finalizers have kept.
		if _, err := chromedp.Call(tab, heapprofiler.CollectGarbage, cdp.Empty{}); err != nil {
			return 0, err
		}
	}
	usage, err := chromedp.Call(tab, runtime.GetHeapUsage, cdp.Empty{})
	return usage.UsedSize / 1e6, err
}

// cpuOfTree is how much of a core a process and all below it used in a time, in percent. What one used that ended meanwhile is not counted.
func cpuOfTree(ctx context.Context, pid int, d time.Duration) (float64, error) {
	pids, err := tree(int32(pid))
	if err != nil {
		return 0, err
	}
	before := make(map[int]time.Duration)
	for _, p := range pids {
		before[p], _ = proc.CPU([]int{p}) // One that has just ended used nothing.
	}
	begin := time.Now()
	if err := wait(ctx, d); err != nil {
		return 0, err
	}
	length := time.Since(begin)
	if pids, err = tree(int32(pid)); err != nil {
		return 0, err
	}
	var used time.Duration
	for _, p := range pids {
		if after, err := proc.CPU([]int{p}); err == nil {
			used += after - before[p]
		}
	}
	return 100 * used.Seconds() / length.Seconds(), nil
}

// tree are a process and all below it.
func tree(pid int32) ([]int, error) {
	all := []int{int(pid)}
	children, err := (&process.Process{Pid: pid}).Children()
	if err != nil && err != process.ErrorNoChildren {
		return nil, err
	}
	for _, c := range children {
		below, err := tree(c.Pid)
		if err != nil {
			continue // It has just ended.
		}
		all = append(all, below...)
	}
	return all, nil
}
