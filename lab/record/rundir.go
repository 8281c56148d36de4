package record

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"trivet/lab/scenario"
)

// keptRuns is how many finished runs are kept.
const keptRuns = 5

// ErrRunDir is in every error about a run directory that cannot be used.
var ErrRunDir = errors.New("run directory unusable")

// Base is the directory of this user's runs: trivet-UID in the directory for temporary files, which TMPDIR moves.
func Base() string { return filepath.Join(os.TempDir(), "trivet-"+strconv.Itoa(os.Getuid())) }

// Run is one run's directory: logs, and what nginx reads and writes. It stays when the run is over; the newest five finished ones are
// kept.
type Run struct {
	// Dir is absolute. Its name begins with the time, so names sort by age.
	Dir  string
	lock *os.File // locked while the run lives; the kernel unlocks it, whatever ends the program
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
	run := &Run{Dir: dir}
	if run.lock, err = lock(filepath.Join(dir, "lock"), os.O_CREATE); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := MkdirAll(filepath.Join(dir, "logs")); err != nil {
		return nil, errors.Join(err, run.Discard())
	}
	prune(base)
	return run, nil
}

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

// prune removes finished runs but for the newest. What cannot be removed stays: the run that is beginning does not need it gone.
func prune(base string) {
	runs, err := Runs(base)
	if err != nil {
		return
	}
	finished := 0
	for _, dir := range runs {
		free, err := lock(filepath.Join(dir, "lock"), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			continue // It is in use.
		}
		if finished++; finished > keptRuns {
			_ = os.RemoveAll(dir)
		}
		if free != nil {
			_ = unlock(free)
		}
	}
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

// FindLog returns the file of a process's log in a run directory, and the names of all logs there: each process's own, "nginx" for
// nginx's error log and "access" for its access log. The file of an unknown name is "".
func FindLog(dir, name string) (file string, names []string, err error) {
	entries, err := os.ReadDir(filepath.Join(dir, "logs"))
	if err != nil {
		return "", nil, err
	}
	for _, entry := range entries {
		known, isLog := strings.CutSuffix(entry.Name(), ".log")
		if !isLog {
			continue
		}
		if known == "error" {
			known = scenario.Nginx
		}
		names = append(names, known)
		if known == name {
			file = filepath.Join(dir, "logs", entry.Name())
		}
	}
	slices.SortFunc(names, scenario.CompareNames)
	return file, names, nil
}

// LogFile is the file that gets the output of a process.
func LogFile(dir, name string) string {
	if name == scenario.Nginx {
		name = "error" // What nginx writes before it opens its log belongs into the same file.
	}
	return filepath.Join(dir, "logs", name+".log")
}

// Tail is the last lines of a file, each indented by two spaces, or why there are none.
func Tail(name string, lines int) string {
	text, err := lastBytes(name, 8<<10)
	if err != nil {
		return "  (" + err.Error() + ")"
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	all = all[max(0, len(all)-lines):]
	return "  " + strings.Join(all, "\n  ")
}

func lastBytes(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_, _ = f.Seek(-most, io.SeekEnd) // It refuses only what is longer than the file, which then is read from its start.
	return io.ReadAll(f)
}

// CheckBase returns an error if NewRun could not make a directory in base. It leaves nothing behind.
func CheckBase(base string) error {
	if _, err := os.Lstat(base); errors.Is(err, fs.ErrNotExist) {
		defer os.Remove(base)
	}
	if err := claimBase(base); err != nil {
		return err
	}
	probe, err := os.MkdirTemp(base, "check")
	if err != nil {
		return err
	}
	return errors.Join(os.Remove(probe), Usable(base))
}
