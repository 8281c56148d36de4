// Package dashboard serves the page over HTTP: its assets, a feed as server-sent events, stories of requests, and what a person can do to a
// fleet that runs.
//
// Browsers reach it from any web page, so it trusts none: [Server] says what it refuses.
package dashboard

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"trivet/internal/connlimit"
	"trivet/lab/feed"
)

const (
	// heartbeat is how often a feed sends an event without a message: so the page and this side learn of a broken connection, and the page of a
	// process that is stopped.
	heartbeat = 5 * time.Second
	// writeTimeout is how long a page may take to receive a message. One that sleeps for longer reconnects.
	writeTimeout = 30 * time.Second
	// actionTimeout is how long a response to what a person does may take: instances may drain for long.
	actionTimeout = 5 * time.Minute
	// flushGrace is how long pages have to receive the End, and closeGrace how long connections have to close after it.
	flushGrace, closeGrace = 700 * time.Millisecond, 200 * time.Millisecond
	// mostConnections bounds what clients can make the server open.
	mostConnections = 500
	// mostBody is the largest body of a request, in bytes.
	mostBody = 8 << 10
)

// Options describe a server.
type Options struct {
	Assets  fs.FS       // index.html, and what it refers to as assets/NAME
	Hello   *feed.Hello // of a source whose snapshots have none
	Source  Source
	Stories Stories     // nil: there are none
	Live    bool        // times in stories are times of day, not since the begin of the trial
	Control Control     // nil: the page only shows
	Problem func(error) // gets an error of the source when it appears; nil: none
}

// A Server serves the page. It refuses
//   - a request whose Host is not this machine: the name of another web page can be made to lead here (DNS rebinding);
//   - what another web page sends: by Origin and Sec-Fetch-Site;
//   - a request that changes something without the token, which only the page of this server has.
//
// It lets no other page read a response, and makes browsers run and load nothing but its own assets.
type Server struct {
	options Options
	token   string
	hub     *hub
	base    context.Context // of what a person does: it goes on if the page leaves, until End
	cancel  context.CancelFunc
	serving atomic.Int64 // requests
	reading sync.Mutex   // records, for a story
}

// New returns a server.
func New(o Options) *Server {
	if o.Problem == nil {
		o.Problem = func(error) {}
	}
	s := &Server{options: o, token: rand.Text()}
	var control func() json.RawMessage
	if o.Control != nil {
		control = o.Control.State
	}
	if o.Hello != nil {
		o.Source = greeting{o.Source, *o.Hello}
	}
	s.hub = newHub(o.Source, control, o.Problem)
	s.base, s.cancel = context.WithCancel(context.Background())
	return s
}

// Serve serves on a listener, which it closes, until ctx ends. Then it sends pages the End with that text, and gives them less than a second
// to receive it. It uses the source no longer when it returns.
func (s *Server) Serve(ctx context.Context, listener net.Listener, text func() string) error {
	server := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: writeTimeout, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: log.New(discard{}, "", 0),
	}
	reading, stop := context.WithCancel(ctx)
	var parts sync.WaitGroup
	parts.Go(func() { s.hub.run(reading) })
	failed := make(chan error, 1)
	parts.Go(func() { failed <- server.Serve(connlimit.Listen(listener, mostConnections)) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop()
	s.cancel()
	s.hub.finish(text())
	s.drain(flushGrace)
	s.hub.close()
	grace, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	if server.Shutdown(grace) != nil {
		server.Close()
	}
	parts.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// drain waits until no request is being served, but not for longer than d. Others may begin meanwhile.
func (s *Server) drain(d time.Duration) {
	timeout := time.After(d)
	for s.serving.Load() > 0 {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-timeout:
			return
		}
	}
}

// Soon makes the server read its source now, and not only after a quarter of a second.
func (s *Server) Soon() { s.hub.soon() }

// Pages returns how many pages read the feed.
func (s *Server) Pages() int { return s.hub.count() }

// discard drops what net/http logs: broken connections of clients.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// Handler returns the handler of all routes.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.index)
	mux.Handle("GET /assets/", http.StripPrefix("/assets", http.FileServerFS(files{s.options.Assets})))
	methods := map[string]string{"/api/feed": http.MethodGet, "/api/story": http.MethodGet}
	mux.HandleFunc("GET /api/feed", s.feed)
	mux.HandleFunc("GET /api/story", s.story)
	for path, do := range s.actions() {
		methods[path] = http.MethodPost
		mux.HandleFunc("POST "+path, s.change(do))
	}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		method := methods[r.URL.Path]
		if method == "" {
			refuse(w, &Refusal{Code: http.StatusNotFound, Text: "no such endpoint: " + r.URL.Path})
			return
		}
		w.Header().Set("Allow", method)
		refuse(w, &Refusal{Code: http.StatusMethodNotAllowed, Text: fmt.Sprintf("%s %s: want %s", r.Method, r.URL.Path, method)})
	})
	return s.guard(mux)
}

// files is a file system whose directories cannot be listed.
type files struct{ fs.FS }

func (f files) Open(name string) (fs.File, error) {
	file, err := f.FS.Open(name)
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err != nil || info.IsDir() {
		return nil, errors.Join(fs.ErrNotExist, file.Close())
	}
	return file, nil
}

// feed sends the feed as server-sent events: it begins with a snapshot.
func (s *Server) feed(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Time{}) // A feed outlasts it. Writers of tests have none.
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // For an nginx in between.
	if r.Method == http.MethodHead {
		return
	}
	reader := s.hub.join()
	defer s.hub.leave(reader)
	send := func(frame []byte) bool {
		_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
		_, err := w.Write(frame)
		return err == nil
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		all, ended := s.hub.take(reader)
		for _, frame := range all {
			if !send(frame) {
				return
			}
		}
		if c.Flush() != nil || ended {
			return
		}
		select {
		case <-reader.wake:
		case <-beat.C:
			if !send([]byte("event: alive\ndata: {}\n\n")) {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// A Refusal is an error with a status. A Control returns one if what was asked for cannot be done.
type Refusal struct {
	Code   int    // of HTTP: 400 a value, 409 not in this state, 422 nginx refuses it
	Text   string // a sentence
	Detail string // nginx's own lines
}

func (e *Refusal) Error() string { return e.Text }

// refuse responds with an error.
func refuse(w http.ResponseWriter, err error) {
	body := struct {
		Error  string `json:"error"`
		Detail string `json:"detail,omitempty"`
	}{Error: err.Error()}
	code := http.StatusInternalServerError
	if e, ok := errors.AsType[*Refusal](err); ok {
		body.Detail = e.Detail
		code = cmp.Or(e.Code, code)
	}
	respond(w, code, body)
}

// respond sends a value as JSON.
func respond(w http.ResponseWriter, code int, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		code, text = http.StatusInternalServerError, []byte(`{"error":"the response cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n')) // A client that has left needs none.
}
