package confedit

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"trivet/nginx"
)

// applied holds edits of the shipped configuration and texts that the files contain afterwards; nginx must accept each result.
var applied = []struct {
	name  string
	edits []Edit
	want  map[string][]string
}{
	{"value of a directive", []Edit{{Context: "upstream whoami_http", Directive: "keepalive 4"}},
		map[string][]string{"upstreams.conf": {"\tkeepalive 4; # was: keepalive 256;\n\n\t# Below", "zone whoami_grpc 1m;\n\tinclude site/grpc-servers.conf;\n\tkeepalive 256;\n"}}},
	{"balancing method is added above keepalive", []Edit{{Context: "upstream whoami_http", Directive: "least_conn;"}},
		map[string][]string{"upstreams.conf": {"upstream whoami_http {\n\tleast_conn; # added\n\t# State shared"}}},
	{"parameter in an included file", []Edit{{Context: "upstream whoami_grpc server", Parameter: "max_fails=1"}},
		map[string][]string{"site/grpc-servers.conf": {"server 127.0.0.1:9001 max_fails=1; # was: server 127.0.0.1:9001 max_fails=0;\nserver 127.0.0.1:9002 max_fails=1; #"}}},
	{"two parameters", []Edit{{Context: "upstream whoami_http server", Parameter: "max_fails=3"}, {Context: "upstream whoami_http server", Parameter: "fail_timeout=1s"}},
		map[string][]string{"site/http-servers.conf": {"server 127.0.0.1:8003 max_fails=3 fail_timeout=1s; # was: server 127.0.0.1:8003 max_fails=3; # was: server 127.0.0.1:8003 max_fails=0;\n"}}},
	{"parameter is removed", []Edit{{Context: "upstream whoami_http server", Remove: "max_fails"}},
		map[string][]string{"site/http-servers.conf": {"server 127.0.0.1:8001; # was: server 127.0.0.1:8001 max_fails=0;\n"}}},
	{"directive is removed", []Edit{{Context: "upstream whoami_http", Remove: "zone"}},
		map[string][]string{"upstreams.conf": {"\t# was: zone whoami_http 1m;\n\n\tinclude"}}},
	{"one of several is removed", []Edit{{Context: "http-listener.conf server", Remove: "error_page 494"}},
		map[string][]string{"http-locations.conf": {"\n# was: error_page 494 =431 /.nginx-error;\n"}}},
	{"block is removed", []Edit{{Context: "grpc-listener.conf server", Remove: "location = /whoami.v1.WhoAmIService/WatchWhoAmI"}},
		map[string][]string{"grpc-locations.conf": {"\n# was: location = /whoami.v1.WhoAmIService/WatchWhoAmI { … }\n"}}},
	{"header of that name", []Edit{{Context: "location /", Directive: "x 1"}, {Context: "http-headers.conf", Directive: `proxy_set_header X-Real-IP "a b"`}}[1:],
		map[string][]string{"http-headers.conf": {`proxy_set_header X-Real-IP "a b"; # was: proxy_set_header X-Real-IP $remote_addr;`}}},
	{"another header", []Edit{{Context: "http-headers.conf", Directive: `add_header X-Extra 1 always`}},
		map[string][]string{"http-headers.conf": {"add_header        X-Request-Id $id always;\nadd_header X-Extra 1 always; # added\n"}}},
	{"block is added and used", []Edit{
		{Context: "http", Directive: `split_clients $request_id $kept { 90% 1; * 0; }`},
		{Context: "http-headers.conf", Directive: `proxy_set_header X-Kept $kept`},
	}, map[string][]string{"trace.conf": {"}\nsplit_clients $request_id $kept { 90% 1; * 0; } # added\n"}, "http-headers.conf": {"X-Kept $kept; # added\n"}}},
	{"block replaces a block", []Edit{{Context: "limits.conf", Directive: "map $remote_addr $limited_by {\n\tdefault $binary_remote_addr;\n}"}},
		map[string][]string{"limits.conf": {"\tdefault $binary_remote_addr;\n} # was: map $remote_addr $limited_by { … }\nlimit_req_zone"}}},
	{"another map", []Edit{{Context: "http", Directive: "map $uri $more { default 1; }"}},
		map[string][]string{"site/public.conf": {"\tdefault \"\";\n}\nmap $uri $more { default 1; } # added\n"}}},
	{"at the top", []Edit{{Context: "main", Directive: "worker_processes 3"}, {Context: "main", Directive: "timer_resolution 100ms"}},
		map[string][]string{"site/process.conf": {"\nworker_processes 3; # was: worker_processes auto;\n"}, "nginx.conf": {"timer_resolution 100ms; # added\n# nginx in front"}}},
	{"later edit uses an earlier one", []Edit{
		{Context: "http-listener.conf server", Directive: "location /slow { proxy_pass http://whoami_http; }"},
		{Context: "location /slow", Directive: "proxy_read_timeout 1s"},
		{Context: "location /slow", Directive: "proxy_read_timeout 2s"},
		{Context: "location /slow proxy_read_timeout", Parameter: "2s"},
	}, map[string][]string{"http-locations.conf": {"proxy_read_timeout 2s; # was: proxy_read_timeout 1s;"}}},
	{"directive of many lines", []Edit{{Context: "http", Directive: "log_format requests '$id'"}},
		map[string][]string{"access-log.conf": {"log_format requests '$id'; # was: log_format requests escape=json '{\"v\":1,' '\"id\":"}}},
	{"file included twice, for both", []Edit{{Context: "grpc-only.conf", Remove: `if ($request_method != POST)`}},
		map[string][]string{"grpc-only.conf": {"# was: if ($request_method != POST) { … }\n"}}},
	{"one server of three", []Edit{
		{Context: "upstream whoami_http server whoami-2", Parameter: "weight=2"},
		{Context: "upstream whoami_http server whoami-3", Parameter: "weight=3"},
		{Context: "upstream whoami_http server whoami-3", Parameter: "max_conns=7"},
		{Context: "upstream whoami_grpc server whoami-1", Parameter: "backup"},
		{Context: "upstream whoami_grpc server whoami-1", Remove: "max_fails"},
		{Context: "upstream whoami_grpc server 127.0.0.1:9003", Parameter: "down"},
	}, map[string][]string{
		"site/http-servers.conf": {
			"\nserver 127.0.0.1:8001 max_fails=0;\nserver 127.0.0.1:8002 max_fails=0 weight=2; # was: server 127.0.0.1:8002 max_fails=0;\nserver 127.0.0.1:8003 max_fails=0 weight=3 max_conns=7; # was: ",
		},
		"site/grpc-servers.conf": {"\nserver 127.0.0.1:9001 backup; # was: server 127.0.0.1:9001 max_fails=0 backup; # was: server 127.0.0.1:9001 max_fails=0;\nserver 127.0.0.1:9002 max_fails=0;\nserver 127.0.0.1:9003 max_fails=0 down; # was: "},
	}},
	{"one server is removed", []Edit{{Context: "upstream whoami_http", Remove: "server whoami-2"}},
		map[string][]string{"site/http-servers.conf": {"server 127.0.0.1:8001 max_fails=0;\n# was: server 127.0.0.1:8002 max_fails=0;\nserver 127.0.0.1:8003 max_fails=0;\n"}}},
	{"servers are added by name", []Edit{
		{Context: "upstream whoami_http", Add: "server whoami-1:grpc backup"},
		{Context: "http", Directive: "upstream canary { server whoami-3:http; server whoami-1:http backup; }"},
		{Context: "upstream canary", Directive: "server whoami-3:http down"},
	}, map[string][]string{
		"site/http-servers.conf": {"max_fails=0;\nserver 127.0.0.1:9001 backup; # added\n"},
		"upstreams.conf":         {"upstream canary { server 127.0.0.1:8003 down; # was: server 127.0.0.1:8003;\n server 127.0.0.1:8001 backup; } # added\n"},
	}},
	{"directive is added beside the one of its name", []Edit{
		{Context: "http", Add: "limit_req_zone $arg_user zone=users:1m rate=10r/s"},
		{Context: "http-listener.conf server", Add: "limit_req zone=users"},
		{Context: "http-listener.conf server", Add: "limit_req zone=requests;"},
		{Context: "http-listener.conf server location /", Add: `proxy_set_header X-One 1`},
		{Context: "http-listener.conf server location /", Add: `proxy_set_header X-Two 2`},
		{Context: "http-headers.conf", Add: `proxy_set_header Forwarded again`},
	}, map[string][]string{
		"limits.conf":         {"rate=100r/s;\nlimit_req_zone $arg_user zone=users:1m rate=10r/s; # added\n"},
		"http-listener.conf":  {"\tlimit_req zone=users; # added\n\tlimit_req zone=requests; # added\n"},
		"http-locations.conf": {"\nlocation / {\n\tproxy_set_header X-One 1; # added\n\tproxy_set_header X-Two 2; # added\n\t#"},
		"http-headers.conf":   {"proxy_set_header Grpc-Metadata-Grpc-Previous-Rpc-Attempts     \"\";\nproxy_set_header Forwarded again; # added\n"},
	}},
	{"block is added beside others", []Edit{
		{Context: "http-listener.conf server", Add: "location /a { return 204; }"},
		{Context: "http", Add: "map $remote_addr $another { default 1; }"},
		{Context: "main", Add: "timer_resolution 100ms"},
		{Context: "location /a", Add: "add_header X-A a"},
	}, map[string][]string{
		"http-locations.conf": {"\n}\nlocation /a {\n\tadd_header X-A a; # added\n return 204; } # added\n"},
		"site/public.conf":    {"\n}\nmap $remote_addr $another { default 1; } # added\n"},
		"nginx.conf":          {"timer_resolution 100ms; # added\n# nginx in front"},
	}},
	{"block of such a file", []Edit{{Context: `location / if ($is_grpc = "")`, Directive: "return 505"}},
		map[string][]string{"grpc-only.conf": {"return 505; # was: return 415;\n"}}},
}

