package fleet

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

// keptRuns is how many finished runs are kept.
const keptRuns = 5

// ErrRunFolder is in every error of a run folder that cannot be used.
var ErrRunFolder = errors.New("run folder unusable")

// Base is the folder of this user's runs: trivet-UID in the folder for temporary files, which TMPDIR moves.
func Base() string { return filepath.Join(os.TempDir(), "trivet-"+strconv.Itoa(os.Getuid())) }

// Run is the folder of one run: logs, and what nginx reads and writes. The folder stays when the run is over; the newest five
// finished ones are kept.
type Run struct {
	// Dir is absolute. Its name begins with the time, so names sort by age.
	Dir  string
	lock *os.File // locked while the run lives; the kernel unlocks it, whatever ends the program
}

// NewRun makes a folder for a run in base (see Base), which it makes too if its parent is there, and removes old runs. It refuses a
// base that is a link or somebody else's. The error wraps ErrRunFolder and says what to do. Close it when the run is over.
func NewRun(base string) (*Run, error) {
	run, err := newRun(base, time.Now())
	if err != nil {
		return nil, fmt.Errorf("%w: %w; set TMPDIR to a folder that you may write to and that has room", ErrRunFolder, err)
	}
	return run, nil
}

func newRun(base string, now time.Time) (*Run, error) {
	base, err := filepath.Abs(base)
	if err != nil {
		return nil, err
	}
	if err := ownFolder(base); err != nil {
		return nil, err
	}
	dir := filepath.Join(base, now.UTC().Format("20060102T150405.000000")+"-"+strconv.Itoa(os.Getpid()))
	if err := openFolder(dir); err != nil {
		return nil, err
	}
	run := &Run{Dir: dir}
	if run.lock, err = lock(filepath.Join(dir, "lock"), os.O_CREATE); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := openFolder(filepath.Join(dir, "logs")); err != nil {
		return nil, errors.Join(err, run.Discard())
	}
	prune(base)
	return run, nil
}

// Close ends the run; its folder stays.
func (r *Run) Close() error { return unlock(r.lock) }

// Discard ends the run and removes its folder: for one in which nothing was started.
func (r *Run) Discard() error { return errors.Join(os.RemoveAll(r.Dir), unlock(r.lock)) }

// openFolder makes a folder through which anybody may pass and in which nobody else may look: nginx's workers, who are not root
// when nginx is, have their own folders in it.
func openFolder(name string) error {
	if err := os.Mkdir(name, 0o711); err != nil {
		return err
	}
	return os.Chmod(name, 0o711) // Mkdir's mode went through the umask.
}

// ownFolder makes base, or makes sure that the one that is there is ours: anybody can make a folder in /tmp first.
func ownFolder(base string) error {
	err := openFolder(base)
	if err == nil || !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(base)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s is a link, which somebody else may have made; remove it", base)
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder; remove it", base)
	case int(owner) != os.Getuid():
		return fmt.Errorf("%s belongs to user %d, not to you (%d)", base, owner, os.Getuid())
	case info.Mode().Perm() != 0o711:
		return os.Chmod(base, 0o711)
	}
	return nil
}

// lock opens a file and locks it, or fails at once when somebody else has it locked.
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

// Runs are the folders of the runs in base, finished or not, the newest first.
func Runs(base string) ([]string, error) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil, err
	}
	var runs []string
	for _, entry := range slices.Backward(entries) { // ReadDir sorts by name, and names begin with the time.
		if _, err := time.Parse("20060102T150405.000000", beforeDash(entry.Name())); err == nil && entry.IsDir() {
			runs = append(runs, filepath.Join(base, entry.Name()))
		}
	}
	return runs, nil
}

func beforeDash(name string) string {
	before, _, _ := strings.Cut(name, "-")
	return before
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
			continue // It lives.
		}
		if finished++; finished > keptRuns {
			_ = os.RemoveAll(dir)
		}
		if free != nil {
			_ = unlock(free)
		}
	}
}

// room is what the file system of a run folder must have free for a run to begin, in bytes. With less, nginx or an instance
// fails at its first line, and cannot even write why.
const room = 1 << 20

func roomy(dir string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if free := s.Bavail * uint64(s.Bsize); free < room {
		return fmt.Errorf("%s has %d KiB free, and a run wants %d", dir, free>>10, room>>10)
	}
	return nil
}

// passable says which parent of dir keeps other users out, if one does.
func passable(dir string) error {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("%s (mode %#o) does not let nginx's workers through, who are not root", dir, info.Mode().Perm())
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// Log is the file of a process's log in the folder of a run, and names are those that there are: each process's own, "nginx" for
// nginx's error log and "access" for its access log. The file of an unknown name is "".
func Log(dir, name string) (file string, names []string, err error) {
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
			known = Nginx
		}
		names = append(names, known)
		if known == name {
			file = filepath.Join(dir, "logs", entry.Name())
		}
	}
	slices.SortFunc(names, byNumber)
	return file, names, nil
}

// byNumber sorts whoami-2 before whoami-10.
func byNumber(a, b string) int {
	if len(a) != len(b) && strings.HasPrefix(a, "whoami-") && strings.HasPrefix(b, "whoami-") {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// logFile is where the output of a process goes.
func logFile(dir, name string) string {
	if name == Nginx {
		name = "error" // What nginx says before it has its log belongs where the rest is.
	}
	return filepath.Join(dir, "logs", name+".log")
}

// tail is the last lines of a file, each indented, or why there are none.
func tail(name string, lines int) string {
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
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	text := make([]byte, min(most, info.Size()))
	n, err := f.ReadAt(text, info.Size()-int64(len(text)))
	return text[:n], err
}

// CheckBase tells whether NewRun would get a folder in base, and leaves nothing there that was not.
func CheckBase(base string) error {
	missing := false
	if _, err := os.Lstat(base); errors.Is(err, fs.ErrNotExist) {
		missing = true
	}
	err := ownFolder(base)
	if err == nil {
		var probe string
		if probe, err = os.MkdirTemp(base, "check"); err == nil {
			err = os.Remove(probe)
		}
		if err == nil {
			err = roomy(base)
		}
		if err == nil && os.Getuid() == 0 {
			err = passable(base)
		}
	}
	if missing && err == nil {
		err = os.Remove(base)
	}
	return err
}
