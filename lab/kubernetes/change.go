package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/nginx/confedit"
)

// Annotations by which a trial's changes are recognized if it could not change them back: of a pod template that it patched, and of a
// Deployment, how many pods it had, and which nodes were drained.
const (
	mark         = "trivet-lab"
	replicasNote = "trivet-lab-replicas"
	nodesNote    = "trivet-lab-nodes"
)

// changes are what must be changed back.
type changes struct {
	revisions map[string]string // of Deployments, before they were patched
	configMap string
}

// leftover is an error if a trial's changes are still there.
func (s *Stack) leftover() error {
	var commands []string
	for _, name := range slices.Sorted(maps.Keys(s.deployments)) {
		d := s.deployments[name]
		if d.Spec.Template.Metadata.Annotations[mark] != "" {
			commands = append(commands, s.cli.Line("rollout", "undo", "deployment/"+name))
		}
		if n := d.Metadata.Annotations[replicasNote]; n != "" {
			commands = append(commands, s.cli.Line("scale", "deployment/"+name, "--replicas="+n), s.cli.Line("annotate", "deployment", name, replicasNote+"-"))
		}
		if nodes := d.Metadata.Annotations[nodesNote]; nodes != "" {
			commands = append(commands, s.cli.Line(append([]string{"uncordon"}, strings.Fields(nodes)...)...), s.cli.Line("annotate", "deployment", name, nodesNote+"-"))
		}
	}
	if len(commands) == 0 {
		return nil
	}
	return fmt.Errorf("namespace %s has the changes of another trial: if none runs there now, change them back by: %s",
		s.namespace, strings.Join(append(commands, s.cli.Line("delete", "configmap", "--selector="+mark)), "; "))
}

// note annotates a Deployment.
func (s *Stack) note(ctx context.Context, deployment, key, value string) error {
	text := key + "=" + value
	if value == "" {
		text = key + "-"
	}
	_, err := s.cli.Run(ctx, "annotate", "deployment", deployment, text, "--overwrite")
	return err
}

// change patches the Deployments as the scenario says.
func (y *system) change(ctx context.Context, of scenario.Scenario, dir string) error {
	patches := map[string]map[string]any{}
	if len(of.Edits)+len(of.Files) > 0 {
		volume, err := y.configure(ctx, of, dir)
		if err != nil {
			return err
		}
		patches[scenario.Nginx] = map[string]any{"volumes": []any{volume}}
	}
	if of.PreStop != nil {
		hook, err := preStop(*of.PreStop)
		if err != nil {
			return err
		}
		d := y.stack.deployments[whoami]
		patches[whoami] = map[string]any{"containers": []any{map[string]any{"name": d.container().Name, "lifecycle": map[string]any{"preStop": hook}}}}
	}
	for _, name := range slices.Sorted(maps.Keys(patches)) {
		d := y.stack.deployments[name]
		revision := d.Metadata.Annotations["deployment.kubernetes.io/revision"]
		if revision == "" {
			return fmt.Errorf("the Deployment %s has no revision to which it can be changed back", name)
		}
		patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{
			"metadata": map[string]any{"annotations": map[string]any{mark: filepath.Base(dir)}}, "spec": patches[name],
		}}})
		if err != nil {
			return err
		}
		if y.changes.revisions == nil {
			y.changes.revisions = map[string]string{}
		}
		y.changes.revisions[name] = revision // Before the patch: when kubectl fails, it may have been made.
		if _, err := y.stack.cli.Run(ctx, "patch", "deployment", name, "--type=strategic", "--patch="+string(patch)); err != nil {
			return err
		}
	}
	return nil
}

// preStop is the hook of a sleep; nil removes the hook.
func preStop(sleep time.Duration) (any, error) {
	if sleep%time.Second != 0 {
		return nil, fmt.Errorf("fleet.pre_stop: %v: Kubernetes sleeps for whole seconds", sleep)
	}
	if sleep == 0 {
		return nil, nil
	}
	return map[string]any{"sleep": map[string]any{"seconds": int(sleep / time.Second)}, "exec": nil, "httpGet": nil}, nil
}

// confPath is where nginx's configuration is mounted.
const confPath = "/etc/nginx"

