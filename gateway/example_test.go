package gateway_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"trivet/gateway"
	"trivet/internal/notes"
)

// needToken is an interceptor that rejects calls without credentials; it protects both REST and gRPC.
func needToken(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if token := metadata.ValueFromIncomingContext(ctx, "authorization"); len(token) == 0 {
		return nil, status.Error(codes.Unauthenticated, "Bearer")
	}
	return handler(ctx, req)
}

func ExampleNew() {
	interceptors := []grpc.UnaryServerInterceptor{needToken}
	service := &notes.Service{}

	// The gRPC server, for its own listener.
	server := grpc.NewServer(grpc.ChainUnaryInterceptor(interceptors...))
	defer server.Stop()
	service.Register(server)

	// REST: the same service, through the same interceptors.
	conn := gateway.NewConn(interceptors, nil)
	service.Register(conn)
	rest, err := gateway.New(context.Background(), conn, gateway.Options{}, notes.Mapping)
	if err != nil {
		log.Fatal(err)
	}

	listener := httptest.NewServer(rest)
	defer listener.Close()
	for _, token := range []string{"", "Bearer secret"} {
		r, err := http.NewRequest("GET", listener.URL+"/v1/topics/inbox/notes/1", nil)
		if err != nil {
			log.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", token)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			log.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		fmt.Print(response.Status, " ", string(body))
	}
	// Output:
	// 401 Unauthorized {"code":16,"message":"Bearer","details":[]}
	// 404 Not Found {"code":5,"message":"no note 1 in topic \"inbox\"","details":[]}
}
