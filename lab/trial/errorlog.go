package trial

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"trivet/lab/fleet"
	"trivet/lab/ledger"
)

// eachLine calls with each line of a file, good until the next; one of more than 64 KB comes in pieces. Logs may be tens of megabytes.
func eachLine(path string, with func(line []byte)) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewReaderSize(file, 64<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			with(bytes.TrimSpace(line))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// incomplete is for when the fleet has stopped. It tells whether nginx or an instance could not write all of its records: then what is missing
// in them is no finding. What else nginx's log tells that nobody asked for goes into the diary.
func incomplete(f *fleet.Fleet, s Setup, diary *diary) error {
	master := master{diary: diary}
	for _, name := range append(f.Names(), fleet.Nginx) {
		says, first := "records are incomplete", ""
		if name == fleet.Nginx {
			says = "while logging request"
		}
		err := eachLine(f.LogFile(name), func(line []byte) {
			if first == "" && bytes.Contains(line, []byte(says)) {
				first = string(line)
			}
			if name == fleet.Nginx {
				master.line(line)
			}
		})
		if err != nil {
			return err
		}
		if first != "" {
			return fmt.Errorf("%w: %s: %s could not write its records: %s", fleet.ErrRunFolder, s.Dir, name, first)
		}
	}
	master.end()
	return nil
}

// A master is what the lines of nginx's master in its log come to. Workers are its children: whoever else runs them does not hear of their ends.
type master struct {
	diary *diary
	pid   string // "" until it says that it starts workers

	workers  int  // that it starts at once
	counts   bool // them: it is starting its first
	expected int  // workers that are still to start, after a reload
	told     int  // ends that are in the diary, each of which has a worker started in the place of the one that ended
	reloads  []time.Time
}

var (
	logLine    = regexp.MustCompile(`^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[\w+\] (\d+)#\d+: (.*)$`)
	workerEnds = regexp.MustCompile(`^worker process (\d+) exited (?:on signal (\d+)|with (?:fatal )?code (\d+))`)
)

func (m *master) line(line []byte) {
	parts := logLine.FindSubmatch(line)
	if parts == nil {
		return
	}
	at, err := time.ParseInLocation("2006/01/02 15:04:05", string(parts[1]), time.Local)
	pid, says := string(parts[2]), string(parts[3])
	if says == "start worker processes" && m.pid == "" {
		m.pid, m.counts = pid, true
		return
	}
	if err != nil || m.pid != "" && pid != m.pid { // Where notices are not logged, nobody knows which is the master, but it alone speaks of ends.
		return
	}
	worker, starts := strings.CutPrefix(says, "start worker process ")
	m.counts = m.counts && starts
	switch {
	case starts:
		m.started(at, worker)
	case says == "start worker processes":
		m.expected = m.workers
	case says == "reconfiguring":
		m.reloads = append(m.reloads, at)
	default:
		m.ended(at, says)
	}
}

// ended takes the end of a worker. One that ended well was told to, or is missed when another is started in its place.
func (m *master) ended(at time.Time, what string) {
	parts := workerEnds.FindStringSubmatch(what)
	if parts == nil || parts[3] == "0" {
		return
	}
	m.told++
	exit := "exit code " + parts[3]
	if n, err := strconv.Atoi(parts[2]); err == nil {
		exit = "signal " + unix.SignalName(syscall.Signal(n))
	}
	m.tell(at, ledger.WorkerEnded, parts[1], exit)
}

func (m *master) started(at time.Time, worker string) {
	switch {
	case m.counts:
		m.workers++
	case m.expected > 0:
		m.expected--
	case m.told > 0:
		m.told--
	default:
		m.tell(at, ledger.WorkerReplaced, worker, "")
	}
}

// end tells of the reloads that were none of the diary's actions.
func (m *master) end() {
	own := m.diary.reloads
	excess := len(m.reloads) - len(own)
	for _, at := range m.reloads {
		i := 0
		for i < len(own) && !own[i].covers(at) {
			i++
		}
		if i < len(own) {
			own = append(own[:i:i], own[i+1:]...)
		} else if excess > 0 {
			excess--
			m.tell(at, ledger.Reconfigured, "", "")
		}
	}
}

// covers tells whether a reload may be the one that the log has at a whole second.
func (r reload) covers(at time.Time) bool {
	return !at.Before(r.began.Truncate(time.Second)) && (r.done.IsZero() || !at.After(r.done))
}

func (m *master) tell(at time.Time, kind, pid, exit string) {
	e := ledger.Event{Time: at, Event: ledger.NginxDid, Kind: kind, Exit: exit}
	e.PID, _ = strconv.Atoi(pid)
	m.diary.write(e)
}
