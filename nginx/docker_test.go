package nginx

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestImageSiteIsFresh compares docker/site with ContainerSite. With -update, as make generate calls it, it writes docker/site.
func TestImageSiteIsFresh(t *testing.T) {
	files := ContainerSite()
	if got, want := strings.Join(slices.Sorted(maps.Keys(files)), " "), names(t, "conf/site"); got != want {
		t.Errorf("ContainerSite returns %s; conf/site has %s", got, want)
	}
	if *update {
		for name, text := range files {
			if err := os.WriteFile(filepath.Join("docker/site", name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if written := tree(t, "docker/site"); !maps.Equal(written, files) {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if written[name] != files[name] {
				t.Errorf("docker/site/%s is\n%s\nwant\n%s", name, written[name], files[name])
			}
			delete(written, name)
		}
		t.Errorf("docker/site is not what ContainerSite returns (and has %q beside it); to write it again, run: make generate", slices.Sorted(maps.Keys(written)))
	}
}

func TestDockerfile(t *testing.T) {
	text := read(t, "Dockerfile")
	for _, want := range []string{"COPY conf/ /etc/nginx/\nCOPY docker/site/ /etc/nginx/site/\n", " nginx -t\n", "http://127.0.0.1:7080/healthz", "STOPSIGNAL SIGQUIT\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("Dockerfile lacks %q", want)
		}
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
