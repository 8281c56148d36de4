// Package outgoing is how a service calls others through the load balancer: over gRPC by connections, and over HTTP by a client, that are
// shared by all calls of an instance and kept alive.
//
// A call that is made in the context of another one belongs to it. It ends when that ends, by its deadline at the latest, which goes with
// it over both protocols; its request ID is made from that one's, and the trace context of that one goes with it. Its end is in the
// instance's records.
package outgoing

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"trivet/services/identity"
	"trivet/services/instance"
)

// Options say where calls go. The zero value makes none possible.
type Options struct {
	HTTP      string                                    // URL of the load balancer's HTTP listener; "" for none
	GRPC      string                                    // host:port of its gRPC listener, after https:// if that is one with TLS; "" for none
	TLS       func(host string) *tls.Config             // of addresses with https://; nil for any authority that this machine trusts
	UserAgent string                                    // the service's name
	Dial      []grpc.DialOption                         // further ones, like a stats handler
	Transport func(http.RoundTripper) http.RoundTripper // wraps the transport that sends a request; nil for nothing
}

// From returns the options that the settings of an instance make. With TLS, the load balancer's certificate must be of the instance's
// authorities, and the instance shows its own.
func From(c instance.Config, log *slog.Logger) (Options, error) {
	o := Options{HTTP: c.HopsHTTP, GRPC: c.HopsGRPC, UserAgent: c.Service}
	if c.Traces {
		o = traced(o)
	}
	if c.TLS == (identity.Files{}) {
		return o, nil
	}
	own, err := identity.New(c.TLS, log)
	if err != nil {
		return Options{}, err
	}
	o.TLS = own.Client
	return o, nil
}

// Bounds of the connections to the load balancer.
const (
	dialTimeout = time.Second // as nginx's to instances
	// A request beyond this waits for one of those in flight, until its deadline at the latest. Over gRPC the load balancer bounds how many
	// share a connection.
	maxConnections = 500
	// Less than nginx's keepalive_timeout, so that a request does not go into a connection that nginx is just closing.
	idleTimeout = 60 * time.Second
	maxBackoff  = time.Second // between attempts to connect: grpc-go's default of two minutes outlasts any restart of nginx
)

// Connections are those of one instance. They may be used concurrently.
type Connections struct {
	options   Options
	transport *http.Transport
	client    *http.Client
	mutex     sync.Mutex
	grpc      map[Retries]*grpc.ClientConn
}

// Retries is what grpc-go does about calls that end UNAVAILABLE. The zero value sends each once.
type Retries struct {
	Attempts int // the most, up to 5; 0 and 1 are one
	// Budget ends retries while too many calls fail: 10 tokens, of which a failed attempt takes one and a success gives a tenth of one, and
	// at 5 or fewer nothing is retried. All calls of an instance with the same Attempts share one budget.
	Budget bool
}

// New returns connections that are opened by the first calls.
func New(o Options) *Connections {
	c := &Connections{options: o, grpc: make(map[Retries]*grpc.ClientConn)}
	c.transport = &http.Transport{
		DialContext: dial, TLSClientConfig: o.tlsTo(o.HTTP), TLSHandshakeTimeout: dialTimeout,
		MaxConnsPerHost: maxConnections, MaxIdleConnsPerHost: maxConnections, IdleConnTimeout: idleTimeout, DisableCompression: true,
	}
	var sends http.RoundTripper = c.transport
	if o.Transport != nil {
		sends = o.Transport(sends)
	}
	c.client = &http.Client{
		Transport:     caller{sends, o.UserAgent},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// tlsTo is the TLS configuration of connections to a URL.
func (o Options) tlsTo(address string) *tls.Config {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || o.TLS == nil {
		return nil
	}
	return o.TLS(u.Hostname())
}

// HTTP returns the client for calls over HTTP, and the URL that they begin with, without a slash at its end; "" if HTTP is off.
func (c *Connections) HTTP() (client *http.Client, url string) { return c.client, c.options.HTTP }

// GRPC returns the connection for unary calls over gRPC; nil if gRPC is off.
func (c *Connections) GRPC(r Retries) (grpc.ClientConnInterface, error) {
	if c.options.GRPC == "" {
		return nil, nil
	}
	r.Attempts = max(r.Attempts, 1)
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if open := c.grpc[r]; open != nil {
		return open, nil
	}
	opened, err := c.dial(r)
	if err != nil {
		return nil, err
	}
	c.grpc[r] = opened
	return opened, nil
}

func (c *Connections) dial(r Retries) (*grpc.ClientConn, error) {
	address, secure := strings.CutPrefix(c.options.GRPC, "https://")
	creds := insecure.NewCredentials()
	if secure {
		creds = credentials.NewTLS(c.options.tlsTo(c.options.GRPC))
	}
	wait := backoff.DefaultConfig
	wait.BaseDelay, wait.MaxDelay = maxBackoff/20, maxBackoff
	return grpc.NewClient("dns:///"+address, append([]grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithUserAgent(c.options.UserAgent),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(), // What DNS says of it.
		grpc.WithDefaultServiceConfig(r.serviceConfig()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: wait, MinConnectTimeout: dialTimeout}),
		grpc.WithUnaryInterceptor(unary),
		grpc.WithStatsHandler(counter{}),
	}, c.options.Dial...)...)
}

// serviceConfig is the policy as grpc-go reads it.
func (r Retries) serviceConfig() string {
	if r.Attempts < 2 {
		return "{}"
	}
	budget := ""
	if r.Budget {
		budget = `,"retryThrottling":{"maxTokens":10,"tokenRatio":0.1}`
	}
	return fmt.Sprintf(`{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":%d,"initialBackoff":"0.01s","maxBackoff":"0.1s",`+
		`"backoffMultiplier":2,"retryableStatusCodes":["UNAVAILABLE"]}}]%s}`, r.Attempts, budget)
}

// Close closes the connections. Calls that still run end.
func (c *Connections) Close() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, open := range c.grpc {
		open.Close()
	}
	c.transport.CloseIdleConnections()
}
