package compose

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// Labels that Compose gives its containers.
const (
	projectLabel = "com.docker.compose.project"
	serviceLabel = "com.docker.compose.service"
	oneOffLabel  = "com.docker.compose.oneoff"
)

// A container is what is read of docker inspect.
type container struct {
	ID    string `json:"Id"`
	Name  string `json:"Name"`
	State struct {
		Status  string `json:"Status"`
		Running bool   `json:"Running"`
		Paused  bool   `json:"Paused"`
	} `json:"State"`
	Config struct {
		Env    []string          `json:"Env"`
		Labels map[string]string `json:"Labels"`
	} `json:"Config"`
	NetworkSettings struct {
		Ports map[string][]struct {
			HostIP   string `json:"HostIp"`
			HostPort string `json:"HostPort"`
		} `json:"Ports"`
		Networks map[string]struct {
			IPAddress string `json:"IPAddress"`
		} `json:"Networks"`
	} `json:"NetworkSettings"`
}

// service is the name of the Compose service; "" of a container of docker compose run.
func (c container) service() string {
	if strings.EqualFold(c.Config.Labels[oneOffLabel], "true") {
		return ""
	}
	return c.Config.Labels[serviceLabel]
}

// isInstance reports whether a service is one instance of whoami or front.
func isInstance(service string) bool {
	name, digits, _ := strings.Cut(service, "-")
	n, err := strconv.Atoi(digits)
	return err == nil && n > 0 && (service == scenario.InstanceName(n) || service == scenario.FrontName(n)) && name != ""
}

// env is a setting; "" if it has none.
func (c container) env(name string) string {
	for _, e := range c.Config.Env {
		if key, value, _ := strings.Cut(e, "="); key == name {
			return value
		}
	}
	return ""
}

// ip is its address in a network that it shares with another container, which is that by which that one calls it.
func (c container) ip(with container) string {
	var names []string
	for name, n := range c.NetworkSettings.Networks {
		if _, shared := with.NetworkSettings.Networks[name]; shared && n.IPAddress != "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return c.NetworkSettings.Networks[slices.Min(names)].IPAddress
}

// instance is where it is called, within its network.
func (c container) instance(nginx container) record.Instance {
	http, err := strconv.Atoi(cmp.Or(c.env("HTTP_PORT"), "8000"))
	grpc, wrong := strconv.Atoi(cmp.Or(c.env("GRPC_PORT"), strconv.Itoa(http+1000)))
	at := func(port int) string {
		if ip := c.ip(nginx); ip != "" && err == nil && wrong == nil {
			return net.JoinHostPort(ip, strconv.Itoa(port))
		}
		return ""
	}
	return record.Instance{Name: cmp.Or(c.env("INSTANCE"), c.service()), HTTP: at(http), GRPC: at(grpc)}
}

// published is where a port of it is called from here, as host:port; "" if it is not published.
func (c container) published(port string) string {
	all := c.NetworkSettings.Ports[port+"/tcp"]
	if len(all) == 0 {
		return ""
	}
	host := all[0].HostIP
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, all[0].HostPort)
}
