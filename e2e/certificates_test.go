package e2e

import (
	"crypto/tls"
	"math/big"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/lab/authority"
	"trivet/lab/fleet"
	"trivet/lab/scenario"
)

// each is how many requests of each kind a row of the table sends, longest how many at most.
const each, longest = 9, 2000

// A failing is a row of the table of what wrong certificates do behind mutual TLS.
type failing struct {
	name               string
	breaks, mends      func(*testing.T, stack)
	gets, posts, calls part
	log                string // pattern of a line in nginx's error log
}

// A part of the requests fails: none, those that met the one instance, or all.
type part int

const (
	none part = iota
	some
	everything
)

func (p part) fits(failed, sent int) bool {
	return failed == 0 && p == none || failed == sent && p == everything || failed > 0 && failed < sent && p == some
}

// TestWrongCertificates is the table of docs/mesh.md: what clients see, and what nginx's error log says.
func TestWrongCertificates(t *testing.T) {
	t.Parallel()
	f := startFleet(t, fleet.Options{Instances: 3, Workers: 1, MTLS: true, Env: []string{"TLS_MIN_VERSION=1.2"}})
	renew := do([2]string{scenario.Renew, "whoami-2"})
	renewNginx := do([2]string{scenario.Renew, scenario.Nginx})
	trust := do([2]string{scenario.Trust, "whoami-2"})
	distrust := do([2]string{scenario.Distrust, "whoami-2"})
	issue := func(kind, owner string) func(*testing.T, stack) { return do([2]string{kind, owner}) }
	verify := func(reason string) string {
		return `\[error\].*upstream SSL certificate verify error: \(` + reason + `\)`
	}
	const mismatch = `\[error\].*upstream SSL certificate does not match "whoami\.mesh"`
	alert := func(reason string) string {
		return `\[(error|crit)\].*SSL_read\(\) failed \(.*alert ` + reason + `.*while reading response header`
	}
	for _, row := range []failing{
		// One instance shows a wrong certificate: nginx refuses it before it sends anything, and tries the next.
		{name: "expired", breaks: issue(scenario.IssueExpired, "whoami-2"), mends: renew, log: verify("10:certificate has expired")},
		{name: "not yet valid", breaks: issue(scenario.IssueNotYetValid, "whoami-2"), mends: renew, log: verify("9:certificate is not yet valid[a-z ]*")},
		{name: "other authority", breaks: issue(scenario.IssueOtherAuthority, "whoami-2"), mends: renew, log: verify("21:unable to verify the first certificate|20:unable to get local issuer certificate")},
		{name: "wrong name", breaks: issue(scenario.IssueWrongName, "whoami-2"), mends: renew, log: mismatch},
		{name: "URI alone", breaks: issues(func(l *authority.Leaf) { l.DNS = nil }), mends: renew, log: mismatch},
		{name: "IP address alone", breaks: issues(func(l *authority.Leaf) { l.DNS, l.IPs = nil, []netip.Addr{netip.MustParseAddr("127.0.0.1")} }), mends: renew, log: mismatch},
		// One instance refuses nginx's: over TLS 1.3 after the request, over 1.2 before it.
		{name: "refuses, TLS 1.3", breaks: distrust, mends: trust, posts: some, calls: some, log: alert("(bad certificate|unknown ca)")},
		{name: "refuses, TLS 1.2", breaks: both(distrust, edit("mutual-tls.conf", "TLSv1.3;", "TLSv1.2;")), mends: both(trust, edit("mutual-tls.conf", "TLSv1.2;", "TLSv1.3;")),
			log: `\[error\].*SSL_do_handshake\(\) failed .*alert.*while SSL handshaking to upstream`},
		// All refuse nginx's.
		{name: "all refuse none", breaks: edit("site/mesh.conf", "\n((?:proxy|grpc)_ssl_certificate)", "\n#$1"), mends: edit("site/mesh.conf", "\n#((?:proxy|grpc)_ssl_certificate)", "\n$1"),
			gets: everything, posts: everything, calls: everything, log: alert("certificate required")},
		{name: "all refuse expired", breaks: issue(scenario.IssueExpired, scenario.Nginx), mends: renewNginx, gets: everything, posts: everything, calls: everything, log: alert("certificate expired|alert expired certificate")},
		{name: "all refuse other authority", breaks: issue(scenario.IssueOtherAuthority, scenario.Nginx), mends: renewNginx, gets: everything, posts: everything, calls: everything, log: alert("(unknown ca|bad certificate)")},
		{name: "all refuse wrong identity", breaks: issue(scenario.IssueWrongName, scenario.Nginx), mends: renewNginx, gets: everything, posts: everything, calls: everything, log: alert("bad certificate")},
		{name: "all refuse no identity", breaks: issue(scenario.IssueNoIdentity, scenario.Nginx), mends: renewNginx, gets: everything, posts: everything, calls: everything, log: alert("bad certificate")},
		// The last: everything is right again, also after a rotation of the authority.
		{name: "rotated authority", breaks: rotate, mends: func(*testing.T, stack) {}},
	} {
		t.Run(row.name, func(t *testing.T) { row.check(t, f) })
	}
}

