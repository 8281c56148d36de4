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

// A reporter prints what happens during trivet up, for people or for programs. Its methods may be called concurrently.
type reporter interface {
	event(fleet.Event)
	starting(instances int) // called while starting takes long
	up(*fleet.Fleet, *upCall, place)
	stopping(why error)
	stillStopping() // called while stopping takes long
	note(string)
	fail(err error, code int)
}

func newReporter(in invocation, asJSON bool) reporter {
	c := &counter{ready: make(map[string]fleet.Event)}
	if asJSON {
		return &jsonReporter{counter: c, out: json.NewEncoder(in.stdout)}
	}
	return &textReporter{counter: c, invocation: in, color: useColor(in.stdout)}
}

// counter holds the processes that are ready.
type counter struct {
	mu    sync.Mutex
	ready map[string]fleet.Event
}

func (c *counter) count(e fleet.Event) {
	if e.Kind == record.Ready {
		c.ready[e.Process] = e
	} else {
		delete(c.ready, e.Process)
	}
}

// textReporter is for people.
type textReporter struct {
	*counter
	invocation
	color  bool
	isUp   bool
	ending bool
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

func (r *textReporter) paint(code, text string) string {
	if !r.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// event prints what happens while the fleet is up. Starts are summarized by up, and stops are expected.
func (r *textReporter) event(e fleet.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count(e)
	switch {
	case !r.isUp || r.ending:
	case e.Kind == record.Died:
		fmt.Fprintf(r.stdout, "%s %s %s (pid %d, %s) after %v; restarting in %v\n",
			clock(e.Time), e.Process, r.paint(red, "died"), e.PID, e.Exit, brief(e.Elapsed), e.RestartIn)
	case e.Kind == record.Ready:
		fmt.Fprintf(r.stdout, "%s %s %s (pid %d), ready after %v\n", clock(e.Time), e.Process, r.paint(green, "is back"), e.PID, brief(e.Elapsed))
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

func (r *textReporter) starting(instances int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.ready)
	nginx := "not yet"
	if _, ok := r.ready[scenario.Nginx]; ok {
		n, nginx = n-1, "ready"
	}
	fmt.Fprintf(r.stderr, "trivet: still starting: %d of %d instances are ready, nginx %s\n", n, instances, nginx)
}

func (r *textReporter) up(f *fleet.Fleet, call *upCall, p place) {
	r.mu.Lock()
	defer r.mu.Unlock()
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
`, handy(f.HTTP()), p.grpcurl(), p.contract(f.Reflection()), handy(f.GRPC()), p.self(), f.Process("whoami-1").PID(), handy(f.Admin()), f.Dir())
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

func (r *textReporter) stopping(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ending = true
	fmt.Fprintf(r.stderr, "trivet: stopping (%v); a second Ctrl-C ends at once\n", why)
}

func (r *textReporter) stillStopping() {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.stderr, "trivet: still stopping, %d processes left: running calls may finish\n", len(r.ready))
}

func (r *textReporter) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintln(r.stderr, "trivet:", text)
}

func (r *textReporter) fail(err error, code int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	printErrors(r.stderr, err)
	if code == exitUsage {
		fmt.Fprintln(r.stderr, "trivet: nothing was started; `trivet up --help` lists the flags")
	}
}

// jsonReporter is for programs: one object per line.
type jsonReporter struct {
	*counter
	out *json.Encoder
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

func (r *jsonReporter) write(l line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.Time.IsZero() {
		l.Time = time.Now()
	}
	// A reader that has closed the pipe is no reason to stop.
	_ = r.out.Encode(l)
}

func (r *jsonReporter) event(e fleet.Event) {
	r.mu.Lock()
	r.count(e)
	r.mu.Unlock()
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	l := line{
		Time: e.Time, Event: e.Kind, Name: e.Process, HTTP: e.HTTP, GRPC: e.GRPC, PID: e.PID, StartCount: e.StartCount,
		Exit: e.Exit, RestartInMS: ms(e.RestartIn),
	}
	if e.Kind != record.Started {
		l.ElapsedMS = ms(e.Elapsed)
	}
	r.write(l)
}

func (r *jsonReporter) progress(event string) {
	r.mu.Lock()
	n := len(r.ready)
	r.mu.Unlock()
	r.write(line{Event: event, Ready: &n})
}

func (r *jsonReporter) starting(int)   { r.progress("starting") }
func (r *jsonReporter) stillStopping() { r.progress("stopping") }
func (r *jsonReporter) note(s string)  { r.write(line{Event: "note", Message: s}) }

func (r *jsonReporter) up(f *fleet.Fleet, _ *upCall, _ place) {
	r.write(line{Event: "up", HTTP: f.HTTP(), GRPC: f.GRPC(), Admin: f.Admin(), Dir: f.Dir()})
}

func (r *jsonReporter) stopping(why error) {
	r.write(line{Event: "stopping", Message: why.Error()})
}

func (r *jsonReporter) fail(err error, code int) {
	r.write(line{Event: "error", Message: strings.TrimSpace(err.Error()), Code: code})
}
