package experiment

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trivet/lab/labtest"
)

const (
	fleetWorkers = "the number of nginx workers belongs to the fleet, as the fairness checks count with it: write fleet: {workers: 4}"
	wantErrorLog = `the lab reads nginx's error log: want "error_log logs/error.log notice" (or info, or debug)`
)

// takesEvidence holds configurations that take from the lab what it judges a run by: what stands below nginx, and a part of the
// diagnostics, with N for lines of configuration files.
var takesEvidence = []struct{ nginx, want string }{
	// nginx's processes.
	{edit("main", "directive: worker_processes 4"), "3:38: worker_processes 4 (site/process.conf:N): " + fleetWorkers},
	{edit("main worker_processes", `parameter: "4"`), "3:55: worker_processes 2 4 (site/process.conf:N): " + fleetWorkers},
	{edit("main", "remove: worker_processes"), "3:35: worker_processes is missing: " + fleetWorkers},
	{edit("main", "add: master_process off"), "3:32: master_process off (nginx.conf:N): without a master no process records"},
	{edit("main", "add: daemon on"), "3:32: daemon on (nginx.conf:N): the lab starts nginx in the foreground"},
	{edit("main", "add: timer_resolution 100ms"), "3:32: timer_resolution 100ms (nginx.conf:N) makes the times in the access log that coarse"},
	{edit("main", "directive: pid logs/other.pid"), `the lab keeps nginx's pid in the trial directory: leave "pid nginx.pid" as it is`},
	{edit("main", "remove: pid"), `leave "pid nginx.pid" as it is`},
	// The error log.
	{edit("main", "remove: error_log logs/error.log"), "3:35: error_log is missing: " + wantErrorLog},
	{edit("main", "directive: error_log logs/error.log warn"), "error_log logs/error.log warn (site/process.conf:N): " + wantErrorLog},
	{edit("main", "directive: error_log logs/error.log"), "error_log logs/error.log (site/process.conf:N): " + wantErrorLog},
	{edit("main error_log logs/error.log", "parameter: emerg"), `error_log logs/error.log notice emerg (site/process.conf:N): the lab reads nginx`},
	{edit("http", "add: error_log logs/other.log debug"), "error_log logs/other.log debug (nginx.conf:N): " + wantErrorLog},
	{edit("http", "add: error_log logs/error.log crit"), "error_log logs/error.log crit (nginx.conf:N): " + wantErrorLog},
	{edit("http-listener.conf server location /", "add: error_log /dev/null"), "error_log /dev/null (http-locations.conf:N): " + wantErrorLog},
	{edit("main", "add: error_log logs/access.log"), "error_log logs/access.log (site/process.conf:N): the lab reads that file for something else"},
	{edit("main", "remove: include site/process.conf"), `error_log is missing`},
	// The access log.
	{edit("http-listener.conf server", "directive: access_log off"), "3:59: access_log off in server (http-listener.conf:N) takes requests out of the access log, which the lab reads: remove it"},
	{edit("http", "add: access_log off"), "access_log off in http (nginx.conf:N) takes requests out"}, // It wins.
	{edit("http-listener.conf server", "add: access_log logs/own.log requests"), "access_log logs/own.log requests in server (http-listener.conf:N) takes requests out of the access log, which the lab reads: remove it, or write \"access_log logs/access.log requests\" beside it"},
	{edit("grpc-listener.conf server location /", "add: access_log off"), "access_log off in location / (grpc-server.conf:N) takes requests out"},
	{edit("http-listener.conf server", "add: 'location = /own { access_log off; return 204; }'"), "access_log off in location = /own (http-locations.conf:N) takes requests out"},
	{edit("http-listener.conf server location /", `add: 'if ($arg_quiet) { access_log off; }'`), "access_log off in if ($arg_quiet) (http-locations.conf:N) takes requests out"},
	{edit("http-listener.conf server location /", `add: 'limit_except GET { access_log off; }'`), "access_log off in limit_except GET (http-locations.conf:N) takes requests out"},
	{edit("http-listener.conf server location ^~ /.nginx-error", "add: access_log off"), "access_log off in location ^~ /.nginx-error (error-locations.conf:N) takes requests out"},
	{edit("http", "directive: 'access_log logs/access.log requests if=$arg_a'"), "access_log logs/access.log requests if=$arg_a (site/logs.conf:N) leaves requests out"},
	{edit("http access_log", "parameter: buffer=64k"), "access_log logs/access.log requests buffer=64k (site/logs.conf:N) leaves requests out"},
	{edit("http access_log", "parameter: combined"), `access_log logs/access.log requests combined (site/logs.conf:N) leaves requests out`},
	{edit("http", "directive: access_log logs/access.log combined"), "access_log logs/access.log combined (site/logs.conf:N): the lab reads that file"},
	{edit("http", "add: access_log logs/./access.log combined"), "access_log logs/./access.log combined (site/logs.conf:N): the lab reads that file"},
	{edit("http", "add: access_log logs/../logs/access.log requests"), "writes each request into the access log twice: remove it"},
	{edit("http", "add: access_log logs/$host.log"), "access_log logs/$host.log (site/logs.conf:N): whether that is a file that the lab reads cannot be decided: write a name without variables"},
	{edit("http", "add: access_log logs/error.log combined"), "access_log logs/error.log combined (site/logs.conf:N): the lab needs that file for something else"},
	{edit("http", "add: access_log records/client.jsonl combined"), "the lab needs that file for something else"},
	{edit("http", "remove: access_log logs/access.log"), "3:35: http (nginx.conf:N) has no access_log, and the lab reads nginx's access log"},
	{edit("http", "remove: include site/logs.conf"), `http (nginx.conf:N) has no access_log`},
	{edit("http", "remove: include access-log.conf"), `log_format requests is missing`},
	{edit("admin-listener.conf server", "remove: access_log off"), "server (admin-listener.conf:N) does not listen where the lab sends"},
	{edit("http", "add: 'server { listen 127.0.0.1:8099; return 204; }'"), "does not listen where the lab sends, and the access log must have the requests of the lab's clients alone: write access_log off in it"},
	// Its format, and the variables in it.
	{edit("http", "directive: log_format requests $id"), "3:38: log_format requests (access-log.conf:N) is not the shipped one"},
	{edit("http log_format", "parameter: $host"), "log_format requests (access-log.conf:N) is not the shipped one"},
	{edit("http", "remove: log_format requests"), `3:35: log_format requests is missing, and the lab reads nginx's access log: leave include access-log.conf as it is`},
	{edit("http", "directive: 'map $http_x_request_id $id { default $request_id; }'"), `map $http_x_request_id $id (headers.conf:N) changes $id, which the lab's access log has: leave "map $http_x_request_id $id" in headers.conf as it is, and use another name for something else`},
	{edit("http", "add: 'map $arg_id $id { default $arg_id; }'"), "map $arg_id $id (site/public.conf:N) changes $id"},
	{edit("http", "remove: map $http_x_request_id $id"), "map $http_x_request_id $id is missing, which makes $id"},
	{edit("map $http_x_request_id $id", "directive: default fixed"), "map $http_x_request_id $id (headers.conf:N) changes $id"},
	{edit("http-listener.conf server location /", "add: set $id fixed"), "set $id fixed (http-locations.conf:N) changes $id"},
	{edit("http-listener.conf server", "add: 'location ~ ^/(?<id>[a-z]+)$ { return 204; }'"), "changes $id"},
	{edit("http", "add: 'geo $http_x_request_id { default fixed; }'"), "geo $http_x_request_id (nginx.conf:N) changes $http_x_request_id, which the lab's access log has: choose another name"},
	{edit("http-listener.conf server", "add: set $sent_http_grpc_status 0"), "changes $sent_http_grpc_status"},
	{edit("http", "remove: map $uri $nginx_error"), `map $uri $nginx_error is missing, which makes $nginx_error`},
	{edit("http", "directive: 'map $uri $nginx_error { default \"\"; }'"), "map $uri $nginx_error (errors.conf:N) changes $nginx_error"},
	{edit("http", "directive: 'map \"\" $log_query { default \"\"; }'"), `map "" $log_query (site/logs.conf:N) changes $log_query`},
	{edit("http", "remove: include headers.conf"), `map $http_x_request_id $id is missing`},
	// The request ID at instances.
	{edit("http-listener.conf server", "add: 'location /own { proxy_pass http://whoami_http; }'"), `3:53: location /own (http-locations.conf:N) passes requests on without their ID, by which the lab finds a request's records: write "include http-headers.conf" in it; a proxy_set_header of its own ends those around it`},
	{edit("http-listener.conf server", "add: 'location /own { proxy_set_header Host a; proxy_pass http://whoami_http; }'"), "location /own (http-locations.conf:N) passes requests on without their ID"},
	{edit("http-listener.conf server location /", "add: 'location /inner { proxy_set_header Host a; proxy_pass http://whoami_http; }'"), "location /inner (http-locations.conf:N) passes requests on without their ID"},
	{edit("grpc-listener.conf server", "add: 'location /own.Service/ { grpc_pass grpc://whoami_grpc; }'"), `location /own.Service/ (grpc-server.conf:N) passes requests on without their ID, by which the lab finds a request's records: write "include grpc-headers.conf" in it; a grpc_set_header of its own ends those around it`},
	{edit("http-listener.conf server location /", "remove: include http-headers.conf"), "location / (http-locations.conf:N) passes requests on without their ID"},
	{edit("http-listener.conf server", "directive: 'location / { proxy_pass http://whoami_http; }'"), "location / (http-locations.conf:N) passes requests on without their ID"},
	{edit("http-headers.conf", "remove: proxy_set_header X-Request-Id"), `location / (http-locations.conf:N) passes requests on without their ID`},
	{edit("http-headers.conf", "directive: proxy_set_header X-Request-Id fixed"), `proxy_set_header X-Request-Id fixed (http-headers.conf:N): instances must get the request's own ID`},
	{edit("http-listener.conf server location /", "add: proxy_set_header x-request-id $request_id"), `3:64: proxy_set_header x-request-id $request_id (http-locations.conf:N): instances must get the request's own ID, once, as the lab finds a request's records by it: leave "proxy_set_header X-Request-Id $id" as it is`},
	{edit("grpc-listener.conf server location /", `add: grpc_set_header X-Request-Id ""`), "instances must get the request's own ID, once"},
	{edit("http-listener.conf server location /", "directive: fastcgi_pass 127.0.0.1:9"), `fastcgi_pass 127.0.0.1:9 (http-locations.conf:N): instances speak HTTP and gRPC`},
	// The instance's name at clients.
	{edit("http-listener.conf server location /", "add: proxy_hide_header x-instance"), "proxy_hide_header x-instance (http-locations.conf:N): the lab reads from x-instance which instance has responded: remove it"},
	{edit("http-headers.conf", "add: add_header X-Instance whoami-1"), `add_header X-Instance whoami-1 (http-headers.conf:N): the lab reads from x-instance`},
	// Requests of nginx's own.
	{edit("http-listener.conf server location /", "add: mirror /copy"), "mirror /copy (http-locations.conf:N): nginx sends such requests itself"},
	{edit("http-listener.conf server", "add: auth_request /auth"), "auth_request /auth (http-listener.conf:N): nginx sends such requests itself"},
	{edit("http", "add: ssi on"), "ssi on (nginx.conf:N): nginx sends such requests itself"},
	{edit("grpc-listener.conf server", "add: http2_push /own"), "http2_push /own (grpc-listener.conf:N): nginx sends such requests itself"},
	{edit("http", "add: log_subrequest on"), "log_subrequest on (nginx.conf:N): nginx sends such requests itself"},
	// What cannot be decided.
	{edit("http", "add: include /etc/nginx/own.conf"), "include /etc/nginx/own.conf (nginx.conf:N) is no file of the configuration, so what it takes from the lab cannot be decided: put its text into nginx.files, and include that"},
	{edit("http-listener.conf server", "add: include ../own.conf"), "include ../own.conf (http-listener.conf:N) is no file of the configuration"},
	{edit("http-listener.conf server location /", "add: js_content own.handle"), "js_content own.handle (http-locations.conf:N): what code does"},
	// The listeners.
	{edit("main", "remove: http"), "there is no http block"},
	{edit("http-listener.conf server", "remove: listen"), `no server listens where the lab sends: leave "include site/http-listen.conf" in one`},
	{edit("http", "remove: include grpc-listener.conf"), `no server listens where the lab sends: leave "include site/grpc-listen.conf" in one`},
	// In files: at their lines.
	{"  files:\n    own.conf: |\n      # Quiet.\n      location = /own {\n        access_log off;\n        return 204;\n      }\n  edits:\n    - {context: http-listener.conf server, add: include own.conf}\n",
		"7:9: access_log off in location = /own (own.conf:N) takes requests out"},
	{"  files: {own.conf: 'location /own { proxy_pass http://whoami_http; }'}\n  edits: [{context: http-listener.conf server, add: include own.conf}]\n",
		"3:21: location /own (own.conf:N) passes requests on without their ID"},
	{"  files: {a.conf: include b.conf;, b.conf: access_log off;}\n  edits: [{context: http-listener.conf server, add: include a.conf}]\n", "3:44: access_log off in server"},
	// The edit that is wrong, not those around it.
	{"  edits:\n    - {context: http, directive: server_tokens on}\n    - {context: http-listener.conf server, add: 'location /own { return 204; }'}\n    - {context: location /own, directive: access_log off}\n    - {context: http, directive: tcp_nodelay on}\n",
		"6:43: access_log off in location /own"},
	{"  edits:\n    - {context: http-listener.conf server, add: 'location /own { access_log off; return 204; }'}\n    - {context: location /own, remove: access_log}\n    - {context: location /own, add: access_log off}\n",
		"6:37: access_log off in location /own"},
}

