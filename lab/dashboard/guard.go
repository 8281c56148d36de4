package dashboard

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// policy is what browsers may load, run and connect to.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// tokenHeader is the header with the token, and tokenMeta what index.html has for it.
const (
	tokenHeader = "X-Trivet-Token"
	tokenMeta   = `<meta name="trivet-token" content="`
)

// guard refuses what comes from elsewhere, and sets the headers that browsers obey.
func (s *Server) guard(next http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse(w, &Refusal{Code: http.StatusForbidden, Text: "this was sent by another web page; only the page of this server may change something"})
	}))
	protected := origins.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.serving.Add(1)
		defer s.serving.Add(-1)
		set := w.Header()
		for name, value := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
			"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			set.Set(name, value)
		}
		if err := checkHost(r); err != nil {
			refuse(w, err)
			return
		}
		if site := r.Header.Get("Sec-Fetch-Site"); strings.HasPrefix(r.URL.Path, "/api/") && site != "" && site != "same-origin" && site != "none" {
			refuse(w, &Refusal{Code: http.StatusForbidden, Text: "this was sent by another web page; only the page of this server may read this"})
			return
		}
		protected.ServeHTTP(w, r)
	})
}

// checkHost refuses a request for another name than localhost and the address that it arrived at, or for another port.
func checkHost(r *http.Request) error {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return &Refusal{Code: http.StatusMisdirectedRequest, Text: "the address that the request arrived at is unknown"}
	}
	at, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return &Refusal{Code: http.StatusMisdirectedRequest, Text: "the address that the request arrived at is unknown"}
	}
	own := at.Addr().Unmap().WithZone("")
	port := strconv.Itoa(int(at.Port()))
	for _, host := range []string{"localhost", "127.0.0.1", "::1", own.String()} {
		if strings.EqualFold(r.Host, net.JoinHostPort(host, port)) {
			return nil
		}
		if bare := strings.TrimSuffix(net.JoinHostPort(host, ""), ":"); port == "80" && strings.EqualFold(r.Host, bare) {
			return nil
		}
	}
	return &Refusal{
		Code: http.StatusMisdirectedRequest,
		Text: fmt.Sprintf("the page is not at %s; open http://%s/", strconv.Quote(r.Host), net.JoinHostPort(own.String(), port)),
	}
}

// index is the page. If there is a Control, it has the token.
func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	text, err := fs.ReadFile(s.options.Assets, "index.html")
	if err != nil {
		refuse(w, err)
		return
	}
	if s.options.Control != nil {
		meta := tokenMeta + html.EscapeString(s.token) + `">`
		if empty := []byte(tokenMeta + `">`); bytes.Contains(text, empty) {
			text = bytes.Replace(text, empty, []byte(meta), 1)
		} else {
			text = bytes.Replace(text, []byte("</head>"), []byte(meta+"\n</head>"), 1)
		}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(text) // A client that has left needs none.
}

// change is the handler of something that changes the fleet: it reads the body for do, and sends what that returns.
func (s *Server) change(do change) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := s.body(w, r)
		if err != nil {
			refuse(w, err)
			return
		}
		patient(w)
		result, err := do(s.base, body)
		s.hub.soon()
		if err != nil {
			refuse(w, err)
			return
		}
		respond(w, http.StatusOK, result)
	}
}

// patient gives a response longer than usual.
func patient(w http.ResponseWriter) {
	c := http.NewResponseController(w)
	_ = errors.Join(c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Now().Add(actionTimeout))) // Writers of tests have none.
}

// body is the body of a request that may change something.
func (s *Server) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if s.options.Control == nil {
		return nil, &Refusal{Code: http.StatusNotFound, Text: "nothing runs here that could be changed; trivet up serves such a page"}
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(tokenHeader)), []byte(s.token)) != 1 {
		return nil, &Refusal{Code: http.StatusForbidden, Text: tokenHeader + " is not the token of this page; load the page again"}
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, &Refusal{Code: http.StatusUnsupportedMediaType, Text: "Content-Type is " + strconv.Quote(r.Header.Get("Content-Type")) + ": want application/json"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, &Refusal{Code: http.StatusRequestEntityTooLarge, Text: fmt.Sprintf("the body is too large: want at most %d bytes", mostBody)}
	}
	if err != nil {
		return nil, malformed(err)
	}
	return body, nil
}
