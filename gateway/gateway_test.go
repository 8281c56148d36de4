package gateway_test

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"trivet/gateway"
	whoamiv1 "trivet/gen/whoami/v1"
)

// implementation responds by a function, which sees the context from the gateway.
type implementation struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
	respond func(context.Context) (*whoamiv1.WhoAmIResponse, error)
}

func (i implementation) WhoAmI(ctx context.Context, _ *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	return i.respond(ctx)
}

func serve(t *testing.T, respond func(context.Context) (*whoamiv1.WhoAmIResponse, error)) *httptest.Server {
	t.Helper()
	conn := gateway.NewConn(nil, nil)
	whoamiv1.RegisterWhoAmIServiceServer(conn, implementation{respond: respond})
	return serveConn(t, conn, whoAmI, openAPI)
}

// serveConn serves the mappings through conn until the test ends.
func serveConn(t *testing.T, conn grpc.ClientConnInterface, mappings ...gateway.Mapping) *httptest.Server {
	t.Helper()
	rest, err := gateway.New(t.Context(), conn, gateway.Options{}, mappings...)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(rest)
	t.Cleanup(server.Close)
	return server
}

func whoAmI(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
	return whoamiv1.RegisterWhoAmIServiceHandlerClient(ctx, mux, whoamiv1.NewWhoAmIServiceClient(conn))
}

func openAPI(_ context.Context, mux *runtime.ServeMux, _ grpc.ClientConnInterface) error {
	return mux.HandlePath("GET", "/openapi.json", func(w http.ResponseWriter, r *http.Request, _ map[string]string) {
		gateway.OpenAPI("whoami")(w, r)
	})
}

func ok(context.Context) (*whoamiv1.WhoAmIResponse, error) {
	return &whoamiv1.WhoAmIResponse{Instance: "whoami-1"}, nil
}

// do sends a request with headers as name, value, name, value, and returns the response with its body.
func do(t *testing.T, server *httptest.Server, method, path string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for pair := range slices.Chunk(headers, 2) {
		r.Header.Add(pair[0], pair[1])
	}
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestServiceSeesPeerAsOverGRPC(t *testing.T) {
	t.Parallel()
	var seen *peer.Peer
	server := serve(t, func(ctx context.Context) (*whoamiv1.WhoAmIResponse, error) {
		seen, _ = peer.FromContext(ctx)
		return ok(ctx)
	})
	do(t, server, "GET", "/")
	if seen == nil {
		t.Fatal("no peer in the context")
	}
	if got, want := seen.LocalAddr.String(), server.Listener.Addr().String(); got != want {
		t.Errorf("local address %s, want %s", got, want)
	}
	if got := seen.Addr.String(); !strings.HasPrefix(got, "127.0.0.1:") {
		t.Errorf("peer %s, want one on 127.0.0.1", got)
	}
}

func TestOnlyListedHeadersBecomeMetadata(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		headers []string
		key     string
		want    []string
	}{
		{"missing X-Forwarded-For stays missing", nil, "x-forwarded-for", nil},
		{"X-Forwarded-For is unchanged", []string{"X-Forwarded-For", "192.0.2.1"}, "x-forwarded-for", []string{"192.0.2.1"}},
		{"several X-Forwarded-For are joined", []string{"X-Forwarded-For", "192.0.2.1", "X-Forwarded-For", "192.0.2.2"}, "x-forwarded-for", []string{"192.0.2.1, 192.0.2.2"}},
		{"X-Forwarded-Proto passes", []string{"X-Forwarded-Proto", "https"}, "x-forwarded-proto", []string{"https"}},
		{"X-Request-Id passes", []string{"X-Request-Id", "abc"}, "x-request-id", []string{"abc"}},
		{"traceparent passes", []string{"Traceparent", "00-1-2-01"}, "traceparent", []string{"00-1-2-01"}},
		{"tracestate passes", []string{"Tracestate", "a=1"}, "tracestate", []string{"a=1"}},
		{"baggage passes", []string{"Baggage", "a=1"}, "baggage", []string{"a=1"}},
		{"Authorization passes, once", []string{"Authorization", "Bearer x"}, "authorization", []string{"Bearer x"}},
		{"X-Forwarded-User stays out", []string{"X-Forwarded-User", "root"}, "x-forwarded-user", nil},
		{"X-Forwarded-Email stays out", []string{"X-Forwarded-Email", "root@example.com"}, "x-forwarded-email", nil},
		{"X-Forwarded-Groups stays out", []string{"X-Forwarded-Groups", "admin"}, "x-forwarded-groups", nil},
		{"Grpc-Metadata-Authorization stays out", []string{"Grpc-Metadata-Authorization", "Bearer x"}, "authorization", nil},
		{"Cookie stays out", []string{"Cookie", "a=b"}, "cookie", nil},
		{"Grpc-Metadata-* stays out", []string{"Grpc-Metadata-X-Instance", "forged"}, "x-instance", nil},
		{"X-Instance stays out", []string{"X-Instance", "forged"}, "x-instance", nil},
		{"Grpc-Metadata-X-Forwarded-For stays out", []string{"Grpc-Metadata-X-Forwarded-For", "6.6.6.6"}, "x-forwarded-for", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var seen metadata.MD
			server := serve(t, func(ctx context.Context) (*whoamiv1.WhoAmIResponse, error) {
				seen, _ = metadata.FromIncomingContext(ctx)
				return ok(ctx)
			})
			do(t, server, "GET", "/", test.headers...)
			if got := seen.Get(test.key); !slices.Equal(got, test.want) {
				t.Errorf("%s is %q, want %q; all: %v", test.key, got, test.want, seen)
			}
		})
	}
}

