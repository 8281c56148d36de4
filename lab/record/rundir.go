package record

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// KeptRuns is how many finished runs stay, beside those that are marked; see [Run.Keep].
const KeptRuns = 5

// keepFile marks a run directory that is never removed.
const keepFile = "keep"

// lockFile is locked while its run lives.
const lockFile = "lock"

// ErrRunDir is in every error about a run directory that cannot be used.
var ErrRunDir = errors.New("run directory unusable")

// Base is the directory of this user's runs: trivet-UID in the directory for temporary files, which TMPDIR moves.
func Base() string { return filepath.Join(os.TempDir(), "trivet-"+strconv.Itoa(os.Getuid())) }

// Run is one run's directory: logs, and what nginx reads and writes. It stays when the run is over, until KeptRuns newer ones have ended.
type Run struct {
	// Dir is absolute. Its name begins with the time, so names sort by age.
	Dir     string
	Removed []string // the directories of old runs that NewRun removed
	lock    *os.File // locked while the run lives; the kernel unlocks it, whatever ends the program
}

// NewRun makes a run directory in base (see Base), which it makes too if its parent exists, and removes old runs. It refuses a base that
// is a link or belongs to another user. The error wraps ErrRunDir and says what to do. Close the Run when the run is over.
func NewRun(base string) (*Run, error) {
	run, err := newRun(base, time.Now())
	if err != nil {
		return nil, fmt.Errorf("%w: %w; set TMPDIR to a directory that you may write to and that has room", ErrRunDir, err)
	}
	return run, nil
}

func newRun(base string, now time.Time) (*Run, error) {
	base, err := filepath.Abs(base)
	if err != nil {
		return nil, err
	}
	if err := claimBase(base); err != nil {
		return nil, err
	}
	dir := filepath.Join(base, now.UTC().Format("20060102T150405.000000")+"-"+strconv.Itoa(os.Getpid()))
	if err := MkdirAll(dir); err != nil {
		return nil, err
	}
	removeAbandoned(base)
	run := &Run{Dir: dir}
	if run.lock, err = lock(filepath.Join(dir, lockFile), os.O_CREATE); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := MkdirAll(filepath.Join(dir, "logs")); err != nil {
		return nil, errors.Join(err, run.Discard())
	}
	run.Removed = prune(base)
	return run, nil
}

// Keep marks the run: its directory is never removed, and does not count among the KeptRuns. To remove the file "keep" in it ends that.
func (r *Run) Keep() error { return os.WriteFile(filepath.Join(r.Dir, keepFile), nil, 0o644) }

// Close ends the run; its directory stays.
func (r *Run) Close() error { return unlock(r.lock) }

// Discard ends the run and removes its directory: for one in which nothing was started.
func (r *Run) Discard() error { return errors.Join(os.RemoveAll(r.Dir), unlock(r.lock)) }

// passable is the mode of a directory that every user may pass through and only this one may list: nginx's workers, which are not root
// when its master is, have their own directories in it, and write there.
const passable = 0o711

// MkdirAll makes a passable directory, whatever the umask.
func MkdirAll(dir string) error {
	if err := os.MkdirAll(dir, passable); err != nil {
		return err
	}
	return os.Chmod(dir, passable)
}

// claimBase makes base, or checks that the existing one is this user's: any user can make a directory in /tmp first.
func claimBase(base string) error {
	if err := os.Mkdir(base, passable); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(base)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s is a link, which another user may have made; remove it", base)
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory; remove it", base)
	case int(owner) != os.Getuid():
		return fmt.Errorf("%s belongs to user %d, not to you (%d)", base, owner, os.Getuid())
	}
	return os.Chmod(base, passable)
}

// lock opens a file and locks it, or fails at once when another process holds the lock.
func lock(name string, flag int) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|flag, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", name, err), f.Close())
	}
	return f, nil
}

// unlock closes a locked file. Closing alone would not do at once: a process that is just being started has it too, until its exec.
func unlock(f *os.File) error {
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}

// Runs are the run directories in base, finished or not, the newest first.
func Runs(base string) ([]string, error) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil, err
	}
	var runs []string
	for _, entry := range slices.Backward(entries) { // ReadDir sorts by name, and names begin with the time.
		begin, _, _ := strings.Cut(entry.Name(), "-")
		if _, err := time.Parse("20060102T150405.000000", begin); err == nil && entry.IsDir() {
			runs = append(runs, filepath.Join(base, entry.Name()))
		}
	}
	return runs, nil
}

// Running reports whether the program that made a run directory still runs.
func Running(dir string) bool {
	f, err := Open(filepath.Join(dir, lockFile))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// prune removes finished runs but for the newest and the marked ones, and returns which. What cannot be removed stays: the run that is
// beginning does not need it gone.
func prune(base string) (removed []string) {
	runs, _ := Runs(base) // Without a list, nothing is removed.
	finished := 0
	for _, dir := range runs {
		if _, err := os.Lstat(filepath.Join(dir, keepFile)); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		free, err := lock(filepath.Join(dir, lockFile), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			continue // It is in use.
		}
		if finished++; finished > KeptRuns && os.RemoveAll(dir) == nil {
			removed = append(removed, dir)
		}
		if free != nil {
			_ = unlock(free)
		}
	}
	return removed
}

// leastFree is what the file system of a run directory must have free for a run to begin, in bytes. With less, nginx or an instance
// fails at its first line, and cannot even write why.
const leastFree = 1 << 20

// Usable returns an error if a run cannot begin in dir: too little space, or, if nginx's master is root, a parent directory that keeps
// its workers out.
func Usable(dir string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if free := s.Bavail * uint64(s.Bsize); free < leastFree {
		return fmt.Errorf("%s has %d KiB free, and a run wants %d", dir, free>>10, leastFree>>10)
	}
	for ; os.Getuid() == 0; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("%s (mode %#o) keeps out nginx's workers, which are not root", dir, info.Mode().Perm())
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	return nil
}

// CheckBase returns an error if NewRun could not make a directory in base. It leaves nothing behind.
func CheckBase(base string) error {
	if _, err := os.Lstat(base); errors.Is(err, fs.ErrNotExist) {
		defer os.Remove(base)
	}
	if err := claimBase(base); err != nil {
		return err
	}
	probe, err := os.MkdirTemp(base, "probe-")
	if err != nil {
		return err
	}
	return errors.Join(os.Remove(probe), Usable(base))
}
