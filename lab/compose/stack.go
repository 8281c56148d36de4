// Package compose runs trials against the containers of a Compose project, through docker. It changes no configuration; containers that a
// trial stopped or paused run again when it ends.
package compose

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"trivet/lab/engine"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A Stack is the containers of a project.
type Stack struct {
	cli        *engine.CLI
	name       string // as trivet run --target has it
	project    string
	containers map[string]container // by service: instances and nginx
	http, grpc string               // nginx's listeners
	version    string
	calls      bool
}

// callTimeout bounds one call of docker that does not wait for anything.
const callTimeout = 30 * time.Second

// Open finds the stack of a project; "" is the one that runs. The error says what is missing.
func Open(ctx context.Context, name, project string) (*Stack, error) {
	cli, err := engine.Find("docker", "install Docker, https://docs.docker.com/engine/install/, or on Debian the packages docker.io and docker-compose")
	if err != nil {
		return nil, err
	}
	s := &Stack{cli: cli, name: name, project: project}
	if s.project == "" {
		if s.project, err = s.only(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.read(ctx); err != nil {
		return nil, err
	}
	nginx := s.containers[scenario.Nginx]
	s.http, s.grpc = nginx.published("8080"), nginx.published("9090")
	if s.http == "" || s.grpc == "" {
		return nil, fmt.Errorf("project %s: nginx publishes no ports 8080 and 9090: start it by docker compose up", s.project)
	}
	s.version = cmp.Or(nginx.env("NGINX_VERSION"), s.nginxVersion(ctx, nginx.ID))
	return s, nil
}

// projects are those of which a container runs.
func (s *Stack) projects(ctx context.Context, all ...string) (map[string][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	text, err := s.cli.Run(ctx, append([]string{"ps", "--no-trunc", "--filter=label=" + projectLabel, "--format={{json .}}"}, all...)...)
	if err != nil {
		return nil, err
	}
	var ids []string
	for line := range strings.Lines(string(text)) {
		var one struct{ ID string }
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			return nil, fmt.Errorf("docker ps: %w", err)
		}
		ids = append(ids, one.ID)
	}
	found := map[string][]string{}
	if len(ids) == 0 {
		return found, nil
	}
	containers, err := s.inspect(ctx, ids...)
	for _, c := range containers {
		p := c.Config.Labels[projectLabel]
		found[p] = append(found[p], c.ID)
	}
	return found, err
}

func (s *Stack) inspect(ctx context.Context, ids ...string) (all []container, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return all, s.cli.Decode(ctx, &all, append([]string{"inspect", "--type=container"}, ids...)...)
}

// only is the one project that runs.
func (s *Stack) only(ctx context.Context) (string, error) {
	found, err := s.projects(ctx)
	if err != nil {
		return "", err
	}
	names := slices.Sorted(maps.Keys(found))
	switch len(names) {
	case 0:
		return "", errors.New("no Compose project runs: start one by docker compose up --detach --wait")
	case 1:
		return names[0], nil
	}
	return "", fmt.Errorf("several Compose projects run: name one of them, compose:%s", strings.Join(names, ", compose:"))
}

// read reads the project's containers.
func (s *Stack) read(ctx context.Context) error {
	found, err := s.projects(ctx, "--all")
	if err != nil {
		return err
	}
	if len(found[s.project]) == 0 {
		return fmt.Errorf("there is no Compose project %s; there are: %s", s.project, strings.Join(slices.Sorted(maps.Keys(found)), ", "))
	}
	containers, err := s.inspect(ctx, found[s.project]...)
	if err != nil {
		return err
	}
	s.containers = map[string]container{}
	var down []string
	for _, c := range containers {
		service := c.service()
		if service != scenario.Nginx && !isInstance(service) {
			continue
		}
		if _, twice := s.containers[service]; twice {
			return fmt.Errorf("project %s has several containers of service %s: want one each of whoami-1, whoami-2 …", s.project, service)
		}
		s.containers[service] = c
		if !c.State.Running || c.State.Paused {
			down = append(down, service+" ("+c.State.Status+")")
		}
	}
	if _, ok := s.containers[scenario.Nginx]; !ok || len(s.containers) < 2 {
		return fmt.Errorf("project %s has no nginx with instances whoami-1 …: want the stack of docker-compose.yml", s.project)
	}
	if len(down) > 0 {
		slices.Sort(down)
		return fmt.Errorf("project %s: not running: %s; start them by docker compose up --detach --wait", s.project, strings.Join(down, ", "))
	}
	s.calls = true
	for service, c := range s.containers {
		s.calls = s.calls && (service == scenario.Nginx || c.env("RECORDS") == "stdout")
	}
	return nil
}

var versionLine = regexp.MustCompile(`nginx/([0-9][0-9.]*)`)

// nginxVersion asks the nginx of a container; "" if it does not say.
func (s *Stack) nginxVersion(ctx context.Context, id string) string {
	ctx, cancel := context.WithTimeout(ctx, callTimeout/3)
	defer cancel()
	var said []byte // nginx writes it to its standard error.
	_ = s.cli.Stream(ctx, func(r io.Reader) { _, _ = io.Copy(io.Discard, r) }, func(r io.Reader) { said, _ = io.ReadAll(r) }, "exec", id, "nginx", "-v")
	if found := versionLine.FindSubmatch(said); found != nil {
		return string(found[1])
	}
	return ""
}

// Target says that nginx's log is there, and that containers stay.
func (s *Stack) Target() record.Target {
	return record.Target{Kind: scenario.Compose, Name: s.name, AccessLog: true, Calls: s.calls, Nginxes: 1}
}

// Instances are whoami-1 …, then front-1 ….
func (s *Stack) Instances() (all []record.Instance) {
	for _, service := range s.services() {
		if service != scenario.Nginx {
			all = append(all, s.containers[service].instance(s.containers[scenario.Nginx]))
		}
	}
	return all
}

// services are those of the stack: whoami-1 …, front-1 …, nginx.
func (s *Stack) services() []string {
	rank := func(service string) int {
		switch {
		case service == scenario.Nginx:
			return 2
		case scenario.IsFront(service):
			return 1
		}
		return 0
	}
	return slices.SortedFunc(maps.Keys(s.containers), func(a, b string) int {
		return cmp.Or(rank(a)-rank(b), scenario.CompareNames(a, b))
	})
}

// Nginx is its version; "" if that is unknown.
func (s *Stack) Nginx() string { return s.version }

// Edits is false: the configuration is part of the image, or mounted by the user.
func (s *Stack) Edits() bool { return false }

// PreStop is false: Docker has no such hook.
func (s *Stack) PreStop() bool { return false }

// Through is false: Compose balances no connections.
func (s *Stack) Through() bool { return false }

// Can reports whether docker can do it.
func (s *Stack) Can(o scenario.Operation) bool {
	if _, ok := s.containers[o.Process]; !ok {
		return false
	}
	if o.Process == scenario.Nginx {
		return slices.Contains(scenario.NginxKinds, o.Kind)
	}
	return slices.Contains(scenario.InstanceKinds, o.Kind)
}
