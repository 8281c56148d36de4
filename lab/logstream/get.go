package logstream

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// prober uses a new connection for each probe, so that a balancer of connections may send each to another nginx.
var prober = &http.Client{
	Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       (&net.Dialer{Timeout: 500 * time.Millisecond}).DialContext,
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// get sends a probe to an address. Any response will do.
func get(ctx context.Context, address, id string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "trivet")
	request.Header.Set("X-Request-Id", id)
	response, err := prober.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}
