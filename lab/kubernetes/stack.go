// Package kubernetes runs trials against the stack of a namespace, as deploy/kubernetes deploys it, through kubectl. A trial may change
// nginx's configuration and the sleep before an instance gets SIGTERM; what it changed is changed back when it ends.
package kubernetes

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"trivet/lab/engine"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// Names of the Deployments.
const (
	whoami = "whoami"
	front  = "front"
)

// A Stack is what a namespace has.
type Stack struct {
	cli         *engine.CLI
	name        string // as trivet run --target has it
	namespace   string
	deployments map[string]deployment // whoami, nginx, and front if there is one
	pods        []pod
	http, grpc  string // nginx's listeners
	version     string
	calls       bool
	service     service // whoami's with an address of its own; without a name: none
}

// callTimeout bounds one call of kubectl that does not wait for anything.
const callTimeout = 30 * time.Second

// Open finds the stack of a namespace, and where its nginx is called. The error says what is missing.
func Open(ctx context.Context, name, namespace string) (*Stack, error) {
	cli, err := engine.Find("kubectl", "install kubectl, https://kubernetes.io/docs/tasks/tools/, and let KUBECONFIG name the cluster", "--namespace", namespace)
	if err != nil {
		return nil, err
	}
	s := &Stack{cli: cli, name: name, namespace: namespace}
	if err := s.read(ctx); err != nil {
		return nil, err
	}
	if err := s.leftover(); err != nil {
		return nil, err
	}
	if s.calls, err = s.givesRecords(ctx); err != nil {
		return nil, err
	}
	var services list[service]
	if err := s.get(ctx, &services, "services"); err != nil {
		return nil, err
	}
	var nginx service
	for _, one := range services.Items {
		switch {
		case one.Metadata.Name == scenario.Nginx:
			nginx = one
		case one.Metadata.Name == whoami && one.Spec.ClusterIP != "None":
			s.service = one
		}
	}
	if nginx.Metadata.Name == "" {
		return nil, fmt.Errorf("namespace %s has no Service nginx: deploy it by %s", namespace, deploy)
	}
	if s.http, s.grpc, err = s.address(ctx, nginx); err != nil {
		return nil, err
	}
	s.version = s.nginxVersion(ctx)
	return s, nil
}

const deploy = "kubectl apply -k deploy/kubernetes/overlays/dev"

// get runs kubectl get.
func (s *Stack) get(ctx context.Context, into any, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return s.cli.Decode(ctx, into, append([]string{"get", "--output=json"}, args...)...)
}

// read reads the Deployments and their pods.
func (s *Stack) read(ctx context.Context) error {
	var deployments list[deployment]
	var pods list[pod]
	if err := s.get(ctx, &deployments, "deployments"); err != nil {
		return err // An API server that does not respond to this would not respond to the next one either.
	}
	if err := s.get(ctx, &pods, "pods"); err != nil {
		return err
	}
	s.deployments, s.pods = map[string]deployment{}, pods.Items
	for _, d := range deployments.Items {
		if slices.Contains([]string{whoami, front, scenario.Nginx}, d.Metadata.Name) {
			s.deployments[d.Metadata.Name] = d
		}
	}
	for _, name := range []string{whoami, scenario.Nginx} {
		d, ok := s.deployments[name]
		if !ok {
			return fmt.Errorf("namespace %s has no Deployment %s: deploy it by %s", s.namespace, name, deploy)
		}
		c := d.container()
		if portNamed(c.Ports, "http").ContainerPort == 0 || portNamed(c.Ports, "grpc").ContainerPort == 0 {
			return fmt.Errorf("the Deployment %s: container %s has no ports named http and grpc", name, c.Name)
		}
	}
	return nil
}

// givesRecords reports whether the instances write their records to standard output, which is their log.
func (s *Stack) givesRecords(ctx context.Context) (bool, error) {
	d := s.deployments[whoami]
	value := ""
	for _, from := range d.container().EnvFrom {
		if from.ConfigMapRef.Name == "" {
			continue
		}
		var c configMap
		if err := s.get(ctx, &c, "configmap", from.ConfigMapRef.Name); err != nil {
			return false, err
		}
		value = cmp.Or(c.Data["RECORDS"], value)
	}
	for _, e := range d.container().Env {
		if e.Name == "RECORDS" {
			value = e.Value
		}
	}
	return value == "stdout", nil
}

