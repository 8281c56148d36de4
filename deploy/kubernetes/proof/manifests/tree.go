// Package manifests renders what deploy/kubernetes has, as kubectl apply -k does, and checks it without a cluster: each object by the
// types of Kubernetes' own modules, and all objects against each other, nginx's files, the images and Compose.
package manifests

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// Dir is the path of deploy/kubernetes in a Tree.
const Dir = "deploy/kubernetes"

// Overlays are the environments, and Components what may be added to each.
var (
	Overlays   = []string{"dev", "qa", "prod"}
	Components = []string{"front", "gateway-api", "service-monitor", "tls", "mtls"}
)

// Tree holds texts of the repository by path from its root: what kustomize reads, and what manifests are compared with.
type Tree map[string]string

// ReadTree reads the repository whose root is at dir.
func ReadTree(dir string) (Tree, error) {
	tree := Tree{}
	for _, top := range []string{
		Dir + "/base", Dir + "/components", Dir + "/overlays", "nginx/kustomization.yaml", "nginx/conf", "nginx/docker", "nginx/Dockerfile", "Dockerfile",
		"docker-compose.yml", ".env.dev", ".env.qa", ".env.prod", ".env.example", "proto",
	} {
		err := filepath.WalkDir(filepath.Join(dir, top), func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			relative, err := filepath.Rel(dir, name)
			tree[filepath.ToSlash(relative)] = string(text)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read the repository: %w", err)
		}
	}
	return tree, nil
}

// files are the names of the files directly in a directory, sorted.
func (t Tree) files(dir string) []string {
	var names []string
	for name := range t {
		if path.Dir(name) == dir {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names
}

// Object is one rendered object.
type Object struct {
	Kind, Name string
	YAML       string
}

// Render renders an overlay, with components added to it as a user would: in the list components of its kustomization.yaml.
func (t Tree) Render(overlay string, components ...string) ([]Object, error) {
	files := filesys.MakeFsInMemory()
	dir := path.Join(Dir, "overlays", overlay)
	for name, text := range t {
		if name == path.Join(dir, "kustomization.yaml") && len(components) > 0 {
			text += "components:\n"
			for _, c := range components {
				text += "  - ../../components/" + c + "\n"
			}
		}
		if err := files.WriteFile("/"+name, []byte(text)); err != nil {
			return nil, err
		}
	}
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, "/"+dir)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", strings.Join(append([]string{overlay}, components...), " with "), err)
	}
	var objects []Object
	for _, r := range rendered.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			return nil, err
		}
		objects = append(objects, Object{r.GetKind(), r.GetName(), string(text)})
	}
	return objects, nil
}

// kustomization is what checks read of a kustomization.yaml.
type kustomization struct {
	Images []struct{ Name, NewName, NewTag string }
}

func (t Tree) kustomization(overlay string) (k kustomization, err error) {
	err = yaml.Unmarshal([]byte(t[path.Join(Dir, "overlays", overlay, "kustomization.yaml")]), &k)
	return k, err
}

// directories are the names of the directories directly in a directory, sorted.
func (t Tree) directories(dir string) []string {
	var names []string
	for name := range t {
		if rest, ok := strings.CutPrefix(name, dir+"/"); ok && strings.Contains(rest, "/") {
			name, _, _ := strings.Cut(rest, "/")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
