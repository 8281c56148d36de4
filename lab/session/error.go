package session

import (
	"errors"
	"fmt"

	"trivet/lab/fleet"
	"trivet/nginx/confedit"
)

// Kinds of an Error.
const (
	Value   = "value"   // what was asked for cannot be
	State   = "state"   // not now
	Refused = "refused" // by nginx
)

// An Error is why something that a person asked for was not done. Other errors are failures of the lab.
type Error struct {
	Kind   string // Value, State or Refused
	Text   string // a sentence
	Detail string // of Refused: nginx's own lines, or which edit does not fit
	err    error
}

func (e *Error) Error() string {
	if e.Detail != "" {
		return e.Text + ": " + e.Detail
	}
	return e.Text
}

func (e *Error) Unwrap() error { return e.err }

func wrong(text string, args ...any) error {
	return &Error{Kind: Value, Text: fmt.Sprintf(text, args...)}
}

func notNow(text string, args ...any) error {
	return &Error{Kind: State, Text: fmt.Sprintf(text, args...)}
}

// refusal is the Error for a configuration that does not fit, or that nginx refuses; nil if err is neither.
func refusal(err error, message func(string) string) *Error {
	if _, ok := errors.AsType[*confedit.Error](err); ok {
		return &Error{Kind: Refused, Text: "the setting does not fit nginx's configuration, and nothing was changed", Detail: message(err.Error()), err: err}
	}
	if errors.Is(err, fleet.ErrConf) {
		return &Error{Kind: Refused, Text: "nginx refuses the setting, and nothing was changed", Detail: message(err.Error()), err: err}
	}
	return nil
}
