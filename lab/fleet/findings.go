package fleet

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// Findings returns events in the logs that no action requested, after Stop: nginx workers that ended, reloads by hand. The error wraps
// record.ErrRunDir if a process could not write all of its records: what is missing in them would look like a discrepancy.
func (f *Fleet) Findings() ([]record.Event, error) {
	for _, name := range f.Names() {
		if err := scanLog(f.options.Dir, name, "records are incomplete", func([]byte) {}); err != nil {
			return nil, err
		}
	}
	f.requests.Lock()
	defer f.requests.Unlock()
	return f.balancer.Findings(f.options.Dir, f.requested)
}

// scanLog calls each with every line of a process's log, and returns an error with the first that contains loss: the process could not
// write a record.
func scanLog(dir, process, loss string, each func(line []byte)) error {
	first := ""
	err := eachLine(record.LogFile(dir, process), func(line []byte) {
		if first == "" && bytes.Contains(line, []byte(loss)) {
			first = string(line)
		}
		each(line)
	})
	if err == nil && first != "" {
		err = fmt.Errorf("%w: %s: %s could not write its records: %s", record.ErrRunDir, dir, process, first)
	}
	return err
}

// eachLine calls with each line of a file, good until the next; one of more than 64 KB comes in pieces. Logs can have tens of megabytes.
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

func (nginxBalancer) Findings(dir string, requested Requested) ([]record.Event, error) {
	var m masterLog
	err := scanLog(dir, scenario.Nginx, "while logging request", m.add)
	return m.findings(requested), err
}

// masterLog collects the lines of nginx's master in its error log. The master is the only process that learns how its workers ended.
type masterLog struct {
	master
	reloads []time.Time
	events  []record.Event
}

// A master is what is known of one start of nginx.
type master struct {
	pid      string // "" until it logs that it starts workers
	initial  int    // workers that it started first
	counting bool   // those
	expected int    // workers still to start after a reload
	ended    int    // workers that were killed or failed, for which it has not started another yet
}

// dateLength is the length of what stands before a line's level.
const dateLength = len("2006/01/02 15:04:05 ")

var (
	logLine   = regexp.MustCompile(`^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[(\w+)\] (\d+)#\d+: (.*)$`)
	workerEnd = regexp.MustCompile(`^worker process (\d+) exited (?:on signal (\d+)|with (?:fatal )?code (\d+))`)
)

func (m *masterLog) add(line []byte) {
	// With debug messages, which stand between those about workers, most of a log.
	if len(line) > dateLength && bytes.HasPrefix(line[dateLength:], []byte("[debug] ")) {
		return
	}
	parts := logLine.FindSubmatch(line)
	if parts == nil || string(parts[2]) == "debug" {
		return // A debug log has lines between those that belong together.
	}
	at, err := time.ParseInLocation("2006/01/02 15:04:05", string(parts[1]), time.Local)
	pid, message := string(parts[3]), string(parts[4])
	if message == "start worker processes" && m.pid != pid {
		m.master = master{pid: pid, counting: true}
		return
	}
	// Without notices in the log the master's PID is unknown, but only the master logs ends of workers.
	if err != nil || m.pid != "" && pid != m.pid {
		return
	}
	worker, starts := strings.CutPrefix(message, "start worker process ")
	m.counting = m.counting && starts
	switch {
	case starts:
		m.workerStarted(at, worker)
	case message == "start worker processes":
		m.expected = m.initial
	case message == "reconfiguring":
		m.reloads = append(m.reloads, at)
	default:
		m.workerEnded(at, message)
	}
}

// workerEnded adds the end of a worker, except with code 0: it was requested, or the worker started in its place shows it.
func (m *masterLog) workerEnded(at time.Time, message string) {
	parts := workerEnd.FindStringSubmatch(message)
	if parts == nil || parts[3] == "0" {
		return
	}
	m.ended++
	var exit record.Exit
	if signal, err := strconv.Atoi(parts[2]); err == nil {
		exit.Signal = unix.SignalName(syscall.Signal(signal))
	}
	exit.Code, _ = strconv.Atoi(parts[3])
	m.event(at, record.WorkerEnded, parts[1], &exit)
}

func (m *masterLog) workerStarted(at time.Time, worker string) {
	switch {
	case m.counting:
		m.initial++
	case m.expected > 0:
		m.expected--
	case m.ended > 0:
		m.ended--
	default:
		m.event(at, record.WorkerReplaced, worker, nil)
	}
}

// findings are the events, without ends of workers that were requested, and with a reload for each that was not. As many reloads as were
// requested are taken for those, whatever their times: the clock may have been set.
func (m *masterLog) findings(requested Requested) []record.Event {
	killed := slices.Clone(requested.Killed)
	m.events = slices.DeleteFunc(m.events, func(e record.Event) bool {
		i := slices.Index(killed, e.PID)
		if i < 0 || e.Kind != record.WorkerEnded || !e.Exit.Killed() {
			return false
		}
		killed = slices.Delete(killed, i, i+1)
		return true
	})
	excess := len(m.reloads) - len(requested.Reloads)
	reloads := slices.Clone(requested.Reloads)
	for _, at := range m.reloads {
		if i := slices.IndexFunc(reloads, func(r Reloading) bool { return r.covers(at) }); i >= 0 {
			reloads = slices.Delete(reloads, i, i+1)
		} else if excess > 0 {
			excess--
			m.event(at, record.Reconfigured, "", nil)
		}
	}
	return m.events
}

// covers reports whether the reload may be the one that the log has at a whole second.
func (r Reloading) covers(at time.Time) bool {
	return !at.Before(r.Begin.Truncate(time.Second)) && (r.End.IsZero() || !at.After(r.End))
}

func (m *masterLog) event(at time.Time, kind, pid string, exit *record.Exit) {
	e := record.Event{Time: at, Event: record.NginxEvent, Kind: kind, Exit: exit}
	e.PID, _ = strconv.Atoi(pid)
	m.events = append(m.events, e)
}
