package exporter

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/reflect/protoreflect"

	frontv1 "trivet/gen/front/v1"
	whoamiv1 "trivet/gen/whoami/v1"
)

// other is the label of what no list has: routes that are not configured, and servers beyond the first [maxServers].
const other = "other"

// Routes returns the routes of the shipped configuration: the REST paths and the gRPC methods.
func Routes() []string {
	routes := []string{"/{$}", "/watch", "/front", "/healthz", "/readyz", "/openapi.json"}
	for _, file := range []protoreflect.FileDescriptor{
		whoamiv1.File_whoami_v1_whoami_proto, frontv1.File_front_v1_front_proto, healthv1.File_grpc_health_v1_health_proto, reflectionv1.File_grpc_reflection_v1_reflection_proto,
	} {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				routes = append(routes, fmt.Sprintf("/%s/%s", service.FullName(), service.Methods().Get(j).Name()))
			}
		}
	}
	return routes
}

// A router maps what a client sent to one of a fixed set of labels: a label for each path would let clients fill the memory.
type router struct{ mux *http.ServeMux }

// newRouter returns a router of patterns of [http.ServeMux]. The error names the pattern that is wrong, or conflicts with another.
func newRouter(patterns []string) (r router, err error) {
	r.mux = http.NewServeMux()
	for i, p := range patterns {
		if slices.Contains(patterns[:i], p) {
			continue
		}
		if err := r.add(p); err != nil {
			return router{}, err
		}
	}
	return r, nil
}

func (r router) add(pattern string) (err error) {
	defer func() {
		if why := recover(); why != nil {
			err = fmt.Errorf("route %q: %v: want a pattern of Go's http.ServeMux, like /users/{id}", pattern, why)
		}
	}()
	r.mux.Handle(pattern, http.NotFoundHandler())
	return nil
}

// route returns the label of a request: the pattern that matches it, without the {$} that ends an exact path, or [other].
func (r router) route(method, uri string) string {
	path, _, _ := strings.Cut(uri, "?")
	if !strings.HasPrefix(path, "/") || method == http.MethodConnect {
		return other
	}
	_, pattern := r.mux.Handler(&http.Request{Method: method, URL: &url.URL{Path: path}})
	if pattern == "" {
		return other
	}
	return strings.TrimSuffix(pattern, "{$}")
}
