// Command bare is what whoami is compared with: a net/http handler and a grpc-go server with nothing but their defaults. They send an
// instance's headers and responses of the same shape from memory, and do nothing else. It takes the flags of whoami that bench uses.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/buildinfo"
)

func main() {
	instance := flag.String("instance", "", "the instance's name")
	port := flag.Int("port", 0, "port of 127.0.0.1 for HTTP")
	grpcPort := flag.Int("grpc-port", 0, "port of 127.0.0.1 for gRPC")
	_ = flag.String("admin-port", "", "ignored: there is no admin listener")
	size := flag.Int("size", 0, "bytes that responses have at least")
	flag.Parse()
	if err := serve(*instance, *port, *grpcPort, *size); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

// serve serves until a listener fails.
func serve(instance string, port, grpcPort, size int) error {
	hostname, err := os.Hostname()
	if err != nil {
		return err
	}
	response := &whoamiv1.WhoAmIResponse{
		Instance: instance, Port: uint32(port), Protocol: "http", Environment: "dev", Hostname: hostname, Version: buildinfo.String(), StartTime: timestamppb.Now(),
		Caller: &whoamiv1.Caller{PeerAddress: "127.0.0.1:50000", ForwardedFor: "127.0.0.1", RequestId: strings.Repeat("0", 32)},
	}
	body, err := protojson.Marshal(response)
	if err != nil {
		return err
	}
	if missing := size - len(body); missing > 0 {
		response.Hostname += strings.Repeat("x", missing)
		if body, err = protojson.Marshal(response); err != nil {
			return err
		}
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", grpcPort))
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	whoamiv1.RegisterWhoAmIServiceServer(server, &service{instance: instance, response: response})
	failed := make(chan error)
	go func() { failed <- server.Serve(listener) }()
	go func() { failed <- http.ListenAndServe(fmt.Sprintf("127.0.0.1:%d", port), &handler{instance, body}) }()
	return <-failed
}

const watchInterval = 10 * time.Millisecond

// handler serves GET / and GET /watch.
type handler struct {
	instance string
	body     []byte
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Instance", h.instance)
	w.Header().Set("X-Request-Id", r.Header.Get("X-Request-Id"))
	if r.URL.Path != "/watch" {
		_, _ = w.Write(h.body)
		return
	}
	for tick := time.Tick(watchInterval); ; {
		fmt.Fprintf(w, "%s\n", h.body)
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-tick:
		}
	}
}

// service serves both methods over gRPC.
type service struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
	instance string
	response *whoamiv1.WhoAmIResponse
}

func (s *service) header(ctx context.Context) metadata.MD {
	id := ""
	if md, ok := metadata.FromIncomingContext(ctx); ok && len(md["x-request-id"]) > 0 {
		id = md["x-request-id"][0]
	}
	return metadata.Pairs("x-instance", s.instance, "x-request-id", id)
}

func (s *service) WhoAmI(ctx context.Context, _ *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	return s.response, grpc.SetHeader(ctx, s.header(ctx))
}

func (s *service) WatchWhoAmI(_ *whoamiv1.WatchWhoAmIRequest, stream grpc.ServerStreamingServer[whoamiv1.WatchWhoAmIResponse]) error {
	if err := stream.SetHeader(s.header(stream.Context())); err != nil {
		return err
	}
	tick := time.Tick(watchInterval)
	for n := uint64(1); ; n++ {
		if err := stream.Send(&whoamiv1.WatchWhoAmIResponse{Sequence: n, Answer: s.response}); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-tick:
		}
	}
}
