package gateway

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// NewStream implements [grpc.ClientConnInterface]: it calls a streaming method. The handler runs on a goroutine of its
// own. As in a gRPC server, a panic there ends the process unless an interceptor recovers.
func (c *Conn) NewStream(ctx context.Context, _ *grpc.StreamDesc, name string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	m := c.methods[name]
	if m.stream == nil {
		return nil, status.Errorf(codes.Unimplemented, "no such streaming method: %s", name)
	}
	from := requestFrom(ctx).take()
	from.startStream(m.stream.ClientStreams && m.stream.ServerStreams)
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{
		serverCall: serverCall{method: name, onSend: make(chan struct{})},
		desc:       m.stream,
		client:     ctx,
		from:       from,
		requests:   make(chan proto.Message, window),
		responses:  make(chan proto.Message, window),
		done:       make(chan struct{}),
	}
	s.server = serverContext(ctx, s)
	go func() {
		defer cancel()
		info := &grpc.StreamServerInfo{FullMethod: name, IsClientStream: m.stream.ClientStreams, IsServerStream: m.stream.ServerStreams}
		err := c.stream(m.service, serverStream{s}, info, m.stream.Handler)
		if s.err = io.EOF; err != nil {
			s.err = Status(err).Err()
		}
		from.endStream()
		s.send()
		close(s.done)
	}()
	return clientStream{s}, nil
}

// window is how many messages may wait per direction until the other side receives them. Without it, a service that
// responds before it has read all requests and a client that sends before it reads would wait for each other.
const window = 8

// stream is one streaming call.
type stream struct {
	from *request // over unless it is a REST call
	serverCall
	desc                *grpc.StreamDesc
	client, server      context.Context // per side; both end with the client's context, or when the handler returns
	requests, responses chan proto.Message
	closed              bool          // the client has closed its side; used only by its sender
	done                chan struct{} // closed when the handler has returned
	err                 error         // received by the client after the last response; set before done
}

// message returns a copy of m, because the sender may change m after sending.
func message(m any) (proto.Message, error) {
	p, ok := m.(proto.Message)
	if !ok {
		return nil, status.Errorf(codes.Internal, "in-process call: send %T: want a protobuf message", m)
	}
	return proto.Clone(p), nil
}

// serverStream is the service's side.
type serverStream struct{ *stream }

func (s serverStream) Context() context.Context       { return s.server }
func (s serverStream) SetTrailer(md metadata.MD)      { _ = s.serverCall.SetTrailer(md) }
func (s serverStream) SetHeader(md metadata.MD) error { return s.serverCall.SetHeader(md) }

// SendMsg implements [grpc.ServerStream]. It waits for room for the message.
func (s serverStream) SendMsg(m any) error {
	response, err := message(m)
	if err != nil {
		return err
	}
	s.send()
	select {
	case s.responses <- response:
		return nil
	case <-s.server.Done():
		return status.FromContextError(s.server.Err()).Err()
	}
}

// RecvMsg implements [grpc.ServerStream]. It returns io.EOF after the client's last message.
func (s serverStream) RecvMsg(m any) error {
	select {
	case request, ok := <-s.requests:
		if !ok {
			return io.EOF
		}
		return copyMessage(m, request)
	case <-s.server.Done():
		return status.FromContextError(s.server.Err()).Err()
	}
}

// clientStream is the client's side.
type clientStream struct{ *stream }

func (s clientStream) Context() context.Context { return s.client }

// Header implements [grpc.ClientStream]. It waits until the headers are final. As in grpc-go, RecvMsg returns the error of
// a failed call.
func (s clientStream) Header() (metadata.MD, error) {
	select {
	case <-s.onSend:
	case <-s.client.Done():
	}
	header, _ := s.headers()
	return header, nil
}

// Trailer implements [grpc.ClientStream].
func (s clientStream) Trailer() metadata.MD {
	_, trailer := s.headers()
	return trailer
}

// SendMsg implements [grpc.ClientStream]. Once the handler has returned it returns io.EOF, and RecvMsg the reason; for a
// client that sends a single message it returns nil instead, as grpc-go does and generated code expects.
func (s clientStream) SendMsg(m any) error {
	if s.closed {
		return status.Error(codes.Internal, "in-process call: SendMsg after CloseSend")
	}
	request, err := message(m)
	if err != nil {
		return err
	}
	s.from.nextMessage()
	select {
	case s.requests <- request:
		return nil
	case <-s.client.Done():
	}
	if !s.desc.ClientStreams {
		return nil
	}
	return io.EOF
}

// CloseSend implements [grpc.ClientStream].
func (s clientStream) CloseSend() error {
	if !s.closed {
		s.closed = true
		close(s.requests)
	}
	return nil
}

// RecvMsg implements [grpc.ClientStream]. After the last response it returns io.EOF or the status.
func (s clientStream) RecvMsg(m any) error {
	select {
	case response := <-s.responses:
		return copyMessage(m, response)
	case <-s.client.Done():
	}
	select { // Responses sent before the end.
	case response := <-s.responses:
		return copyMessage(m, response)
	default:
		return s.ended()
	}
}

// ended returns the error that ended the call: the handler's if it has returned, else the context's.
func (s clientStream) ended() error {
	select {
	case <-s.done:
		return s.err
	default:
		return status.FromContextError(s.client.Err()).Err()
	}
}
