package nginx

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestImageSitesMatchLocalSite checks that the image's sites have the same files as conf/site, and that the Dockerfile copies them.
func TestImageSitesMatchLocalSite(t *testing.T) {
	local := names(t, "conf/site")
	for _, site := range []string{"docker/site", "docker/host"} {
		if got := names(t, site); got != local {
			t.Errorf("%s has %s; conf/site has %s", site, got, local)
		}
	}
	text := read(t, "Dockerfile")
	for _, want := range []string{"COPY conf/ /etc/nginx/\nCOPY docker/site/ /etc/nginx/site/\n", "RUN nginx -t\n", "http://127.0.0.1:7080/healthz", "STOPSIGNAL SIGQUIT\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("Dockerfile lacks %q", want)
		}
	}
	// Files that do not depend on where the instances run are identical.
	for _, name := range []string{"process.conf", "logs.conf", "http-listen.conf", "grpc-listen.conf", "public.conf", "hosts.conf", "admin-listen.conf",
		"http-pass.conf", "grpc-pass.conf", "front-http-pass.conf", "front-grpc-pass.conf", "mesh.conf", "tls.conf", "tls-listen.conf", "tls-listen-again.conf", "tls-certificate.conf"} {
		if read(t, "docker/site/"+name) != read(t, "docker/host/"+name) {
			t.Errorf("docker/site/%s and docker/host/%s differ", name, name)
		}
	}
	if !strings.HasPrefix(read(t, "docker/site/newer.conf"), read(t, "docker/host/newer.conf")) {
		t.Error("docker/site/newer.conf does not begin with docker/host/newer.conf")
	}
}

// TestImageHasOneWorkerPerCPU compares worker_processes with the CPUs in docker-compose.yml.
func TestImageHasOneWorkerPerCPU(t *testing.T) {
	workers := regexp.MustCompile(`(?m)^worker_processes (\d+);`).FindStringSubmatch(read(t, "docker/site/process.conf"))
	cpus := regexp.MustCompile(`(?m)^ +cpus: (\d+) # as many as worker_processes`).FindStringSubmatch(read(t, "../docker-compose.yml"))
	if workers == nil || cpus == nil || workers[1] != cpus[1] {
		t.Errorf("workers %q, CPUs %q", workers, cpus)
	}
}

// TestImageSitesAreAccepted runs nginx -t on both sites, if this nginx is new enough; the image's build always does.
func TestImageSitesAreAccepted(t *testing.T) {
	b := findNginx(t)
	if !b.Version.atLeast(Version{1, 27, 4}) {
		t.Logf("nginx %s is too old for these files; `make test-docker` tests them", b.Version)
		return
	}
	edge := filepath.Join(issued(t, "edge").dir, "edge.pem")
	for _, site := range []string{"docker/site", "docker/host"} {
		dir := t.TempDir()
		if err := local().Install(dir, Conf(), b.Version); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "environment.conf"), []byte(`map "" $environment { default "prod"; }`), 0o644); err != nil {
			t.Fatal(err)
		}
		for name := range strings.FieldsSeq(names(t, site)) {
			// Replace the host name by one that resolves here, and the file that nginx/docker/nginx writes.
			text := strings.NewReplacer("host.docker.internal", "localhost", "/run/nginx/environment.conf", filepath.Join(dir, "environment.conf"),
				"/run/nginx/tls.conf", "tls-listener.conf", "/tls/edge.pem", edge).Replace(read(t, site+"/"+name))
			if err := os.WriteFile(filepath.Join(dir, "conf", "site", name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Test(t.Context(), dir); err != nil {
			t.Errorf("%s: %v", site, err)
		}
	}
}

// names returns the file names of a directory, separated by spaces.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
