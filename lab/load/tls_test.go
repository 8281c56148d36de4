package load

import (
	"context"
	"crypto/tls"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/lab/authority"
	"trivet/lab/scenario"
)

// edges serve both protocols over TLS, each with the certificate that edge.pem has at the handshake.
func edges(t *testing.T, a *authority.Authority) (web, calls string, protocols func() map[string]int) {
	t.Helper()
	var mu sync.Mutex
	counts := map[string]int{}
	config := func(protocol string) *tls.Config {
		return &tls.Config{NextProtos: []string{protocol}, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			pair, err := tls.LoadX509KeyPair(a.Path("edge"), a.Path("edge"))
			return &tls.Config{NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{pair}}, err
		}}
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		counts[r.Method+" "+r.Proto]++
		mu.Unlock()
		w.Header().Set("X-Instance", "one")
	}), TLSConfig: config("http/1.1")}
	l := listen(t)
	go func() { _ = server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { server.Close() })
	rpc := grpc.NewServer(grpc.Creds(credentials.NewTLS(config("h2"))))
	whoamiv1.RegisterWhoAmIServiceServer(rpc, &instant{})
	m := listen(t)
	go func() { _ = rpc.Serve(m) }()
	t.Cleanup(rpc.Stop)
	return l.Addr().String(), m.Addr().String(), func() map[string]int { mu.Lock(); defer mu.Unlock(); return maps.Clone(counts) }
}

func TestLoadOverTLS(t *testing.T) {
	t.Parallel()
	a, err := authority.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Issue("edge", authority.Standard("edge")); err != nil {
		t.Fatal(err)
	}
	post, closing := get(50), get(50)
	post.Request = scenario.Request{Method: "POST", Body: "{}"}
	closing.NewConnection = true
	channels := call(50)
	channels.NewConnection = true
	p := plan(t, 200*time.Millisecond, get(50), post, closing, call(50), channels)
	var protocols func() map[string]int
	p.HTTP, p.GRPC, protocols = edges(t, a)
	p.CA = a.CA()
	for i, all := range carriedOut(t, p) {
		want := map[string]int{"ok 200 1[]": 10}
		if p.Loads[i].Protocol == scenario.GRPC {
			want = map[string]int{"ok OK 1[]": 10}
		}
		if got := count(all, ending); !maps.Equal(got, want) {
			t.Errorf("load %d: %v, want %v; %s", i, got, want, all[0].Error)
		}
	}
	if got, want := protocols(), map[string]int{"GET HTTP/1.1": 20, "POST HTTP/1.1": 10}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A server of another authority, or for another name, gets no request.
func TestLoadVerifiesServers(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"other_authority", "wrong_name"} {
		a, err := authority.New(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := authority.Standard("edge").Spoil(wrong)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Issue("edge", leaf); err != nil {
			t.Fatal(err)
		}
		p := plan(t, 200*time.Millisecond, get(50), call(50))
		var protocols func() map[string]int
		p.HTTP, p.GRPC, protocols = edges(t, a)
		p.CA = a.CA()
		all := carriedOut(t, p)
		if got, want := count(all[0], ending), map[string]int{`incomplete  reset 1["reset"]`: 10}; !maps.Equal(got, want) {
			t.Errorf("%s: HTTP: %v, want %v; %s", wrong, got, want, all[0][0].Error)
		}
		for _, r := range all[1] {
			if r.Outcome != "incomplete" || r.Code != "Unavailable" {
				t.Errorf("%s: %+v", wrong, r)
			}
		}
		if len(protocols()) > 0 {
			t.Errorf("%s: requests arrived: %v", wrong, protocols())
		}
	}
}

// The authorities are read again when their file changes.
func TestTrustFollowsItsFile(t *testing.T) {
	t.Parallel()
	a, err := authority.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Issue("edge", authority.Standard("edge")); err != nil {
		t.Fatal(err)
	}
	address, _, _ := edges(t, a)
	trusted, err := newTrust(a.CA())
	if err != nil {
		t.Fatal(err)
	}
	config, err := trusted.config(address)
	if err != nil {
		t.Fatal(err)
	}
	handshake := func() error {
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, config)
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := handshake(); err != nil {
		t.Fatal(err)
	}
	if err := a.Add(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Issue("edge", authority.Standard("edge")); err != nil {
		t.Fatal(err)
	}
	if err := a.Retire(); err != nil {
		t.Fatal(err)
	}
	if err := handshake(); err != nil {
		t.Errorf("with the new authority: %v", err)
	}
	if _, err := newTrust("/no/ca.pem"); err == nil {
		t.Error("no error without the file")
	}
}

// instant responds at once.
type instant struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
}

func (instant) WhoAmI(context.Context, *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	return &whoamiv1.WhoAmIResponse{}, nil
}
