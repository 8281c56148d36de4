//go:build docker

package docker

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestBothToolsAcceptTheFiles checks docker-compose.yml alone and with each override.
func TestBothToolsAcceptTheFiles(t *testing.T) {
	for name, tool := range both(t) {
		accept := func(env string, override ...string) {
			s := stack{tool: tool, files: override, env: []string{env}}
			if out := s.try(t, "config", "-q"); !out.ok || out.text != "" {
				t.Errorf("%s, %v, %s: %s", name, override, env, out.text)
			}
		}
		for _, env := range []string{"ENVIRONMENT=qa", "ENVIRONMENT=prod", "BIND=0.0.0.0", "BIND=::1"} {
			accept(env)
		}
		for _, override := range append([]string{"docker-compose.bind.yml", "docker-compose.volume.yml", frontFile}, tlsFiles...) {
			if override != "docker-compose.front-mtls.yml" { // It is for front alone, which another file has.
				accept("TLS=./tls", override)
			}
		}
		accept("TLS=./tls", append([]string{frontFile}, tlsFiles...)...)
	}
}

// model is Compose v2's interpretation of docker-compose.yml.
type model struct {
	Services map[string]struct {
		Environment     map[string]string
		StopGracePeriod string `json:"stop_grace_period"`
		Restart         string
		Expose          []string
		Healthcheck     struct{ Test []string }
		CPUs            float64
	}
}

// TestFilesAgree compares the ports of the Compose file and of the local fleet's files, and grace periods with timeouts.
func TestFilesAgree(t *testing.T) {
	var m model
	if err := json.Unmarshal([]byte(stack{tool: v2(t)}.do(t, "config", "--format", "json")), &m); err != nil {
		t.Fatal(err)
	}
	text := files(t, tree(t)+"/nginx")
	port := regexp.MustCompile(`(?m)^server [^ ]*:(\d+) `)
	endpoint := regexp.MustCompile(`whoami-\d:(\d+)`)
	for _, protocol := range []string{"http", "grpc"} {
		var all [2][]string
		for _, match := range port.FindAllStringSubmatch(text["conf/site/"+protocol+"-servers.conf"], -1) {
			all[0] = append(all[0], match[1])
		}
		for _, match := range endpoint.FindAllStringSubmatch(m.Services["nginx"].Environment["WHOAMI_"+strings.ToUpper(protocol)], -1) {
			all[1] = append(all[1], match[1])
		}
		if len(all[0]) != 3 || !slices.Equal(all[0], all[1]) {
			t.Errorf("%s ports: local %v, compose %v", protocol, all[0], all[1])
		}
		for n, p := range all[0] {
			service := m.Services[services[n+1]]
			if !slices.Contains(service.Expose, p) {
				t.Errorf("%s does not expose its port %s: %v", services[n+1], p, service.Expose)
			}
			if protocol == "http" && service.Environment["HTTP_PORT"] != p {
				t.Errorf("%s: HTTP_PORT is %s, want %s", services[n+1], service.Environment["HTTP_PORT"], p)
			}
		}
	}
	for _, name := range services {
		s := m.Services[name]
		grace, err := time.ParseDuration(s.StopGracePeriod)
		need := 10 * time.Second // DRAIN_TIMEOUT, which sameSettings checks
		if name == "nginx" {
			cut := regexp.MustCompile(`(?m)^worker_shutdown_timeout (\S+);`).FindStringSubmatch(text["conf/nginx.conf"])
			need, _ = time.ParseDuration(cut[1])
		} else if got := strings.Join(s.Healthcheck.Test, " "); got != "CMD /whoami health" {
			t.Errorf("%s: health check %q", name, got)
		}
		if err != nil || grace <= need || need == 0 {
			t.Errorf("%s: stop_grace_period %v (%v), want more than %v", name, grace, err, need)
		}
		if !strings.HasPrefix(s.Restart, "on-failure:") {
			t.Errorf("%s: restart %q", name, s.Restart)
		}
	}
}
