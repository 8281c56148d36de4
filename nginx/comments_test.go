package nginx

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCommentedDirectivesAreAccepted makes the edits that comments of the configuration suggest.
func TestCommentedDirectivesAreAccepted(t *testing.T) {
	b := findNginx(t)
	for _, c := range []struct {
		name  string
		edits []edit
	}{
		{"least_conn above keepalive", []edit{{"upstreams.conf", "\tkeepalive 256;\n\n", "\tleast_conn;\n\tkeepalive 256;\n\n"}}},
		{"alternative to max_fails=0", []edit{{"site/http-servers.conf", "127.0.0.1:8001 max_fails=0;", "127.0.0.1:8001 max_fails=3 fail_timeout=1s;"}}},
		{"rate limits", []edit{{"limits.conf", `default "";`, "default $binary_remote_addr;"}}},
		{"proxy in front", []edit{
			{"headers.conf", "#     set_real_ip_from  10.1.2.3;", "set_real_ip_from 10.1.2.3;"},
			{"headers.conf", "#     real_ip_header ", "real_ip_header "},
			{"headers.conf", "#     real_ip_recursive ", "real_ip_recursive "},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := local().Install(dir, Conf(), b.Version); err != nil {
				t.Fatal(err)
			}
			for _, e := range c.edits {
				e.apply(t, dir)
			}
			if err := b.Test(t.Context(), dir); err != nil {
				t.Error(err)
			}
			if log, err := os.ReadFile(filepath.Join(dir, "logs", "error.log")); err != nil || len(log) > 0 {
				t.Errorf("error log: %s %v", log, err)
			}
		})
	}
}

func TestTrustedProxySetsClientAddress(t *testing.T) {
	b := startNginx(t, []Server{{web(t), free(t)}},
		edit{"headers.conf", "#     set_real_ip_from  10.1.2.3;", "set_real_ip_from 127.0.0.1;"},
		edit{"headers.conf", "#     real_ip_header ", "real_ip_header "},
		edit{"headers.conf", "#     real_ip_recursive ", "real_ip_recursive "})
	status, _, body, err := raw(t, b.HTTP, get("trusted", "/", "X-Forwarded-For: 6.6.6.6, 192.0.2.7"))
	if err != nil || status != 200 || !bytes.Contains(body, []byte(`"X-Forwarded-For":["192.0.2.7"]`)) || !bytes.Contains(body, []byte(`"X-Real-Ip":["192.0.2.7"]`)) {
		t.Errorf("%d, %v: %s", status, err, body)
	}
	if l := b.only(t, "trusted"); l.RemoteAddr != "192.0.2.7" {
		t.Errorf("access log: remote_addr %q", l.RemoteAddr)
	}
}

// TestOnlyInstancesAreProxied checks that nginx passes requests to the two upstreams and nothing else, such as an admin port. Policies,
// which nothing includes, may ask services of the user's own.
func TestOnlyInstancesAreProxied(t *testing.T) {
	pass := regexp.MustCompile(`(?m)^\s*\w+_pass\s.*$`)
	var all []string
	err := fs.WalkDir(Conf(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(name, "policies/") {
			return err
		}
		text, err := fs.ReadFile(Conf(), name)
		for _, line := range pass.FindAllString(string(text), -1) {
			all = append(all, strings.TrimSpace(line))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, line := range all {
		count[line]++
		if line != "proxy_pass http://whoami_http;" && line != "grpc_pass grpc://whoami_grpc;" {
			t.Errorf("%s", line)
		}
	}
	if count["proxy_pass http://whoami_http;"] == 0 || count["grpc_pass grpc://whoami_grpc;"] == 0 {
		t.Errorf("%v, want both", count)
	}
}
