// Command release writes the image of an instance as an OCI layout, one image per architecture, without a Docker engine or a registry:
//
//	release DOCKERFILE SERVICE VERSION REVISION TIME LAYOUT ARCH=PROGRAM…
//
// The image's configuration comes from the service's stage of the Dockerfile; an unsupported instruction is an error.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// authorities is the path of the CA certificates on Debian and Ubuntu, and in the image.
const authorities = "/etc/ssl/certs/ca-certificates.crt"

func run(args []string) error {
	if len(args) < 7 {
		return errors.New("usage: release DOCKERFILE SERVICE VERSION REVISION TIME LAYOUT ARCH=PROGRAM…")
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	service, args := args[1], append(args[:1:1], args[2:]...)
	config, err := Config(string(text), service)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	seconds, err := strconv.ParseInt(args[3], 10, 64)
	if err != nil {
		return fmt.Errorf("TIME=%s: want seconds since 1970, as from git log -1 --format=%%ct", args[3])
	}
	labels := map[string]string{
		"org.opencontainers.image.title": service, "org.opencontainers.image.licenses": "Apache-2.0",
		"org.opencontainers.image.version": args[1], "org.opencontainers.image.revision": args[2],
	}
	config.Labels = labels
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, pair := range args[5:] {
		arch, program, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("%s: want ARCH=PROGRAM", pair)
		}
		image, err := Image(config, arch, service, program, time.Unix(seconds, 0).UTC())
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	if err := os.RemoveAll(args[4]); err != nil {
		return err
	}
	_, err = layout.Write(args[4], index)
	return err
}

// Image returns an image with the layers of the Dockerfile: one with the certificates, one with the program.
func Image(config v1.Config, arch, service, program string, at time.Time) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, f := range []struct {
		from, to string
		mode     int64
	}{{authorities, authorities, 0o644}, {program, "/" + service, 0o755}} {
		layer, err := file(f.from, f.to, f.mode, at)
		if err != nil {
			return nil, err
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			return nil, err
		}
	}
	return mutate.ConfigFile(image, configFile(image, config, arch, at))
}

func configFile(image v1.Image, config v1.Config, arch string, at time.Time) *v1.ConfigFile {
	c, err := image.ConfigFile()
	if err != nil {
		panic(err) // An image made here has one.
	}
	c = c.DeepCopy()
	c.OS, c.Architecture, c.Created, c.Config = "linux", arch, v1.Time{Time: at}, config
	return c
}

// file returns a layer with one file, owned by root. Its bytes depend only on the arguments.
func file(from, to string, mode int64, at time.Time) (v1.Layer, error) {
	content, err := os.ReadFile(from)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(to, "/"), Mode: mode, Size: int64(len(content)), ModTime: at, Typeflag: tar.TypeReg}); err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
}
