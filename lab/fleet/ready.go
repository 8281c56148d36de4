package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/nginx"
)

// How often something that is not there yet is asked for: soon again at first, and never so often that the asking is what keeps it.
const (
	firstPoll = 2 * time.Millisecond
	mostPoll  = 100 * time.Millisecond
	onePoll   = 2 * time.Second // One question takes no longer.
)

// poll asks until there is no error. When the context ends first, the error is its cause with the last answer.
func poll(ctx context.Context, question func(context.Context) error) error {
	for wait := firstPoll; ; wait = min(2*wait, mostPoll) {
		once, cancel := context.WithTimeout(ctx, onePoll)
		err := question(once)
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

// OwnRequestID is the id of every request that a fleet makes to see whether its processes serve: in logs and records it tells them from
// anybody else's.
const OwnRequestID = "trivet-fleet"

// caller asks each time on a new connection: what serves now may be another process than before.
var caller = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// get is the body and the header of a 200 from url.
func get(ctx context.Context, url string) ([]byte, http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("User-Agent", "trivet")
	request.Header.Set("X-Request-Id", OwnRequestID)
	answer, err := caller.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", url, answer.Status)
	}
	return body, answer.Header, err
}

// awaitReadyz returns when the instance of that name is ready. A stranger who took its port is not.
func awaitReadyz(ctx context.Context, name, address string) error {
	return poll(ctx, func(ctx context.Context) error {
		_, header, err := get(ctx, "http://"+address+"/readyz")
		if who := header.Get("X-Instance"); err == nil && who != name {
			err = fmt.Errorf("%s answers as %q and not as %s", address, who, name)
		}
		return err
	})
}

// awaitListening returns when connections to all addresses are taken. It asks nothing, so that nothing of it is in a log.
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

// callThrough returns when a WhoAmI answer has come through nginx on both protocols.
func (f *Fleet) callThrough(ctx context.Context) error {
	conn, err := grpc.NewClient("passthrough:///"+f.GRPC(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(nginx.ServiceConfig), grpc.WithUserAgent("trivet"))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := whoamiv1.NewWhoAmIServiceClient(conn)
	own := func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, "x-request-id", OwnRequestID)
	}
	for _, door := range []struct {
		protocol, address string
		ask               func(context.Context) (*whoamiv1.WhoAmIResponse, error)
	}{
		{"HTTP", f.HTTP(), func(ctx context.Context) (*whoamiv1.WhoAmIResponse, error) { return askREST(ctx, f.HTTP()) }},
		{"gRPC", f.GRPC(), func(ctx context.Context) (*whoamiv1.WhoAmIResponse, error) {
			return client.WhoAmI(own(ctx), &whoamiv1.WhoAmIRequest{})
		}},
	} {
		err := poll(ctx, func(ctx context.Context) error {
			answer, err := door.ask(ctx)
			if err == nil && answer.GetInstance() == "" {
				err = errors.New("the answer names no instance")
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("no WhoAmI answer came through nginx over %s (%s): %w; nginx's error log is %s",
				door.protocol, door.address, err, f.LogFile(Nginx))
		}
	}
	return nil
}

func askREST(ctx context.Context, address string) (*whoamiv1.WhoAmIResponse, error) {
	body, _, err := get(ctx, "http://"+address+"/")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Instance string `json:"instance"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("http://%s/ answers no WhoAmI: %w", address, err)
	}
	return &whoamiv1.WhoAmIResponse{Instance: answer.Instance}, nil
}
