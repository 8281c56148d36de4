package kubernetes

import (
	"maps"
	"slices"
	"time"
)

// What is read of the API's objects, as kubectl prints them.
type (
	meta struct {
		Name              string            `json:"name"`
		UID               string            `json:"uid"`
		Generation        int64             `json:"generation"`
		Annotations       map[string]string `json:"annotations"`
		Labels            map[string]string `json:"labels"`
		DeletionTimestamp *time.Time        `json:"deletionTimestamp"`
	}
	list[T any] struct {
		Items []T `json:"items"`
	}
	deployment struct {
		Metadata meta `json:"metadata"`
		Spec     struct {
			Replicas int `json:"replicas"`
			Selector struct {
				MatchLabels map[string]string `json:"matchLabels"`
			} `json:"selector"`
			Template struct {
				Metadata meta    `json:"metadata"`
				Spec     podSpec `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	podSpec struct {
		NodeName   string      `json:"nodeName"`
		Containers []container `json:"containers"`
		Volumes    []volume    `json:"volumes"`
	}
	container struct {
		Name  string `json:"name"`
		Ports []port `json:"ports"`
		Env   []struct {
			Name  string `json:"name"`
			Value string `json:"value"`
		} `json:"env"`
		EnvFrom []struct {
			ConfigMapRef reference `json:"configMapRef"`
		} `json:"envFrom"`
		VolumeMounts []struct {
			Name      string `json:"name"`
			MountPath string `json:"mountPath"`
		} `json:"volumeMounts"`
	}
	port struct {
		Name          string `json:"name"`
		ContainerPort int    `json:"containerPort"`
		Port          int    `json:"port"`     // of a Service
		NodePort      int    `json:"nodePort"` // of a Service
	}
	reference struct {
		Name string `json:"name"`
	}
	volume struct {
		Name      string   `json:"name"`
		ConfigMap *fileSet `json:"configMap"`
		Projected struct {
			Sources []struct {
				ConfigMap *fileSet `json:"configMap"`
			} `json:"sources"`
		} `json:"projected"`
	}
	// A fileSet is a ConfigMap as files: all of its keys, or items.
	fileSet struct {
		Name  string `json:"name"`
		Items []item `json:"items"`
	}
	item struct {
		Key  string `json:"key"`
		Path string `json:"path"`
	}
	configMap struct {
		Metadata meta              `json:"metadata"`
		Data     map[string]string `json:"data"`
	}
	service struct {
		Metadata meta `json:"metadata"`
		Spec     struct {
			ClusterIP string `json:"clusterIP"`
			Ports     []port `json:"ports"`
		} `json:"spec"`
		Status struct {
			LoadBalancer struct {
				Ingress []struct {
					IP       string `json:"ip"`
					Hostname string `json:"hostname"`
				} `json:"ingress"`
			} `json:"loadBalancer"`
		} `json:"status"`
	}
	node struct {
		Metadata meta `json:"metadata"`
		Status   struct {
			Addresses []struct {
				Type    string `json:"type"`
				Address string `json:"address"`
			} `json:"addresses"`
		} `json:"status"`
	}
	pod struct {
		Metadata meta    `json:"metadata"`
		Spec     podSpec `json:"spec"`
		Status   struct {
			Phase      string `json:"phase"`
			PodIP      string `json:"podIP"`
			Conditions []struct {
				Type   string `json:"type"`
				Status string `json:"status"`
			} `json:"conditions"`
			ContainerStatuses []containerStatus `json:"containerStatuses"`
		} `json:"status"`
	}
	containerStatus struct {
		Name        string         `json:"name"`
		ContainerID string         `json:"containerID"`
		State       containerState `json:"state"`
		LastState   containerState `json:"lastState"`
	}
	containerState struct {
		Running    *struct{}     `json:"running"`
		Waiting    *waitingState `json:"waiting"`
		Terminated *terminated   `json:"terminated"`
	}
	waitingState struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
	}
	terminated struct {
		ExitCode int    `json:"exitCode"`
		Signal   int    `json:"signal"`
		Reason   string `json:"reason"`
	}
)

// ready reports whether a pod gets requests.
func (p *pod) ready() bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c struct {
		Type   string `json:"type"`
		Status string `json:"status"`
	}) bool {
		return c.Type == "Ready" && c.Status == "True"
	})
}

// status is that of a container; a zero one if there is none yet.
func (p *pod) status(container string) containerStatus {
	for _, s := range p.Status.ContainerStatuses {
		if s.Name == container {
			return s
		}
	}
	return containerStatus{}
}

// selects reports whether a deployment's pods have such labels.
func (d deployment) selects(labels map[string]string) bool {
	for key, value := range d.Spec.Selector.MatchLabels {
		if labels[key] != value {
			return false
		}
	}
	return len(d.Spec.Selector.MatchLabels) > 0
}

// container is the one that has the deployment's name, else the first.
func (d deployment) container() container {
	all := d.Spec.Template.Spec.Containers
	for _, c := range all {
		if c.Name == d.Metadata.Name {
			return c
		}
	}
	if len(all) == 0 {
		return container{}
	}
	return all[0]
}

// portNamed is the port of a name; zero if there is none.
func portNamed(all []port, name string) port {
	for _, p := range all {
		if p.Name == name {
			return p
		}
	}
	return port{}
}

// files are the keys of a ConfigMap by the paths that they are mounted at.
func (f fileSet) files(c configMap) map[string]string {
	if len(f.Items) == 0 {
		return maps.Clone(c.Data)
	}
	all := map[string]string{}
	for _, i := range f.Items {
		if text, ok := c.Data[i.Key]; ok {
			all[i.Path] = text
		}
	}
	return all
}
