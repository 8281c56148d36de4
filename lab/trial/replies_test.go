package trial

import (
	"testing"
	"time"

	"trivet/lab/scenario"
	"trivet/nginx/confedit"
)

// replies are locations whose responses need no instance, or more than one.
const replies = `
location = /empty { return 204; }
location = /moved { return 301 /; }
location = /cached {
	proxy_cache replies;
	proxy_cache_valid 200 10s;
	proxy_ignore_headers Cache-Control Expires Vary;
	include http-headers.conf;
	proxy_pass http://whoami_http/;
}
location = /page { internal; return 200 page; }
location = /fallback {
	proxy_intercept_errors on;
	error_page 404 =200 /page;
	include http-headers.conf;
	proxy_pass http://whoami_http/none;
}
location = /again {
	proxy_intercept_errors on;
	error_page 404 = @again;
	include http-headers.conf;
	proxy_pass http://whoami_http/none;
}
location @again { rewrite ^ / break; include http-headers.conf; proxy_pass http://whoami_http; }
location = /rewritten { rewrite ^ / last; }
`

// What a correct nginx sends without an instance, or after two, is reconciled, and counts for an instance only if that executed it.
func TestRepliesOfACorrectNginxAreReconciled(t *testing.T) {
	t.Parallel()
	s := during(1200 * time.Millisecond)
	s.Files = map[string]string{"own/cache.conf": "proxy_cache_path temp/cache keys_zone=replies:1m;\n", "own/replies.conf": replies}
	s.Edits = []confedit.Edit{{Context: "http", Add: "include own/cache.conf"}, {Context: "http-listener.conf server", Add: "include own/replies.conf"}}
	s.Loads = nil
	for _, path := range []string{"empty", "moved", "cached", "fallback", "again", "rewritten"} {
		l := httpLoad(25)
		l.Name, l.Request.Path, l.Deadline = path, "/"+path, 5*time.Second
		s.Loads = append(s.Loads, l)
	}
	set := setup(t, s, local(t, whoami))
	if err := run(t, t.Context(), set); err != nil {
		t.Fatal(err)
	}
	r := checked(t, set.Dir)
	for path, want := range map[string]struct{ ok, nginxErrors, executions, named int }{
		"empty": {30, 0, 0, 0}, "moved": {0, 30, 0, 0}, "cached": {30, 0, -1, -1}, "fallback": {30, 0, 30, 0}, "again": {30, 0, 60, 30}, "rewritten": {30, 0, 30, 30},
	} {
		m, _ := r.Metrics("", path)
		named := 0
		for _, n := range m.OKByInstance {
			named += n
		}
		if want.executions < 0 { // The first ones, until one response has been stored.
			want.executions, want.named = m.Executions, m.Executions
			if m.Executions == 0 || m.Executions > 15 {
				t.Errorf("%s: %d executions", path, m.Executions)
			}
		}
		if m.OK != want.ok || m.NginxErrors != want.nginxErrors || m.Executions != want.executions || named != want.named {
			t.Errorf("%s: %d OK, %d of nginx's errors, %d executions, %d of instances; want %+v", path, m.OK, m.NginxErrors, m.Executions, named, want)
		}
	}
}

// Requests that were open when nginx or a worker was killed are accounted for, as far as anything recorded them.
func TestRequestsOfAKilledNginxAreReconciled(t *testing.T) {
	t.Parallel()
	s := during(3*time.Second, wait(300*time.Millisecond), on(scenario.Kill, scenario.WorkerName(1)), wait(300*time.Millisecond), on(scenario.Kill, scenario.Nginx), on(scenario.Start, scenario.Nginx))
	s.Loads = []scenario.Load{httpLoad(400), grpcLoad("calls", 400)}
	set := setup(t, s, local(t, whoami))
	if err := run(t, t.Context(), set); err != nil {
		t.Fatal(err)
	}
	r := result(t, set.Dir)
	if r.DiscrepancyCount > 0 {
		t.Errorf("%d discrepancies, the first: %v", r.DiscrepancyCount, r.Discrepancies[0])
	}
	for _, group := range []string{scenario.HTTP, "calls"} {
		if m, _ := r.Metrics("", group); m.OK == 0 || m.Failed == 0 {
			t.Errorf("%s: %d OK, %d failed", group, m.OK, m.Failed)
		}
	}
}
