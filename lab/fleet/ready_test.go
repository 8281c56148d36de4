package fleet

import (
	"context"
	"strings"
	"testing"
	"time"

	"trivet/nginx/confedit"
)

// Each is a configuration that works: nginx does not pass every request on.
func TestFleetServesWithAnyResponse(t *testing.T) {
	t.Parallel()
	const http, grpc = "http-listener.conf server location /", "grpc-listener.conf server location /"
	for name, edits := range map[string][]confedit.Edit{
		"local replies": {{Context: http, Directive: "return 204"}, {Context: grpc, Directive: "return 204"}},
		"redirection":   {{Context: http, Directive: "return 302 /elsewhere"}},
		"error pages":   {{Context: http, Directive: "return 404"}, {Context: grpc, Directive: "return 403"}},
		"cache": {
			{Context: "http", Directive: "proxy_cache_path cache keys_zone=responses:1m"},
			{Context: http, Directive: "proxy_cache responses"}, {Context: http, Directive: "proxy_cache_valid any 1m"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t, 1)
			o.Edits = edits
			begin(t, o)
		})
	}
}

// Then nginx does not reach the instances, or does not respond.
func TestFleetDoesNotServeWithoutInstancesOrResponse(t *testing.T) {
	t.Parallel()
	const http, grpc = "site/http-pass.conf", "site/grpc-pass.conf"
	for want, edits := range map[string][]confedit.Edit{
		"over HTTP": {{Context: http, Directive: "proxy_pass http://127.0.0.1:1"}},
		"over gRPC": {{Context: grpc, Directive: "grpc_pass grpc://127.0.0.1:1"}},
		"EOF":       {{Context: http, Directive: "return 444"}},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t, 1)
			o.Edits = edits
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			f, err := Start(ctx, o)
			if err == nil {
				t.Error(f.Stop(t.Context()))
			} else if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "no response came through nginx") {
				t.Errorf("got %v", err)
			}
		})
	}
}
