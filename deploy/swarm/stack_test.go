package swarm

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"
	"go.yaml.in/yaml/v4"

	"trivet/services/instance"
	"trivet/services/whoami"
)

// stack has the keys that stack.yml may use, all of which `docker stack deploy` honors: it ignores security_opt, container_name, tmpfs and
// others, so a key that is not here is an error. Fields named X are anchors.
type stack struct {
	Version   string
	XService  service       `yaml:"x-service"`
	XUpdate   update        `yaml:"x-update"`
	XRollback update        `yaml:"x-rollback"`
	XRestart  restartPolicy `yaml:"x-restart"`
	Services  map[string]service
	Networks  map[string]struct{ Driver string }
}

type service struct {
	Image       string
	EnvFile     string `yaml:"env_file"`
	Environment map[string]string
	Networks    []string
	Ports       []struct {
		Target, Published int
		Protocol, Mode    string
	}
	Volumes []struct {
		Type, Target string
		Tmpfs        struct{ Size int }
	}
	Healthcheck struct {
		Test              []string
		Interval, Timeout time.Duration
		Retries           int
		Start             time.Duration `yaml:"start_period"`
	}
	ReadOnly  bool          `yaml:"read_only"`
	CapDrop   []string      `yaml:"cap_drop"`
	StopGrace time.Duration `yaml:"stop_grace_period"`
	Logging   logging
	Deploy    struct {
		Mode      string
		Endpoint  string `yaml:"endpoint_mode"`
		Replicas  int
		Update    update        `yaml:"update_config"`
		Rollback  update        `yaml:"rollback_config"`
		Restart   restartPolicy `yaml:"restart_policy"`
		Resources struct {
			Limits, Reservations resources
		}
	}
}

type logging struct {
	Driver  string
	Options map[string]string
}

type update struct {
	Parallelism    int
	Delay, Monitor time.Duration
	MaxFailure     float64 `yaml:"max_failure_ratio"`
	FailureAction  string  `yaml:"failure_action"`
	Order          string
}

type restartPolicy struct {
	Condition string
	Delay     time.Duration
}

type resources struct {
	CPUs   string
	Memory string
	Pids   int
}

// container is what docker-compose.yml grants a service.
type container struct {
	CPUs    string
	Memory  string `yaml:"mem_limit"`
	Pids    int    `yaml:"pids_limit"`
	Ports   []string
	Tmpfs   []string
	Logging logging
}

// place is what stack.yml must agree with.
type place struct {
	compose  map[string]container // services of docker-compose.yml, by Swarm's names
	shutdown time.Duration        // worker_shutdown_timeout of nginx
	valid    time.Duration        // of nginx's resolver
}

func TestStackAgreesWithComposeAndSettings(t *testing.T) {
	t.Parallel()
	p := around(t)
	for _, err := range p.check(t, read(t, "stack.yml")) {
		t.Error(err)
	}
}

