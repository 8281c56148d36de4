// Command bare is what whoami is compared with: a net/http handler and a grpc-go server with nothing but their defaults, which answer the
// same bytes as an instance and do nothing else.
package main

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	whoamiv1 "trivet/gen/whoami/v1"
)

func main() {
	httpAddress := flag.String("http", "", "address of the HTTP door, host:port")
	grpcAddress := flag.String("grpc", "", "address of the gRPC door, host:port")
	body := flag.String("body", "", "what GET / answers, in base64")
	message := flag.String("message", "", "what WhoAmI answers: a WhoAmIResponse in base64")
	flag.Parse()
	if err := serve(*httpAddress, *grpcAddress, *body, *message); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

// serve serves until something fails.
func serve(httpAddress, grpcAddress, body, message string) error {
	text, err := base64.StdEncoding.DecodeString(body)
	if err != nil {
		return err
	}
	encoded, err := base64.StdEncoding.DecodeString(message)
	if err != nil {
		return err
	}
	answer := &whoamiv1.WhoAmIResponse{}
	if err := proto.Unmarshal(encoded, answer); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", grpcAddress)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	whoamiv1.RegisterWhoAmIServiceServer(server, &service{answer: answer})
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(listener) }()
	go func() { failed <- http.ListenAndServe(httpAddress, handler{text}) }()
	return <-failed
}

// handler writes the same headers and bytes as an instance.
type handler struct{ body []byte }

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Instance", "whoami-1")
	w.Header().Set("X-Request-Id", r.Header.Get("X-Request-Id"))
	_, _ = w.Write(h.body)
}

// service answers the same message, and the same metadata.
type service struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
	answer *whoamiv1.WhoAmIResponse
}

func (s *service) WhoAmI(ctx context.Context, _ *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	id := ""
	if md, ok := metadata.FromIncomingContext(ctx); ok && len(md["x-request-id"]) > 0 {
		id = md["x-request-id"][0]
	}
	if err := grpc.SetHeader(ctx, metadata.Pairs("x-instance", "whoami-1", "x-request-id", id)); err != nil {
		return nil, err
	}
	return s.answer, nil
}