func TestApply(t *testing.T) {
	t.Parallel()
	b := realNginx(t)
	for _, c := range applied {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			site := local()
			site.HTTP, site.GRPC, site.Admin = free(t), free(t), free(t)
			if err := site.Install(dir, nginx.Conf(), b.Version); err != nil {
				t.Fatal(err)
			}
			before := tree(t, dir)
			if err := Apply(filepath.Join(dir, "conf"), c.edits, site.Endpoints(instances)); err != nil {
				t.Fatal(err)
			}
			after := tree(t, dir)
			for name, wants := range c.want {
				for _, want := range wants {
					if text := after["conf/"+name]; !strings.Contains(text, want) {
						t.Errorf("%s lacks\n%s\nand is\n%s", name, want, text)
					}
				}
				delete(before, "conf/"+name)
				delete(after, "conf/"+name)
			}
			if !maps.Equal(before, after) {
				t.Error("other files changed too")
			}
			if err := b.Test(t.Context(), dir); err != nil {
				t.Error(err)
			}
		})
	}
}

// lineNumber matches line numbers, which change with the shipped files; FuzzParseConf checks them.
var lineNumber = regexp.MustCompile(`:\d+`)

// misplaced holds edits with the field that is wrong and what the error says; "" if there is none.
var misplaced = []struct {
	edit           Edit
	field, message string
}{
	{Edit{Context: "server", Directive: "x 1"}, "Context",
		`context "server" means 3 blocks: http-listener.conf:N, grpc-listener.conf:N, admin-listener.conf:N: write one of "http-listener.conf server", "grpc-listener.conf server", "admin-listener.conf server"`},
	{Edit{Context: "upstream whoami", Directive: "x"}, "Context", `context "upstream whoami" means no block; the nearest is "upstream whoami_http" (upstreams.conf:N)`},
	{Edit{Context: "upstream whoami_htp server", Parameter: "backup"}, "Context", `context "upstream whoami_htp server": context "upstream whoami_htp" means no block; the nearest is "upstream whoami_http" (upstreams.conf:N)`},
	{Edit{Context: "upstream whoami_http", Parameter: "max_fails=1"}, "Context",
		`context "upstream whoami_http" ends in a block, upstream whoami_http (upstreams.conf:N): for a parameter a directive's name comes after it, like "upstream whoami_http server"`},
	{Edit{Context: "upstream http_backends_of_ours", Directive: "x"}, "Context", `means no block; the nearest is "upstream whoami_http" (upstreams.conf:N)`},
	{Edit{Context: "upstreem whoami_grpc", Directive: "x"}, "Context", `means no block; the nearest is "upstream whoami_grpc" (upstreams.conf:N)`},
	{Edit{Context: "main events http", Directive: "x"}, "Context", `means no block; the nearest is "events" (nginx.conf:N)`},
	{Edit{Context: "htp-listener.conf", Directive: "x"}, "Context", `means no block; the nearest is "http-listener.conf" (http-listener.conf:N)`},
	{Edit{Context: "upstream whoami_http sever", Parameter: "backup"}, "Context",
		`context "upstream whoami_http sever" ends in no directive: there is no sever in upstream whoami_http (upstreams.conf:N); the nearest is server (site/http-servers.conf:N)`},
	{Edit{Context: "keepalive", Parameter: "4"}, "Context",
		`context "keepalive" means 4 blocks: upstreams.conf:N, upstreams.conf:N, upstreams.conf:N, upstreams.conf:N: write one of "upstream whoami_http", "upstream whoami_grpc", "upstream front_http", "upstream front_grpc"`},
	{Edit{Context: "banana", Parameter: "4"}, "Context", `context "banana" ends in no directive: for a parameter write it like "upstream whoami_grpc server"`},
	{Edit{Context: "", Directive: "x"}, "Context", `context "" is not a sequence of blocks' names: write it like "upstream whoami_http", "http-listener.conf server" or "main"`},
	{Edit{Context: "http {", Directive: "x"}, "Context", `context "http {" is not a sequence`},
	{Edit{Context: "../nginx.conf", Directive: "x"}, "Context", `context "../nginx.conf" means no block; the nearest is`},
	{Edit{Context: "http"}, "", "want one of directive, add, parameter and remove"},
	{Edit{Context: "http", Directive: "x", Remove: "y"}, "", "want one of directive, add, parameter and remove"},
	{Edit{Context: "http", Directive: "keepalive 4; zone x 1m"}, "Directive", `directive "keepalive 4; zone x 1m" is 2 directives: write an edit for each`},
	{Edit{Context: "http", Directive: "keepalive 4; }"}, "Directive", `directive "keepalive 4; }" is not one directive: unexpected "}"`},
	{Edit{Context: "http", Directive: "map $a $b { default 1;"}, "Directive", `is not finished: a quote or a block is open at its end`},
	{Edit{Context: "http", Directive: `set $a "b`}, "Directive", `is not finished`},
	{Edit{Context: "http", Directive: `set $a "b"c`}, "Directive", `is not one directive: unexpected "c" after a closing quote`},
	{Edit{Context: "http", Directive: "keepalive 4 # quietly"}, "Directive", `is not finished`},
	{Edit{Context: "http", Directive: "# keepalive 4"}, "Directive", `is empty`},
	{Edit{Context: "http", Directive: ";"}, "Directive", `is not one directive: unexpected ";"`},
	{Edit{Context: "http-listener.conf location ^~ /.nginx-error", Directive: "add_header Allow 1"}, "", ""},
	{Edit{Context: "upstream whoami_http server", Parameter: "a b"}, "Parameter", `parameter "a b" is not one word: write it like max_fails=1 or backup`},
	{Edit{Context: "upstream whoami_http server", Parameter: "a;"}, "Parameter", `is not one word`},
	{Edit{Context: "upstream whoami_http", Remove: "zoned"}, "Remove", `remove "zoned": there is no such directive in upstream whoami_http (upstreams.conf:N); the nearest is zone (upstreams.conf:N)`},
	{Edit{Context: "http-listener.conf server", Remove: "error_page"}, "Remove", `remove "error_page" means 3 directives of server (http-listener.conf:N): http-locations.conf:N, http-locations.conf:N, http-locations.conf:N: write its first arguments too`},
	{Edit{Context: "upstream whoami_http server", Remove: "backup"}, "Remove",
		`remove "backup": no server in upstream whoami_http (upstreams.conf:N) has such a parameter: site/http-servers.conf:N, site/http-servers.conf:N, site/http-servers.conf:N`},
	{Edit{Context: "upstream whoami_http server", Remove: "max_fails=1"}, "Remove", `has such a parameter`},
	{Edit{Context: "upstream whoami_http server whoami-9", Parameter: "weight=2"}, "Context",
		`context "upstream whoami_http server whoami-9" ends in no directive: no server of upstream whoami_http (upstreams.conf:N) begins with whoami-9; there are whoami-1, whoami-2, whoami-3`},
	{Edit{Context: "upstream whoami_htp server whoami-2", Parameter: "weight=2"}, "Context", `means no block; the nearest is "upstream whoami_http" (upstreams.conf:N)`},
	{Edit{Context: "upstream whoami_http server whoami-2", Directive: "weight 2"}, "Context",
		`context "upstream whoami_http server whoami-2" ends in a directive, site/http-servers.conf:N: name the block alone, "upstream whoami_http", or set a parameter`},
	{Edit{Context: "upstream whoami_http", Remove: "server whoami-9"}, "Remove", `remove "server whoami-9": there is no such directive in upstream whoami_http`},
	{Edit{Context: "http-listener.conf server", Add: "error_page 404 =200 /x"}, "Add",
		`add "error_page 404 =200 /x;" would have no effect for 404: http-locations.conf:N comes before it; set or remove that one, error_page 400`},
	{Edit{Context: "http", Add: "gzip on; gzip_types a"}, "Add", `add "gzip on; gzip_types a" is 2 directives: write an edit for each`},
	{Edit{Context: "htp", Add: "gzip on"}, "Context", `context "htp" means no block; the nearest is`},
	{Edit{Context: "http", Directive: "gzip on", Add: "gzip on"}, "", "want one of directive, add, parameter and remove"},
	{Edit{Context: "grpc-listener.conf location /", Remove: `if ($is_grpc = "")`}, "Context",
		`it is at grpc-only.conf:N, in a file included 7 times (grpc-unary.conf:N, grpc-stream.conf:N, grpc-unary.conf:N, grpc-stream.conf:N, grpc-stream.conf:N, grpc-unary.conf:N, grpc-unary.conf:N): to change it for all of them, write the context "grpc-only.conf"`},
}