// check breaks something, sends requests, and mends it.
func (row failing) check(t *testing.T, f stack) {
	row.breaks(t, f)
	do([2]string{scenario.Reload, scenario.Nginx})(t, f)
	info, err := os.Stat(f.LogFile(scenario.Nginx))
	if err != nil {
		t.Fatal(err)
	}
	client, calls := browser(t), whoamiv1.NewWhoAmIServiceClient(connect(t, f, false))
	var gets, posts, grpcs, sent int
	// Over TLS 1.3 nginx may see the refusal before it sends: on a busy machine more often than not. So some rows go on until it does not.
	for ; sent < each || sent < longest && (posts == 0 && row.posts == some || grpcs == 0 && row.calls == some); sent++ {
		// An instance has no POST, and says so with 405.
		gets += failed(t, client, http.MethodGet, "http://"+f.HTTP()+"/", http.StatusOK)
		posts += failed(t, client, http.MethodPost, "http://"+f.HTTP()+"/", http.StatusMethodNotAllowed)
		if _, err := calls.WhoAmI(t.Context(), &whoamiv1.WhoAmIRequest{}); status.Code(err) == codes.Unavailable {
			grpcs++
		} else if err != nil {
			t.Errorf("gRPC: %v", err)
		}
	}
	for _, kind := range []struct {
		name   string
		failed int
		want   part
	}{{"GET", gets, row.gets}, {"POST", posts, row.posts}, {"gRPC", grpcs, row.calls}} {
		if !kind.want.fits(kind.failed, sent) {
			t.Errorf("%s: %d of %d failed, want %s", kind.name, kind.failed, sent, []string{"none", "some", "all"}[kind.want])
		}
	}
	text, err := os.ReadFile(f.LogFile(scenario.Nginx))
	if err != nil {
		t.Fatal(err)
	}
	if log := string(text[info.Size():]); row.log == "" && strings.Contains(log, "[error]") || !regexp.MustCompile(row.log).MatchString(log) {
		t.Errorf("nginx's error log, want %q:\n%s", row.log, log)
	}
	row.mends(t, f)
}

// failed is 1 if nginx responded 502, and 0 if an instance responded with the status that is right.
func failed(t *testing.T, client *http.Client, method, url string, right int) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	switch response.StatusCode {
	case http.StatusBadGateway:
		return 1
	case right:
	default:
		t.Errorf("%s: %s", method, response.Status)
	}
	return 0
}

// do carries out actions, each a kind and what it is done to.
func do(actions ...[2]string) func(*testing.T, stack) {
	return func(t *testing.T, f stack) {
		t.Helper()
		for _, a := range actions {
			if err := f.Do(t.Context(), scenario.Operation{Kind: a[0], Process: a[1]}); err != nil {
				t.Fatalf("%s %s: %v", a[0], a[1], err)
			}
		}
	}
}

func both(first, second func(*testing.T, stack)) func(*testing.T, stack) {
	return func(t *testing.T, f stack) {
		t.Helper()
		first(t, f)
		second(t, f)
	}
}

// rotate replaces the authority. No client sends anything meanwhile, so nothing waits for nginx's old workers.
func rotate(t *testing.T, f stack) {
	reload := [2]string{scenario.Reload, scenario.Nginx}
	do([2]string{scenario.Add, scenario.Authority}, reload,
		[2]string{scenario.Renew, scenario.Nginx}, [2]string{scenario.Renew, "whoami-1"}, [2]string{scenario.Renew, "whoami-2"}, [2]string{scenario.Renew, "whoami-3"}, reload,
		[2]string{scenario.Retire, scenario.Authority})(t, f)
	trusted, leaves, err := f.Authority().List()
	if err != nil || len(trusted) != 1 || trusted[0].Number != 2 {
		t.Errorf("trusted: %v, %v", trusted, err)
	}
	for _, l := range leaves {
		if l.Authority != 2 {
			t.Errorf("%s is signed by authority %d", l.Name, l.Authority)
		}
	}
}

// edit changes the installed configuration.
func edit(file, pattern, replacement string) func(*testing.T, stack) {
	return func(t *testing.T, f stack) {
		t.Helper()
		path, re := filepath.Join(f.Dir(), "conf", file), regexp.MustCompile(pattern)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !re.Match(text) {
			t.Fatalf("%s has no %s", file, pattern)
		}
		if err := os.WriteFile(path, re.ReplaceAll(text, []byte(replacement)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// issues gives whoami-2 a certificate that no action issues, and waits until it shows that.
func issues(change func(*authority.Leaf)) func(*testing.T, stack) {
	return func(t *testing.T, f stack) {
		t.Helper()
		leaf := f.Leaf("whoami-2")
		change(&leaf)
		path, err := f.Authority().Issue("whoami-2", leaf)
		if err != nil {
			t.Fatal(err)
		}
		issued, err := tls.LoadX509KeyPair(path, path)
		if err != nil {
			t.Fatal(err)
		}
		tick, timeout := time.NewTicker(50*time.Millisecond), time.After(30*time.Second)
		defer tick.Stop()
		for shown := new(big.Int); shown.Cmp(issued.Leaf.SerialNumber) != 0; {
			select {
			case <-tick.C:
			case <-timeout:
				t.Fatal("whoami-2 does not show its new certificate")
			}
			conn, err := tls.Dial("tcp", f.Process("whoami-2").HTTP(), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{issued}})
			if err != nil {
				t.Fatal(err)
			}
			shown = conn.ConnectionState().PeerCertificates[0].SerialNumber
			conn.Close()
		}
	}
}
