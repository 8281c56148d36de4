package manifests

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

var setting = regexp.MustCompile(`(?m)^#?([A-Z][A-Z_]*)=(.*)$`)

// checkSettings compares the instances' settings with the .env file of the environment, and all names with those that there are.
func checkSettings(s *stack) []error {
	var p problems
	known := map[string]bool{}
	for _, found := range setting.FindAllStringSubmatch(s.tree[".env.example"], -1) {
		known[found[1]] = true
	}
	want := map[string]string{}
	for _, found := range setting.FindAllStringSubmatch(s.tree[".env."+s.overlay], -1) {
		want[found[1]] = found[2]
	}
	if s.overlay != "prod" {
		want["RECORDS"] = "stdout"
	}
	for _, m := range of[*corev1.ConfigMap](s) {
		if name, hash, _ := strings.Cut(m.Name, "-"); name == "whoami" && hash != "" && !maps.Equal(m.Data, want) {
			p.add("ConfigMap %s has %v, and .env.%s with records %v", m.Name, m.Data, s.overlay, want)
		}
	}
	for _, d := range s.instances() {
		c := container(d)
		for name := range s.environment(c) {
			if !known[name] {
				p.add("Deployment %s sets %s, which is no setting: see .env.example", d.Name, name)
			}
		}
		for name, field := range map[string]string{"INSTANCE": "metadata.name", "NODE": "spec.nodeName"} {
			if i := position(c, name); i < 0 || c.Env[i].ValueFrom == nil || c.Env[i].ValueFrom.FieldRef == nil || c.Env[i].ValueFrom.FieldRef.FieldPath != field {
				p.add("Deployment %s: want %s from %s", d.Name, name, field)
			}
		}
		for _, name := range []string{"BIND", "ADMIN_BIND"} {
			if got := s.environment(c)[name]; got != "0.0.0.0" {
				p.add("Deployment %s: %s is %q: want 0.0.0.0, or other pods cannot connect", d.Name, name, got)
			}
		}
	}
	if nginx := named[*appsv1.Deployment](s, "nginx"); nginx != nil {
		variables := s.environment(container(nginx))
		if variables["ENVIRONMENT"] != s.overlay {
			p.add("nginx's ENVIRONMENT is %q: want %s", variables["ENVIRONMENT"], s.overlay)
		}
		for name := range variables {
			if name != "NAMESPACE" && !regexp.MustCompile(`\b`+name+`\b`).MatchString(s.tree["nginx/docker/nginx"]) {
				p.add("Deployment nginx sets %s, which nginx/docker/nginx does not read", name)
			}
		}
	}
	return p
}

// checkFiles compares nginx's ConfigMaps and the volume at /etc/nginx with nginx/conf and nginx/docker/site.
func checkFiles(s *stack) []error {
	var p problems
	want := map[string]string{}
	for _, dir := range []string{"nginx/conf", "nginx/docker/site"} {
		for _, name := range s.tree.files(dir) {
			if dir == "nginx/conf" {
				want[name] = s.tree[path.Join(dir, name)]
			} else {
				want["site/"+name] = s.tree[path.Join(dir, name)]
			}
		}
	}
	got := map[string]string{}
	if nginx := named[*appsv1.Deployment](s, "nginx"); nginx != nil {
		for _, v := range nginx.Spec.Template.Spec.Volumes {
			if v.Projected != nil && v.Name == "conf" {
				got = s.projected(v.Projected)
			}
		}
	}
	for name, text := range want {
		if got[name] != text {
			p.add("nginx's volume lacks %s, or has another: add it to nginx/kustomization.yaml and base/nginx.yaml", name)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			p.add("nginx's volume has %s, which is not in nginx/conf or nginx/docker/site", name)
		}
	}
	return p
}

// projected are the files of a volume that ConfigMaps fill, by path.
func (s *stack) projected(v *corev1.ProjectedVolumeSource) map[string]string {
	files := map[string]string{}
	for _, source := range v.Sources {
		if source.ConfigMap == nil {
			continue
		}
		m := named[*corev1.ConfigMap](s, source.ConfigMap.Name)
		if m == nil {
			continue
		}
		if len(source.ConfigMap.Items) == 0 {
			maps.Copy(files, m.Data)
		}
		for _, i := range source.ConfigMap.Items {
			files[i.Path] = m.Data[i.Key]
		}
	}
	return files
}