// of is the Deployment that a pod belongs to; "" if to none of the stack's.
func (s *Stack) of(p *pod) string {
	for name, d := range s.deployments {
		if d.selects(p.Metadata.Labels) {
			return name
		}
	}
	return ""
}

// instance is where a pod is called.
func (s *Stack) instance(p *pod) record.Instance {
	d := s.deployments[s.of(p)]
	at := func(name string) string {
		return net.JoinHostPort(p.Status.PodIP, strconv.Itoa(portNamed(d.container().Ports, name).ContainerPort))
	}
	return record.Instance{Name: p.Metadata.Name, HTTP: at("http"), GRPC: at("grpc")}
}

// Target says that nginx's log is there, and that instances may come and go.
func (s *Stack) Target() record.Target {
	nginxes := 0
	for _, p := range s.pods {
		if s.of(&p) == scenario.Nginx && p.Metadata.DeletionTimestamp == nil {
			nginxes++
		}
	}
	return record.Target{Kind: scenario.Kubernetes, Name: s.name, AccessLog: true, Calls: s.calls, Nginxes: nginxes, Changes: true}
}

// Instances are the pods that are ready, those of whoami first.
func (s *Stack) Instances() []record.Instance { return s.instances(s.pods) }

func (s *Stack) instances(pods []pod) (all []record.Instance) {
	for _, name := range []string{whoami, front} {
		var some []record.Instance
		for _, p := range pods {
			if s.of(&p) == name && p.ready() && p.Metadata.DeletionTimestamp == nil {
				some = append(some, s.instance(&p))
			}
		}
		slices.SortFunc(some, func(a, b record.Instance) int { return cmp.Compare(a.Name, b.Name) })
		all = append(all, some...)
	}
	return all
}

// Nginx is its version; "" if that is unknown.
func (s *Stack) Nginx() string { return s.version }

// Edits is true: the Deployment gets another configuration.
func (s *Stack) Edits() bool { return true }

// PreStop is true: the Deployment gets another sleep.
func (s *Stack) PreStop() bool { return true }

// Through reports whether there is a Service that balances connections.
func (s *Stack) Through() bool { return s.service.Metadata.Name != "" }

// Can reports whether the API can do it.
func (s *Stack) Can(o scenario.Operation) bool {
	switch {
	case slices.Contains(scenario.ServiceKinds, o.Kind):
		_, ok := s.deployments[o.Process]
		return ok
	case o.Kind == scenario.Kill, o.Kind == scenario.Drain, slices.Contains(scenario.NodeKinds, o.Kind):
		return instanceNumber(o.Process) > 0 && instanceNumber(o.Process) <= len(s.Instances())
	}
	return false
}

// instanceNumber is the n of whoami-n; 0 if it is another name.
func instanceNumber(process string) int {
	digits, _ := strings.CutPrefix(process, whoami+"-")
	n, err := strconv.Atoi(digits)
	if err != nil || scenario.InstanceName(n) != process {
		return 0
	}
	return n
}

var versionLine = regexp.MustCompile(`nginx/([0-9][0-9.]*)`)

// nginxVersion asks the nginx of a pod.
func (s *Stack) nginxVersion(ctx context.Context) string {
	for _, p := range s.pods {
		if s.of(&p) != scenario.Nginx || !p.ready() {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, callTimeout/3)
		defer cancel()
		d := s.deployments[scenario.Nginx]
		var said []byte // nginx writes it to its standard error.
		read := func(r io.Reader) { said, _ = io.ReadAll(r) }
		_ = s.cli.Stream(ctx, func(r io.Reader) { _, _ = io.Copy(io.Discard, r) }, read, "exec", p.Metadata.Name, "--container", d.container().Name, "--", "nginx", "-v")
		if found := versionLine.FindSubmatch(said); found != nil {
			return string(found[1])
		}
		return ""
	}
	return ""
}
