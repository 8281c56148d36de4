package evidence

import (
	"path"
	"slices"
	"strings"

	"trivet/nginx/confedit"
)

// http checks the http block.
func (c *check) http(l *level) {
	if c.format(l) {
		c.variables()
	}
	c.code(l)
	listeners := [][2]string{{c.site.HTTP, "site/http-listen.conf"}, {c.site.GRPC, "site/grpc-listen.conf"}}
	if c.site.TLS != nil {
		listeners = append(listeners, [2]string{c.site.TLS.Listen, "site/tls-listen.conf"})
	}
	listens := map[string]bool{}
	logs := true // whether http itself logs as the lab needs, which matters to servers that do not say otherwise
	for _, server := range l.inner("server") {
		ours := false
		for _, d := range named(server.body, "listen") {
			if a := argument(d, 1); slices.ContainsFunc(listeners, func(l [2]string) bool { return l[0] == a }) {
				ours, listens[a] = true, true
			}
		}
		switch own := len(named(server.body, "access_log")) > 0; {
		case !ours:
			c.elsewhere(server)
			continue
		case own:
			c.logs(server)
		case logs:
			logs = c.logs(l) // Only once: the loss is http's.
		}
		c.requests(server)
	}
	for _, listener := range listeners {
		if !listens[listener[0]] {
			c.lose(nil, `no server listens where the lab sends: leave "include %s" in one, and the address in that file`, listener[1])
		}
	}
}

// elsewhere checks a server that serves other requests than those of the lab's clients: the access log must not have them.
func (c *check) elsewhere(l *level) {
	if slices.ContainsFunc(l.effective("access_log"), isAccessLog) {
		c.lose(l.at, "%s does not listen where the lab sends, and the access log must have the requests of the lab's clients alone: write access_log off in it", label(l.at))
	}
	for _, inner := range l.inner("location", "if", "limit_except") {
		if slices.ContainsFunc(named(inner.body, "access_log"), isAccessLog) {
			c.elsewhere(inner)
		}
	}
}

func isAccessLog(d *confedit.Directive) bool { return path.Clean(argument(d, 1)) == accessLog }

// requests checks what becomes of requests in a level and in all those in it.
func (c *check) requests(l *level) {
	c.subrequests(l)
	for _, d := range l.body {
		switch name := d.Name(); name {
		case "proxy_pass", "grpc_pass":
			c.headers(l, strings.TrimSuffix(name, "_pass"))
		case "fastcgi_pass", "uwsgi_pass", "scgi_pass", "memcached_pass":
			c.lose(d, "%s: instances speak HTTP and gRPC, and the lab can follow no other requests: use proxy_pass or grpc_pass", label(d))
		}
	}
	for _, inner := range l.inner("location", "if", "limit_except") {
		if len(named(inner.body, "access_log")) > 0 {
			c.logs(inner)
		}
		c.requests(inner)
	}
}

const want = `"access_log logs/access.log requests"`

// logs checks that the access logs of a level have each of its requests, once, and reports whether they do.
func (c *check) logs(l *level) bool {
	lost, times := false, 0 // Not by the number of losses: a file that several servers include has each loss once.
	lose := func(at *confedit.Directive, format string, args ...any) {
		lost = true
		c.lose(at, format, args...)
	}
	own := named(l.body, "access_log")
	for _, d := range own {
		switch name := path.Clean(argument(d, 1)); {
		case name == accessLog && argument(d, 2) != logFormat:
			lose(d, "%s: the lab reads that file: write %s, and use another file, like logs/own.log, for another format", label(d), want)
		case name == accessLog && len(d.Words) > 3:
			lose(d, "%s leaves requests out, or writes them later than the lab reads them: write %s", label(d), want)
		case name == accessLog:
			times++
		case name == "off": // Also beside others: it wins.
			lose(d, "%s in %s takes requests out of the access log, which the lab reads: remove it", d, label(l.at))
		case strings.HasPrefix(name, "syslog:"):
		case strings.Contains(name, "$"):
			lose(d, "%s: whether that is a file that the lab reads cannot be decided: write a name without variables", label(d))
		case reserved(name):
			lose(d, "%s: the lab needs that file for something else: choose another name, like logs/own.log", label(d))
		}
	}
	switch {
	case lost:
	case len(own) == 0:
		lose(l.at, "%s has no access_log, and the lab reads nginx's access log: leave include access-log.conf and the access_log in site/logs.conf as they are", label(l.at))
	case times == 0:
		lose(own[0], "%s in %s takes requests out of the access log, which the lab reads: remove it, or write %s beside it", own[0], label(l.at), want)
	case times > 1:
		lose(own[1], "%s in %s writes each request into the access log twice: remove it", own[1], label(l.at))
	}
	return !lost
}

// headers checks what a level that passes requests on adds to them and to their responses: protocol is proxy or grpc.
func (c *check) headers(l *level, protocol string) {
	const id, instance = "X-Request-Id", "X-Instance"
	set := protocol + "_set_header"
	remedy := "include " + map[string]string{"proxy": "http-headers.conf", "grpc": "grpc-headers.conf"}[protocol]
	found := false
	for _, d := range l.effective(set) {
		if !strings.EqualFold(argument(d, 1), id) {
			continue
		}
		if value := argument(d, 2); found || value != "$id" && value != "${id}" {
			c.lose(d, `%s: instances must get the request's own ID, once, as the lab finds a request's records by it: leave "%s %s $id" as it is`, label(d), set, id)
			return
		}
		found = true
	}
	if !found {
		c.lose(l.at, `%s passes requests on without their ID, by which the lab finds a request's records: write "%s" in it; a %s of its own ends those around it`, label(l.at), remedy, set)
	}
	for _, name := range []string{protocol + "_hide_header", "add_header", "add_trailer"} {
		for _, d := range l.effective(name) {
			if strings.EqualFold(argument(d, 1), instance) {
				c.lose(d, "%s: the lab reads from x-instance which instance has responded: remove it", label(d))
			}
		}
	}
}
