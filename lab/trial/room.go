package trial

import (
	"fmt"

	"golang.org/x/sys/unix"

	"trivet/lab/fleet"
)

const (
	// perRequest is about what the records of one request take, in bytes: 0.4 KB the client's, 0.8 nginx's, twice 0.25 the instance's, and
	// as much again for attempts.
	perRequest = 3000
	// reserve is what must always be free: with less a witness falls silent, and that must not look like a finding.
	reserve = 4 << 20
)

// roomFor tells whether the run folder has room for the records of all that is planned.
func roomFor(s Setup) error {
	requests := 0
	for _, stream := range planned(s).Streams {
		requests += stream.Count(s.File.Length())
	}
	return roomy(s.Dir, reserve+uint64(requests)*perRequest)
}

func roomy(dir string, need uint64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("%w: %s: %w", fleet.ErrRunFolder, dir, err)
	}
	if free := s.Bavail * uint64(s.Bsize); free < need {
		return fmt.Errorf("%w: %s has %d MB free, and the records want %d; set TMPDIR to a folder with room", fleet.ErrRunFolder, dir, free>>20, (need-1)>>20+1)
	}
	return nil
}
