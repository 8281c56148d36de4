package manifests

import (
	"regexp"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
)

var (
	workerShutdown  = regexp.MustCompile(`(?m)^worker_shutdown_timeout (\S+);`)
	resolverValid   = regexp.MustCompile(`\bvalid=(\d+s)`)
	defaultDrain    = regexp.MustCompile(`(?m)^#DRAIN_TIMEOUT=(\S+)`)
	clusterDNSDelay = 5 * time.Second // The TTL of CoreDNS' answers for Services, by default.
)

// checkShutdown checks that a pod that leaves sleeps until nothing is sent to it, and is not killed before it has drained.
func checkShutdown(s *stack) []error {
	var p problems
	for _, d := range of[*appsv1.Deployment](s) {
		hook := container(d).Lifecycle
		if hook == nil || hook.PreStop == nil || hook.PreStop.Sleep == nil || d.Spec.Template.Spec.TerminationGracePeriodSeconds == nil {
			p.add("Deployment %s: want a preStop sleep and a grace period", d.Name)
			continue
		}
		sleep := time.Duration(hook.PreStop.Sleep.Seconds) * time.Second
		grace := time.Duration(*d.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second
		drain := s.drain(d)
		if drain == 0 {
			p.add("Deployment %s: the time that it drains for is not to be found", d.Name)
		}
		if grace <= sleep+drain {
			p.add("Deployment %s has %s to end, but sleeps %s and drains up to %s", d.Name, grace, sleep, drain)
		}
		if learns := s.learns(); d.Name != "nginx" && (learns == 0 || sleep <= learns+clusterDNSDelay) {
			p.add("Deployment %s sleeps %s, but nginx may take %s (resolver) and %s (DNS server) to learn that a pod leaves", d.Name, sleep, learns, clusterDNSDelay)
		}
		if d.Name == "nginx" && sleep < clusterDNSDelay {
			p.add("Deployment nginx sleeps %s: want %s at least, for load balancers in front", sleep, clusterDNSDelay)
		}
	}
	return p
}

// drain is how long a Deployment's process may take from SIGTERM or SIGQUIT; 0 if that is not to be found.
func (s *stack) drain(d *appsv1.Deployment) time.Duration {
	if d.Name == "nginx" {
		return duration(workerShutdown.FindStringSubmatch(s.tree["nginx/conf/nginx.conf"]))
	}
	variables := s.environment(container(d))
	drain := duration(defaultDrain.FindStringSubmatch(s.tree[".env.example"]))
	if own, ok := variables["DRAIN_TIMEOUT"]; ok {
		drain = duration([]string{"", own})
	}
	return drain + duration([]string{"", variables["DRAIN_DELAY"]})
}

// learns is how long nginx keeps an address that it resolved.
func (s *stack) learns() (longest time.Duration) {
	for _, name := range []string{"nginx/docker/nginx", "nginx/docker/site/newer.conf"} {
		for _, found := range resolverValid.FindAllStringSubmatch(s.tree[name], -1) {
			longest = max(longest, duration(found))
		}
	}
	return longest
}

// duration parses the first group of a match; 0 if there is none.
func duration(found []string) time.Duration {
	if len(found) < 2 {
		return 0
	}
	d, _ := time.ParseDuration(found[1])
	return d
}

// checkRollouts checks that as many pods serve during an update as before, and that one owner sets their number.
func checkRollouts(s *stack) []error {
	var p problems
	scaled := map[string]*autoscalingv2.HorizontalPodAutoscaler{}
	for _, h := range of[*autoscalingv2.HorizontalPodAutoscaler](s) {
		scaled[h.Spec.ScaleTargetRef.Name] = h
		if least := h.Spec.MinReplicas; least == nil || *least < 2 || h.Spec.MaxReplicas <= *least {
			p.add("HorizontalPodAutoscaler %s: want two replicas at least, and room above", h.Name)
		}
		if down := h.Spec.Behavior; down == nil || down.ScaleDown == nil || down.ScaleDown.StabilizationWindowSeconds == nil || *down.ScaleDown.StabilizationWindowSeconds < 60 {
			p.add("HorizontalPodAutoscaler %s scales down at once: want a stabilization window", h.Name)
		}
	}
	for _, d := range of[*appsv1.Deployment](s) {
		r := d.Spec.Strategy.RollingUpdate
		if r == nil || r.MaxSurge == nil || r.MaxUnavailable == nil || r.MaxSurge.String() != "1" || r.MaxUnavailable.String() != "0" {
			p.add("Deployment %s: want maxSurge 1 and maxUnavailable 0", d.Name)
		}
		switch h := scaled[d.Name]; {
		case h != nil && d.Spec.Replicas != nil:
			p.add("Deployment %s has replicas, which each apply would set back: HorizontalPodAutoscaler %s owns them", d.Name, h.Name)
		case h == nil && (d.Spec.Replicas == nil || *d.Spec.Replicas < 2):
			p.add("Deployment %s: want two replicas at least", d.Name)
		}
		if r := d.Spec.Replicas; s.overlay == "prod" && named[*policyv1.PodDisruptionBudget](s, d.Name) == nil {
			p.add("Deployment %s (replicas %v) has no PodDisruptionBudget", d.Name, r)
		}
		p = append(p, spread(s, d)...)
	}
	for _, b := range of[*policyv1.PodDisruptionBudget](s) {
		most, unhealthy := b.Spec.MaxUnavailable, b.Spec.UnhealthyPodEvictionPolicy
		if most == nil || most.String() != "1" || b.Spec.MinAvailable != nil || unhealthy == nil || *unhealthy != policyv1.AlwaysAllow {
			p.add("PodDisruptionBudget %s: want maxUnavailable 1, and AlwaysAllow", b.Name)
		}
	}
	if s.overlay == "prod" && len(scaled) == 0 {
		p.add("prod has no HorizontalPodAutoscaler")
	}
	return p
}

// spread checks that a Deployment's pods are on different nodes, also while one is updated or drained.
func spread(s *stack, d *appsv1.Deployment) []error {
	var p problems
	want := corev1.ScheduleAnyway
	if s.overlay == "prod" {
		want = corev1.DoNotSchedule
	}
	all := d.Spec.Template.Spec.TopologySpreadConstraints
	if len(all) != 1 {
		p.add("Deployment %s has %d topology spread constraints: want one", d.Name, len(all))
		return p
	}
	c := all[0]
	if c.TopologyKey != corev1.LabelHostname || c.MaxSkew != 1 || c.WhenUnsatisfiable != want {
		p.add("Deployment %s spreads over %s, skew %d, %s: want one more per node at most, %s", d.Name, c.TopologyKey, c.MaxSkew, c.WhenUnsatisfiable, want)
	}
	if len(c.MatchLabelKeys) != 1 || c.MatchLabelKeys[0] != appsv1.DefaultDeploymentUniqueLabelKey {
		p.add("Deployment %s: want matchLabelKeys pod-template-hash, or old pods keep new ones waiting", d.Name)
	}
	if c.NodeTaintsPolicy == nil || *c.NodeTaintsPolicy != corev1.NodeInclusionPolicyHonor {
		p.add("Deployment %s: want nodeTaintsPolicy Honor, or a drained node keeps pods waiting", d.Name)
	}
	return p
}

// checkConfigMaps checks that kubectl can apply each: it keeps a copy in an annotation, and all of these together have 256 KiB.
func checkConfigMaps(s *stack) []error {
	var p problems
	for _, m := range of[*corev1.ConfigMap](s) {
		size := 0
		for name, text := range m.Data {
			size += len(strconv.Quote(name)) + len(strconv.Quote(text))
		}
		if size > 200<<10 {
			p.add("ConfigMap %s has %d KiB, too many for kubectl apply", m.Name, size>>10)
		}
	}
	return p
}