func TestGrpcTimeoutHeaderSetsTheDeadline(t *testing.T) {
	t.Parallel()
	server := serve(t, func(ctx context.Context) (*whoamiv1.WhoAmIResponse, error) {
		end, has := ctx.Deadline()
		if left := time.Until(end); has && left > 5*time.Minute && left <= 10*time.Minute {
			return nil, status.Error(codes.Aborted, "in ten minutes")
		}
		if !has {
			return ok(ctx)
		}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	for sent, want := range map[string]int{"": 200, "10M": 409, "600000000u": 409, "1m": 504, "1": 400, "1x": 400, "-1S": 400} {
		var headers []string
		if sent != "" {
			headers = []string{"Grpc-Timeout", sent}
		}
		if response, body := do(t, server, "GET", "/", headers...); response.StatusCode != want {
			t.Errorf("%q: %d, want %d: %s", sent, response.StatusCode, want, body)
		}
	}
}

func TestResponseMetadataKeepsItsName(t *testing.T) {
	t.Parallel()
	server := serve(t, func(ctx context.Context) (*whoamiv1.WhoAmIResponse, error) {
		if err := grpc.SetHeader(ctx, metadata.Pairs("x-teapot", "yes")); err != nil {
			return nil, err
		}
		return ok(ctx)
	})
	response, _ := do(t, server, "GET", "/")
	if got := response.Header.Get("X-Teapot"); got != "yes" {
		t.Errorf("X-Teapot is %q, want yes; all: %v", got, response.Header)
	}
	for name := range maps.Keys(response.Header) {
		if strings.HasPrefix(name, "Grpc-") {
			t.Errorf("%s was sent", name)
		}
	}
}

func TestMethodAndPathDecideStatus(t *testing.T) {
	t.Parallel()
	server := serve(t, ok)
	for _, test := range []struct {
		method, path string
		status       int
		code         float64 // gRPC code in the body; -1 for no error
		allow        string
	}{
		{"GET", "/", 200, -1, ""},
		{"GET", "/?x=1", 200, -1, ""},
		{"HEAD", "/", 200, -1, ""},
		{"OPTIONS", "/", 204, -1, allowed},
		{"POST", "/", 405, 12, allowed},
		{"PUT", "/", 405, 12, allowed},
		{"DELETE", "/", 405, 12, allowed},
		{"PATCH", "/openapi.json", 405, 12, allowed},
		{"GET", "/openapi.json", 200, -1, ""},
		{"HEAD", "/openapi.json", 200, -1, ""},
		{"GET", "/nope", 404, 5, ""},
		{"POST", "/nope", 404, 5, ""},
		{"GET", "//", 404, 5, ""},
		{"GET", "/%ff", 404, 5, ""},
		{"GET", "/whoami.v1.WhoAmIService/WhoAmI", 404, 5, ""},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			t.Parallel()
			response, body := do(t, server, test.method, test.path)
			if response.StatusCode != test.status || response.Header.Get("Allow") != test.allow {
				t.Errorf("%d, Allow %q; want %d, %q", response.StatusCode, response.Header.Get("Allow"), test.status, test.allow)
			}
			if test.method == "HEAD" || test.status == 204 {
				if body != "" {
					t.Errorf("body %q, want none", body)
				}
				return
			}
			wantJSON(t, response, body, test.code)
		})
	}
}

