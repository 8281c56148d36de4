//go:build slow

package nginx

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/grpc"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/lab/authority"
)

// imageNginx returns an nginx that can run the image's files: the one of the other tests, else the one of make nginx-next.
func imageNginx(t *testing.T) Binary {
	t.Helper()
	if b := findNginx(t); b.Version.atLeast(imageVersion) {
		return b
	}
	path, err := exec.Command("./fetch", "--next", "--which").Output()
	if err != nil {
		t.Fatal(err)
	}
	b, err := Find(t.Context(), strings.TrimSpace(string(path)))
	if err != nil || !b.Version.atLeast(imageVersion) {
		t.Fatalf("want nginx %s or newer (%v, %v); run: make nginx-next", imageVersion, b.Version, err)
	}
	return b
}

// container is a place with the files of the image, in which nginx has ports of this machine.
type container struct {
	place
	*testNginx
	edge string
}

func newContainer(t *testing.T) container {
	t.Helper()
	p := newPlace(t, "")
	put(t, filepath.Join(p.dir, "nginx"), fmt.Sprintf("#!/bin/sh\nexec %s -c %s/conf/nginx.conf \"$@\"\n", imageNginx(t).Path, p.dir))
	c := container{p, &testNginx{HTTP: free(t), GRPC: free(t), Admin: free(t), dir: p.dir, done: make(chan struct{})}, free(t)}
	files := tree(t, "conf")
	for name, text := range ContainerSite() {
		files["site/"+name] = strings.NewReplacer("/run/nginx/", p.dir+"/run/", "/tls/", p.dir+"/tls/",
			"0.0.0.0:8080", c.HTTP, "0.0.0.0:9090", c.GRPC, "0.0.0.0:8443", c.edge).Replace(text)
	}
	for name, text := range files {
		put(t, filepath.Join(p.dir, "conf", name), text)
	}
	return c
}

// up starts nginx as the image does, with ADMIN on a free address.
func (c container) up(t *testing.T, env ...string) {
	t.Helper()
	env = append(env, "ADMIN="+c.Admin)
	c.cmd = c.command([]string{"sh"}, env, "-g", "daemon off;")
	if !c.testNginx.run(t) {
		t.Fatalf("nginx does not start: %s", c.stderr.String())
	}
	for _, args := range [][]string{{"-t", "-q"}, {"-s", "reload"}} {
		if text, code := c.place.run(t, []string{"sh"}, env, args...); code != 0 || strings.Contains(text, "emerg") || strings.Contains(text, "warn") {
			t.Errorf("%q in the container: exit code %d: %s", args, code, text)
		}
	}
}

// TestStartScriptRunsNginx starts nginx with everything that the script can turn on, and sends requests through all of it.
func TestStartScriptRunsNginx(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	a, err := authority.New(filepath.Join(c.place.dir, "tls"))
	if err != nil {
		t.Fatal(err)
	}
	issued := certificates{a, filepath.Join(c.place.dir, "tls")}
	for _, name := range []string{"nginx", "edge"} {
		issued.issue(t, name, authority.Standard(name))
	}
	var i instance
	var connections, front atomic.Int32
	server := issued.meshed(t, "whoami-1", authority.Standard("whoami-1"), &i, &connections)
	other := issued.meshed(t, "front-1", authority.Standard("front-1"), new(instance), &front)
	c.up(t, "WHOAMI_HTTP="+server.HTTP, "WHOAMI_GRPC="+server.GRPC, "FRONT_HTTP="+other.HTTP, "FRONT_GRPC="+other.GRPC, "MTLS=true", "ENVIRONMENT=prod")

	if code, h, body, err := raw(t, c.HTTP, get("m", "/")); err != nil || code != 200 || h.Get("X-Caller") != "spiffe://trivet/nginx" {
		t.Errorf("HTTP: %d %v %s, %v", code, h, body, err)
	}
	if _, _, err := call(t, c.GRPC, "m"); err != nil {
		t.Errorf("gRPC: %v", err)
	}
	if code, _, body, err := raw(t, c.HTTP, get("m", "/front")); err != nil || code != 200 || front.Load() != 1 {
		t.Errorf("front: %d %s, %v", code, body, err)
	}
	if code, _, body, err := raw(t, c.HTTP, get("m", "/healthz")); err != nil || code != 404 {
		t.Errorf("/healthz in prod: %d %s, %v", code, body, err)
	}
	if code, _, body, err := raw(t, c.Admin, get("m", "/healthz")); err != nil || code != 200 {
		t.Errorf("/healthz of nginx itself: %d %s, %v", code, body, err)
	}
	e := edgeClient{c.edge, issued.client(t, "")}
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		if resp, body := e.send(t, protocol, newRequest(t, "GET", "https://localhost/", nil)); resp.StatusCode != 200 {
			t.Errorf("edge: %d %s", resp.StatusCode, body)
		}
	}
	c.signal(t, syscall.SIGQUIT)
	if code := c.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d after SIGQUIT: %s", code, c.stderr.String())
	}
}