// edit is one edit of a context; it stands in line 3, its context at column 11 and what it does after that.
func edit(context, what string) string {
	return "  edits: [{context: " + context + ", " + what + "}]\n"
}

func TestConfigurationsThatTakeEvidenceAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range takesEvidence {
		t.Run(strings.TrimSpace(c.nginx), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "x.yaml")
			if err := os.WriteFile(path, []byte(withNginx(c.nginx)), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Read(path)
			if err == nil || !strings.Contains(confLine.ReplaceAllString(err.Error(), ".conf:N"), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

// Variants share edits, and versions of nginx most of their files: each loss is reported once.
func TestEachLossIsReportedOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.yaml")
	text := withNginx(edit("main", "remove: include site/process.conf")) + "variants: {plain: {}, other: {fleet: {workers: 1}}}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); len(unjoin(err)) != 2 {
		t.Errorf("got %v", err)
	}
}

func TestConfigurationsThatKeepEvidenceAreAccepted(t *testing.T) {
	t.Parallel()
	b := labtest.Nginx(t)
	for _, text := range []string{
		edit("main", "directive: error_log logs/error.log debug"),
		edit("main", "directive: error_log logs/error.log info"),
		edit("main", "add: error_log logs/more.log debug"),
		edit("main", "directive: error_log /dev/null"), // Beside the other.
		edit("main", "add: error_log stderr"),
		edit("http", "add: access_log logs/own.log combined"),
		edit("http", "add: 'access_log syslog:server=127.0.0.1 combined'"),
		edit("http", "add: 'log_format own $id$status'"),
		edit("http", "add: 'map $id $own { default 1; }'"),
		edit("http-listener.conf server", "add: 'location = /own { return 204; }'"),
		edit("http-listener.conf server", "add: 'location /own { include http-headers.conf; proxy_set_header X-Own 1; proxy_pass http://whoami_http; }'"),
		edit("http-listener.conf server", "add: 'location /own { proxy_set_header X-Request-Id ${id}; proxy_pass http://whoami_http; }'"),
		edit("http-listener.conf server location /", "add: 'location /inner { proxy_pass http://whoami_http; }'"),
		edit("http-listener.conf server location /", "add: 'if ($arg_a) { proxy_pass http://whoami_http; }'"),
		edit("grpc-listener.conf server", "add: 'location /own.Service/ { include grpc-only.conf; include grpc-headers.conf; grpc_pass grpc://whoami_grpc; }'"),
		edit("http-listener.conf server location /", "add: 'if ($arg_a) { access_log logs/access.log requests; }'"),
		edit("http", "add: 'server { listen 127.0.0.1:1; access_log off; return 204; }'"),
		edit("http", "add: include none/*.conf"),
		edit("http-listener.conf server", "directive: error_page 494 =400 /.nginx-error"),
		edit("main", "add: worker_priority 1"),
		edit("main", "add: master_process on"),
		"  edits:\n    - {context: http-listener.conf server, add: auth_request /auth}\n    - {context: http-listener.conf server, add: 'location = /auth { return 204; }'}\n",
		"  edits:\n    - {context: http, add: 'proxy_cache_path temp/cache keys_zone=own:1m'}\n    - {context: http-listener.conf server location /, add: proxy_cache own}\n    - {context: http-listener.conf server location /, add: proxy_cache_valid 200 1s}\n",
		// Only together.
		"  edits:\n    - {context: http-listener.conf server, add: 'location /own { proxy_pass http://whoami_http; }'}\n    - {context: location /own, add: include http-headers.conf}\n",
	} {
		t.Run(strings.TrimSpace(text), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "x.yaml")
			if err := os.WriteFile(path, []byte(withNginx(text)), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := Read(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Test(t.Context(), b); err != nil {
				t.Error(err)
			}
		})
	}
}
