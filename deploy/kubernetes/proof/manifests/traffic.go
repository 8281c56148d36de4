package manifests

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// checkUpstreams checks nginx's variables against the headless Services: nginx resolves their names to pods, at the pods' own ports.
func checkUpstreams(s *stack) []error {
	var p problems
	nginx := named[*appsv1.Deployment](s, "nginx")
	if nginx == nil {
		return append(p, fmt.Errorf("there is no Deployment nginx"))
	}
	c := container(nginx)
	variables := s.environment(c)
	for _, d := range s.instances() {
		service := named[*corev1.Service](s, d.Name+"-headless")
		if service == nil || service.Spec.ClusterIP != corev1.ClusterIPNone {
			p.add("Deployment %s has no headless Service %s-headless: nginx would balance connections, not requests", d.Name, d.Name)
		}
		for _, protocol := range []string{"http", "grpc"} {
			name := strings.ToUpper(d.Name + "_" + protocol)
			want := fmt.Sprintf("%s-headless.$(NAMESPACE).svc.cluster.local:%d", d.Name, port(container(d), protocol))
			if variables[name] != want {
				p.add("nginx's %s is %q: want %q", name, variables[name], want)
			}
			if position(c, "NAMESPACE") < 0 || position(c, "NAMESPACE") > position(c, name) {
				p.add("nginx's %s stands before NAMESPACE, and would keep its $(NAMESPACE)", name)
			}
		}
	}
	for _, name := range []string{"FRONT_HTTP", "FRONT_GRPC"} {
		if named[*appsv1.Deployment](s, "front") == nil && variables[name] != "" {
			p.add("nginx has %s, but there is no Deployment front", name)
		}
	}
	return p
}

func position(c corev1.Container, name string) int {
	return slices.IndexFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == name })
}

var (
	published = regexp.MustCompile(`(?m)^ +- \$\{BIND[^}]*\}:(\d+):(\d+)$`)
	exposed   = regexp.MustCompile(`(?m)^EXPOSE (.*)$`)
)

// checkPorts compares ports with those that the images expose, that Compose publishes, and that nginx's files listen on.
func checkPorts(s *stack) []error {
	var p problems
	images := strings.Split(s.tree["Dockerfile"], "\nFROM scratch")
	expose := map[string]string{"nginx": s.tree["nginx/Dockerfile"], "whoami": images[len(images)-1], "front": images[1]}
	for _, d := range of[*appsv1.Deployment](s) {
		c := container(d)
		found := exposed.FindStringSubmatch(expose[d.Name])
		if found == nil {
			p.add("the image of Deployment %s exposes no ports", d.Name)
			continue
		}
		for _, name := range []string{"http", "grpc", "https"} {
			number := port(c, name)
			if optional := name == "https"; number == 0 && !optional || number != 0 && !slices.Contains(strings.Fields(found[1]), strconv.Itoa(int(number))) {
				p.add("Deployment %s: port %s is %d, and the image exposes %s", d.Name, name, number, found[1])
			}
		}
	}
	nginx := named[*appsv1.Deployment](s, "nginx")
	service := named[*corev1.Service](s, "nginx")
	if nginx == nil || service == nil {
		return p
	}
	c := container(nginx)
	compose := published.FindAllStringSubmatch(s.tree["docker-compose.yml"], -1)
	if len(compose) != 2 {
		p.add("docker-compose.yml publishes %d ports: want two", len(compose))
	}
	for _, pair := range compose {
		if !slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return strconv.Itoa(int(p.ContainerPort)) == pair[2] }) {
			p.add("Compose publishes port %s of nginx, which Deployment nginx lacks", pair[2])
		}
		if !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return strconv.Itoa(int(p.Port)) == pair[1] }) {
			p.add("Compose publishes port %s, which Service nginx lacks", pair[1])
		}
	}
	for name, file := range map[string]string{"http": "http-listen.conf", "grpc": "grpc-listen.conf", "https": "tls-listen.conf"} {
		if number := port(c, name); number != 0 && !strings.Contains(s.tree["nginx/docker/site/"+file], fmt.Sprintf("listen 0.0.0.0:%d ", number)) {
			p.add("Deployment nginx: nginx does not listen on port %s, %d: see %s", name, number, file)
		}
	}
	if _, admin, _ := net.SplitHostPort(s.environment(c)["ADMIN"]); admin != strconv.Itoa(int(port(c, "admin"))) {
		p.add("nginx's ADMIN has port %s, its port admin is %d", admin, port(c, "admin"))
	}
	return p
}

// checkRoutes follows the Gateway's routes to Services, and from nginx' place in front: mutual TLS excludes a Gateway.
func checkRoutes(s *stack) []error {
	var p problems
	owner := map[gatewayv1.Hostname]string{}
	route := func(kind, name string, parents []gatewayv1.ParentReference, hosts []gatewayv1.Hostname, backends []gatewayv1.BackendRef) {
		what := kind + " " + name
		for _, parent := range parents {
			gateway := named[*gatewayv1.Gateway](s, string(parent.Name))
			if gateway == nil || parent.SectionName == nil || !slices.ContainsFunc(gateway.Spec.Listeners, func(l gatewayv1.Listener) bool { return l.Name == *parent.SectionName }) {
				p.add("%s: there is no such listener of Gateway %s", what, parent.Name)
			}
		}
		for _, host := range hosts {
			if other := owner[host]; other != "" && other != kind {
				p.add("%s shares hostname %s with a %s: they exclude each other", what, host, other)
			}
			owner[host] = kind
		}
		if len(parents) == 0 || len(hosts) == 0 || len(backends) == 0 {
			p.add("%s has %d parents, %d hostnames, %d backends: want at least one of each", what, len(parents), len(hosts), len(backends))
		}
		for _, b := range backends {
			want := map[string]string{"HTTPRoute": "http", "GRPCRoute": "grpc"}[kind]
			service := named[*corev1.Service](s, string(b.Name))
			if service == nil || b.Port == nil || !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == want && p.Port == *b.Port }) {
				p.add("%s leads to Service %s, which has no such port %s", what, b.Name, want)
			}
		}
	}
	for _, r := range of[*gatewayv1.HTTPRoute](s) {
		var backends []gatewayv1.BackendRef
		for _, rule := range r.Spec.Rules {
			for _, b := range rule.BackendRefs {
				backends = append(backends, b.BackendRef)
			}
		}
		route("HTTPRoute", r.Name, r.Spec.ParentRefs, r.Spec.Hostnames, backends)
	}
	for _, r := range of[*gatewayv1.GRPCRoute](s) {
		var backends []gatewayv1.BackendRef
		for _, rule := range r.Spec.Rules {
			for _, b := range rule.BackendRefs {
				backends = append(backends, b.BackendRef)
			}
		}
		route("GRPCRoute", r.Name, r.Spec.ParentRefs, r.Spec.Hostnames, backends)
	}
	for _, d := range s.instances() {
		if len(owner) > 0 && s.environment(container(d))["TLS_CERT"] != "" {
			p.add("Deployment %s accepts mutual TLS alone, and would refuse the Gateway: take component gateway-api or mtls", d.Name)
		}
	}
	return p
}
