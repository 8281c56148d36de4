package manifests

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// checkSecurity checks that no container has more rights than it needs.
func checkSecurity(s *stack) []error {
	var p problems
	for _, d := range of[*appsv1.Deployment](s) {
		pod := d.Spec.Template.Spec
		if len(pod.Containers) != 1 || len(pod.InitContainers) != 0 || pod.Containers[0].Name != d.Name {
			p.add("Deployment %s: want one container of its name", d.Name)
			continue
		}
		if !isFalse(pod.AutomountServiceAccountToken) || pod.ServiceAccountName != "" {
			p.add("Deployment %s gets a token: want automountServiceAccountToken false and no account", d.Name)
		}
		if !isFalse(pod.EnableServiceLinks) {
			p.add("Deployment %s gets a variable for each Service: want enableServiceLinks false", d.Name)
		}
		if pod.HostNetwork || pod.HostPID || pod.HostIPC {
			p.add("Deployment %s uses the node's namespaces", d.Name)
		}
		if own := pod.SecurityContext; own == nil || own.RunAsNonRoot == nil || !*own.RunAsNonRoot ||
			own.SeccompProfile == nil || own.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			p.add("Deployment %s: want runAsNonRoot, and seccompProfile RuntimeDefault", d.Name)
		} else if account := user(s.tree, d.Name); own.RunAsUser == nil || own.RunAsGroup == nil || *own.RunAsUser != account || *own.RunAsGroup != account {
			p.add("Deployment %s: want account %d, as in the image", d.Name, account)
		} else if own.FSGroup != nil && *own.FSGroup != account {
			p.add("Deployment %s: fsGroup is %d: want %d", d.Name, *own.FSGroup, account)
		}
		c := pod.Containers[0]
		own := c.SecurityContext
		if own == nil || !isFalse(own.AllowPrivilegeEscalation) || own.ReadOnlyRootFilesystem == nil || !*own.ReadOnlyRootFilesystem || own.Capabilities == nil ||
			!slices.Equal(own.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(own.Capabilities.Add) > 0 || own.Privileged != nil || own.RunAsUser != nil {
			p.add("container %s: want allowPrivilegeEscalation false, readOnlyRootFilesystem, all capabilities dropped, and nothing else", c.Name)
		}
	}
	return p
}

func isFalse(b *bool) bool { return b != nil && !*b }

var userLine = regexp.MustCompile(`(?m)^USER (\d+):`)

// user is the account of an image, 0 if its Dockerfile says none.
func user(tree Tree, name string) int64 {
	text := tree["Dockerfile"]
	if name == "nginx" {
		text = tree["nginx/Dockerfile"]
	}
	found := userLine.FindStringSubmatch(text)
	if found == nil {
		return 0
	}
	number, _ := strconv.ParseInt(found[1], 10, 64)
	return number
}

var memoryLimit = regexp.MustCompile(`(?m)^ +mem_limit: (\d+)m`)

// checkResources compares memory with Compose's. A limit on CPU would pause requests while the node idles.
func checkResources(s *stack) []error {
	var p problems
	var limits []string
	for _, found := range memoryLimit.FindAllStringSubmatch(s.tree["docker-compose.yml"], -1) {
		limits = append(limits, found[1]+"Mi")
	}
	if len(limits) != 2 {
		p.add("docker-compose.yml has memory limits %v: want the instances', then nginx's", limits)
		return p
	}
	for _, d := range of[*appsv1.Deployment](s) {
		want := resource.MustParse(limits[0])
		if d.Name == "nginx" {
			want = resource.MustParse(limits[1])
		}
		r := container(d).Resources
		if !r.Limits.Memory().Equal(want) || !r.Requests.Memory().Equal(want) {
			p.add("Deployment %s: memory is %s of %s: want both %s, as in Compose", d.Name, r.Requests.Memory(), r.Limits.Memory(), &want)
		}
		if r.Requests.Cpu().IsZero() || !r.Limits.Cpu().IsZero() {
			p.add("Deployment %s: want a request of CPU, for the scheduler and the autoscaler, and no limit", d.Name)
		}
		for _, v := range d.Spec.Template.Spec.Volumes {
			if v.EmptyDir != nil && (v.EmptyDir.SizeLimit == nil || v.EmptyDir.SizeLimit.Cmp(want) >= 0) {
				p.add("Deployment %s: volume %s has no size below the memory limit", d.Name, v.Name)
			}
		}
	}
	return p
}

// checkImages checks that the overlay alone says which images run, and each once.
func checkImages(s *stack) []error {
	var p problems
	k, err := s.tree.kustomization(s.overlay)
	if err != nil {
		return append(p, err)
	}
	images := map[string]string{}
	for _, i := range k.Images {
		if images[i.Name] != "" || i.NewName == "" || i.NewTag == "" {
			p.add("images of %s: %s: want one entry, with a name and a tag", s.overlay, i.Name)
		}
		images[i.Name] = i.NewName + ":" + i.NewTag
	}
	for _, d := range of[*appsv1.Deployment](s) {
		c := container(d)
		if want := images["trivet-"+d.Name]; c.Image != want || want == "" {
			p.add("Deployment %s has image %s, and overlay %s says %q", d.Name, c.Image, s.overlay, want)
		}
		if c.ImagePullPolicy != corev1.PullIfNotPresent {
			p.add("Deployment %s: imagePullPolicy is %s: want IfNotPresent, for images that are on the node", d.Name, c.ImagePullPolicy)
		}
	}
	for name, text := range s.tree {
		if strings.HasPrefix(name, Dir) && !strings.Contains(name, "/overlays/") && strings.Contains(text, "newTag") {
			p.add("%s names images: only overlays do", name)
		}
	}
	return p
}

// checkProbes checks that probes ask something that is there, and that can respond.
func checkProbes(s *stack) []error {
	var p problems
	for _, d := range of[*appsv1.Deployment](s) {
		c := container(d)
		secured := s.environment(c)["TLS_CERT"] != ""
		for name, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "readiness": c.ReadinessProbe, "liveness": c.LivenessProbe} {
			what := name + " probe of Deployment " + d.Name
			switch {
			case probe == nil:
				p.add("there is no %s", what)
			case probe.GRPC != nil:
				if probe.GRPC.Port != port(c, "grpc") {
					p.add("the %s asks port %d: want %d, grpc", what, probe.GRPC.Port, port(c, "grpc"))
				}
				if secured {
					p.add("the %s asks the gRPC listener, which wants a certificate", what)
				}
				if probe.GRPC.Service != nil && *probe.GRPC.Service != "" && !s.serves(*probe.GRPC.Service) {
					p.add("the %s asks for %s, which is no service", what, *probe.GRPC.Service)
				}
			case probe.HTTPGet != nil:
				if at := probe.HTTPGet; at.Port.StrVal != "admin" || port(c, "admin") == 0 || !slices.Contains([]string{"/healthz", "/readyz"}, at.Path) || d.Name == "nginx" && at.Path != "/healthz" {
					p.add("the %s asks %s at port %s: want a health path of the admin listener", what, at.Path, at.Port.String())
				}
			default:
				p.add("the %s asks neither gRPC nor HTTP", what)
			}
		}
	}
	return p
}

// serves reports whether a service is in the contract.
func (s *stack) serves(service string) bool {
	dot := strings.LastIndex(service, ".")
	for name, text := range s.tree {
		if strings.HasSuffix(name, ".proto") && dot > 0 && strings.Contains(text, "\npackage "+service[:dot]+";") && strings.Contains(text, "\nservice "+service[dot+1:]+" {") {
			return true
		}
	}
	return false
}
