package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"trivet/internal/buildinfo"
	"trivet/internal/words"
	"trivet/lab/fleet"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A reporter prints what happens during trivet up, as text or JSON. Its methods may be called concurrently.
type reporter struct {
	invocation
	json, color  bool
	mu           sync.Mutex
	ready        map[string]fleet.Event // of the processes that are ready
	isUp, ending bool
}

func newReporter(in invocation, asJSON bool) *reporter {
	return &reporter{invocation: in, json: asJSON, color: useColor(in.stdout), ready: make(map[string]fleet.Event)}
}

// line is one object of trivet up --json. Fields that an event does not have are left out.
type line struct {
	Time        time.Time    `json:"time"`
	Event       string       `json:"event"` // started, ready, died, stopped, starting, up, stopping, note, error
	Name        string       `json:"name,omitempty"`
	HTTP        string       `json:"http,omitempty"`
	GRPC        string       `json:"grpc,omitempty"`
	Admin       string       `json:"admin,omitempty"`
	PID         int          `json:"pid,omitempty"`
	StartCount  int          `json:"start_count,omitempty"`
	ElapsedMS   float64      `json:"elapsed_ms,omitempty"`
	Exit        *record.Exit `json:"exit,omitempty"`
	RestartInMS float64      `json:"restart_in_ms,omitempty"`
	Dir         string       `json:"dir,omitempty"`
	Ready       *int         `json:"ready,omitempty"`
	Message     string       `json:"message,omitempty"`
	Code        int          `json:"code,omitempty"`
}

// print writes l for programs, or a text for people to w.
func (r *reporter) print(l line, w io.Writer, format string, args ...any) {
	if !r.json {
		fmt.Fprintf(w, format, args...)
		return
	}
	if l.Time.IsZero() {
		l.Time = time.Now()
	}
	_ = json.NewEncoder(r.stdout).Encode(l) // A reader that has closed the pipe is no reason to stop.
}

// event prints an event; for people only what happens while the fleet is up, because up summarizes the start, and stops are expected.
func (r *reporter) event(e fleet.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ready, e.Process)
	text := ""
	switch e.Kind {
	case record.Ready:
		r.ready[e.Process] = e
		text = fmt.Sprintf("%s %s %s (pid %d), ready after %v\n", clock(e.Time), e.Process, r.paint(green, "is back"), e.PID, brief(e.Elapsed))
	case record.Died:
		text = fmt.Sprintf("%s %s %s (pid %d, %s) after %v; restarting in %v\n",
			clock(e.Time), e.Process, r.paint(red, "died"), e.PID, e.Exit, brief(e.Elapsed), brief(e.RestartIn))
	}
	if !r.isUp || r.ending {
		text = ""
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	l := line{
		Time: e.Time, Event: e.Kind, Name: e.Process, HTTP: e.HTTP, GRPC: e.GRPC, PID: e.PID, StartCount: e.StartCount,
		Exit: e.Exit, RestartInMS: ms(e.RestartIn),
	}
	if e.Kind != record.Started {
		l.ElapsedMS = ms(e.Elapsed)
	}
	r.print(l, r.stdout, "%s", text)
}

// starting prints how far a start is that takes long.
func (r *reporter) starting(instances int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, all, nginx := len(r.ready), len(r.ready), "not yet"
	if _, ok := r.ready[scenario.Nginx]; ok {
		n, nginx = n-1, "ready"
	}
	r.print(line{Event: "starting", Ready: &all}, r.stderr, "trivet: still starting: %d of %d instances are ready, nginx %s\n", n, instances, nginx)
}

func (r *reporter) up(f *fleet.Fleet, call *upCall, p place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.json {
		r.print(line{Event: "up", HTTP: f.HTTP(), GRPC: f.GRPC(), Admin: f.Admin(), Dir: f.Dir()}, nil, "")
		return
	}
	r.isUp = true
	fmt.Fprintf(r.stdout, "%s %s: %s behind nginx %s\n\n", r.paint(bold, "trivet"), buildinfo.String(),
		words.Count(call.Instances, "instance"), call.Nginx.Version)
	table := tabwriter.NewWriter(r.stdout, 0, 0, 2, ' ', 0)
	for _, name := range append([]string{scenario.Nginx}, f.Names()...) {
		e := r.ready[name]
		fmt.Fprintf(table, "  %s\thttp://%s\tgrpc://%s\tpid %d\tready after %v\n", name, f.Process(name).HTTP(), f.Process(name).GRPC(), f.Process(name).PID(), brief(e.Elapsed))
	}
	table.Flush()
	fmt.Fprintf(r.stdout, `
Try, in another terminal:

  curl %s/
  %s -plaintext %s%s whoami.v1.WhoAmIService/WhoAmI
  %s logs -f whoami-1
  kill -9 %d                    # and watch it come back here
  curl %s/nginx_status  # nginx's own status; also /healthz

Run directory: %s
Ctrl-C stops everything.
`, handy(f.HTTP()), p.grpcurl(), p.contract(f.Reflection()), handy(f.GRPC()), p.self(), f.Process(scenario.InstanceName(1)).PID(), handy(f.Admin()), f.Dir())
}

func (r *reporter) stopping(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ending = true
	r.print(line{Event: "stopping", Message: why.Error()}, r.stderr, "trivet: stopping (%v); a second Ctrl-C ends at once\n", why)
}

// stillStopping prints how far a stop is that takes long.
func (r *reporter) stillStopping() {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.ready)
	r.print(line{Event: "stopping", Ready: &n}, r.stderr, "trivet: still stopping, %d processes left: running calls may finish\n", n)
}

func (r *reporter) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.print(line{Event: "note", Message: text}, r.stderr, "trivet: %s\n", text)
}

func (r *reporter) fail(err error, code int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.json {
		r.print(line{Event: "error", Message: strings.TrimSpace(err.Error()), Code: code}, nil, "")
		return
	}
	printErrors(r.stderr, err)
	if code == exitUsage {
		fmt.Fprintln(r.stderr, "trivet: nothing was started; `trivet up --help` lists the flags")
	}
}

func clock(t time.Time) string { return t.Format(time.TimeOnly) }

// brief rounds a duration to about three digits.
func brief(d time.Duration) time.Duration {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond)
	case d < time.Minute:
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(time.Second)
}

// handy shortens an address to what people type.
func handy(address string) string {
	if host, port, err := net.SplitHostPort(address); err == nil && host == "127.0.0.1" {
		return "localhost:" + port
	}
	if strings.HasPrefix(address, "[") {
		return "'" + address + "'" // Shells take brackets for a pattern.
	}
	return address
}

func (r *reporter) paint(code, text string) string {
	if !r.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// useColor reports whether w is a terminal and NO_COLOR is not set (no-color.org).
func useColor(w io.Writer) bool {
	return isTerminal(w) && os.Getenv("NO_COLOR") == ""
}

// isTerminal reports whether w is a terminal with escape sequences.
func isTerminal(w io.Writer) bool {
	f, isFile := w.(*os.File)
	if !isFile || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// width returns how many characters fit into a line of the terminal; 0 if that is unknown.
func width(w io.Writer) int {
	f, isFile := w.(*os.File)
	if !isFile {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

const (
	bold  = "1"
	red   = "31"
	green = "32"
)