func TestApplyErrorsNamePlaces(t *testing.T) {
	t.Parallel()
	for _, c := range misplaced {
		t.Run(c.edit.Context+" "+c.edit.Directive+c.edit.Add+c.edit.Parameter+c.edit.Remove, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := local().Install(dir, nginx.Conf(), nginx.Oldest); err != nil {
				t.Fatal(err)
			}
			before := tree(t, dir)
			good := Edit{Context: "upstream whoami_http", Directive: "keepalive 4"}
			err := Apply(filepath.Join(dir, "conf"), []Edit{good, c.edit}, local().Endpoints(instances))
			if c.message == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Index != 1 || e.Edit != c.edit || e.Field != c.field || !strings.Contains(lineNumber.ReplaceAllString(e.Message, ":N"), c.message) {
				t.Errorf("%+v\n%v\nwant %s: %s", e, err, c.field, c.message)
			}
			if !maps.Equal(before, tree(t, dir)) {
				t.Error("Apply wrote something")
			}
		})
	}
}

func TestApplyReportsAllErrorsAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := local().Install(dir, nginx.Conf(), nginx.Oldest); err != nil {
		t.Fatal(err)
	}
	err := Apply(filepath.Join(dir, "conf"), []Edit{{Context: "sever", Directive: "x"}, {Context: "http", Directive: "server_tokens on"}, {Context: "http", Remove: "y"}}, nil)
	var at []int
	for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
		at = append(at, err.(*Error).Index)
	}
	if !slices.Equal(at, []int{0, 2}) {
		t.Errorf("errors of edits %v: %v", at, err)
	}
}

