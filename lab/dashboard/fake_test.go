package dashboard

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"trivet/lab/feed"
)

// eventTimeout is longer than anything takes here, however busy the machine.
const eventTimeout = time.Minute

// script is a source whose messages the test adds.
type script struct {
	mu     sync.Mutex
	all    []feed.Message
	news   []feed.Message
	err    error
	closed bool
}

func newScript() *script { return &script{all: []feed.Message{{Hello: &feed.Hello{V: feed.Version}}}} }

func (s *script) Advance() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		panic("the source is used after it was closed")
	}
	return s.err
}

func (s *script) Changed() []feed.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	news := s.news
	s.news = nil
	return news
}

func (s *script) Snapshot() []feed.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		panic("the source is used after it was closed")
	}
	return slices.Clone(s.all)
}

// add makes an event happen.
func (s *script) add(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := feed.Message{Event: &feed.Event{N: len(s.all) - 1, Text: text}}
	s.all, s.news = append(s.all, m), append(s.news, m)
}

// doer is a Control that writes down what it was asked for.
type doer struct {
	mu    sync.Mutex
	asked []string
	fail  error
	state string
}

func (d *doer) did(what string, args any) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	text, err := json.Marshal(args)
	d.asked = append(d.asked, what+" "+string(text))
	return errors.Join(d.fail, err)
}

func (d *doer) done() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.asked, "\n")
}

func (d *doer) State() json.RawMessage {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state == "" {
		return json.RawMessage(`{"history":0}`)
	}
	return json.RawMessage(d.state)
}
func (d *doer) CheckLoad(l Load) error {
	if l.HTTP < 0 {
		return fmt.Errorf("http is %v", l.HTTP)
	}
	return nil
}
func (d *doer) SetLoad(_ context.Context, l Load) error { return d.did("load", l) }
func (d *doer) StopLoad(context.Context) error          { return d.did("stop", 0) }
func (d *doer) Act(_ context.Context, action, process string) error {
	return d.did("act", []string{action, process})
}
func (d *doer) SetNginx(_ context.Context, settings map[string]string) error {
	return d.did("nginx", settings)
}
func (d *doer) Request(_ context.Context, protocol string) (json.RawMessage, error) {
	return json.RawMessage(`{"id":"1"}`), d.did("request", protocol)
}
func (d *doer) Experiment(context.Context) (string, string, error) {
	return "mine", "question: <b>\n", d.did("experiment", 0)
}

var assets = fstest.MapFS{
	"index.html": {Data: []byte(`<head><title>Trivet</title></head>`)},
	"main.js":    {Data: []byte("export const main = 1;\n")},
}

// served is a server on a port of the kernel's choice.
type served struct {
	*Server
	t       *testing.T
	address string
	source  *script
	control *doer
	stop    context.CancelFunc
	ended   chan struct{}
}

// serve starts one. The control may be nil.
func serve(t *testing.T, control *doer, stories Stories) *served {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &served{t: t, address: listener.Addr().String(), source: newScript(), control: control, ended: make(chan struct{})}
	o := Options{Assets: assets, Source: s.source, Stories: stories}
	if control != nil {
		o.Control = control
	}
	s.Server = New(o)
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() {
		defer close(s.ended)
		if err := s.Serve(ctx, listener, func() string { return "it has ended" }); err != nil {
			t.Error(err)
		}
		s.source.mu.Lock()
		defer s.source.mu.Unlock()
		s.source.closed = true
	}()
	t.Cleanup(func() {
		cancel()
		<-s.ended
	})
	return s
}

// change returns a request that the page would send.
func (s *served) change(path, body string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodPost, "http://"+s.address+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(tokenHeader, s.token)
	r.Header.Set("Origin", "http://"+s.address)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r
}

// client keeps no connections.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: eventTimeout}

// page is one that reads the feed.
type page struct {
	t        *testing.T
	response *http.Response
	lines    *bufio.Reader
}

// open opens a feed.
func (s *served) open() *page {
	s.t.Helper()
	response, err := client.Get("http://" + s.address + "/api/feed")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { response.Body.Close() })
	if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || kind != "text/event-stream" {
		s.t.Fatalf("%s, %s", response.Status, kind)
	}
	return &page{s.t, response, bufio.NewReader(response.Body)}
}

// next returns the next message.
func (p *page) next() feed.Message {
	p.t.Helper()
	for {
		line, err := p.lines.ReadString('\n')
		if err != nil {
			p.t.Fatalf("the feed ends: %v", err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var m feed.Message
			if err := json.Unmarshal([]byte(data), &m); err != nil {
				p.t.Fatal(err)
			}
			return m
		}
	}
}

// until reads up to an event with that text, and returns what came before.
func (p *page) until(text string) (before []feed.Message) {
	p.t.Helper()
	for {
		m := p.next()
		if m.Event != nil && m.Event.Text == text {
			return before
		}
		before = append(before, m)
	}
}
