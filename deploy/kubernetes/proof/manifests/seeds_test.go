package manifests

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// A seed is one mistake, and a part of the message that refuses it. It is made in a rendered object, "Kind name" without its hash, or in
// a file that manifests are compared with. Without old, the object is missing.
type seed struct{ in, old, with, want string }

// seeds are mistakes in prod with all components but gateway-api.
var seeds = []seed{
	// Strict decoding.
	{"Deployment whoami", "enableServiceLinks", "enableServiceLink", "unknown field"},
	{"Deployment whoami", "maxSkew: 1", "maxSkew: one", "cannot unmarshal string"},
	{"Deployment whoami", "memory: 128Mi", "memory: 128mm", "unable to parse quantity"},
	{"PodDisruptionBudget whoami", "policy/v1", "policy/v1beta1", "is of no kind that checks know"},
	{"Certificate whoami-mesh", "  secretName:", "  secretName: x\n  secretName:", "already set in map"},

	// The namespace.
	{"Namespace trivet-prod", "", "", "want one Namespace"},
	{"Namespace trivet-prod", "enforce: restricted", "enforce: baseline", `admits "baseline" pods`},
	{"Service nginx", "namespace: trivet-prod", "namespace: default", `Service nginx is in namespace "default"`},

	// ConfigMaps, Secrets and volumes.
	{"ConfigMap whoami", "", "", "which is not there"},
	{"ConfigMap nginx-site", "", "", "which is not there"},
	{"Deployment nginx", "key: logs.conf", "key: log.conf", "refers to key log.conf of ConfigMap nginx-site"},
	{"Certificate nginx-edge", "secretName: nginx-edge", "secretName: edge", "refers to Secret nginx-edge, which is not there"},
	{"Certificate nginx-mesh", "type: CombinedPEM", "type: DER", "refers to key tls-combined.pem of Secret nginx-mesh"},
	{"Certificate nginx-mesh", "additionalOutputFormats", "additionalOutputFormat", "refers to key tls-combined.pem of Secret nginx-mesh"},
	{"Deployment whoami", "secretName: whoami-mesh", "secretName: whoami-tls", "refers to Secret whoami-tls, which is not there"},
	{"Deployment nginx", "mountPath: /run/nginx\n          name: run", "mountPath: /run/nginx\n          name: runs", "mounts runs, which is no volume of it"},
	{"Deployment nginx", "mountPath: /run/nginx", "mountPath: /tls", "mounts /tls twice"},

	// Selectors.
	{"Deployment whoami", "matchLabels:\n      app.kubernetes.io/name: whoami", "matchLabels:\n      app.kubernetes.io/name: whoamis", "Deployment whoami selects the pods of 0 Deployments"},
	{"Deployment whoami", "labelSelector:\n          matchLabels:\n            app.kubernetes.io/name: whoami", "labelSelector:\n          matchLabels:\n            app.kubernetes.io/name: nginx", "the topology spread of Deployment whoami selects"},
	{"Service whoami-headless", "selector:\n    app.kubernetes.io/name: whoami", "selector:\n    app: whoami", "Service whoami-headless selects the pods of 0 Deployments"},
	{"Service nginx", "selector:\n    app.kubernetes.io/name: nginx", "selector:\n    app.kubernetes.io/part-of: trivet", "Service nginx selects the pods of 3 Deployments"},
	{"PodDisruptionBudget nginx", "app.kubernetes.io/name: nginx", "app.kubernetes.io/name: whoami", "PodDisruptionBudget nginx selects"},
	{"HorizontalPodAutoscaler whoami", "kind: Deployment\n    name: whoami", "kind: Deployment\n    name: whoami-1", "scales Deployment whoami-1, which is not there"},
	{"Service instances-admin", "component: instance", "component: instances", "does not select all instances"},
	{"ServiceMonitor instances", "name: instances-admin", "name: instances", "selects 0 Services"},
	{"ServiceMonitor instances", "port: admin", "port: metrics", "serves no metrics there"},

	// Ports and names.
	{"Service whoami-headless", "targetPort: grpc", "targetPort: grpcs", "leads to grpcs, which is no port of Deployment whoami"},
	{"Service whoami", "port: 9000", "port: 9090", "port grpc is 9090, but 9000 in Deployment whoami"},
	{"Deployment whoami", "containerPort: 7000\n          name: admin", "containerPort: 7000\n          name: admins", "leads to admin, which is no port of Deployment whoami"},
	{"Service whoami-headless", "clusterIP: None", "clusterIP: 10.96.0.99", "has no headless Service"},
	{"Service front-headless", "", "", "Deployment front has no headless Service"},
	{"Deployment nginx", "whoami-headless.$(NAMESPACE).svc", "whoami.$(NAMESPACE).svc", `WHOAMI_HTTP is "whoami.$(NAMESPACE).svc.cluster.local:8000"`},
	{"Deployment nginx", ".svc.cluster.local:9000", ".svc.cluster.local:8000", "WHOAMI_GRPC is"},
	{"Deployment nginx", "name: NAMESPACE\n", "name: NAMESPACES\n", "would keep its $(NAMESPACE)"},
	{"Deployment front", "", "", "nginx has FRONT_HTTP, but there is no Deployment front"},
	{"Deployment nginx", "value: 0.0.0.0:7080", "value: 0.0.0.0:7081", "ADMIN has port 7081, its port admin is 7080"},
	{"Deployment nginx", "containerPort: 8080", "containerPort: 80", "the image exposes"},
	{"Deployment whoami", "containerPort: 8000", "containerPort: 8001", "the image exposes 8000 9000"},
	{"Service nginx", "  - appProtocol: kubernetes.io/h2c\n    name: grpc\n    port: 9090\n    targetPort: grpc\n", "", "Compose publishes port 9090, which Service nginx lacks"},
	{"docker-compose.yml", ":8080:8080", ":8081:8081", "Compose publishes port 8081"},
	{"Dockerfile", "EXPOSE 8100 9100", "EXPOSE 8200 9200", "the image exposes 8200 9200"},
	{"nginx/docker/site/tls-listen.conf", "listen 0.0.0.0:8443", "listen 0.0.0.0:443", "does not listen on port https"},

	// Rights.
	{"Deployment whoami", "automountServiceAccountToken: false", "automountServiceAccountToken: true", "gets a token"},
	{"Deployment whoami", "enableServiceLinks: false", "enableServiceLinks: true", "gets a variable for each Service"},
	{"Deployment whoami", "enableServiceLinks: false", "enableServiceLinks: false\n      hostNetwork: true", "uses the node's namespaces"},
	{"Deployment whoami", "runAsNonRoot: true", "runAsNonRoot: false", "want runAsNonRoot"},
	{"Deployment nginx", "type: RuntimeDefault", "type: Unconfined", "seccompProfile RuntimeDefault"},
	{"Deployment nginx", "runAsUser: 101", "runAsUser: 1000", "want account 101, as in the image"},
	{"Deployment nginx", "fsGroup: 101", "fsGroup: 65532", "fsGroup is 65532"},
	{"Deployment whoami", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "container whoami: want"},
	{"Deployment nginx", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "container nginx: want"},
	{"Deployment nginx", "drop:\n            - ALL", "add:\n            - NET_BIND_SERVICE\n            drop:\n            - ALL", "container nginx: want"},
	{"Deployment nginx", "    spec:\n", "    spec:\n      initContainers:\n      - image: busybox\n        name: init\n", "want one container of its name"},

	// Resources, images and probes.
	{"Deployment whoami", "limits:\n            memory: 128Mi", "limits:\n            memory: 1Gi", "want both 128Mi, as in Compose"},
	{"docker-compose.yml", "mem_limit: 256m", "mem_limit: 512m", "want both 512Mi, as in Compose"},
	{"Deployment nginx", "limits:\n", "limits:\n            cpu: 1\n", "and no limit"},
	{"Deployment nginx", "sizeLimit: 64Mi", "sizeLimit: 1Gi", "no size below the memory limit"},
	{"Deployment nginx", "image: trivet-nginx:latest", "image: nginx:1.30", "has image nginx:1.30"},
	{"Deployment nginx", "IfNotPresent", "Always", "imagePullPolicy is Always"},
	{Dir + "/overlays/prod/kustomization.yaml", "images:\n", "images:\n  - {name: trivet-nginx, newName: other, newTag: latest}\n", "want one entry"},
	{Dir + "/components/front/kustomization.yaml", "patches:", "images: [{name: trivet-front, newTag: v1}]\npatches:", "names images: only overlays do"},
	{"Deployment whoami", "startupProbe:\n          failureThreshold: 30\n          httpGet:\n            path: /readyz\n            port: admin", "startupProbe:\n          grpc:\n            port: 9000", "which wants a certificate"},
	{"Deployment nginx", "path: /healthz", "path: /readyz", "want a health path"},
	{"Deployment nginx", "livenessProbe", "x-livenessProbe", "unknown field"},

	// Rollouts and ends.
	{"Deployment whoami", "seconds: 15", "seconds: 60", "has 45s to end, but sleeps 1m0s"},
	{"Deployment whoami", "seconds: 15", "seconds: 35", "has 45s to end, but sleeps 35s and drains up to 10s"},
	{"Deployment whoami", "seconds: 15", "seconds: 3", "sleeps 3s, but nginx may take"},
	{"Deployment nginx", "terminationGracePeriodSeconds: 45", "terminationGracePeriodSeconds: 25", "drains up to 15s"},
	{"Deployment nginx", "sleep:\n              seconds: 10", "sleep:\n              seconds: 1", "for load balancers in front"},
	{"Deployment nginx", "lifecycle:\n          preStop:\n            sleep:\n              seconds: 10\n", "lifecycle: {}\n", "want a preStop sleep"},
	{"nginx/docker/nginx", "valid=2s", "valid=30s", "nginx may take 30s (resolver)"},
	{"nginx/conf/nginx.conf", "worker_shutdown_timeout 15s", "worker_shutdown_timeout 60s", "drains up to 1m0s"},
	{"ConfigMap whoami", "DRAIN_TIMEOUT: 10s", "DRAIN_TIMEOUT: 40s", "drains up to 40s"},
	{"Deployment whoami", "maxUnavailable: 0", "maxUnavailable: 1", "want maxSurge 1 and maxUnavailable 0"},
	{"Deployment whoami", "\nspec:\n", "\nspec:\n  replicas: 3\n", "has replicas, which each apply would set back"},
	{"HorizontalPodAutoscaler whoami", "", "", "want two replicas at least"},
	{"HorizontalPodAutoscaler whoami", "minReplicas: 3", "minReplicas: 1", "want two replicas at least"},
	{"HorizontalPodAutoscaler whoami", "stabilizationWindowSeconds: 300", "stabilizationWindowSeconds: 0", "scales down at once"},
	{"Deployment nginx", "replicas: 2", "replicas: 1", "want two replicas at least"},
	{"PodDisruptionBudget nginx", "", "", "has no PodDisruptionBudget"},
	{"PodDisruptionBudget nginx", "maxUnavailable: 1", "minAvailable: 2", "want maxUnavailable 1"},
	{"PodDisruptionBudget nginx", "AlwaysAllow", "IfHealthyBudget", "and AlwaysAllow"},
	{"Deployment nginx", "DoNotSchedule", "ScheduleAnyway", "skew 1, ScheduleAnyway"},
	{"Deployment nginx", "- pod-template-hash", "- app.kubernetes.io/name", "old pods keep new ones waiting"},
	{"Deployment nginx", "nodeTaintsPolicy: Honor", "nodeTaintsPolicy: Ignore", "a drained node keeps pods waiting"},
	{"ConfigMap nginx-conf", "data:\n", "data:\n  large.conf: " + strings.Repeat("x", 200<<10) + "\n", "too many for kubectl apply"},

	// Settings and files.
	{"ConfigMap whoami", "LOG_LEVEL: info", "LOG_LEVEL: debug", "and .env.prod with records"},
	{".env.prod", "LOG_FORMAT=json", "LOG_FORMAT=text", "and .env.prod with records"},
	{"Deployment whoami", "name: ADMIN_BIND", "name: ADMIN_ADDRESS", "sets ADMIN_ADDRESS, which is no setting"},
	{"Deployment whoami", "fieldPath: spec.nodeName", "fieldPath: status.hostIP", "want NODE from spec.nodeName"},
	{"Deployment whoami", "name: BIND\n          value: 0.0.0.0", "name: BIND\n          value: 127.0.0.1", `BIND is "127.0.0.1"`},
	{"Deployment nginx", "name: MTLS", "name: MUTUAL_TLS", "sets MUTUAL_TLS, which nginx/docker/nginx does not read"},
	{"Deployment nginx", "key: ENVIRONMENT", "key: LOG_LEVEL", `ENVIRONMENT is "info"`},
	{"nginx/docker/site/new.conf", "", "# New.", "lacks site/new.conf"},
	{"nginx/conf/new.conf", "", "# New.", "lacks new.conf"},
	{"nginx/conf/limits.conf", "\n", "\n\n", "lacks limits.conf, or has another"},
	{"Deployment nginx", "path: site/logs.conf", "path: logs.conf", "has logs.conf, which is not in"},

	// Certificates.
	{"Certificate whoami-mesh", "spiffe://trivet/whoami", "spiffe://trivet/nginx", "want spiffe://trivet/whoami"},
	{"Certificate whoami-mesh", "- whoami.mesh", "- whoami", "and whoami.mesh alone"},
	{"Certificate nginx-mesh", "  - client auth\n", "", "want server auth and client auth"},
	{"Certificate nginx-mesh", "name: mesh\n", "name: meshes\n", "is of Issuer meshes, which is not there"},
	{"Certificate mesh-authority", "", "", "signs with Secret mesh-authority, which no Certificate makes"},
	{"Deployment nginx", "path: edge.pem", "path: tls.pem", "nginx reads /tls/edge.pem, which is not mounted"},
	{"Deployment nginx", `value: "true"`, `value: "false"`, "it does not read"},
	{"Deployment whoami", "value: /tls/tls.key", "value: /tls/key.pem", `TLS_KEY is "/tls/key.pem"`},

	// Connections.
	{"NetworkPolicy instances", "app.kubernetes.io/name: nginx", "app.kubernetes.io/part-of: trivet", "admit whoami to port http of whoami: true, want false"},
	{"NetworkPolicy instances", "component: instance", "component: instances", "admit nginx to port http of whoami: false, want true"},
	{"NetworkPolicy instances", "- port: http\n", "", "admit nginx to port http of front: false, want true"},
	{"NetworkPolicy instances", "    ports:\n    - port: admin\n", "", "admit the namespace monitoring to port http of whoami: true"},
	{"NetworkPolicy instances", "metadata.name: monitoring", "metadata.name: default", "admit another namespace to port admin of whoami: true"},
	{"NetworkPolicy nginx", "    - port: https\n", "    - port: admin\n", "admit a client outside to port admin of nginx: true"},
	{"NetworkPolicy nginx", "", "", "admit a client outside to port http of nginx: false"},
}

