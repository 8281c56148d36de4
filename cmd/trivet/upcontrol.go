package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"trivet/lab/dashboard"
	"trivet/lab/session"
	"trivet/lab/story"
)

// upControl is what the page of trivet up can do: a session, with errors that have a status of HTTP.
type upControl struct {
	session  *session.Session
	records  bool // instances write records where stories come from
	stopping atomic.Bool
}

// refusal gives an error its status.
func (c *upControl) refusal(err error) error {
	if err != nil && c.stopping.Load() {
		return &dashboard.Refusal{Code: http.StatusConflict, Text: "trivet up is stopping"}
	}
	e, ok := errors.AsType[*session.Error](err)
	if !ok {
		return err
	}
	codes := map[string]int{session.Value: http.StatusBadRequest, session.State: http.StatusConflict, session.Refused: http.StatusUnprocessableEntity}
	return &dashboard.Refusal{Code: codes[e.Kind], Text: e.Text, Detail: e.Detail}
}

// State is the control message.
func (c *upControl) State() json.RawMessage {
	text, err := json.Marshal(c.session.Control())
	if err != nil {
		panic(err) // Its values are plain.
	}
	return text
}

// CheckLoad returns an error if there can be no such load.
func (c *upControl) CheckLoad(l dashboard.Load) error { return c.refusal(session.Load(l).Check()) }

// SetLoad starts a load or changes it.
func (c *upControl) SetLoad(ctx context.Context, l dashboard.Load) error {
	return c.refusal(c.session.SetLoad(ctx, session.Load(l)))
}

// StopLoad stops it.
func (c *upControl) StopLoad(ctx context.Context) error { return c.refusal(c.session.StopLoad(ctx)) }

// Act carries out an action.
func (c *upControl) Act(ctx context.Context, action, process string) error {
	return c.refusal(c.session.Do(ctx, action, process))
}

// SetNginx changes nginx's settings.
func (c *upControl) SetNginx(ctx context.Context, settings map[string]string) error {
	return c.refusal(c.session.SetNginx(ctx, settings))
}

// Request sends one request.
func (c *upControl) Request(ctx context.Context, protocol string) (json.RawMessage, error) {
	_, t, err := c.session.Request(ctx, protocol)
	if err != nil {
		return nil, c.refusal(err)
	}
	return json.Marshal(story.Of(t, story.Options{NoInstances: !c.records}))
}

// Experiment is what was done.
func (c *upControl) Experiment(context.Context) (name, yaml string, err error) {
	name = "saved-" + time.Now().Format("20060102-150405")
	text, err := c.session.History().YAML(name, "")
	if err != nil {
		return "", "", &dashboard.Refusal{Code: http.StatusConflict, Text: err.Error()}
	}
	return name, string(text), nil
}