const allowed = "GET, HEAD, OPTIONS"

// wantJSON checks the content type, the final newline and, unless code is -1, the gRPC code of an error.
func wantJSON(t *testing.T, response *http.Response, body string, code float64) {
	t.Helper()
	if got := response.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q, want application/json", got)
	}
	if !strings.HasSuffix(body, "}\n") {
		t.Errorf("no newline at the end of %q", body)
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(body), &object); err != nil {
		t.Fatalf("%v: %q", err, body)
	}
	if code == -1 {
		return
	}
	if object["code"] != code || object["message"] == "" || object["details"] == nil {
		t.Errorf("%s: want code %v, a message, details", body, code)
	}
}

func TestHEADHasTheLengthOfGET(t *testing.T) {
	t.Parallel()
	server := serve(t, ok)
	head, _ := do(t, server, "HEAD", "/")
	_, body := do(t, server, "GET", "/")
	if head.ContentLength != int64(len(body)) {
		t.Errorf("Content-Length %d, want %d", head.ContentLength, len(body))
	}
}

func TestMethodOverrideIsRejected(t *testing.T) {
	t.Parallel()
	server := serve(t, ok)
	response, _ := do(t, server, "POST", "/", "X-HTTP-Method-Override", "GET", "Content-Type", "application/x-www-form-urlencoded")
	if response.StatusCode != 405 {
		t.Errorf("%d, want 405", response.StatusCode)
	}
}

func TestServiceErrorsAreJSONWithTheirCode(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err    error
		status int
		code   float64
	}{
		{status.Error(codes.Unavailable, "draining"), 503, 14},
		{status.Error(codes.InvalidArgument, "no"), 400, 3},
		{status.Error(codes.NotFound, "no"), 404, 5},
		{status.Error(codes.ResourceExhausted, "no"), 429, 8},
		{io.ErrUnexpectedEOF, 500, 2},
		{status.Error(codes.Internal, "not UTF-8: \xff"), 500, 13},
	} {
		t.Run(test.err.Error(), func(t *testing.T) {
			t.Parallel()
			server := serve(t, func(context.Context) (*whoamiv1.WhoAmIResponse, error) { return nil, test.err })
			response, body := do(t, server, "GET", "/")
			if response.StatusCode != test.status {
				t.Errorf("%d, want %d", response.StatusCode, test.status)
			}
			wantJSON(t, response, body, test.code)
		})
	}
}

func TestUnsetFieldsAreShownAndBytesAreStable(t *testing.T) {
	t.Parallel()
	_, body := do(t, serve(t, ok), "GET", "/")
	want := `{"instance":"whoami-1","port":0,"protocol":"","environment":"","hostname":"","version":"","startTime":null,"caller":null,"calls":[]}` + "\n"
	if body != want {
		t.Errorf("got  %s\nwant %s", body, want)
	}
}

func TestOpenAPIIsSwagger2(t *testing.T) {
	t.Parallel()
	_, body := do(t, serve(t, ok), "GET", "/openapi.json")
	var file struct {
		Swagger string
		Paths   map[string]map[string]any
	}
	if err := json.Unmarshal([]byte(body), &file); err != nil {
		t.Fatal(err)
	}
	if file.Swagger != "2.0" || file.Paths["/"]["get"] == nil || file.Paths["/watch"]["get"] == nil || len(file.Paths) != 2 {
		t.Errorf("swagger %q, paths %v", file.Swagger, file.Paths)
	}
}
