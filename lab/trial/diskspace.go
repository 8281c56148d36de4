package trial

import (
	"fmt"

	"golang.org/x/sys/unix"

	"trivet/lab/record"
)

const (
	// perRequest is about what the records of one request take, in bytes: the client's 0.4 KB, nginx's 0.8, the instance's two of 0.25
	// each, and as much again for further attempts.
	perRequest = 3000
	// perSecond is about what the samples of one process take in a second, in bytes: ten of 0.1 KB.
	perSecond = 1000
	// reserve is what must stay free: with less a source stops writing, and missing records must not look like results.
	reserve = 4 << 20
)

// checkSpaceFor returns an error if the trial directory has no room for the samples, and the records of all planned requests.
func checkSpaceFor(s Setup) error {
	requests := 0
	for _, l := range s.Scenario.Loads {
		requests += l.Rate.Estimate(s.Scenario.Length())
	}
	processes := s.Scenario.Instances + s.Scenario.Workers + 3 // with nginx's master, the generator and this program
	samples := s.Scenario.Length().Seconds() * float64(processes) * perSecond
	return checkSpace(s.Dir, reserve+uint64(requests)*perRequest+uint64(samples))
}

func checkSpace(dir string, need uint64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("%w: %s: %w", record.ErrRunDir, dir, err)
	}
	if free := s.Bavail * uint64(s.Bsize); free < need {
		return fmt.Errorf("%w: %s has %d MB free, and the records need %d; set TMPDIR to a directory with room", record.ErrRunDir, dir, free>>20, (need-1)>>20+1)
	}
	return nil
}