// meshName and edgeFile are what nginx's files say about certificates.
var edgeFile = regexp.MustCompile(`(?m)^ssl_certificate +(\S+);`)

// checkCertificates checks that certificates have the identities and names that nginx and instances verify, an issuer, and are where the
// settings look for them.
func checkCertificates(s *stack) []error {
	var p problems
	issuers := map[string]bool{}
	for _, i := range s.others("Issuer") {
		issuers[i.GetName()] = true
	}
	for _, c := range s.others("Certificate") {
		issuer, _, _ := unstructured.NestedString(c.Object, "spec", "issuerRef", "name")
		if kind, _, _ := unstructured.NestedString(c.Object, "spec", "issuerRef", "kind"); kind == "Issuer" && !issuers[issuer] {
			p.add("Certificate %s is of Issuer %s, which is not there", c.GetName(), issuer)
		}
		service, ok := strings.CutSuffix(c.GetName(), "-mesh")
		if !ok {
			continue
		}
		uris, _, _ := unstructured.NestedStringSlice(c.Object, "spec", "uris")
		names, _, _ := unstructured.NestedStringSlice(c.Object, "spec", "dnsNames")
		if !slices.Equal(uris, []string{"spiffe://trivet/" + service}) || !slices.Equal(names, []string{service + ".mesh"}) {
			p.add("Certificate %s has identity %v and names %v: want spiffe://trivet/%s and %s.mesh alone", c.GetName(), uris, names, service, service)
		}
		usages, _, _ := unstructured.NestedStringSlice(c.Object, "spec", "usages")
		if !slices.Contains(usages, "server auth") || !slices.Contains(usages, "client auth") {
			p.add("Certificate %s is for %v: want server auth and client auth", c.GetName(), usages)
		}
	}
	for _, i := range s.others("Issuer") {
		secret, found, _ := unstructured.NestedString(i.Object, "spec", "ca", "secretName")
		if _, ok := s.keys()["Secret "+secret]; found && !ok {
			p.add("Issuer %s signs with Secret %s, which no Certificate makes", i.GetName(), secret)
		}
	}
	return append(p, s.mutual()...)
}

// mutual checks that both sides of mutual TLS have it, and the files that they read.
func (s *stack) mutual() []error {
	var p problems
	nginx := named[*appsv1.Deployment](s, "nginx")
	if nginx == nil {
		return p
	}
	on := s.environment(container(nginx))["MTLS"] == "true"
	need := map[string]bool{}
	if on {
		need["/tls/nginx.pem"], need["/tls/ca.pem"] = true, true
	}
	if port(container(nginx), "https") != 0 {
		found := edgeFile.FindStringSubmatch(s.tree["nginx/docker/site/tls-certificate.conf"])
		if found == nil {
			p.add("nginx/docker/site/tls-certificate.conf names no certificate")
		} else {
			need[found[1]] = true
		}
	}
	have := mounted(nginx)
	for name := range need {
		if !have[name] {
			p.add("nginx reads %s, which is not mounted", name)
		}
	}
	for name := range have {
		if strings.HasPrefix(name, "/tls/") && !need[name] {
			p.add("nginx has %s, which it does not read", name)
		}
	}
	for _, d := range s.instances() {
		variables := s.environment(container(d))
		have := mounted(d)
		for _, name := range []string{"TLS_CERT", "TLS_KEY", "TLS_CA"} {
			if (variables[name] != "") != on || on && !have[variables[name]] {
				p.add("Deployment %s: %s is %q, and nginx's mutual TLS is %v", d.Name, name, variables[name], on)
			}
		}
	}
	return p
}

// mounted are the paths of files that Secrets bring.
func mounted(d *appsv1.Deployment) map[string]bool {
	files := map[string]bool{}
	for _, m := range container(d).VolumeMounts {
		for _, v := range d.Spec.Template.Spec.Volumes {
			if v.Name != m.Name {
				continue
			}
			var items []corev1.KeyToPath
			if v.Secret != nil {
				items = v.Secret.Items
				if len(items) == 0 {
					for _, key := range []string{"ca.crt", "tls.crt", "tls.key"} {
						items = append(items, corev1.KeyToPath{Key: key, Path: key})
					}
				}
			}
			if v.Projected != nil {
				for _, source := range v.Projected.Sources {
					if source.Secret != nil {
						items = append(items, source.Secret.Items...)
					}
				}
			}
			for _, i := range items {
				files[path.Join(m.MountPath, i.Path)] = true
			}
		}
	}
	return files
}
