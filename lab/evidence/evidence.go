// Package evidence checks that an nginx configuration leaves the lab what it judges a run by: every request in nginx's access log, with
// its ID and its attempts, the events of nginx's processes in the error log, the request ID at the instances, and the instance's name at
// the client.
//
// It reads the whole configuration as nginx does, so that it does not matter whether an edit, a block or an included file takes something
// away. Where it cannot decide what nginx will do, it says so.
package evidence

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"trivet/nginx"
	"trivet/nginx/confedit"
)

// Files of nginx that the lab reads, relative to the trial directory.
const (
	accessLog = "logs/access.log"
	errorLog  = "logs/error.log"
	logFormat = "requests"
)

// A Loss is something that a configuration takes from the lab.
type Loss struct {
	// At is the directive that does it, or the block that lacks something; nil if it is the configuration as a whole.
	At *confedit.Directive
	// Message names places as FILE:LINE, and says what to do.
	Message string
}

// Losses returns what a configuration, as confedit.Read returns it, takes from the lab. The site is that for which it was installed.
func Losses(conf []*confedit.Directive, site nginx.Site) []Loss {
	shipped, err := confedit.Read(nginx.Conf())
	if err != nil {
		panic(err) // The files are embedded.
	}
	c := check{shipped: shipped, conf: conf, site: site}
	c.includes(conf)
	c.processes()
	c.errorLogs(&level{body: conf})
	blocks := named(conf, "http")
	if len(blocks) == 0 {
		c.lose(nil, "there is no http block, so that nothing listens where the lab sends: leave it, and edit what is in it")
	}
	for _, d := range blocks {
		c.http(&level{at: d, body: d.Body, up: &level{body: conf}})
	}
	return c.losses
}

// A check collects losses.
type check struct {
	shipped, conf []*confedit.Directive
	site          nginx.Site
	losses        []Loss
}

// lose adds a loss, unless another level has it already.
func (c *check) lose(at *confedit.Directive, format string, args ...any) {
	loss := Loss{at, fmt.Sprintf(format, args...)}
	if !slices.ContainsFunc(c.losses, func(l Loss) bool { return l.Message == loss.Message }) {
		c.losses = append(c.losses, loss)
	}
}

// A level is a block whose directives apply to what is in it, unless an inner level has directives of the same name.
type level struct {
	at   *confedit.Directive // nil at the top
	body []*confedit.Directive
	up   *level
}

// effective returns the directives of a name that apply at l.
func (l *level) effective(name string) []*confedit.Directive {
	for ; l != nil; l = l.up {
		if own := named(l.body, name); len(own) > 0 {
			return own
		}
	}
	return nil
}

// inner returns the levels in l in which requests are handled.
func (l *level) inner(names ...string) []*level {
	var all []*level
	for _, d := range l.body {
		if d.Block && slices.Contains(names, d.Name()) {
			all = append(all, &level{at: d, body: d.Body, up: l})
		}
	}
	return all
}

// label shows a directive with its place.
func label(d *confedit.Directive) string {
	const most = 80
	text := d.String()
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return fmt.Sprintf("%s (%s)", text, d.Place())
}

// named returns the directives of a name in a body.
func named(body []*confedit.Directive, name string) []*confedit.Directive {
	var all []*confedit.Directive
	for _, d := range body {
		if d.Name() == name {
			all = append(all, d)
		}
	}
	return all
}

// argument returns the n-th argument of d, from 1, "" if it has fewer.
func argument(d *confedit.Directive, n int) string {
	if len(d.Words) <= n {
		return ""
	}
	return d.Words[n]
}

// includes refuses includes that only nginx could read.
func (c *check) includes(body []*confedit.Directive) {
	for _, d := range body {
		if d.Name() == "include" && len(d.Words) == 2 {
			c.lose(d, "%s is no file of the configuration, so what it takes from the lab cannot be decided: put its text into nginx.files, and include that", label(d))
		}
		c.includes(d.Body)
	}
}

// processes checks the directives about nginx's processes.
func (c *check) processes() {
	top := func(name string) []*confedit.Directive { return named(c.conf, name) }
	for _, d := range top("daemon") {
		c.lose(d, "%s: the lab starts nginx in the foreground, to see it end: remove it", label(d))
	}
	for _, d := range top("master_process") {
		if argument(d, 1) != "on" {
			c.lose(d, "%s: without a master no process records how nginx's workers end, and reload does nothing: remove it", label(d))
		}
	}
	for _, d := range top("timer_resolution") {
		c.lose(d, "%s makes the times in the access log that coarse, and the lab compares them with those of clients and instances: remove it", label(d))
	}
	const fleet = "the number of nginx workers belongs to the fleet, as the fairness checks count with it: write fleet: {workers: 4}"
	workers := top("worker_processes")
	for _, d := range workers {
		if want := cmp.Or(strings.TrimPrefix(fmt.Sprint(c.site.Workers), "0"), "auto"); !slices.Equal(d.Words[1:], []string{want}) {
			c.lose(d, "%s: %s", label(d), fleet)
		}
	}
	if len(workers) == 0 {
		c.lose(nil, "worker_processes is missing: %s", fleet)
	}
	if pids, shipped := top("pid"), named(c.shipped, "pid"); len(pids) != 1 || !slices.Equal(pids[0].Words, shipped[0].Words) {
		c.lose(first(pids), `the lab keeps nginx's pid in the trial directory: leave "%s" as it is`, shipped[0])
	}
}

// first returns the first of several directives, nil if there is none.
func first(all []*confedit.Directive) *confedit.Directive {
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// errorLogs checks that everything that nginx logs about itself reaches the file that the lab reads, at l and in it.
func (c *check) errorLogs(l *level) {
	const why = `the lab reads nginx's error log: want "error_log logs/error.log notice" (or info, or debug)`
	own := named(l.body, "error_log")
	kept := false
	for _, d := range own {
		name := path.Clean(argument(d, 1))
		kept = kept || name == errorLog && detailed(d.Words[min(2, len(d.Words)):])
		if name != errorLog && reserved(name) {
			c.lose(d, "%s: the lab reads that file for something else: choose another name, like logs/own.log", label(d))
		}
	}
	switch {
	case l.at == nil && len(own) == 0:
		c.lose(nil, "error_log is missing: %s", why)
	case len(own) > 0 && !kept:
		c.lose(own[0], "%s: %s; another error_log may stand beside it", label(own[0]), why)
	}
	for _, inner := range l.inner("http", "server", "location", "if", "limit_except") {
		c.errorLogs(inner)
	}
}

// detailed reports whether an error_log with these levels has the notices of nginx's master.
func detailed(levels []string) bool {
	one := len(levels) == 1 && slices.Contains([]string{"notice", "info", "debug"}, levels[0])
	return one || len(levels) > 0 && !slices.ContainsFunc(levels, func(l string) bool { return !strings.HasPrefix(l, "debug_") })
}

// reserved reports whether a cleaned name is that of a file in the trial directory which the lab, or another program, writes or reads.
func reserved(name string) bool {
	if path.IsAbs(name) || name == "stderr" || strings.HasPrefix(name, "syslog:") || strings.HasPrefix(name, "memory:") {
		return false
	}
	dir, base := path.Split(name)
	return dir != "logs/" || base == path.Base(accessLog) || base == path.Base(errorLog) || strings.HasPrefix(base, "whoami-")
}
