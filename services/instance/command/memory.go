package command

import (
	"log/slog"
	"math"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"trivet/services/instance"
)

// memoryShare is the part of a cgroup's memory limit that becomes GOMEMLIMIT. The rest is for memory that Go does not
// count, like the kernel's socket buffers.
const memoryShare = 0.75

// limitMemory sets GOGC, and GOMEMLIMIT from the memory limit of the process's cgroup, for example a container's.
// GOMEMLIMIT in the environment wins. Without a cgroup limit it sets none.
func limitMemory(c instance.Config, log *slog.Logger) {
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