// TestStackMistakesAreFound shows that each check can fail.
func TestStackMistakesAreFound(t *testing.T) {
	t.Parallel()
	p, text := around(t), read(t, "stack.yml")
	for _, c := range []struct{ old, new, want string }{
		{"  read_only: true", "  read_only: true\n  security_opt: [no-new-privileges]", "security_opt"},
		{"  read_only: true\n", "", "whoami: writable root"},
		{"  cap_drop: [ALL]\n", "", "nginx: capabilities"},
		{"target: 8080, published: 8080", "target: 8080, published: 80", "ports"},
		{"published: 9090, protocol: tcp, mode: host", "published: 9090, protocol: tcp, mode: ingress", "mode ingress"},
		{"WHOAMI_HTTP: whoami:8000", "WHOAMI_HTTP: whoami:8001", "WHOAMI_HTTP"},
		{"WHOAMI_GRPC: whoami:9000", "WHOAMI_GRPC: instance:9000", "WHOAMI_GRPC"},
		{"stop_grace_period: 20s", "stop_grace_period: 15s", "stop_grace_period 15s"},
		{"stop_grace_period: 25s", "stop_grace_period: 15s", "worker_shutdown_timeout"},
		{"DRAIN_DELAY: 5s", "DRAIN_DELAY: 1s", "DRAIN_DELAY 1s"},
		{"DRAIN_DELAY: 5s", "DRAIN_DELAY: 5", "DRAIN_DELAY=5"},
		{"DRAIN_DELAY: 5s", "DRAIN_DELEY: 5s", "DRAIN_DELEY"},
		{`INSTANCE: "{{.Task.Name}}"`, `INSTANCE: "{{.Service.Name}}/{{.Task.Name}}"`, "INSTANCE="},
		{`NODE: "{{.Node.Hostname}}"`, `NODE: "{{.Node.Name}}"`, "{{.Node.Name}}"},
		{"endpoint_mode: dnsrr\n      # The new", "endpoint_mode: vip\n      # The new", "endpoint_mode vip"},
		{"{<<: *update, order: start-first}", "{<<: *update, order: stop-first}", "order stop-first"},
		{"  failure_action: rollback", "  failure_action: pause", "failure_action pause"},
		{"  monitor: 10s\n  max_failure_ratio: 0\n  failure_action: rollback", "  monitor: 1s\n  max_failure_ratio: 0\n  failure_action: rollback", "monitor 1s"},
		{`limits: {cpus: "0.5", memory: 128M, pids: 200}`, `limits: {cpus: "0.5", memory: 256M, pids: 200}`, "Memory:256M"},
		{`reservations: {cpus: "0.1", memory: 64M}

  nginx`, `reservations: {cpus: "0.1", memory: 256M}

  nginx`, "reserves"},
		{"size: 67108864", "size: 1048576", "/run/nginx"},
		{"image: ${TRIVET_NGINX_IMAGE:-trivet-nginx}", "image: trivet-nginx", "image trivet-nginx"},
		{"    stop_grace_period: 25s", "    stop_grace_period: 25s\n    stop_grace_period: 26s", "stop_grace_period"},
		{"env_file: ../../.env.${ENVIRONMENT:-prod}", "env_file: ../../.env.${ENVIRONMENT:-dev}", "env_file"},
		{`version: "3.9"`, `version: "3.8"`, "version 3.8"},
		{"retries: 10 #", "retries: 3 #", "whoami: Swarm replaces a busy task after 3 health checks"},
		{"timeout: 10s, retries: 6", "timeout: 3s, retries: 6", "nginx: Swarm replaces a busy task after 6 health checks of 3s"},
		{"max-size: 10m", "max-size: 1g", "logging"},
	} {
		wrong := strings.Replace(text, c.old, c.new, 1)
		errs := p.check(t, wrong)
		switch {
		case wrong == text:
			t.Errorf("%q is not in stack.yml", c.old)
		case len(errs) == 0 || !strings.Contains(errors.Join(errs...).Error(), c.want):
			t.Errorf("%q: errors %v, want one with %q", c.new, errs, c.want)
		}
	}
}

