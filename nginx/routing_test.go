package nginx

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCanary: a header chooses the canary, or keeps off it, over both protocols; while it is down, its backup responds.
func TestCanary(t *testing.T) {
	t.Parallel()
	servers, canary := []Server{both(t)[0], both(t)[0]}, both(t)[0]
	b := startNginx(t, servers, inCanary(servers, canary)...)
	down := Server{free(t), free(t)}
	broken := startNginx(t, servers, inCanary(servers, down)...)
	for _, c := range []struct {
		id, header string
		of         *testNginx
	}{{"always", "always", b}, {"never", "never", b}, {"down", "always", broken}} {
		for n := range 5 {
			id := fmt.Sprint(c.id, "-", n)
			if code, _, body, err := raw(t, c.of.HTTP, get(id, "/", "X-Canary: "+c.header)); code != 200 || err != nil {
				t.Errorf("%s: %d %s %v", id, code, body, err)
			}
			if _, _, err := call(t, c.of.GRPC, id, "x-canary", c.header); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
	for _, l := range append(b.log(t), broken.log(t)...) {
		first, _, _ := strings.Cut(l.UpstreamAddr, ",")
		want := map[bool][]string{true: {canary.HTTP, canary.GRPC}, false: {servers[0].HTTP, servers[0].GRPC, servers[1].HTTP, servers[1].GRPC}}[strings.HasPrefix(l.ID, "always")]
		if strings.HasPrefix(l.ID, "down") {
			want = []string{down.HTTP, down.GRPC}
		}
		if !slices.Contains(want, first) {
			t.Errorf("%s %s went to %s, want one of %v", l.Protocol, l.ID, first, want)
		}
	}
}

// inCanary includes canary.conf for two servers and a canary.
func inCanary(servers []Server, canary Server) []edit {
	edits := []edit{inHTTP("canary"), {"site/http-pass.conf", "proxy_pass http://whoami_http", "proxy_pass http://$canary_http"}, {"site/grpc-pass.conf", "grpc_pass grpc://whoami_grpc", "grpc_pass grpc://$canary_grpc"}}
	for n, s := range []Server{servers[0], servers[1], canary} {
		edits = append(edits, edit{"policies/canary.conf", fmt.Sprintf("127.0.0.1:800%d ", n+1), s.HTTP + " "}, edit{"policies/canary.conf", fmt.Sprintf("127.0.0.1:900%d ", n+1), s.GRPC + " "})
	}
	return edits
}

// TestStickyHash: a user's requests meet one instance, the same over both protocols.
func TestStickyHash(t *testing.T) {
	t.Parallel()
	servers := []Server{both(t)[0], both(t)[0], both(t)[0]}
	b := startNginx(t, servers, inHTTP("sticky-hash"),
		edit{"upstreams.conf", "	zone whoami_http 1m;\n", "	zone whoami_http 1m;\nhash $sticky_key;\n"}, edit{"upstreams.conf", "	zone whoami_grpc 1m;\n", "	zone whoami_grpc 1m;\nhash $sticky_key;\n"})
	users := []string{"", "ada", "bob", "cyd", "dan", "eve"}
	for n := range 18 {
		user := users[n%len(users)]
		if code, _, body, err := raw(t, b.HTTP, get("user-"+user, "/", "X-User: "+user)); code != 200 || err != nil {
			t.Errorf("%d %s %v", code, body, err)
		}
		if _, _, err := call(t, b.GRPC, "user-"+user, "x-user", user); err != nil {
			t.Error(err)
		}
	}
	met, all := map[string]int{}, map[int]bool{}
	for _, l := range b.log(t) {
		i := slices.IndexFunc(servers, func(s Server) bool { return s.HTTP == l.UpstreamAddr || s.GRPC == l.UpstreamAddr })
		if before, ok := met[l.ID]; ok && before != i || i < 0 {
			t.Errorf("%s met instance %d over %s, and %d before", l.ID, i, l.Protocol, before)
		}
		met[l.ID], all[i] = i, true
	}
	if len(met) != len(users) || len(all) < 2 {
		t.Errorf("users met %v", met)
	}
}

// inMirror includes mirror.conf for a shadow, with a server of its own in the place of the admin listener.
func inMirror(relay, shadow string) []edit {
	const last = "	include site/public.conf;\n"
	return []edit{
		{"nginx.conf", last, last + "include policies/mirror.conf;\nserver { listen " + relay + "; access_log off; include policies/mirror-admin.conf; }\n"},
		{"policies/mirror.conf", "127.0.0.1:8900", shadow}, {"policies/mirror.conf", "127.0.0.1:7080", relay},
		{"http-locations.conf", "location / {\n", "include policies/mirror-server.conf;\nlocation / {\nmirror /.mirror;\n"},
	}
}

// TestHungShadow: with mirror.conf requests pass while the shadow hangs, and it gets copies of all of them, bodies
// included. Mirrored straight to the shadow, the second request on a connection waits.
func TestHungShadow(t *testing.T) {
	t.Parallel()
	for _, relayed := range []bool{true, false} {
		t.Run(fmt.Sprint("relayed ", relayed), func(t *testing.T) {
			t.Parallel()
			release, copies := make(chan struct{}), make(chan string, 10)
			shadow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				copies <- fmt.Sprint(r.Method, " ", r.RequestURI, " ", r.Header.Get("X-Request-Id"), " ", len(body), r.Header.Values("X-Mirrored-Uri"))
				<-release
			}))
			defer shadow.Close()
			edits := inMirror(free(t), shadow.Listener.Addr().String())
			if !relayed {
				edits = append(edits, edit{"policies/mirror-server.conf", "http://mirror_relay/.mirror", "http://shadow_http$request_uri"})
			}
			b := startNginx(t, both(t), edits...)
			conn, err := net.Dial("tcp", b.HTTP)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			r := bufio.NewReader(conn)
			send := func(n, size int, deadline time.Duration) error {
				text := strings.Replace(get(fmt.Sprint("copy-", n), "/?n=1", fmt.Sprint("Content-Length: ", size)), "GET", "POST", 1)
				if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
					return err
				}
				if _, err := io.WriteString(conn, text+strings.Repeat("b", size)); err != nil {
					return err
				}
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					return err
				}
				_, err = io.Copy(io.Discard, resp.Body)
				return err
			}
			got := func(n, size int) {
				t.Helper()
				want := fmt.Sprintf("POST /?n=1 copy-%d %d []", n, size)
				if !relayed {
					want = fmt.Sprintf("POST /?n=1 copy-%d %d [/?n=1]", n, size)
				}
				select {
				case c := <-copies:
					if c != want {
						t.Errorf("the shadow got %q, want %q", c, want)
					}
				case <-time.After(5 * time.Second): // half of the relay's timeout
					t.Errorf("the shadow has not got %q", want)
				}
			}
			if err := send(1, 10, 5*time.Second); err != nil {
				t.Fatal(err)
			}
			got(1, 10)
			if !relayed {
				if err := send(2, 10, 300*time.Millisecond); err == nil {
					t.Error("the second request did not wait: the trap is none")
				}
				close(release)
				return
			}
			defer close(release)
			for n, size := range []int{10, 100_000, 0} {
				if err := send(n+2, size, 5*time.Second); err != nil {
					t.Errorf("request %d while the shadow hangs: %v", n+2, err)
					return
				}
				got(n+2, size)
			}
		})
	}
}
