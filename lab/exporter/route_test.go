package exporter

import (
	"strings"
	"testing"
)

func TestRoutesAreBounded(t *testing.T) {
	t.Parallel()
	r, err := newRouter(append(Routes(), "/users/{id}", "GET /files/{path...}", "/users/{id}"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ method, uri, want string }{
		{"GET", "/", "/"}, {"GET", "/?x=/watch", "/"}, {"POST", "/", "/"},
		{"GET", "/watch?interval=1s", "/watch"}, {"GET", "/front", "/front"},
		{"POST", "/whoami.v1.WhoAmIService/WhoAmI", "/whoami.v1.WhoAmIService/WhoAmI"},
		{"POST", "/whoami.v1.WhoAmIService/Nope", other},
		{"POST", "/front.v1.FrontService/Visit", "/front.v1.FrontService/Visit"},
		{"POST", "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Check"},
		{"GET", "/users/4711", "/users/{id}"}, {"GET", "/users/4711/x", other},
		{"GET", "/files/a/b", "GET /files/{path...}"}, {"POST", "/files/a/b", other},
		{"GET", "/nope", other}, {"GET", "*", other}, {"", "", other}, {"CONNECT", "/", other},
		{"GET", "http://host/", other}, {"GET", "/%2e%2e/", other}, {"GET", "/\x00", other}, {"GET", "/%", other},
	} {
		if got := r.route(c.method, c.uri); got != c.want {
			t.Errorf("%s %q: route %q, want %q", c.method, c.uri, got, c.want)
		}
	}
}

func TestWrongRouteIsAnError(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"", "users", "/{", "/a//{x}{y}"} {
		if _, err := newRouter([]string{pattern}); err == nil || !strings.Contains(err.Error(), "want a pattern") {
			t.Errorf("%q: %v", pattern, err)
		}
	}
	if _, err := newRouter([]string{"/a/{x}", "/a/{y}"}); err == nil {
		t.Error("two patterns for one path are accepted")
	}
}
