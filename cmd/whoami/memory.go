package main

import (
	"log/slog"
	"math"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"trivet/services/whoami"
)

// memoryShare is how much of a cgroup's memory limit Go's heap, stacks and runtime may take before they are collected
// hard. The rest is for what Go does not count, like the kernel's socket buffers.
const memoryShare = 0.75

// limitMemory sets GOGC, and GOMEMLIMIT by the memory limit of the process's cgroup (a container's). GOMEMLIMIT in the
// environment wins; without a limit there is none.
func limitMemory(c whoami.Config, log *slog.Logger) {
	debug.SetGCPercent(c.GOGC)
	limit, err := memlimit.Set(memlimit.WithRatio(memoryShare), memlimit.WithProvider(memlimit.FromCgroup))
	if err != nil {
		log.Debug("no memory limit", "reason", err)
		return
	}
	if limit < math.MaxInt64 {
		log.Debug("memory limit", "gomemlimit", limit)
	}
}
