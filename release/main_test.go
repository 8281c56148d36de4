package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// TestLayoutMatchesDockerfile writes a layout twice. Both must be identical and valid, for two architectures, with the Dockerfile's
// configuration.
func TestLayoutMatchesDockerfile(t *testing.T) {
	t.Parallel()
	for service, port := range map[string]string{"whoami": "8000/tcp", "front": "8100/tcp"} {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			layoutMatches(t, service, port)
		})
	}
}

func layoutMatches(t *testing.T, service, port string) {
	program := filepath.Join(t.TempDir(), service)
	if err := os.WriteFile(program, []byte("a program"), 0o755); err != nil {
		t.Fatal(err)
	}
	var digests [2]v1.Hash
	for n := range digests {
		dir := filepath.Join(t.TempDir(), "layout")
		if err := run([]string{"../Dockerfile", service, "v1.2.3", "0123abc", "1700000000", dir, "amd64=" + program, "arm64=" + program}); err != nil {
			t.Fatal(err)
		}
		index, err := layout.ImageIndexFromPath(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Index(index); err != nil {
			t.Error(err)
		}
		if digests[n], err = index.Digest(); err != nil {
			t.Fatal(err)
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		for i, arch := range []string{"amd64", "arm64"} {
			image, err := index.Image(manifest.Manifests[i].Digest)
			if err != nil {
				t.Fatal(err)
			}
			c, err := image.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if c.Architecture != arch || manifest.Manifests[i].Platform.Architecture != arch || c.Config.User != "65532:65532" || c.Config.Entrypoint[0] != "/"+service ||
				!strings.Contains(strings.Join(c.Config.Env, " "), "BIND=0.0.0.0") || len(c.RootFS.DiffIDs) != 2 || c.Config.Labels["org.opencontainers.image.version"] != "v1.2.3" {
				t.Errorf("%s: %+v", arch, c)
			}
			if _, exposed := c.Config.ExposedPorts[port]; !exposed || len(c.Config.ExposedPorts) != 2 {
				t.Errorf("%s: exposes %v, want %s and one more", arch, c.Config.ExposedPorts, port)
			}
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("two runs gave %s and %s", digests[0], digests[1])
	}
}

func TestUnknownInstructionIsRejected(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"VOLUME /data", "COPY --from=build /other /other", "FROM debian"} {
		if _, err := Config(string(text)+line+"\n", "whoami"); err == nil {
			t.Errorf("%s is accepted", line)
		}
	}
}
