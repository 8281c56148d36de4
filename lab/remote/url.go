// Package remote runs trials on whatever responds at a URL. It can only send requests there: it carries out no action, and it has no records
// but the client's.
package remote

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// portsApart is by how much nginx's port for gRPC is above the one for HTTP where Trivet chooses them: 8080 and 9090.
const portsApart = 1010

// An Address is where a stack is called.
type Address struct {
	HTTP, GRPC string // as host:port
	TLS        bool   // both over TLS; then they are the same
}

// Parse reads http://HOST:PORT, with the gRPC port 1010 above, as 8080 and 9090; http://HOST:PORT,grpc://HOST:PORT, which names both; or
// https://HOST[:PORT], where nginx serves both.
func Parse(text string) (Address, error) {
	first, second, both := strings.Cut(text, ",")
	scheme, host, port, err := parse(first)
	switch {
	case err != nil:
		return Address{}, fmt.Errorf("%q: %w", first, err)
	case scheme == "https" && both:
		return Address{}, fmt.Errorf("%q: an https URL is for both protocols: remove %q", text, ","+second)
	case scheme == "https":
		if port == "" {
			port = "443"
		}
		at := net.JoinHostPort(host, port)
		return Address{HTTP: at, GRPC: at, TLS: true}, nil
	case scheme != "http":
		return Address{}, fmt.Errorf("%q: scheme %q: want http://HOST:PORT or https://HOST:PORT", first, scheme)
	case port == "" && !both:
		return Address{}, fmt.Errorf("%q: without a port it is not known where gRPC is served: want http://HOST:PORT, or http://HOST,grpc://HOST:PORT", first)
	case port == "":
		port = "80"
	}
	a := Address{HTTP: net.JoinHostPort(host, port)}
	if !both {
		n, _ := strconv.Atoi(port) // parse has seen that it is one.
		if n+portsApart > maxPort {
			return Address{}, fmt.Errorf("%q: there is no port %d for gRPC: name it, like %s,grpc://%s:9090", first, n+portsApart, first, host)
		}
		a.GRPC = net.JoinHostPort(host, strconv.Itoa(n+portsApart))
		return a, nil
	}
	scheme, host, port, err = parse(second)
	switch {
	case err != nil:
		return Address{}, fmt.Errorf("%q: %w", second, err)
	case scheme != "grpc":
		return Address{}, fmt.Errorf("%q: scheme %q after the comma: want grpc://HOST:PORT", second, scheme)
	case port == "":
		return Address{}, fmt.Errorf("%q: no port: want grpc://HOST:PORT", second)
	}
	a.GRPC = net.JoinHostPort(host, port)
	return a, nil
}

const maxPort = 65535

// parse reads SCHEME://HOST[:PORT], with no more than a slash after it.
func parse(text string) (scheme, host, port string, err error) {
	u, err := url.Parse(text)
	if e, ok := errors.AsType[*url.Error](err); ok {
		return "", "", "", e.Err
	}
	switch n, portErr := strconv.Atoi(u.Port()); {
	case u.Hostname() == "":
		return "", "", "", errors.New("no host: want one like http://127.0.0.1:8080")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return "", "", "", errors.New("more than a host and a port: loads have paths of their own, request.path")
	case u.User != nil:
		return "", "", "", errors.New("a user: set the header with request.headers")
	case u.Port() != "" && (portErr != nil || n < 1 || n > maxPort):
		return "", "", "", fmt.Errorf("port %s: want 1 to %d", u.Port(), maxPort)
	}
	return u.Scheme, u.Hostname(), u.Port(), nil
}
