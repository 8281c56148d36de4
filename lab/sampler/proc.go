package sampler

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// proc reads /proc. It keeps files open between samples, because to open one costs several times what it costs to read it, and it makes
// system calls itself, because package os costs more. A file of a process that is gone has an error, also if its PID is another's now.
type proc struct {
	root   string
	most   int // files that stay open
	round  int
	open   map[string]*openFile // by path
	buffer [32 << 10]byte
}

type openFile struct{ fd, round int } // the round in which it was read last

// mostOpen is how many files may stay open: few of those that this process may have, since a fleet's processes need some each.
func mostOpen() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(limit.Cur/8, 500))
}

// with calls use with the descriptor of a file, which is kept if use succeeds.
func (p *proc) with(path string, use func(fd int) error) error {
	if kept := p.open[path]; kept != nil {
		if err := use(kept.fd); err == nil {
			kept.round = p.round
			return nil
		}
		unix.Close(kept.fd)
		delete(p.open, path)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := use(fd); err != nil || len(p.open) >= p.most {
		unix.Close(fd)
		return err
	}
	if p.open == nil {
		p.open = make(map[string]*openFile)
	}
	p.open[path] = &openFile{fd, p.round}
	return nil
}

// sweep ends a round: it closes the files that were not read in it.
func (p *proc) sweep() {
	for path, f := range p.open {
		if f.round != p.round {
			unix.Close(f.fd)
			delete(p.open, path)
		}
	}
	p.round++
}

// close closes all files.
func (p *proc) close() {
	p.round++
	p.sweep()
}

// read is the text of a file, up to 32 KB, good until the next.
func (p *proc) read(path string) (text []byte, err error) {
	err = p.with(path, func(fd int) error {
		n, err := unix.Pread(fd, p.buffer[:], 0)
		text = p.buffer[:max(0, n)]
		return err
	})
	return text, err
}

// tick is the unit of times in /proc/stat, 1/USER_HZ.
const tick = 10 * time.Millisecond

// idleTime is for how long CPUs had nothing to do, together, since the machine's start.
func (p *proc) idleTime(cpus []int) (time.Duration, error) {
	path := p.root + "/stat"
	text, err := p.read(path)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	var whole, some time.Duration
	online, found := 0, 0
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) < 6 || !bytes.HasPrefix(fields[0], []byte("cpu")) {
			break // Lines of CPUs come first.
		}
		idle := time.Duration(number(fields[4])+number(fields[5])) * tick // and waiting for a disk
		if string(fields[0]) == "cpu" {
			whole = idle
			continue
		}
		online++
		if slices.Contains(cpus, int(number(fields[0][len("cpu"):]))) {
			some += idle
			found++
		}
	}
	switch {
	case online == 0:
		return 0, fmt.Errorf("%s: %w", path, errors.New("no line of a CPU"))
	case found == online:
		return whole, nil // It is rounded once, the sum of the others once for each CPU.
	}
	return some, nil
}

// number is a decimal number; 0 for any other text.
func number(text []byte) uint64 {
	n, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// process is what is known of a process now; false if it is gone.
func (p *proc) process(pid int) (*processTime, bool) {
	dir := p.root + "/" + strconv.Itoa(pid)
	text, err := p.read(dir + "/stat")
	if err != nil {
		return nil, false
	}
	// "pid (command) state …"; the command may contain anything. The 22nd field is the time of its start.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return nil, false
	}
	// "T" is stopped by a signal, "t" by a debugger.
	found := &processTime{started: number(fields[19]), stopped: strings.EqualFold(string(fields[0]), "T"), threads: make(map[int]counters)}
	tasks := dir + "/task/"
	for _, id := range p.entries(tasks) {
		// One that has just ended is left out.
		if c, err := p.counters(tasks + id + "/schedstat"); err == nil {
			found.threads[int(number([]byte(id)))] = c
		}
	}
	return found, len(found.threads) > 0
}

// entries are the names in a directory; none if it is gone.
func (p *proc) entries(dir string) (names []string) {
	err := p.with(dir, func(fd int) error {
		names = names[:0]
		if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
			return err
		}
		for {
			n, err := unix.ReadDirent(fd, p.buffer[:])
			if n <= 0 || err != nil {
				return err
			}
			_, _, names = unix.ParseDirent(p.buffer[:n], -1, names)
		}
	})
	if err != nil {
		return nil
	}
	return names
}

// counters are a thread's: "run delay timeslices", in nanoseconds.
func (p *proc) counters(path string) (counters, error) {
	text, err := p.read(path)
	if err != nil {
		return counters{}, err
	}
	run, rest, _ := bytes.Cut(text, []byte(" "))
	delay, _, ok := bytes.Cut(rest, []byte(" "))
	if !ok {
		return counters{}, fmt.Errorf("%s: %q", path, text)
	}
	return counters{time.Duration(number(run)), time.Duration(number(delay))}, nil
}
