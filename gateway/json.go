package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

func newJSON() *runtime.JSONPb {
	return &runtime.JSONPb{MarshalOptions: protojson.MarshalOptions{
		// Readers see that the field exists, and that it is empty.
		EmitUnpopulated: true,
	}}
}

// jsonLines marshals each message to one line of JSON. It removes the random white space that protojson adds in some
// builds, so that responses look the same in every build, in nginx's local replies and in the docs.
type jsonLines struct{ *runtime.JSONPb }

// Marshal implements [runtime.Marshaler].
func (l jsonLines) Marshal(v any) ([]byte, error) {
	b, err := l.JSONPb.Marshal(v)
	if err != nil {
		return nil, err
	}
	compact := bytes.NewBuffer(make([]byte, 0, len(b)+1))
	if err := json.Compact(compact, b); err != nil {
		return nil, err
	}
	compact.WriteByte('\n')
	return compact.Bytes(), nil
}

// Delimiter implements [runtime.Delimited]. It is empty, because Marshal adds the newline.
func (jsonLines) Delimiter() []byte { return nil }

// StreamContentType implements [runtime.StreamContentType].
func (jsonLines) StreamContentType(any) string { return "application/x-ndjson" }

// WriteError writes an error as JSON, {"code":5,"message":"…","details":[]}, where code is the number of the gRPC code.
func WriteError(w http.ResponseWriter, httpStatus int, code codes.Code, message string) {
	body, err := jsonLines{newJSON()}.Marshal(printable(status.New(code, message)).Proto())
	if err != nil {
		panic(err) // A status without details is a number and a valid string.
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(httpStatus)
	_, _ = w.Write(body) // It fails if the client has left, which the server notices itself.
}

// writeError writes a service's error with its details and the headers set before it.
func writeError(ctx context.Context, mux *runtime.ServeMux, m runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	if body := requestFrom(r.Context()); body.tooLarge() {
		WriteError(w, http.StatusRequestEntityTooLarge, codes.ResourceExhausted, fmt.Sprintf("message is larger than %d bytes", body.most))
		return
	}
	if sse, ok := m.(serverSentEvents); ok {
		m = sse.jsonLines
	}
	runtime.DefaultHTTPErrorHandler(ctx, mux, m, w, r, printable(status.Convert(err)).Err())
}

// printable returns s in a form that JSON can represent: its message, which may repeat a client's bytes, as valid UTF-8,
// and no details if this program does not know the type of one.
func printable(s *status.Status) *status.Status {
	p := s.Proto()
	p.Message = strings.ToValidUTF8(p.GetMessage(), "\ufffd")
	if len(p.GetDetails()) > 0 {
		if _, err := newJSON().Marshal(p); err != nil {
			p.Details = nil
		}
	}
	return status.FromProto(p)
}

// eventStream is the media type of server-sent events.
const eventStream = "text/event-stream"

// serverSentEvents marshals the messages of a stream to events (https://html.spec.whatwg.org/multipage/server-sent-events.html),
// and an error to an event of type "error". Everything else stays JSON.
type serverSentEvents struct{ jsonLines }

// Marshal implements [runtime.Marshaler].
func (e serverSentEvents) Marshal(v any) ([]byte, error) {
	line, err := e.jsonLines.Marshal(v)
	if err != nil {
		return nil, err
	}
	switch v.(type) {
	case map[string]any: // A message in grpc-gateway's wrapping.
		return append(append([]byte("data: "), line...), '\n'), nil
	case map[string]proto.Message: // The error that ends a stream.
		return append(append([]byte("event: error\ndata: "), line...), '\n'), nil
	}
	return line, nil
}

// ContentType implements [runtime.Marshaler].
func (e serverSentEvents) ContentType(v any) string {
	if _, ok := v.(map[string]proto.Message); ok {
		return eventStream
	}
	return e.jsonLines.ContentType(v)
}

// StreamContentType implements [runtime.StreamContentType].
func (serverSentEvents) StreamContentType(any) string { return eventStream }

// wantsEvents reports whether Accept names text/event-stream, as only event-stream clients do.
func wantsEvents(header http.Header) bool {
	for _, value := range header["Accept"] {
		for one := range strings.SplitSeq(value, ",") {
			if mediaIs(one, eventStream) {
				_, quality, _ := strings.Cut(one, "q=")
				refused := strings.TrimRight(strings.TrimSpace(quality), ".0") == "" && quality != ""
				return !refused
			}
		}
	}
	return false
}

// mediaIs reports whether a media type is want, ignoring parameters.
func mediaIs(value, want string) bool {
	media, _, _ := strings.Cut(value, ";")
	return strings.EqualFold(strings.TrimSpace(media), want)
}