// gatewaySeeds are mistakes in prod with components gateway-api and tls.
var gatewaySeeds = []seed{
	{"HTTPRoute whoami", "port: 8000", "port: 80", "leads to Service whoami, which has no such port http"},
	{"GRPCRoute whoami", "port: 9000", "port: 8000", "leads to Service whoami, which has no such port grpc"},
	{"GRPCRoute whoami", "grpc.trivet.example", "http.trivet.example", "they exclude each other"},
	{"GRPCRoute whoami", "sectionName: http", "sectionName: https", "there is no such listener"},
	{"HTTPRoute whoami", "backendRefs", "backendRef", "unknown field"},
	{"Gateway trivet", "", "", "there is no such listener of Gateway trivet"},
	{"NetworkPolicy instances", "gateway-name: trivet", "gateway-name: other", "admit the Gateway to port http of whoami: false, want true"},
	{"Deployment whoami", "service: whoami.v1.WhoAmIService", "service: whoami", "asks for whoami, which is no service"},
	{"Deployment whoami", "grpc:\n            port: 9000", "grpc:\n            port: 8000", "asks port 8000: want 9000"},
	{"Deployment nginx", "    spec:\n", "    spec:\n      nodeName: a\n", ""},
}

// TestSeededMistakesAreRefused proves that each check can fail: it makes one mistake at a time.
func TestSeededMistakesAreRefused(t *testing.T) {
	t.Parallel()
	tree := readTree(t)
	for name, c := range map[string]struct {
		components []string
		seeds      []seed
	}{
		"all":     {[]string{"front", "service-monitor", "tls", "mtls"}, seeds},
		"gateway": {[]string{"gateway-api", "tls"}, gatewaySeeds},
	} {
		objects, err := tree.Render("prod", c.components...)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range c.seeds {
			t.Run(name+" "+s.in+" "+s.want, func(t *testing.T) {
				t.Parallel()
				tree, objects := s.make(t, tree, objects)
				err := Check(tree, "prod", objects)
				if s.want == "" {
					if err != nil {
						t.Errorf("this is no mistake: %v", err)
					}
				} else if err == nil || !strings.Contains(err.Error(), s.want) {
					t.Errorf("got %v\nwant %q", err, s.want)
				}
			})
		}
	}
}

// make returns copies with the mistake.
func (s seed) make(t *testing.T, tree Tree, objects []Object) (Tree, []Object) {
	t.Helper()
	kind, name, isObject := strings.Cut(s.in, " ")
	if !isObject {
		tree = maps.Clone(tree)
		if !strings.Contains(tree[s.in], s.old) || s.old == "" && tree[s.in] != "" {
			t.Fatalf("%s does not have %q", s.in, s.old)
		}
		tree[s.in] = strings.Replace(tree[s.in], s.old, s.with, 1)
		return tree, objects
	}
	objects = slices.Clone(objects)
	at := slices.IndexFunc(objects, func(o Object) bool {
		return o.Kind == kind && (o.Name == name || kind == "ConfigMap" && strings.HasPrefix(o.Name, name+"-"))
	})
	if at < 0 || !strings.Contains(objects[at].YAML, s.old) {
		t.Fatalf("%s does not have %q", s.in, s.old)
	}
	if s.old == "" {
		return tree, slices.Delete(objects, at, at+1)
	}
	objects[at].YAML = strings.Replace(objects[at].YAML, s.old, s.with, 1)
	return tree, objects
}
