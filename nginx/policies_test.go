package nginx

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	whoamiv1 "trivet/gen/whoami/v1"
)

// inHTTP includes a policy in http { }.
func inHTTP(policy string) edit {
	const last = "	include site/public.conf;\n"
	return edit{"nginx.conf", last, last + "include policies/" + policy + ".conf;\n"}
}

// inServers includes a policy in all servers.
func inServers(policy string) []edit {
	const first = "if ($refused_host = 400) {\n"
	return []edit{{"host-check.conf", first, "include policies/" + policy + ".conf;\n" + first}}
}

// inErrors includes a policy where local replies are built, for HTTP and for gRPC.
func inErrors(policy string) []edit {
	const http, grpc = "	internal; #", "	internal;\n"
	text := "include policies/" + policy + ".conf;\n"
	return []edit{{"error-locations.conf", http, text + http}, {"error-locations.conf", grpc, text + grpc}}
}

// both is one instance of each protocol.
func both(t *testing.T) []Server { return []Server{{web(t), new(instance).serve(t)}} }

// TestPoliciesAreOff: the shipped configuration includes none of them.
func TestPoliciesAreOff(t *testing.T) {
	files, err := filepath.Glob("conf/*.conf")
	site, err2 := filepath.Glob("conf/site/*.conf")
	if err != nil || err2 != nil || len(files) == 0 {
		t.Fatal(files, err, err2)
	}
	for _, name := range append(files, site...) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if code, _, _ := strings.Cut(line, "#"); strings.Contains(code, "policies") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

// TestPoliciesSayHowToTurnThemOn: each file begins with what it does and where it goes, in one to eight lines.
func TestPoliciesSayHowToTurnThemOn(t *testing.T) {
	files, err := filepath.Glob("conf/policies/*.conf")
	if err != nil || len(files) < 8 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(string(text)+"\n", "\n\n")
		var comments []string
		for line := range strings.Lines(head) {
			if strings.HasPrefix(line, "#") {
				comments = append(comments, line)
			}
		}
		says := strings.Join(comments, "")
		whole := strings.Contains(says, "# On:") && strings.Contains(says, "Trap: ") && strings.Contains(says, "docs/policies.md")
		if part := strings.Contains(says, ".conf"); len(comments) == 0 || len(comments) > 8 || !whole && !part {
			t.Errorf("%s begins with %q", name, says)
		}
	}
}

func TestAPIKeys(t *testing.T) {
	t.Parallel()
	const key = "00000000000000000000000000000001"
	b := startNginx(t, both(t), append(inServers("api-key-server"), inHTTP("api-key"))...)
	for _, c := range []struct {
		name string
		keys []string
		ok   bool
	}{
		{"valid", []string{key}, true},
		{"missing", nil, false},
		{"empty", []string{""}, false},
		{"unknown", []string{"00000000000000000000000000000003"}, false},
		{"prefix", []string{key[:31]}, false},
		{"longer", []string{key + "0"}, false},
		{"of a map", []string{"default"}, false},
		{"of 4 KB", []string{strings.Repeat("0", 4000)}, false},
		{"two, the second valid", []string{"x", key}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := "key-" + strings.ReplaceAll(strings.ReplaceAll(c.name, " ", "-"), ",", "")
			var lines, pairs []string
			for _, k := range c.keys {
				lines, pairs = append(lines, "X-Api-Key: "+k), append(pairs, "x-api-key", k)
			}
			for _, path := range []string{"/", "/healthz", "/unknown", "/.nginx-error", "/.nginx-errors"} {
				want := map[bool]int{true: 200, false: 401}[c.ok]
				if strings.HasPrefix(path, "/.nginx-error") { // The check leaves them out, and they are internal.
					want = 404
				}
				code, _, body, err := raw(t, b.HTTP, get(id, path, lines...))
				if err != nil || code != want || code == 401 && decode(t, body).Code != int(codes.Unauthenticated) {
					t.Errorf("%s: %d %s, %v, want %d", path, code, body, err, want)
				}
			}
			if _, _, err := call(t, b.GRPC, id, pairs...); (err == nil) != c.ok || err != nil && status.Code(err) != codes.Unauthenticated {
				t.Errorf("gRPC: %v", err)
			}
			if err := stream(t, b.GRPC, pairs...); (err == nil) != c.ok || err != nil && status.Code(err) != codes.Unauthenticated {
				t.Errorf("gRPC stream: %v", err)
			}
		})
	}
	if t.Failed() {
		return
	}
	for _, l := range b.log(t) { // No refused request has reached an instance.
		if strings.HasPrefix(l.ID, "key-") && l.ID != "key-valid" && l.UpstreamAddr != "" {
			t.Errorf("%+v", l)
		}
	}
}