// headless is a name with an address for each instance, like a headless Service or Swarm's dnsrr, and its DNS server.
type headless struct {
	name  string
	conn  net.PacketConn
	hosts atomic.Pointer[[]string]
}

func newHeadless(t *testing.T) *headless {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &headless{name: "whoami-headless.trivet-qa.svc.cluster.local", conn: conn}
	h.hosts.Store(new([]string))
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 1500)
		for {
			n, client, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if response, err := h.response(buffer[:n]); err == nil {
				_, _ = conn.WriteTo(response, client)
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return h
}

// response has the hosts' addresses, and says that there is no such name if there are none.
func (h *headless) response(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	m.Response, m.RCode, m.Additionals = true, dnsmessage.RCodeNameError, nil
	for _, q := range m.Questions {
		if q.Type != dnsmessage.TypeA || q.Name.String() != h.name+"." {
			continue
		}
		for _, host := range *h.hosts.Load() {
			m.RCode = dnsmessage.RCodeSuccess
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 600},
				Body:   &dnsmessage.AResource{A: [4]byte(net.ParseIP(host).To4())},
			})
		}
	}
	return m.Pack()
}

// named is an instance that responds with its address.
type named struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
	host string
}

func (n named) WhoAmI(context.Context, *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	return &whoamiv1.WhoAmIResponse{Instance: n.host}, nil
}

// pod starts an instance at an address, whose ports are the same as those of the others.
func pod(t *testing.T, host, httpPort, grpcPort string) {
	t.Helper()
	listen := func(port string) net.Listener {
		l, err := net.Listen("tcp", host+":"+port)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, host) }))
	if err := web.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	web.Listener = listen(httpPort)
	web.Start()
	t.Cleanup(web.Close)
	server := grpc.NewServer()
	whoamiv1.RegisterWhoAmIServiceServer(server, named{host: host})
	go func() { _ = server.Serve(listen(grpcPort)) }()
	t.Cleanup(server.Stop)
}

// TestImageFollowsName checks the way of a cluster: one name with an address for each instance, at the nameserver of /etc/resolv.conf.
// nginx starts before there is an instance, gives all of them equal shares of both protocols, and follows as they come and go.
func TestImageFollowsName(t *testing.T) {
	t.Parallel()
	h := newHeadless(t)
	c := newContainer(t)
	_, port, _ := net.SplitHostPort(h.conn.LocalAddr().String())
	put(t, filepath.Join(c.place.dir, "resolv.conf"), "search svc.cluster.local\nnameserver 127.0.0.1\noptions ndots:5\n")
	// resolv.conf cannot name a port, nginx can.
	put(t, c.script, strings.Replace(read(t, c.script), `$nameservers valid`, `$nameservers:`+port+" valid", 1))
	_, httpPort, _ := net.SplitHostPort(free(t))
	_, grpcPort, _ := net.SplitHostPort(free(t))
	c.up(t, "WHOAMI_HTTP="+h.name+":"+httpPort, "WHOAMI_GRPC="+h.name+":"+grpcPort)
	if code, _, body, err := raw(t, c.HTTP, get("none", "/")); err != nil || code != 502 {
		t.Errorf("without instances: %d %s, %v", code, body, err)
	}

	shares := func() (map[string]int, map[string]int) {
		web, calls := map[string]int{}, map[string]int{}
		for range 12 {
			code, _, body, err := raw(t, c.HTTP, get("s", "/"))
			if err != nil || code != 200 {
				body = fmt.Appendf(nil, "%d %v", code, err)
			}
			web[string(body)]++
			resp, _, err := call(t, c.GRPC, "s")
			if err != nil {
				calls[err.Error()]++
			}
			calls[resp.GetInstance()]++
		}
		return web, calls
	}
	running := map[string]bool{}
	for _, hosts := range [][]string{{"127.0.0.1", "127.0.0.2", "127.0.0.3"}, {"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"}, {"127.0.0.2", "127.0.0.4"}} {
		want := map[string]int{}
		for _, host := range hosts {
			want[host] = 12 / len(hosts)
			if !running[host] {
				pod(t, host, httpPort, grpcPort)
				running[host] = true
			}
		}
		h.hosts.Store(&hosts)
		var web, calls map[string]int
		tick := time.NewTicker(100 * time.Millisecond)
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-tick.C {
			if web, calls = shares(); fmt.Sprint(web, calls) == fmt.Sprint(want, want) {
				break
			}
		}
		tick.Stop()
		if fmt.Sprint(web, calls) != fmt.Sprint(want, want) {
			t.Errorf("shares over HTTP %v, over gRPC %v; want %v: %s", web, calls, want, bytes.TrimSpace(c.stderr.Bytes()))
		}
	}
}