// configure makes a ConfigMap of nginx's configuration with the scenario's files and edits, and returns the volume that mounts it.
func (y *system) configure(ctx context.Context, of scenario.Scenario, dir string) (volume any, err error) {
	name, files, err := y.stack.configuration(ctx)
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, record.ConfDir)
	for path, text := range files {
		to := filepath.Join(conf, filepath.FromSlash(path))
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, []byte(text), 0o644)); err != nil {
			return nil, fmt.Errorf("%w: %w", record.ErrRunDir, err)
		}
	}
	if err := confedit.AddFiles(conf, of.Files); err != nil {
		return nil, err
	}
	if err := record.KeepShipped(dir, func() error { return confedit.Apply(conf, of.Edits, confedit.Names{}) }); err != nil {
		return nil, err
	}
	data, items, err := keys(os.DirFS(conf))
	if err != nil {
		return nil, err
	}
	y.changes.configMap = fmt.Sprintf("trivet-lab-%d", time.Now().UnixNano())
	object, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": y.changes.configMap, "labels": map[string]any{mark: "true"}}, "data": data,
	})
	if err != nil {
		return nil, err
	}
	if _, err := y.stack.cli.Feed(ctx, object, "create", "--filename=-"); err != nil {
		return nil, err
	}
	return map[string]any{
		"name": name, "configMap": nil,
		"projected": map[string]any{"sources": []any{map[string]any{"configMap": map[string]any{"name": y.changes.configMap, "items": items}}}},
	}, nil
}

// keys are the files of a directory as a ConfigMap, whose keys have no slash.
func keys(conf fs.FS) (data map[string]string, items []item, err error) {
	data = map[string]string{}
	err = fs.WalkDir(conf, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(conf, name)
		key := strings.ReplaceAll(name, "/", "__")
		data[key] = string(text)
		items = append(items, item{Key: key, Path: name})
		return err
	})
	return data, items, err
}

// configuration is nginx's, by paths, and the name of the volume that has it.
func (s *Stack) configuration(ctx context.Context) (volume string, files map[string]string, err error) {
	d := s.deployments[scenario.Nginx]
	for _, m := range d.container().VolumeMounts {
		if m.MountPath == confPath {
			volume = m.Name
		}
	}
	files = map[string]string{}
	for _, v := range d.Spec.Template.Spec.Volumes {
		if v.Name != volume {
			continue
		}
		var sets []*fileSet
		for _, from := range v.Projected.Sources {
			sets = append(sets, from.ConfigMap)
		}
		for _, set := range append(sets, v.ConfigMap) {
			if set == nil {
				continue
			}
			var c configMap
			if err := s.get(ctx, &c, "configmap", set.Name); err != nil {
				return "", nil, err
			}
			maps.Copy(files, set.files(c))
		}
	}
	if files["nginx.conf"] == "" {
		return "", nil, fmt.Errorf("the Deployment nginx mounts no ConfigMap with nginx.conf on %s, so that it cannot be edited", confPath)
	}
	return volume, files, nil
}

// restoreTimeout bounds each command that changes something back, and its repetitions: the connection to the cluster may be lost for a
// while.
const restoreTimeout = time.Minute

// restore changes back what the trial changed. The error says what is not, and by which commands it can be.
func (y *system) restore(ctx context.Context) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	var errs []error
	run := func(args ...string) bool {
		err := y.stack.insist(ctx, args)
		if err != nil {
			errs = append(errs, fmt.Errorf("not changed back: %w; do it by: %s", err, y.stack.cli.Line(args...)))
		}
		return err == nil
	}
	for process, node := range y.cordoned {
		if run("uncordon", node) {
			delete(y.cordoned, process)
		}
	}
	if y.drained && len(y.cordoned) == 0 {
		y.unnote(ctx, whoami, nodesNote)
	}
	for name, n := range y.replicas {
		if run("scale", "deployment/"+name, fmt.Sprintf("--replicas=%d", n)) {
			y.unnote(ctx, name, replicasNote)
		}
	}
	all := true
	for name, revision := range y.changes.revisions {
		all = run("rollout", "undo", "deployment/"+name, "--to-revision="+revision) && all
	}
	if y.changes.configMap != "" && all {
		run("delete", "configmap", y.changes.configMap)
	}
	y.changes, y.replicas = changes{}, map[string]int{}
	return errors.Join(errs...)
}

// unnote removes a note, if the Deployment may have it. What is left there is refused by the next trial.
func (y *system) unnote(ctx context.Context, deployment, key string) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_ = y.stack.note(ctx, deployment, key, "")
}

// insist runs a command until it succeeds, or the time for that is over.
func (s *Stack) insist(ctx context.Context, args []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, restoreTimeout, fmt.Errorf("timeout of %v", restoreTimeout))
	defer cancel()
	for {
		once, end := context.WithTimeout(ctx, callTimeout)
		_, err := s.cli.Run(once, args...)
		end()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return err
		}
	}
}