// stream makes one WatchWhoAmI call with pairs of metadata, and returns the error of its first message.
func stream(t *testing.T, addr string, pairs ...string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := client(t, addr, grpc.WithDisableRetry()).WatchWhoAmI(metadata.AppendToOutgoingContext(ctx, pairs...), &whoamiv1.WatchWhoAmIRequest{})
	if err == nil {
		_, err = s.Recv()
	}
	return err
}

// TestRateLimitPushesBack: what is refused says when to come back, over both protocols; the limit of one listener is not the other's.
func TestRateLimitPushesBack(t *testing.T) {
	t.Parallel()
	edits := append(inServers("rate-limit-server"), inErrors("pushback-errors")...)
	edits = append(edits, edit{"nginx.conf", "	include site/public.conf;\n", "	include site/public.conf;\ninclude policies/rate-limit.conf;\ninclude policies/pushback.conf;\n"},
		edit{"policies/rate-limit.conf", "rate=10r/s", "rate=1r/m"})
	b := startNginx(t, both(t), edits...)
	for n, want := range []int{200, 429} {
		code, h, body, err := raw(t, b.HTTP, get(fmt.Sprint("h", n), "/"))
		if err != nil || code != want || (h.Get("Retry-After") == "1") != (want == 429) {
			t.Errorf("%d: %d %v %s, %v", n, code, h, body, err)
		}
		_, md, err := call(t, b.GRPC, fmt.Sprint("g", n))
		if refused := want == 429; refused != (status.Code(err) == codes.ResourceExhausted) || refused != (strings.Join(md["grpc-retry-pushback-ms"], " ") == "1000") {
			t.Errorf("%d: %v %v", n, md, err)
		}
	}
}

// TestBusyInstancesPushBack: with max_conns reached, clients are asked not to retry; where an instance is down, they may.
func TestBusyInstancesPushBack(t *testing.T) {
	t.Parallel()
	const server = "max_fails=0;"
	edits := append(inErrors("pushback-errors"), inHTTP("pushback"),
		edit{"site/http-servers.conf", server, "max_fails=0 max_conns=1;"}, edit{"site/grpc-servers.conf", server, "max_fails=0 max_conns=1;"})
	held := &instance{release: make(chan struct{})}
	b := startNginx(t, []Server{{web(t), held.serve(t)}}, edits...)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := client(t, b.GRPC).WatchWhoAmI(ctx, &whoamiv1.WatchWhoAmIRequest{})
	if err == nil {
		_, err = s.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	_, md, err := call(t, b.GRPC, "busy")
	if status.Code(err) != codes.Unavailable || strings.Join(md["grpc-retry-pushback-ms"], " ") != "-1" {
		t.Errorf("%v %v", md, err)
	}
	close(held.release)

	down := startNginx(t, noInstances(t), append(inErrors("pushback-errors"), inHTTP("pushback"))...)
	if _, md, err = call(t, down.GRPC, "down"); status.Code(err) != codes.Unavailable || len(md["grpc-retry-pushback-ms"]) > 0 {
		t.Errorf("%v %v", md, err)
	}
	if code, h, _, err := raw(t, down.HTTP, get("down", "/")); err != nil || code != 502 || h.Get("Retry-After") != "" {
		t.Errorf("%d %v %v", code, h, err)
	}
}