// TestApplyStaysInItsDirectory checks that files outside the directory are neither read nor written, however a configuration names them.
func TestApplyStaysInItsDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside.conf")
	const text = "upstream outside { server 127.0.0.1:1; }\n"
	write(t, outside, text)
	if err := os.Mkdir(filepath.Join(dir, "conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "conf", "nginx.conf"), "include ../outside.conf; include "+outside+"; include link.conf; include li*.conf; include up/outside.conf; include missing.conf;\nevents { }\n")
	for name, to := range map[string]string{"link.conf": outside, "up": dir} {
		if err := os.Symlink(to, filepath.Join(dir, "conf", name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, context := range []string{"upstream outside", "../outside.conf", outside, "link.conf", "up/outside.conf"} {
		if err := Apply(filepath.Join(dir, "conf"), []Edit{{Context: context, Directive: "least_conn"}}, nil); err == nil {
			t.Errorf("%s was edited", context)
		}
	}
	if err := Apply(filepath.Join(dir, "conf"), []Edit{{Context: "events", Directive: "worker_connections 9"}}, nil); err != nil {
		t.Error(err)
	}
	if got := read(t, outside); got != text {
		t.Errorf("outside is now %s", got)
	}
	if got := read(t, filepath.Join(dir, "conf", "nginx.conf")); !strings.HasSuffix(got, "events {\n\tworker_connections 9; # added\n }\n") {
		t.Error(got)
	}
}

func TestApplyRefusesUnreadableConfiguration(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, message string }{
		{"open block", "http {", "nginx.conf: unexpected end"},
		{"brace too many", "http { }\n}", `nginx.conf:2: unexpected "}"`},
		{"no semicolon", "events { a }", `nginx.conf:1: unexpected "}"`},
		{"itself", "a;\ninclude nginx.conf;", "nginx.conf:2: nginx.conf includes itself"},
		{"deep", strings.Repeat("a { ", deepest+1), "blocks are nested more than 20 deep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "conf"), 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "conf", "nginx.conf"), c.text)
			if err := Apply(filepath.Join(dir, "conf"), []Edit{{Context: "main", Directive: "x"}}, nil); err == nil || !strings.Contains(err.Error(), c.message) {
				t.Errorf("%v, want %s", err, c.message)
			}
		})
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                         nil,
		" a  b\tc\r\n d # e":       {"a", "b", "c", "d"},
		`"a b" 'c "d"' "e\"f" g#h`: {"a b", `c "d"`, `e"f`, "g#h"},
		`${a}b $c a\ b \{ "\d\t"`:  {"${a}b", "$c", `a\ b`, `\{`, "\\d\t"},
		`($is_grpc = "")`:          {"($is_grpc", "=", "", ")"},
		`~ "^/a{2}$"`:              {"~", "^/a{2}$"},
		`a}b`:                      {"a}b"},
	} {
		if got, err := words(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
}

// rebuild returns a file's text, put together from its statements and what is between them.
func rebuild(text string, from, to int, body []*statement) string {
	var b strings.Builder
	for _, d := range body {
		b.WriteString(text[from:d.start])
		from = d.start
		for _, w := range d.words {
			b.WriteString(text[from:w.start] + text[w.start:w.end])
			from = w.end
		}
		if d.block {
			b.WriteString(text[from:d.open] + rebuild(text, d.open, d.end, d.body))
			from = d.end
			continue
		}
		b.WriteString(text[from:d.end])
		from = d.end
	}
	return b.String() + text[from:to]
}

func FuzzParseConf(f *testing.F) {
	err := fs.WalkDir(nginx.Conf(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(nginx.Conf(), name)
		f.Add(string(text))
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a ${b}c { d \"e\\\"\" 'f'; } # g")
	f.Add("http { content_by_lua_block { local n = #t --[=[ } ]=] x = '}' -- }\n } y 1; }")
	f.Fuzz(func(t *testing.T, text string) {
		body, err := parse("", text)
		if err != nil {
			return
		}
		if again := rebuild(text, 0, len(text), body); again != text {
			t.Errorf("%q became %q", text, again)
		}
		for _, d := range body {
			if line := 1 + strings.Count(text[:d.start], "\n"); line != d.line {
				t.Errorf("%q is in line %d, not %d", text[d.start:d.end], line, d.line)
			}
			if one, err := oneDirective(text[d.start:d.end]); err != nil || !slices.Equal(texts(one.words), texts(d.words)) {
				t.Errorf("%q is not one directive by itself: %v", text[d.start:d.end], err)
			}
		}
	})
}

// FuzzEdit checks that a successful edit leaves a configuration that can be parsed.
func FuzzEdit(f *testing.F) {
	for _, c := range applied {
		for _, e := range c.edits {
			f.Add("http {\n\tinclude a.conf; }", "upstream a { server b c=d; }\n", e.Context, e.Directive, e.Add, e.Parameter, e.Remove)
		}
	}
	f.Add("a { b; c 1; }", "", "a", "c 2", "", "", "")
	f.Fuzz(func(t *testing.T, main, included, context, directive, add, parameter, remove string) {
		files := fstest.MapFS{"nginx.conf": {Data: []byte(main)}, "a.conf": {Data: []byte(included)}}
		s := newSources(files, Names{"n": {"b"}})
		before, err := s.outline()
		if err != nil {
			return
		}
		after, failed := s.edit(before, Edit{context, directive, add, parameter, remove})
		if failed != nil {
			return
		}
		if _, err := s.outline(); err != nil {
			t.Fatalf("%q: %v", s.texts, err)
		}
		if remove == "" && len(after.main.parts) < len(before.main.parts) {
			t.Errorf("something is lost: %q", s.texts)
		}
	})
}