// check returns what is wrong with a stack file.
func (p place) check(t *testing.T, text string) []error {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(text))
	decoder.KnownFields(true)
	var s stack
	if err := decoder.Decode(&s); err != nil {
		return []error{err}
	}
	var errs []error
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	wrong(s.Version != "3.9", "version %s, want 3.9, for Docker 20.10", s.Version)
	wrong(len(s.Services) != 2 || len(s.Networks) != 1 || s.Networks["mesh"].Driver != "overlay", "services or networks: %v, %v", s.Services, s.Networks)
	for name, v := range s.Services {
		wrong(v.Image != fmt.Sprintf("${TRIVET_%s_IMAGE:-trivet-%s}", strings.ToUpper(name), name), "%s: image %s", name, v.Image)
		wrong(!v.ReadOnly, "%s: writable root", name)
		wrong(!slices.Equal(v.CapDrop, []string{"ALL"}), "%s: capabilities", name)
		compose := p.compose[name]
		wrong(!reflect.DeepEqual(v.Logging, compose.Logging), "%s: logging %v, Compose's %v", name, v.Logging, compose.Logging)
		h := v.Healthcheck
		wrong(time.Duration(h.Retries)*h.Interval < 20*time.Second || h.Timeout < 10*time.Second, "%s: Swarm replaces a busy task after %d health checks of %v", name, h.Retries, h.Timeout)
		d := v.Deploy
		wrong(d.Endpoint != "dnsrr", "%s: endpoint_mode %s balances connections in the kernel", name, d.Endpoint)
		wrong(d.Update.FailureAction != "rollback", "%s: failure_action %s", name, d.Update.FailureAction)
		wrong(d.Rollback.FailureAction != "pause", "%s: failure_action %s of a rollback", name, d.Rollback.FailureAction)
		for _, u := range []update{d.Update, d.Rollback} {
			// Only nginx's ports cannot have two tasks at a time.
			wrong(u.Order != map[string]string{"whoami": "start-first", "nginx": "stop-first"}[name], "%s: order %s", name, u.Order)
			wrong(u.Parallelism != 1 || u.MaxFailure != 0, "%s: %+v", name, u)
			wrong(u.Monitor <= d.Restart.Delay+u.Delay, "%s: monitor %v ends before a restarted task could fail", name, u.Monitor)
		}
		wrong(d.Restart.Condition != "any", "%s: restart %+v", name, d.Restart)
		l, r := d.Resources.Limits, d.Resources.Reservations
		wrong(l.CPUs != compose.CPUs || !strings.EqualFold(l.Memory, compose.Memory) || l.Pids != compose.Pids, "%s: limits %+v, Compose's %+v", name, l, compose)
		wrong(r.Memory != "64M" || r.CPUs != "0.1", "%s: reserves %+v", name, r)
	}
	return append(append(errs, p.whoami(t, s.Services["whoami"])...), p.nginx(s.Services["nginx"])...)
}

// whoami returns what an instance would refuse, and times that do not fit.
func (p place) whoami(t *testing.T, v service) []error {
	var errs []error
	if v.EnvFile != "../../.env.${ENVIRONMENT:-prod}" || v.Environment["ENVIRONMENT"] != "${ENVIRONMENT:-prod}" {
		errs = append(errs, fmt.Errorf("env_file %s, ENVIRONMENT %s", v.EnvFile, v.Environment["ENVIRONMENT"]))
	}
	if len(v.Ports) > 0 || v.Deploy.Replicas != 3 || strings.Join(v.Healthcheck.Test, " ") != "CMD /whoami health" || v.Healthcheck.Interval == 0 {
		errs = append(errs, fmt.Errorf("whoami: ports %v, replicas %d, health check %v", v.Ports, v.Deploy.Replicas, v.Healthcheck))
	}
	var known []string
	for _, setting := range whoami.Service.Settings() {
		known = append(known, setting.Name)
	}
	for _, environment := range []string{"dev", "qa", "prod"} {
		environ := map[string]string{}
		for name, value := range v.Environment {
			if !slices.Contains(known, name) {
				errs = append(errs, fmt.Errorf("whoami has no setting %s", name))
			}
			// The longest that Swarm makes of its templates: its IDs have 25 characters.
			environ[name] = strings.NewReplacer("${ENVIRONMENT:-prod}", environment, "{{.Service.Name}}", "trivet_whoami",
				"{{.Task.Name}}", "trivet_whoami.100."+strings.Repeat("a", 25), "{{.Node.Hostname}}", "node-1").Replace(value)
			if strings.Contains(environ[name], "{{") {
				errs = append(errs, fmt.Errorf("%s: unknown template %s", name, environ[name]))
			}
		}
		c, _, err := whoami.Service.Load(t.Context(), instance.Sources{Environ: envconfig.MapLookuper(environ), EnvFile: "../../.env." + environment})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if v.StopGrace <= c.DrainDelay+c.DrainTimeout {
			errs = append(errs, fmt.Errorf("whoami: stop_grace_period %v, want more than DRAIN_DELAY %v and DRAIN_TIMEOUT %v", v.StopGrace, c.DrainDelay, c.DrainTimeout))
		}
		if c.DrainDelay <= p.valid {
			errs = append(errs, fmt.Errorf("whoami: DRAIN_DELAY %v, want more than nginx's resolver needs, %v", c.DrainDelay, p.valid))
		}
		if c.HTTPPort != 8000 || c.GRPCPort != 9000 {
			errs = append(errs, fmt.Errorf("whoami: ports %d and %d", c.HTTPPort, c.GRPCPort))
		}
	}
	return errs
}

