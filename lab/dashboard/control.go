package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"trivet/internal/nearest"
)

// A Control is what a person does to a fleet that runs. Its methods may be called concurrently. The context ends with the server. An error
// that is a Refusal has its own status.
type Control interface {
	// State is the control message: what can be done, and what is set.
	State() json.RawMessage
	// CheckLoad returns the error that SetLoad returns for values that no load can have.
	CheckLoad(Load) error
	// SetLoad starts a load, or changes the one that runs. Without any rate and stream it stops it.
	SetLoad(context.Context, Load) error
	StopLoad(context.Context) error
	// Act carries out an action on an instance or on nginx.
	Act(ctx context.Context, action, process string) error
	// SetNginx sets nginx's settings, by name, to one of their values.
	SetNginx(context.Context, map[string]string) error
	// Request sends one request over a protocol, and returns its story.
	Request(ctx context.Context, protocol string) (json.RawMessage, error)
	// Experiment is what was done, as the file of an experiment.
	Experiment(context.Context) (name, yaml string, err error)
}

// A Load is what is sent to nginx.
type Load struct {
	HTTP, GRPC float64 // requests per second
	Streams    int     // held open
	DeadlineMS int     // of each request; 0: the usual one
	Retry      bool    // whether clients send a request again that failed
}

// A change does something with a request's body, and returns the response.
type change func(ctx context.Context, body []byte) (any, error)

// empty is the response to what has no other.
type empty struct{}

// actions are the endpoints that change something.
func (s *Server) actions() map[string]change {
	c := s.options.Control
	return map[string]change{
		"/api/load": func(ctx context.Context, body []byte) (any, error) {
			var l Load
			err := decode(body, fields{"http": &l.HTTP, "grpc": &l.GRPC, "streams": &l.Streams, "deadline_ms": &l.DeadlineMS, "retry": &l.Retry})
			if err != nil {
				return nil, both(err, c.CheckLoad(l)) // What could not be read has no value, which is right.
			}
			return empty{}, c.SetLoad(ctx, l)
		},
		"/api/load/stop": func(ctx context.Context, body []byte) (any, error) {
			if err := decode(body, nil); err != nil {
				return nil, err
			}
			return empty{}, c.StopLoad(ctx)
		},
		"/api/action": func(ctx context.Context, body []byte) (any, error) {
			var action, process string
			if err := decode(body, fields{"action": &action, "process": &process}); err != nil {
				return nil, err
			}
			return empty{}, c.Act(ctx, action, process)
		},
		"/api/nginx": func(ctx context.Context, body []byte) (any, error) {
			settings, err := texts(body)
			if err != nil {
				return nil, err
			}
			return empty{}, c.SetNginx(ctx, settings)
		},
		"/api/request": func(ctx context.Context, body []byte) (any, error) {
			var protocol string
			if err := decode(body, fields{"protocol": &protocol}); err != nil {
				return nil, err
			}
			return c.Request(ctx, protocol)
		},
		"/api/experiment": func(ctx context.Context, body []byte) (any, error) {
			if err := decode(body, nil); err != nil {
				return nil, err
			}
			name, yaml, err := c.Experiment(ctx)
			return struct {
				Name string `json:"name"`
				YAML string `json:"yaml"`
			}{name, yaml}, err
		},
	}
}

// fields are those that an object may have: a *float64, *int, *bool or *string for each value.
type fields map[string]any

// object reads an object.
func object(body []byte) (map[string]json.RawMessage, error) {
	var values map[string]json.RawMessage
	err := json.Unmarshal(body, &values)
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		err = errors.New("it is of type " + e.Value)
	} else if err == nil && values == nil {
		err = errors.New("it is null")
	}
	if err != nil {
		return nil, malformed(err)
	}
	return values, nil
}

// texts reads an object whose values are texts. The error names all that are not.
func texts(body []byte) (map[string]string, error) {
	values, err := object(body)
	if err != nil {
		return nil, err
	}
	all, known := make(map[string]string), make(fields)
	for name := range values {
		known[name] = new(string)
	}
	err = decode(body, known)
	for name, text := range known {
		all[name] = *text.(*string)
	}
	return all, err
}

// both is an error about one body, if another says more about it.
func both(err, more error) error {
	if more == nil {
		return err
	}
	return &Refusal{Code: http.StatusBadRequest, Text: err.Error() + "; " + more.Error()}
}

// decode reads an object. The error names all that is wrong with it.
func decode(body []byte, known fields) error {
	values, err := object(body)
	if err != nil {
		return err
	}
	var wrong []string
	names := slices.Sorted(maps.Keys(known))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := values[name]
		into, ok := known[name]
		switch {
		case !ok && len(known) == 0:
			wrong = append(wrong, fmt.Sprintf("unknown field %s: there is none", strconv.Quote(name)))
		case !ok:
			wrong = append(wrong, fmt.Sprintf("unknown field %s%s; there are: %s", strconv.Quote(name), nearest.Hint(name, names), strings.Join(names, ", ")))
		case string(value) == "null" || json.Unmarshal(value, into) != nil:
			wrong = append(wrong, fmt.Sprintf("%s is %s: want %s", name, value, wanted(into)))
		}
	}
	if len(wrong) > 0 {
		return &Refusal{Code: http.StatusBadRequest, Text: strings.Join(wrong, "; ")}
	}
	return nil
}

// wanted says what a field takes.
func wanted(into any) string {
	switch into.(type) {
	case *bool:
		return "true or false"
	case *string:
		return "a text"
	case *int:
		return "a whole number"
	}
	return "a number"
}

func malformed(err error) error {
	return &Refusal{Code: http.StatusBadRequest, Text: "the body is not the JSON object that it should be: " + err.Error()}
}
