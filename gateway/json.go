package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
)

func newJSON() *runtime.JSONPb {
	return &runtime.JSONPb{MarshalOptions: protojson.MarshalOptions{
		// A field that is empty is an answer too: a reader sees that it is there, and that it is empty.
		EmitUnpopulated: true,
	}}
}

// lines ends each message with a newline, so that a terminal's prompt does not stick to it. It also takes out the white
// space that protojson puts in at random, differently in each build, to keep people from comparing bytes: here what a
// person reads, what nginx writes for its own errors and what the docs show look the same.
type lines struct{ *runtime.JSONPb }

func (l lines) Marshal(v any) ([]byte, error) {
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

// WriteError answers with httpStatus and the error as JSON: {"code":5,"message":"…","details":[]}, where code is the
// gRPC code by number. Every error of the REST door looks like this.
func WriteError(w http.ResponseWriter, httpStatus int, code codes.Code, message string) {
	// A message may repeat bytes of the caller's, and protobuf's strings are UTF-8.
	body, err := lines{newJSON()}.Marshal(status.New(code, strings.ToValidUTF8(message, "\ufffd")).Proto())
	if err != nil {
		panic(err) // A status holds a number and a valid string: there is nothing left that could fail.
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(httpStatus)
	w.Write(body)
}

// writeStatus answers with an error of the implementation or of the mapping, under the HTTP status that grpc-gateway
// gives its code.
func writeStatus(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
	s := status.Convert(err)
	WriteError(w, runtime.HTTPStatusFromCode(s.Code()), s.Code(), s.Message())
}
