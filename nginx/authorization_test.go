package nginx

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// authorizer is an authorization service: it responds with the status that Authorization names, 401 without one, and keeps the requests.
type authorizer struct {
	*httptest.Server
	mu    sync.Mutex
	asked []http.Header
}

func newAuthorizer(t *testing.T) *authorizer {
	a := &authorizer{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.asked = append(a.asked, r.Header)
		a.mu.Unlock()
		switch r.Header.Get("Authorization") {
		case "yes":
			w.WriteHeader(http.StatusNoContent)
		case "forbidden":
			w.WriteHeader(http.StatusForbidden)
		case "broken":
			panic(http.ErrAbortHandler)
		case "redirect":
			http.Redirect(w, r, "/", http.StatusFound)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(a.Close)
	return a
}

// asking includes auth-request.conf with a service at an address.
func asking(service string) []edit {
	return append(inServers("auth-request-server"), inHTTP("auth-request"), edit{"policies/auth-request.conf", "127.0.0.1:8500", service})
}

func TestAuthorizationService(t *testing.T) {
	t.Parallel()
	a := newAuthorizer(t)
	up, down := startNginx(t, both(t), asking(a.Listener.Addr().String())...), startNginx(t, both(t), asking(free(t))...)
	for _, c := range []struct {
		name, authorization string
		of                  *testNginx
		status              int
		code                codes.Code
	}{
		{"allowed", "yes", up, 200, codes.OK},
		{"unknown", "x", up, 401, codes.Unauthenticated},
		{"none", "", up, 401, codes.Unauthenticated},
		{"forbidden", "forbidden", up, 403, codes.PermissionDenied},
		{"service breaks off", "broken", up, 500, codes.Internal},
		{"another status", "redirect", up, 500, codes.Internal},
		{"service down", "yes", down, 500, codes.Internal},
	} {
		id := "auth-" + strings.ReplaceAll(c.name, " ", "-")
		// What the client says of the original request is not believed.
		code, _, body, err := raw(t, c.of.HTTP, get(id, "/a?b=c", "Authorization: "+c.authorization, "X-Original-Uri: /open", "X-Original-Method: OPTIONS"))
		if err != nil || code != c.status {
			t.Errorf("%s: %d %s %v, want %d", c.name, code, body, err, c.status)
		}
		if _, _, err := call(t, c.of.GRPC, id, "authorization", c.authorization, "x-original-uri", "/open"); status.Code(err) != c.code {
			t.Errorf("%s: gRPC: %v, want %v", c.name, err, c.code)
		}
		if err := stream(t, c.of.GRPC, "authorization", c.authorization); status.Code(err) != c.code {
			t.Errorf("%s: gRPC stream: %v, want %v", c.name, err, c.code)
		}
	}
	if code, _, body, err := raw(t, up.HTTP, get("e", "/.auth", "Authorization: yes")); code != 404 || err != nil {
		t.Errorf("/.auth: %d %s %v", code, body, err)
	}
	for _, l := range up.log(t) {
		if strings.HasPrefix(l.ID, "auth-") && l.ID != "auth-allowed" && strings.Contains(l.UpstreamStatus, "200") {
			t.Errorf("%+v reached an instance", l)
		}
	}
	seen := map[string]bool{}
	for _, h := range a.asked {
		if len(h.Values("X-Original-Uri")) != 1 || len(h.Values("X-Original-Method")) != 1 || h.Get("X-Request-Id") == "" {
			t.Errorf("the service was asked with %v", h)
		}
		seen[h.Get("X-Original-Method")+" "+h.Get("X-Original-Uri")] = true
	}
	for _, want := range []string{"GET /a?b=c", "POST /whoami.v1.WhoAmIService/WhoAmI", "POST /whoami.v1.WhoAmIService/WatchWhoAmI"} {
		if !seen[want] {
			t.Errorf("the service was not asked about %s: %v", want, seen)
		}
	}
}
