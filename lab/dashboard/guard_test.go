package dashboard

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// send sends a request, and returns the status and the error in the response, else the response.
func (s *served) send(r *http.Request) (code int, text string) {
	s.t.Helper()
	response, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, forbidden := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Headers", "Access-Control-Allow-Credentials"} {
		if value := response.Header.Get(forbidden); value != "" {
			s.t.Errorf("%s %s: %s: %s", r.Method, r.URL.Path, forbidden, value)
		}
	}
	var refusal struct{ Error string }
	if json.Unmarshal(body, &refusal) == nil && refusal.Error != "" {
		return response.StatusCode, refusal.Error
	}
	return response.StatusCode, string(body)
}

// What comes from elsewhere than this server's own page is refused, and does nothing.
func TestForeignRequestsAreRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		alter func(*http.Request)
		code  int
		says  string
	}{
		"DNS rebinding":                         {func(r *http.Request) { r.Host = "evil.example" }, 421, `not at "evil.example"; open http://127.0.0.1:`},
		"DNS rebinding with the port":           {func(r *http.Request) { r.Host = "evil.example:" + r.URL.Port() }, 421, "evil.example"},
		"a name that begins with localhost":     {func(r *http.Request) { r.Host = "localhost.evil.example:" + r.URL.Port() }, 421, "evil.example"},
		"another port":                          {func(r *http.Request) { r.Host = "localhost:1" }, 421, "localhost:1"},
		"no port":                               {func(r *http.Request) { r.Host = "localhost" }, 421, `"localhost"`},
		"another address":                       {func(r *http.Request) { r.Host = "192.0.2.1:" + r.URL.Port() }, 421, "192.0.2.1"},
		"no Host":                               {func(r *http.Request) { r.Host = "-" }, 421, `"-"`},
		"another site":                          {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403, "another web page"},
		"another port of the same host":         {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }, 403, "another web page"},
		"an old browser's Origin":               {func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "http://evil.example") }, 403, "another web page"},
		"an opaque Origin":                      {func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "null") }, 403, "another web page"},
		"without the token":                     {func(r *http.Request) { r.Header.Del(tokenHeader) }, 403, "X-Trivet-Token"},
		"with a wrong token":                    {func(r *http.Request) { r.Header.Set(tokenHeader, strings.Repeat("A", 26)) }, 403, "X-Trivet-Token"},
		"with a longer token":                   {func(r *http.Request) { r.Header.Set(tokenHeader, r.Header.Get(tokenHeader)+"A") }, 403, "X-Trivet-Token"},
		"a form's content type":                 {func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415, "want application/json"},
		"without content type":                  {func(r *http.Request) { r.Header.Del("Content-Type") }, 415, "want application/json"},
		"a content type that JSON is a part of": {func(r *http.Request) { r.Header.Set("Content-Type", "text/plain; application/json") }, 415, "want application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			control := &doer{}
			s := serve(t, control, nil)
			for path, body := range changes {
				r := s.change(path, body)
				test.alter(r)
				if code, text := s.send(r); code != test.code || !strings.Contains(text, test.says) {
					t.Errorf("%s: %d, %s", path, code, text)
				}
			}
			if did := control.done(); did != "" {
				t.Errorf("did %s", did)
			}
		})
	}
}

// changes are requests that the page sends, by path.
var changes = map[string]string{
	"/api/load":       `{"http":300,"grpc":150.5,"streams":2,"deadline_ms":2000,"retry":true}`,
	"/api/load/stop":  `{}`,
	"/api/action":     `{"action":"kill","process":"whoami-2"}`,
	"/api/nginx":      `{"balancing":"least_conn"}`,
	"/api/request":    `{"protocol":"http"}`,
	"/api/experiment": `{}`,
}

func TestHostsOfThisServerAreAllowed(t *testing.T) {
	t.Parallel()
	s := serve(t, &doer{}, nil)
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"localhost:" + port, "LOCALHOST:" + port, "127.0.0.1:" + port, "[::1]:" + port} {
		r := s.change("/api/load/stop", `{}`)
		r.Host = host
		r.Header.Set("Origin", "http://"+host)
		if code, text := s.send(r); code != http.StatusOK {
			t.Errorf("%s: %d, %s", host, code, text)
		}
	}
}

// Reading needs no token, but another web page may neither read nor keep a connection.
func TestForeignReadsAreRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, nil, nil)
	for _, path := range []string{"/", "/assets/main.js", "/api/feed", "/api/story?trial=0&id=1"} {
		r, err := http.NewRequest(http.MethodGet, "http://"+s.address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "evil.example"
		if code, text := s.send(r); code != http.StatusMisdirectedRequest {
			t.Errorf("%s for evil.example: %d, %s", path, code, text)
		}
		if !strings.HasPrefix(path, "/api/") {
			continue
		}
		r.Host = ""
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		if code, text := s.send(r); code != http.StatusForbidden {
			t.Errorf("%s from another site: %d, %s", path, code, text)
		}
	}
}

func TestOnlyPostsChangeAnything(t *testing.T) {
	t.Parallel()
	control := &doer{}
	s := serve(t, control, nil)
	for path, body := range changes {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete} {
			r := s.change(path, body)
			r.Method = method
			if code, _ := s.send(r); code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, code)
			}
		}
	}
	if did := control.done(); did != "" {
		t.Errorf("did %s", did)
	}
}

func TestPageHasStrictHeadersAndItsToken(t *testing.T) {
	t.Parallel()
	for _, control := range []*doer{nil, {}} {
		s := serve(t, control, nil)
		for _, path := range []string{"/", "/assets/main.js", "/assets/", "/nowhere", "/api/nowhere"} {
			response, err := client.Get("http://" + s.address + path)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			for header, want := range map[string]string{
				"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
				"Cross-Origin-Resource-Policy": "same-origin",
			} {
				if got := response.Header.Get(header); got != want {
					t.Errorf("%s: %s is %q, want %q", path, header, got, want)
				}
			}
			if got := response.Header.Get("Cache-Control"); path == "/" && got != "no-store" { // It has the token.
				t.Errorf("Cache-Control is %q", got)
			}
			if found := path == "/" || path == "/assets/main.js"; found != (response.StatusCode == http.StatusOK) {
				t.Errorf("%s: %s", path, response.Status)
			}
			if want := path == "/" && control != nil; want != strings.Contains(string(body), s.token) {
				t.Errorf("%s of a page with control %v: the token is there: %v", path, control != nil, !want)
			}
			if kind := response.Header.Get("Content-Type"); path == "/assets/main.js" && !strings.HasPrefix(kind, "text/javascript") {
				t.Errorf("%s is %s", path, kind)
			}
		}
	}
	if a, b := New(Options{}), New(Options{}); a.token == b.token || len(a.token) < 26 {
		t.Errorf("tokens %q and %q", a.token, b.token)
	}
}
