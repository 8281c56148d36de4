package main

import (
	"bytes"
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
	TLS         string       `json:"tls,omitempty"` // for both protocols
	CA          string       `json:"ca,omitempty"`  // file of the authorities that clients trust
	Metrics     string       `json:"metrics,omitempty"`
	Dashboard   string       `json:"dashboard,omitempty"` // URL of the page
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

// up prints where the fleet is, and what is served beside it.
func (r *reporter) up(f *fleet.Fleet, call *upCall, beside *upBeside, p place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	metrics, url := beside.metrics.address, beside.dashboard.url()
	if r.json {
		r.print(line{Event: "up", HTTP: f.HTTP(), GRPC: f.GRPC(), TLS: f.TLS(), CA: f.CA(), Admin: f.Admin(), Metrics: metrics, Dashboard: url, Dir: f.Dir()}, nil, "")
		return
	}
	r.isUp = true
	fmt.Fprintf(r.stdout, "%s %s: %s behind nginx %s\n\n", r.paint(bold, "trivet"), buildinfo.String(), call.describe(), call.Nginx.Version)
	r.addresses(f, call)
	if url != "" {
		fmt.Fprintf(r.stdout, "\nWatch it in a browser, send load, kill an instance:\n\n  %s\n", url)
	}
	fmt.Fprintf(r.stdout, "\nTry, in another terminal:\n\n")
	for _, line := range r.suggestions(f, call, metrics, p) {
		fmt.Fprintf(r.stdout, "  %s\n", line)
	}
	fmt.Fprintf(r.stdout, "\nRun directory: %s\nCtrl-C stops everything.\n", f.Dir())
}

// describe says in words what runs behind nginx.
func (c *upCall) describe() string {
	text := words.Count(c.Instances, "instance")
	if c.Front > 0 {
		text += fmt.Sprintf(" and %d of front", c.Front)
	}
	return text
}

// addresses prints where each process listens.
func (r *reporter) addresses(f *fleet.Fleet, call *upCall) {
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, name := range append([]string{scenario.Nginx}, f.Names()...) {
		p, http, grpc := f.Process(name), "http", "grpc"
		if call.MTLS && name != scenario.Nginx {
			http, grpc = "https", "grpcs"
		}
		fmt.Fprintf(table, "  %s\t%s://%s\t%s://%s\tpid %d\tready after %v\n", name, http, p.HTTP(), grpc, p.GRPC(), p.PID(), brief(r.ready[name].Elapsed))
		if name == scenario.Nginx && call.TLS {
			fmt.Fprintf(table, "  \thttps://%s\tgrpcs://%s\t\t\n", f.TLS(), f.TLS())
		}
	}
	_ = table.Flush() // A buffer takes all.
	for line := range strings.Lines(text.String()) {
		fmt.Fprintln(r.stdout, strings.TrimRight(line, " \n")) // The line without a pid ends in blanks.
	}
}

// suggestions are commands to try.
func (r *reporter) suggestions(f *fleet.Fleet, call *upCall, metrics string, p place) []string {
	grpcurl, method := p.grpcurl(), "whoami.v1.WhoAmIService/WhoAmI"
	all := []string{
		fmt.Sprintf("curl %s/", handy(f.HTTP())),
		fmt.Sprintf("%s -plaintext %s%s %s", grpcurl, p.contract(f.Reflection()), handy(f.GRPC()), method),
	}
	if call.TLS {
		all = append(all,
			fmt.Sprintf("curl --cacert %s https://%s/", f.CA(), handy(f.TLS())),
			fmt.Sprintf("%s -cacert %s %s%s %s", grpcurl, f.CA(), p.contract(f.Reflection()), handy(f.TLS()), method))
	}
	all = append(all, suggestion(p.self()+" call --hops grpc,http --hops grpc", "services call each other"))
	if call.Front > 0 {
		all = append(all, suggestion("curl "+handy(f.HTTP())+"/front", "front calls whoami through nginx"))
	}
	if call.TLS || call.MTLS {
		all = append(all, suggestion(p.self()+" certs", "certificates: list, renew, issue"))
	}
	all = append(all,
		p.self()+" logs -f whoami-1",
		suggestion(fmt.Sprintf("kill -9 %d", f.Process(scenario.InstanceName(1)).PID()), "and watch it come back here"),
		suggestion("curl "+handy(f.Admin())+"/nginx_status", "nginx's own status; also /healthz"))
	if metrics != "" {
		all = append(all, suggestion("curl "+handy(metrics)+"/metrics", "nginx's metrics, for Prometheus"))
	}
	return all
}

// suggestion is a command with a comment.
func suggestion(command, comment string) string { return fmt.Sprintf("%-45s # %s", command, comment) }

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
