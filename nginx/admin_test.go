package nginx

import (
	"strings"
	"testing"
)

// TestAdminListener checks that nginx's own health needs no instance and stays out of the access log.
func TestAdminListener(t *testing.T) {
	b := startNginx(t, noInstances(t))
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/healthz", 200, `{"status":"SERVING"}` + "\n"},
		{"/healthz?probe=1", 200, `{"status":"SERVING"}` + "\n"},
		{"/nginx_status", 200, "Active connections: "},
		{"/", 404, "want /healthz or /nginx_status"},
		{"/readyz", 404, "want /healthz or /nginx_status"},
	} {
		if status, h, body, err := raw(t, b.Admin, get("admin", c.path)); err != nil || status != c.status || !strings.Contains(string(body), c.want) {
			t.Errorf("%s: %d, %v, %v: %s", c.path, status, h, err, body)
		}
	}
	if all := b.log(t); len(all) != 0 {
		t.Errorf("the access log has %+v", all)
	}
}

// TestAdminListenerIsNotPublic checks that no path or host leads from a public listener to the admin listener.
func TestAdminListenerIsNotPublic(t *testing.T) {
	var i instance
	b := startNginx(t, []Server{{web(t), i.serve(t)}}, edit{"site/public.conf", `default "1";`, `default "";`})
	for _, path := range []string{"/nginx_status", "/healthz"} {
		for _, host := range []string{"lab", b.Admin, "127.0.0.1:7080", "localhost"} {
			for _, target := range []string{path, "http://" + b.Admin + path} {
				_, h, body, err := raw(t, b.HTTP, "GET "+target+" HTTP/1.1\r\nHost: "+host+"\r\nX-Request-Id: x\r\n\r\n")
				if err != nil || strings.Contains(string(body), "Active connections") || strings.Contains(string(body), "SERVING") || h.Get("X-Request-Id") != "x" {
					t.Errorf("%s, Host: %s: %v, %v: %s", target, host, h, err, body)
				}
			}
		}
		if resp, body := sendHTTP2(t, "POST", b.GRPC, path, "application/grpc"); body != "" || resp.Header.Get("Grpc-Status") == "0" {
			t.Errorf("gRPC %s: %v %s", path, resp.Header, body)
		}
	}
}
