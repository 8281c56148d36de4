//go:build slow

package nginx

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	whoamiv1 "trivet/gen/whoami/v1"
)

// TestPoliciesOfNextRelease runs the quick tests of the policies with the nginx of Debian's next release.
func TestPoliciesOfNextRelease(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^Test(APIKeys|RateLimitPushesBack|BusyInstancesPushBack|AuthorizationService|Canary|StickyHash|HungShadow)$", "-test.v")
	cmd.Env = append(os.Environ(), "TRIVET_NGINX="+fetched(t, "--next"))
	out, err := cmd.CombinedOutput()
	if passed := strings.Count(string(out), "\n--- PASS: "); err != nil || passed != 7 {
		t.Errorf("%d passed: %v\n%s", passed, err, out)
	}
}

// stalled counts, of 300 unary calls one after the other, those that took as long as Linux delays an acknowledgment, 40 ms.
func stalled(t *testing.T, edits ...edit) int {
	t.Helper()
	c := client(t, startNginx(t, both(t), edits...).GRPC)
	n := 0
	for range 300 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		began := time.Now()
		_, err := c.WhoAmI(ctx, &whoamiv1.WhoAmIRequest{})
		if cancel(); err != nil {
			t.Fatal(err)
		}
		if time.Since(began) > 38*time.Millisecond {
			n++
		}
	}
	return n
}

// TestAuthRequestStallsCalls prints what http2_body_preread_size 0 is for. A busy machine may stall calls, too, but not this many.
func TestAuthRequestStallsCalls(t *testing.T) {
	for _, option := range []string{"", "--next"} {
		if option != "" {
			t.Setenv("TRIVET_NGINX", fetched(t, option))
		}
		fixed := asking(newAuthorizer(t).Listener.Addr().String())
		allow := edit{"policies/auth-request-server.conf", "	proxy_set_header        Connection        \"\";\n", "	proxy_set_header        Connection        \"\";\nproxy_set_header Authorization yes;\n"}
		fixed = append(fixed, allow)
		with := stalled(t, append(fixed, edit{"policies/auth-request-server.conf", "http2_body_preread_size 0;", ""})...)
		without := stalled(t, fixed...)
		t.Logf("nginx %s: calls of 300 that stalled: %d with the default, %d with http2_body_preread_size 0", findNginx(t).Version, with, without)
		if with < 30 || without > with/2 {
			t.Errorf("%d stalled with the default, and %d without", with, without)
		}
	}
}

// TestStickyCookie: the cookie of the first response leads to the same instance, over both protocols; a forged one leads somewhere.
func TestStickyCookie(t *testing.T) {
	t.Setenv("TRIVET_NGINX", fetched(t, "--next"))
	servers := []Server{both(t)[0], both(t)[0], both(t)[0], {free(t), free(t)}}
	const http1, grpc = "	zone whoami_http 1m;\n", "	zone whoami_grpc 1m;\n"
	b := startNginx(t, servers, edit{"upstreams.conf", http1, http1 + "include policies/sticky-cookie.conf;\n"}, edit{"upstreams.conf", grpc, grpc + "include policies/sticky-cookie.conf;\n"})
	code, h, body, err := raw(t, b.HTTP, get("first", "/"))
	cookie, _, _ := strings.Cut(h.Get("Set-Cookie"), ";")
	if code != 200 || err != nil || !strings.HasPrefix(cookie, "instance=") || !strings.Contains(h.Get("Set-Cookie"), "httponly") {
		t.Fatalf("%d %v %s %v", code, h, body, err)
	}
	_, md, err := call(t, b.GRPC, "first-grpc")
	if err != nil || len(md["set-cookie"]) != 1 {
		t.Fatalf("%v %v", md, err)
	}
	grpcCookie, _, _ := strings.Cut(md["set-cookie"][0], ";")
	for range 6 {
		if code, _, _, err := raw(t, b.HTTP, get("again", "/", "Cookie: "+cookie)); code != 200 || err != nil {
			t.Errorf("%d %v", code, err)
		}
		if _, _, err := call(t, b.GRPC, "again-grpc", "cookie", grpcCookie); err != nil {
			t.Error(err)
		}
	}
	for _, forged := range []string{"instance=", "instance=x", "instance=" + strings.Repeat("f", 32), "instance=127.0.0.1:80", "instance=%00; instance=a", "instance=" + strings.Repeat("a", 4000)} {
		if code, _, body, err := raw(t, b.HTTP, get("forged", "/", "Cookie: "+forged)); code != http.StatusOK || err != nil {
			t.Errorf("%q: %d %s %v", forged, code, body, err)
		}
	}
	met := map[string]map[string]bool{}
	for _, l := range b.log(t) {
		id, _, _ := strings.Cut(strings.TrimPrefix(strings.Replace(l.ID, "again", "first", 1), "first"), " ")
		addrs := strings.Split(l.UpstreamAddr, ", ") // the last one responded
		if met[id] == nil {
			met[id] = map[string]bool{}
		}
		met[id][addrs[len(addrs)-1]] = true
	}
	if len(met[""]) != 1 || len(met["-grpc"]) != 1 {
		t.Errorf("the client met %v", met)
	}
}
