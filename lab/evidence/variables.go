package evidence

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"trivet/nginx/confedit"
)

// format checks that the access log's format is the shipped one, and reports whether there is one.
func (c *check) format(l *level) bool {
	shipped := formats(c.shipped)
	found := formats([]*confedit.Directive{l.at})
	switch {
	case len(found) == 0:
		c.lose(l.at, "log_format %s is missing, and the lab reads nginx's access log: leave include access-log.conf as it is", logFormat)
	case len(found) > 1 || !slices.Equal(found[0].Words, shipped[0].Words):
		last := found[len(found)-1]
		c.lose(last, "log_format %s (%s) is not the shipped one, and the lab reads nginx's access log: leave it as it is; another format may have another name and file", logFormat, last.Place())
	}
	return len(found) > 0
}

// formats returns the definitions of the lab's log format in the http block of a configuration.
func formats(conf []*confedit.Directive) []*confedit.Directive {
	var all []*confedit.Directive
	for _, http := range named(conf, "http") {
		for _, d := range named(http.Body, "log_format") {
			if argument(d, 1) == logFormat {
				all = append(all, d)
			}
		}
	}
	return all
}

var variable = regexp.MustCompile(`\$\{?([A-Za-z0-9_]+)`)

// variables checks that the access log's variables, and the request ID that instances get, are what the shipped files make them.
func (c *check) variables() {
	shipped, found := definitions(c.shipped), definitions(c.conf)
	for _, name := range logged(formats(c.shipped)[0], shipped) {
		want := shipped[name]
		for _, d := range found[name] {
			if !slices.ContainsFunc(want, func(w *confedit.Directive) bool { return same(w, d) }) {
				c.lose(d, "%s changes $%s, which the lab's access log has: %s", label(d), name, remedy(name, want))
			}
		}
		if len(found[name]) < len(want) {
			c.lose(nil, "%s is missing, which makes $%s for the lab's access log: %s", want[0], name, remedy(name, want))
		}
	}
}

func remedy(name string, want []*confedit.Directive) string {
	if len(want) == 0 {
		return "choose another name"
	}
	return fmt.Sprintf(`leave "%s" in %s as it is, and use another name for something else`, want[0], want[0].File)
}

// logged returns the names of all variables that a log format has, and of those that they are made of.
func logged(format *confedit.Directive, defined map[string][]*confedit.Directive) []string {
	known := map[string]bool{}
	var add func(d *confedit.Directive)
	add = func(d *confedit.Directive) {
		for _, found := range variable.FindAllStringSubmatch(d.String(), -1) {
			if name := found[1]; !known[name] {
				known[name] = true
				for _, by := range defined[name] {
					add(by)
				}
			}
		}
		for _, inner := range d.Body {
			add(inner)
		}
	}
	add(format)
	return slices.Sorted(maps.Keys(known))
}

// capture matches a named group of a regular expression, which sets a variable.
var capture = regexp.MustCompile(`\(\?(?:P?<|')([A-Za-z_][A-Za-z0-9_]*)[>']`)

// definitions returns what sets variables, by their names, in a body and all that is in it.
func definitions(body []*confedit.Directive) map[string][]*confedit.Directive {
	all := map[string][]*confedit.Directive{}
	add := func(word string, d *confedit.Directive) {
		if name, ok := strings.CutPrefix(word, "$"); ok && !slices.Contains(all[name], d) {
			all[name] = append(all[name], d)
		}
	}
	var walk func(body []*confedit.Directive, values bool)
	walk = func(body []*confedit.Directive, values bool) {
		for _, d := range body {
			if !values {
				switch d.Name() {
				case "map", "geo", "split_clients":
					add(d.Words[len(d.Words)-1], d)
				case "set", "auth_request_set", "js_set", "js_var", "perl_set", "set_by_lua", "set_by_lua_block", "set_by_lua_file":
					add(argument(d, 1), d)
				}
			}
			for _, w := range d.Words {
				for _, found := range capture.FindAllStringSubmatch(w, -1) {
					add("$"+found[1], d)
				}
			}
			walk(d.Body, d.Name() == "map" || d.Name() == "geo" || d.Name() == "split_clients")
		}
	}
	walk(body, false)
	return all
}

// same reports whether two directives say the same.
func same(a, b *confedit.Directive) bool {
	return slices.Equal(a.Words, b.Words) && slices.EqualFunc(a.Body, b.Body, same)
}

// subrequests maps directives that make nginx send requests of its own to the values that do not.
var subrequests = map[string][]string{
	"mirror": {"off"}, "auth_request": {"off"}, "add_before_body": {`""`, ""}, "add_after_body": {`""`, ""}, "post_action": {"off"},
	"http2_push": {"off"}, "http2_push_preload": {"off"}, "ssi": {"off"}, "slice": {"0"}, "proxy_cache_background_update": {"off"}, "log_subrequest": {"off"},
}

// unlogged are those whose requests leave no trace in the access log if no instance gets them.
var unlogged = []string{"mirror", "auth_request", "add_before_body", "add_after_body"}

