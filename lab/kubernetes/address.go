package kubernetes

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"trivet/lab/record"
)

// dialTimeout bounds the wait for a listener that may not be reachable from here.
const dialTimeout = time.Second

// responds reports whether both listeners accept connections.
func responds(ctx context.Context, addresses ...string) bool {
	for _, a := range addresses {
		conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", a)
		if err != nil {
			return false
		}
		_ = conn.Close()
	}
	return true
}

// address finds where a Service can be called from here: at its load balancer, at a node's port, or at its own address.
func (s *Stack) address(ctx context.Context, of service) (http, grpc string, err error) {
	var tried []string
	try := func(host string, port func(port) int) bool {
		http, grpc = endpoints(of, host, port)
		tried = append(tried, http)
		return responds(ctx, http, grpc)
	}
	for _, i := range of.Status.LoadBalancer.Ingress {
		if try(i.IP+i.Hostname, func(p port) int { return p.Port }) {
			return http, grpc, nil
		}
	}
	if portNamed(of.Spec.Ports, "http").NodePort > 0 {
		var nodes list[node]
		if err := s.get(ctx, &nodes, "nodes"); err == nil { // Not every account may list them.
			for _, host := range hosts(nodes.Items) {
				if try(host, func(p port) int { return p.NodePort }) {
					return http, grpc, nil
				}
			}
		}
	}
	if try(of.Spec.ClusterIP, func(p port) int { return p.Port }) {
		return http, grpc, nil
	}
	return "", "", fmt.Errorf("the Service %s does not respond from here at %s: run on a node, or let `kubectl --namespace %s port-forward service/%s 8080 9090` run and use --target http://127.0.0.1:8080",
		of.Metadata.Name, strings.Join(tried, ", "), s.namespace, of.Metadata.Name)
}

// endpoints are those of both listeners of a Service.
func endpoints(of service, host string, number func(port) int) (http, grpc string) {
	at := func(name string) string {
		return net.JoinHostPort(host, strconv.Itoa(number(portNamed(of.Spec.Ports, name))))
	}
	return at("http"), at("grpc")
}

// hosts are the nodes' addresses: first those of this machine, if it is one of them, which others' failures do not affect.
func hosts(nodes []node) (all []string) {
	own := map[string]bool{}
	addresses, _ := net.InterfaceAddrs()
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok {
			own[n.IP.String()] = true
		}
	}
	for _, n := range nodes {
		for _, a := range n.Status.Addresses {
			if a.Type == "InternalIP" {
				all = append(all, a.Address)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b string) int {
		switch {
		case own[a] == own[b]:
			return 0
		case own[a]:
			return -1
		}
		return 1
	})
	return all
}

// direct is where the instances are called past nginx. The error says that it does not respond from here.
func (s *Stack) direct(ctx context.Context) (record.Instance, error) {
	http, grpc := endpoints(s.service, s.service.Spec.ClusterIP, func(p port) int { return p.Port })
	if !responds(ctx, http, grpc) {
		return record.Instance{}, fmt.Errorf("the Service %s does not respond from here at %s: run trivet on a node, or in a pod of the cluster", whoami, http)
	}
	return record.Instance{Name: whoami, HTTP: http, GRPC: grpc}, nil
}
