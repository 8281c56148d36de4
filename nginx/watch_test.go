package nginx

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// watching starts an instance's HTTP listener whose /watch sends a line per value of next.
func watching(t *testing.T, next <-chan int) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			return
		case "/hang":
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", r.Header.Get("Accept"))
		w.WriteHeader(http.StatusOK)
		for {
			if err := http.NewResponseController(w).Flush(); err != nil {
				return
			}
			select {
			case n := <-next:
				fmt.Fprintf(w, "{\"sequence\":%d,\"id\":%q}\n", n, r.Header.Get("X-Request-Id"))
			case <-r.Context().Done():
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// watch opens a stream that ends with ctx.
func watch(ctx context.Context, t *testing.T, addr string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/watch?interval=1h", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("X-Request-Id", "watch")
	resp, err := (&http.Transport{}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// TestHTTPStreamsPassMessageByMessage checks that each message arrives before the next is sent, and that only streams may be silent.
func TestHTTPStreamsPassMessageByMessage(t *testing.T) {
	next := make(chan int)
	b := startNginx(t, []Server{{watching(t, next), free(t)}}, edit{"http-locations.conf", "proxy_read_timeout 10s", "proxy_read_timeout 200ms"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	resp := watch(ctx, t, b.HTTP)
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("X-Request-Id") != "watch" {
		t.Fatalf("%s, %v", resp.Status, resp.Header)
	}
	lines := bufio.NewReader(resp.Body)
	for n := range 5 {
		if n == 3 { // Meanwhile, another request reaches its read timeout.
			if status, _, body, err := raw(t, b.HTTP, get("slow", "/hang")); err != nil || status != 504 {
				t.Fatalf("%d, %v: %s", status, err, body)
			}
		}
		select {
		case next <- n:
		case <-ctx.Done():
			t.Fatalf("message %d: the stream has ended", n)
		}
		text, err := lines.ReadBytes('\n')
		var message struct {
			Sequence int
			ID       string
		}
		if err := json.Unmarshal(text, &message); err != nil || message.Sequence != n || message.ID != "watch" {
			t.Fatalf("%q, %v", text, err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestHTTPStreamsAreBounded checks that streams leave connections for other requests.
func TestHTTPStreamsAreBounded(t *testing.T) {
	const most = 3
	b := startNginx(t, []Server{{watching(t, nil), free(t)}},
		edit{"http-stream.conf", "limit_conn http_streams 250;", fmt.Sprintf("limit_conn http_streams %d;", most)})
	ctx, leave := context.WithTimeout(t.Context(), time.Minute)
	defer leave()
	for n := range most {
		if resp := watch(ctx, t, b.HTTP); resp.StatusCode != 200 {
			t.Fatalf("with %d streams open: %s", n, resp.Status)
		}
	}
	refused := watch(ctx, t, b.HTTP)
	body, err := io.ReadAll(refused.Body)
	if err != nil || refused.StatusCode != 429 {
		t.Fatalf("%s, %v: %s", refused.Status, err, body)
	}
	if a := decode(t, body); a.Code != 8 || !strings.Contains(a.Message, "too many requests or streams") {
		t.Errorf("%+v", a)
	}
	if status, _, body, err := raw(t, b.HTTP, get("other", "/", "Connection: close")); err != nil || status != 200 {
		t.Errorf("request beside them: %d, %v: %s", status, err, body)
	}
	leave()
	await(t, func() bool {
		resp := watch(t.Context(), t, b.HTTP)
		defer resp.Body.Close()
		return resp.StatusCode == 200
	})
}
