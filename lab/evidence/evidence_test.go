package evidence

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trivet/nginx"
	"trivet/nginx/confedit"
)

// installed returns the shipped configuration for a site, with an edit of each text that is given for main.
func installed(t *testing.T, site nginx.Site, version nginx.Version, added ...string) []*confedit.Directive {
	t.Helper()
	dir := t.TempDir()
	if err := site.Install(dir, nginx.Conf(), version); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "conf")
	var edits []confedit.Edit
	for _, text := range added {
		edits = append(edits, confedit.Edit{Context: "main", Add: text})
	}
	if err := confedit.Apply(conf, edits, nil); err != nil {
		t.Fatal(err)
	}
	all, err := confedit.Read(os.DirFS(conf))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Package experiment's tests have the configurations that take something away.
func TestShippedConfigurationTakesNothing(t *testing.T) {
	t.Parallel()
	site := nginx.Site{HTTP: "127.0.0.1:1", GRPC: "127.0.0.1:2", Admin: "127.0.0.1:3", Servers: []nginx.Server{{HTTP: "127.0.0.1:4", GRPC: "127.0.0.1:5"}}}
	for _, version := range []nginx.Version{nginx.Oldest, {Major: 1, Minor: 1000}} {
		for _, workers := range []int{0, 3} {
			site.Workers = workers
			if got := Losses(installed(t, site, version), site); len(got) > 0 {
				t.Errorf("nginx %s, %d workers: %q", version, workers, got)
			}
			got := Losses(installed(t, site, version, "timer_resolution 1s", "daemon on"), site)
			if len(got) != 2 || got[0].At == nil || got[0].At.File != "nginx.conf" || !strings.Contains(got[0].Message, "nginx.conf:") {
				t.Errorf("nginx %s: %q", version, got)
			}
		}
	}
	site.TLS = &nginx.EdgeTLS{Listen: "127.0.0.1:6", Certificate: "edge.pem", Key: "edge.pem"}
	site.Mesh, site.Front = &nginx.MeshTLS{Certificate: "nginx.pem", Key: "nginx.pem", CA: "ca.pem"}, site.Servers
	if got := Losses(installed(t, site, nginx.Oldest), site); len(got) > 0 {
		t.Errorf("with TLS: %q", got)
	}
	plain := site
	plain.TLS = nil
	if got := Losses(installed(t, plain, nginx.Oldest), site); len(got) != 1 || !strings.Contains(got[0].Message, "site/tls-listen.conf") {
		t.Errorf("without the TLS listener: %q", got)
	}
	site.TLS = nil
	if got := Losses(nil, site); len(got) != 4 {
		t.Errorf("an empty configuration takes only %q", got)
	}
}
