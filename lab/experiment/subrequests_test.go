package experiment

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trivet/lab/labtest"
)

// toAdmin is edits with a request of nginx's own to /own, which passes it to an upstream of one server; admin is in the admin listener, and
// more in http.
func toAdmin(subrequest, server, pass, admin, more string) string {
	var text strings.Builder
	text.WriteString("  edits:\n")
	for _, e := range []struct{ context, add string }{
		{"http-listener.conf server", subrequest + " /own"},
		{"http-listener.conf server", "location = /own { internal; include http-headers.conf; proxy_pass http://" + pass + "; }"},
		{"http", "upstream own { server " + server + "; }"},
		{"admin-listener.conf server", "location = /own { " + admin + " }"},
		{"http", more},
	} {
		if e.add != "" {
			text.WriteString(fmt.Sprintf("    - {context: %s, add: '%s'}\n", e.context, e.add))
		}
	}
	return text.String()
}

// down is an edit that adds a named location to the HTTP listener.
func down(body string) string {
	return "    - {context: http-listener.conf server, add: 'location @down { include http-headers.conf; " + body + " }'}\n"
}

// Requests of nginx's own that certainly reach no instance are accepted, and no others.
func TestRequestsOfNginxMayLeadToItsAdminListener(t *testing.T) {
	t.Parallel()
	b := labtest.Nginx(t)
	const admin, relay = "nginx:admin", "mirror /shadow; empty_gif; error_page 405 =204 /healthz;"
	for _, c := range []struct {
		name, nginx string
		ok          bool
	}{
		{"authorization", toAdmin("auth_request", admin, "own", "return 204;", ""), true},
		{"mirror", toAdmin("mirror", admin, "own$request_uri", relay, ""), true},
		{"mirror that is relayed to itself", toAdmin("mirror", admin, "own/own", relay+" proxy_pass http://own/healthz;", ""), true},
		{"error at a named location", toAdmin("auth_request", admin, "own; error_page 502 @down", "return 204;", "") + down("return 500;"), true},
		{"error at a named location that passes on", toAdmin("auth_request", admin, "own; error_page 502 @down", "return 204;", "") + down("proxy_pass http://whoami_http;"), false},
		{"error at a named location that leads on", toAdmin("auth_request", admin, "own; error_page 502 @down", "return 204;", "") + down("error_page 500 /; return 500;"), false},
		{"error at a path", toAdmin("auth_request", admin, "own; error_page 502 /", "return 204;", ""), false},
		{"instance", toAdmin("auth_request", "whoami-1:http", "own", "return 204;", ""), false},
		{"instance among others", toAdmin("auth_request", admin+"; server whoami-1:http", "own", "return 204;", ""), false},
		{"upstream of instances", toAdmin("auth_request", admin, "whoami_http", "return 204;", ""), false},
		{"host in a variable", toAdmin("auth_request", admin, "$http_own", "return 204;", ""), false},
		{"part of a host in a variable", toAdmin("auth_request", admin, "own$http_own", "return 204;", "upstream own_too { server whoami-1:http; }"), false},
		{"admin listener passes on", toAdmin("auth_request", admin, "own", "proxy_pass http://whoami_http;", ""), false},
		{"admin listener passes on by gRPC", toAdmin("mirror", admin, "own", "grpc_pass grpc://whoami_grpc;", ""), false},
		{"another server passes on", toAdmin("auth_request", "127.0.0.1:1", "own", "return 204;", "server { listen 127.0.0.1:1; access_log off; location / { proxy_pass http://whoami_http; } }"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "x.yaml")
			if err := os.WriteFile(path, []byte(withNginx(c.nginx)), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := Read(path)
			switch {
			case !c.ok && (err == nil || !strings.Contains(err.Error(), "nginx sends such requests itself")):
				t.Errorf("got %v", err)
			case c.ok && err == nil:
				err = f.Test(t.Context(), b)
				fallthrough
			case c.ok:
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}