// subrequests refuses requests of nginx's own, as no client has sent what the access log or the instances have of them, unless they certainly
// reach no instance: nginx responds itself, in a location or on its admin listener, which passes nothing on.
func (c *check) subrequests(l *level) {
	server := l
	for server.up != nil && server.at.Name() != "server" {
		server = server.up
	}
	for _, name := range slices.Sorted(maps.Keys(subrequests)) {
		for _, d := range l.effective(name) {
			if len(d.Words) != 2 || slices.Contains(subrequests[name], d.Words[1]) || slices.Contains(unlogged, name) && c.answers(server, d.Words[1]) {
				continue
			}
			c.lose(d, `%s: nginx sends such requests itself, so that instances or the access log would have what no client sent: `+
				`remove it, or let it lead to a "location = PATH" that returns something itself or passes to nginx's admin listener (server nginx:admin)`, label(d))
		}
	}
}

// answers reports whether a server has a location for just this path in which nothing is passed on, unless to nginx's admin listener.
func (c *check) answers(server *level, path string) bool {
	return slices.ContainsFunc(server.body, func(d *confedit.Directive) bool {
		return slices.Equal(d.Words, []string{"location", "=", path}) && !leads(d.Body, server.responds) && !c.passes(d.Body)
	})
}

// leads reports whether a body may lead requests to another location, unless to one that known reports on: a named one that responds.
func leads(body []*confedit.Directive, known func(name string) bool) bool {
	return slices.ContainsFunc(body, func(d *confedit.Directive) bool {
		switch d.Name() {
		case "rewrite", "try_files":
			return true
		case "error_page":
			return !known(d.Words[len(d.Words)-1])
		}
		return leads(d.Body, known)
	})
}

// responds reports whether a server has a named location that neither passes requests on nor leads them elsewhere.
func (l *level) responds(name string) bool {
	nowhere := func(string) bool { return false }
	return slices.ContainsFunc(l.body, func(d *confedit.Directive) bool {
		return strings.HasPrefix(name, "@") && slices.Equal(d.Words, []string{"location", name}) && !leads(d.Body, nowhere) && !passesAnything(d.Body)
	})
}

// passesAnything reports whether a body passes requests on, to whatever.
func passesAnything(body []*confedit.Directive) bool {
	return slices.ContainsFunc(body, func(d *confedit.Directive) bool {
		return strings.HasSuffix(d.Name(), "_pass") || passesAnything(d.Body)
	})
}

// passes reports whether a body may pass requests on to anything but nginx's admin listener, or to that while it passes them on itself.
func (c *check) passes(body []*confedit.Directive) bool {
	return slices.ContainsFunc(body, func(d *confedit.Directive) bool {
		switch name := d.Name(); {
		case name == "proxy_pass" && c.isAdmin(d):
			return c.adminPasses()
		case strings.HasSuffix(name, "_pass"):
			return true
		}
		return c.passes(d.Body)
	})
}

// passURL matches where a proxy_pass leads, and a variable that follows it at once.
var passURL = regexp.MustCompile(`^http://([A-Za-z0-9_.:-]+)(?:/.*|(\$).*)?$`)

// isAdmin reports whether a proxy_pass leads to nginx's admin listener: its address, or an upstream that has no other server. What a
// variable adds to that must not be able to name another upstream.
func (c *check) isAdmin(d *confedit.Directive) bool {
	parts := passURL.FindStringSubmatch(argument(d, 1))
	if parts == nil {
		return false
	}
	host, more := parts[1], parts[2] != ""
	if host == c.site.Admin {
		return !more
	}
	found := false
	for _, http := range named(c.conf, "http") {
		for _, upstream := range named(http.Body, "upstream") {
			switch name := argument(upstream, 1); {
			case name == host:
				servers := named(upstream.Body, "server")
				if found = len(servers) > 0; slices.ContainsFunc(servers, func(s *confedit.Directive) bool { return argument(s, 1) != c.site.Admin }) {
					return false
				}
			case more && strings.HasPrefix(name, host):
				return false
			}
		}
	}
	return found
}

// adminPasses reports whether what listens on nginx's admin address passes anything on, unless to itself.
func (c *check) adminPasses() bool {
	elsewhere := func(d *confedit.Directive) bool {
		return strings.HasSuffix(d.Name(), "_pass") && !(d.Name() == "proxy_pass" && c.isAdmin(d))
	}
	var any func(body []*confedit.Directive) bool
	any = func(body []*confedit.Directive) bool {
		return slices.ContainsFunc(body, func(d *confedit.Directive) bool { return elsewhere(d) || any(d.Body) })
	}
	for _, http := range named(c.conf, "http") {
		for _, server := range named(http.Body, "server") {
			if slices.ContainsFunc(named(server.Body, "listen"), func(l *confedit.Directive) bool { return argument(l, 1) == c.site.Admin }) && any(server.Body) {
				return true
			}
		}
	}
	return false
}

// code refuses what only running it could decide.
func (c *check) code(l *level) {
	for _, d := range l.body {
		name := d.Name()
		switch {
		case strings.Contains(name, "_by_lua"), slices.Contains([]string{"js_content", "js_access", "js_header_filter", "js_body_filter", "perl"}, name):
			c.lose(d, "%s: what code does to requests, IDs and logs cannot be decided: use nginx's own directives", label(d))
		case strings.HasPrefix(name, "more_"):
			text := strings.ToLower(d.String())
			if strings.Contains(text, "x-request-id") || strings.Contains(text, "x-instance") {
				c.lose(d, "%s changes a header by which the lab finds a request's records: remove it", label(d))
			}
		}
		if name != "map" && name != "geo" {
			c.code(&level{at: d, body: d.Body, up: l})
		}
	}
}
