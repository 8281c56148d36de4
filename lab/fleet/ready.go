package fleet

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// Waits between probes: short at first, and never so short that the probes keep a process from getting ready.
const (
	firstPoll   = 2 * time.Millisecond
	maxPoll     = 100 * time.Millisecond
	pollTimeout = 2 * time.Second // of one probe
)

// poll probes until there is no error. When the context ends first, the error is its cause with the last probe's.
func poll(ctx context.Context, probe func(context.Context) error) error {
	for wait := firstPoll; ; wait = min(2*wait, maxPoll) {
		once, cancel := context.WithTimeout(ctx, pollTimeout)
		err := probe(once)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", context.Cause(ctx), err)
		}
	}
}

// probeID makes the request ID of one probe, and reports it: records of other requests, whatever their IDs are, are no probes'.
func (f *Fleet) probeID() string {
	id := record.ProbeIDPrefix + rand.Text()
	f.observing.Lock()
	defer f.observing.Unlock()
	f.options.Probed(id)
	return id
}

// prober uses a new connection for each probe: another process may listen now than before. A redirection is a response like others. With
// a TLS configuration it uses TLS.
func prober(config *tls.Config) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: config},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// get is the status of the response for a path at an address, and the instance that it names, if it does. Without config it uses plain
// HTTP.
func get(ctx context.Context, config *tls.Config, address, path, id string) (status int, instance string, err error) {
	scheme := "http"
	if config != nil {
		scheme = "https"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+address+path, nil)
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("User-Agent", "trivet")
	request.Header.Set("X-Request-Id", id)
	response, err := prober(config).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, response.Header.Get("X-Instance"), err
}

// awaitReadyz returns when the instance of that name is ready. Another server that took its port is not.
func (f *Fleet) awaitReadyz(ctx context.Context, name, address string) error {
	if err := awaitListening(ctx, address); err != nil { // Until then a probe reaches nothing.
		return err
	}
	return poll(ctx, func(ctx context.Context) error {
		config, err := f.toInstance(name)
		if err != nil {
			return err
		}
		status, instance, err := get(ctx, config, address, "/readyz", f.probeID())
		switch {
		case err != nil:
			return err
		case instance != name:
			return fmt.Errorf("%s responds as %q and not as %s", address, instance, name)
		case status != http.StatusOK:
			return fmt.Errorf("%s is not ready: HTTP status %d", name, status)
		}
		return nil
	})
}

// awaitBalancer returns when the load balancer serves. It sends nothing: a request would be one more in the round robin of a trial.
func (f *Fleet) awaitBalancer(ctx context.Context) error {
	addresses := []string{f.HTTP(), f.GRPC()}
	if f.options.TLS {
		addresses = append(addresses, f.TLS())
	}
	if err := awaitListening(ctx, addresses...); err != nil || !f.balancer.Info().Workers {
		return err
	}
	return awaitWorkers(ctx, f.Process(scenario.Nginx).PID)
}

// awaitListening returns when all addresses accept connections. It sends nothing, so no log has a request of it.
func awaitListening(ctx context.Context, addresses ...string) error {
	var dialer net.Dialer
	for _, address := range addresses {
		err := poll(ctx, func(ctx context.Context) error {
			c, err := dialer.DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			return c.Close()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// callThrough returns when nginx responds on all its listeners. The instances are ready then, so that any response is what the
// configuration says (a redirection, a cached one, an error page), but for those that say that nginx reached no instance.
func (f *Fleet) callThrough(ctx context.Context) error {
	type listener struct {
		protocol, address string
		call              func(ctx context.Context, config *tls.Config, address, id string) error
		config            *tls.Config
	}
	listeners := []listener{{httpListener, f.HTTP(), callHTTP, nil}, {grpcListener, f.GRPC(), callGRPC, nil}}
	if f.options.TLS {
		config, err := f.trust()
		if err != nil {
			return err
		}
		listeners = append(listeners, listener{httpListener + " and TLS", f.TLS(), callHTTP, config}, listener{grpcListener + " and TLS", f.TLS(), callGRPC, config})
	}
	for _, l := range listeners {
		err := poll(ctx, func(ctx context.Context) error { return l.call(ctx, l.config, l.address, f.probeID()) })
		if err != nil {
			return fmt.Errorf("no response came through nginx over %s (%s): %w; nginx's error log is %s",
				l.protocol, l.address, err, f.LogFile(scenario.Nginx))
		}
	}
	return nil
}

func callHTTP(ctx context.Context, config *tls.Config, address, id string) error {
	code, _, err := get(ctx, config, address, "/", id)
	if err == nil && (code == http.StatusBadGateway || code == http.StatusServiceUnavailable || code == http.StatusGatewayTimeout) {
		err = fmt.Errorf("HTTP status %d", code)
	}
	return err
}

// callGRPC makes no retries: poll sends another probe, and each has an ID of its own.
func callGRPC(ctx context.Context, config *tls.Config, address, id string) error {
	transport := insecure.NewCredentials()
	if config != nil {
		transport = credentials.NewTLS(config)
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(transport), grpc.WithDisableRetry(), grpc.WithUserAgent("trivet"))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = whoamiv1.NewWhoAmIServiceClient(conn).WhoAmI(metadata.AppendToOutgoingContext(ctx, "x-request-id", id), &whoamiv1.WhoAmIRequest{})
	if ctx.Err() == nil && status.Code(err) != codes.Unavailable {
		return nil
	}
	return err
}