// nginx returns ports that differ from Compose's, names of the instances that do not exist, and times that do not fit.
func (p place) nginx(v service) []error {
	var errs []error
	var ports, compose []string
	for _, port := range v.Ports {
		ports = append(ports, fmt.Sprintf("%d:%d", port.Published, port.Target))
		if port.Mode != "host" || port.Protocol != "tcp" {
			errs = append(errs, fmt.Errorf("nginx: port %d has mode %s, protocol %s", port.Target, port.Mode, port.Protocol))
		}
	}
	for _, port := range p.compose["nginx"].Ports {
		compose = append(compose, strings.TrimPrefix(port, "${BIND:-127.0.0.1}:"))
	}
	if len(compose) != 2 || !slices.Equal(ports, compose) {
		errs = append(errs, fmt.Errorf("nginx: ports %v, Compose's %v", ports, compose))
	}
	if e := v.Environment; e["WHOAMI_HTTP"] != "whoami:8000" || e["WHOAMI_GRPC"] != "whoami:9000" || e["ENVIRONMENT"] != "${ENVIRONMENT:-prod}" {
		errs = append(errs, fmt.Errorf("nginx: WHOAMI_HTTP %s, WHOAMI_GRPC %s, ENVIRONMENT %s", e["WHOAMI_HTTP"], e["WHOAMI_GRPC"], e["ENVIRONMENT"]))
	}
	if v.StopGrace <= p.shutdown {
		errs = append(errs, fmt.Errorf("nginx: stop_grace_period %v, want more than worker_shutdown_timeout %v", v.StopGrace, p.shutdown))
	}
	if v.Deploy.Mode != "global" || len(v.Volumes) != 1 || v.Volumes[0].Target != "/run/nginx" || v.Volumes[0].Tmpfs.Size != 64<<20 || !strings.HasSuffix(p.compose["nginx"].Tmpfs[0], ",size=64m") {
		errs = append(errs, fmt.Errorf("nginx: mode %s, want global; /run/nginx: %v, want 64 MB as in Compose", v.Deploy.Mode, v.Volumes))
	}
	return errs
}

// around reads what stack.yml must agree with.
func around(t *testing.T) place {
	t.Helper()
	duration := func(name, pattern string) time.Duration {
		match := regexp.MustCompile(pattern).FindStringSubmatch(read(t, name))
		if match == nil {
			t.Fatalf("%s lacks %s", name, pattern)
		}
		d, err := time.ParseDuration(match[1])
		if err != nil || d == 0 {
			t.Fatalf("%s: %s: %v", name, match[0], err)
		}
		return d
	}
	var compose struct{ Services map[string]container }
	if err := yaml.Unmarshal([]byte(read(t, "../../docker-compose.yml")), &compose); err != nil {
		t.Fatal(err)
	}
	return place{
		compose:  map[string]container{"whoami": compose.Services["whoami-1"], "nginx": compose.Services["nginx"]},
		shutdown: duration("../../nginx/conf/nginx.conf", `(?m)^worker_shutdown_timeout (\S+);`),
		valid:    duration("../../nginx/docker/nginx", `resolver\$nameservers valid=(\S+) ipv6=off;`),
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
