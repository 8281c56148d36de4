// Package notes is a second service, for tests. It covers what the WhoAmI service lacks: a POST with a body, path
// parameters, a client stream, an error with details, and headers and trailers of its own.
package notes

import (
	"context"
	"io"
	"sync"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	notesv1 "trivet/internal/notes/v1"
)

// Service keeps notes in memory. The zero value is usable. It may be used concurrently.
type Service struct {
	notesv1.UnimplementedNotesServiceServer
	mutex  sync.Mutex
	topics map[string][]string
}

// Register registers the service on r.
func (s *Service) Register(r grpc.ServiceRegistrar) { notesv1.RegisterNotesServiceServer(r, s) }

// Mapping is the service's REST mapping.
func Mapping(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
	return notesv1.RegisterNotesServiceHandlerClient(ctx, mux, notesv1.NewNotesServiceClient(conn))
}

// CreateNote implements the RPC. It sets the header x-notes and the trailer x-notes-total on success and on failure.
func (s *Service) CreateNote(ctx context.Context, req *notesv1.CreateNoteRequest) (*notesv1.CreateNoteResponse, error) {
	if err := grpc.SetHeader(ctx, metadata.Pairs("x-notes", req.GetTopic())); err != nil {
		return nil, err
	}
	if err := grpc.SetTrailer(ctx, metadata.Pairs("x-notes-total", "1")); err != nil {
		return nil, err
	}
	note, err := s.add(req.GetTopic(), req.GetText())
	if err != nil {
		return nil, err
	}
	return &notesv1.CreateNoteResponse{Note: note}, nil
}

func (s *Service) add(topic, text string) (*notesv1.Note, error) {
	if text == "" {
		empty, err := status.New(codes.InvalidArgument, "text is empty").WithDetails(&notesv1.Note{Topic: topic})
		if err != nil {
			return nil, err
		}
		return nil, empty.Err()
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.topics == nil {
		s.topics = make(map[string][]string)
	}
	s.topics[topic] = append(s.topics[topic], text)
	return &notesv1.Note{Topic: topic, Id: int64(len(s.topics[topic])), Text: text}, nil
}

// GetNote implements the RPC.
func (s *Service) GetNote(_ context.Context, req *notesv1.GetNoteRequest) (*notesv1.GetNoteResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	notes := s.topics[req.GetTopic()]
	if id := req.GetId(); id >= 1 && id <= int64(len(notes)) {
		return &notesv1.GetNoteResponse{Note: &notesv1.Note{Topic: req.GetTopic(), Id: id, Text: notes[id-1]}}, nil
	}
	return nil, status.Errorf(codes.NotFound, "no note %d in topic %q", req.GetId(), req.GetTopic())
}

// UploadNotes implements the RPC.
func (s *Service) UploadNotes(stream grpc.ClientStreamingServer[notesv1.UploadNotesRequest, notesv1.UploadNotesResponse]) error {
	for count := int64(0); ; count++ {
		req, err := stream.Recv()
		if err == io.EOF {
			return stream.SendAndClose(&notesv1.UploadNotesResponse{Count: count})
		}
		if err != nil {
			return err
		}
		if _, err := s.add(req.GetTopic(), req.GetText()); err != nil {
			return err
		}
	}
}

// WaitForNote implements the RPC: it returns when its context ends.
func (*Service) WaitForNote(ctx context.Context, _ *notesv1.WaitForNoteRequest) (*notesv1.WaitForNoteResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
