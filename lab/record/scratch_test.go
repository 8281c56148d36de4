package record

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// A killed program leaves its directory without a lock.
func TestAbandonedScratchIsRemoved(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(string) error{
		"by a check": func(base string) error {
			s, err := NewScratch(base)
			return errors.Join(err, s.Discard())
		},
		"by a run": func(base string) error {
			r, err := NewRun(base)
			return errors.Join(err, r.Close())
		},
	} {
		base := filepath.Join(t.TempDir(), "trivet")
		used, err := NewScratch(base)
		if err != nil {
			t.Fatal(err)
		}
		abandoned, mine := filepath.Join(base, scratchPrefix+"1"), filepath.Join(base, "mine")
		if err := errors.Join(os.MkdirAll(filepath.Join(abandoned, "conf"), 0o700), os.Mkdir(mine, 0o700), begin(base)); err != nil {
			t.Fatal(err)
		}
		for dir, stays := range map[string]bool{abandoned: false, mine: true} {
			if _, err := os.Lstat(dir); stays != (err == nil) {
				t.Errorf("%s: %s: %v, want it to stay: %t", name, dir, err, stays)
			}
		}
		_, err = os.Lstat(used.Dir)
		if err := errors.Join(err, used.Discard()); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(used.Dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a discarded directory: %v", err)
		}
	}
}

// Each takes a directory that another has made and not locked yet for abandoned.
func TestScratchesAtTheSameTime(t *testing.T) {
	t.Parallel()
	base := filepath.Join(t.TempDir(), "trivet")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				s, err := NewScratch(base)
				if err != nil {
					t.Error(err)
					return
				}
				if err := errors.Join(os.WriteFile(filepath.Join(s.Dir, "file"), nil, 0o600), s.Discard()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}
