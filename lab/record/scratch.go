package record

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// scratchPrefix begins the names of scratch directories.
const scratchPrefix = "check-"

// A Scratch is a directory for what is only tried. Discard it in any case; if the program is killed before, the next scratch directory or
// run in the same base removes it.
type Scratch struct {
	Dir  string   // absolute
	lock *os.File // the open directory, locked: the kernel unlocks it, whatever ends the program
}

// NewScratch makes a scratch directory in base (see Base), which it makes too if its parent exists. It refuses what NewRun refuses.
func NewScratch(base string) (*Scratch, error) {
	base, err := filepath.Abs(base)
	if err != nil {
		return nil, err
	}
	if err := claimBase(base); err != nil {
		return nil, err
	}
	removeAbandoned(base)
	for {
		dir, err := os.MkdirTemp(base, scratchPrefix)
		if err != nil {
			return nil, err
		}
		lock, err := lockDir(dir)
		if err == nil {
			return &Scratch{dir, lock}, nil
		}
		if !errors.Is(err, errAbandoned) {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
}

// Discard removes the directory.
func (s *Scratch) Discard() error { return errors.Join(os.RemoveAll(s.Dir), unlock(s.lock)) }

// errAbandoned is for a directory that another program removes as abandoned, before it could be locked.
var errAbandoned = errors.New("removed, or being removed")

// lockDir locks a directory, which must still be there.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errAbandoned
	}
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(errAbandoned, f.Close())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := os.Lstat(dir); err != nil {
		return nil, errors.Join(errAbandoned, unlock(f))
	}
	return f, nil
}

// removeAbandoned removes the scratch directories in base that no program has locked. What cannot be removed stays, and disturbs nothing.
func removeAbandoned(base string) {
	entries, _ := os.ReadDir(base)
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), scratchPrefix) {
			continue
		}
		dir := filepath.Join(base, entry.Name())
		if lock, err := lockDir(dir); err == nil {
			_ = errors.Join(os.RemoveAll(dir), unlock(lock))
		}
	}
}
