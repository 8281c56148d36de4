package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"trivet/lab/authority"
	"trivet/lab/record"
)

// certified returns a run directory with certificates, in which nothing runs.
func certified(t *testing.T) (dir string, a *authority.Authority) {
	t.Helper()
	dir = t.TempDir()
	a, err := authority.New(filepath.Join(dir, record.TLSDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"edge", "nginx", "whoami-1", "client"} {
		if _, err := a.Issue(name, authority.Standard(name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir, a
}

// certs runs trivet certs in this process.
func certs(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"certs"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func TestCertificatesAreListed(t *testing.T) {
	t.Parallel()
	dir, a := certified(t)
	expired, err := authority.Standard("whoami-1").Spoil("expired")
	if err != nil {
		t.Fatal(err)
	}
	other, err := authority.Standard("nginx").Spoil("other_authority")
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]authority.Leaf{"whoami-1": expired, "nginx": other} {
		if _, err := a.Issue(name, l); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Add(); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := certs(t, "--run", dir)
	if code != exitDone || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{
		`NAME +IDENTITY +NAMES +EXPIRES +AUTHORITY`,
		`client +spiffe://trivet/client/client +- +in 90 days +1`,
		`edge +- +localhost http.localhost grpc.localhost 127.0.0.1 ::1 +in 90 days +1`,
		`nginx +spiffe://trivet/nginx +nginx.mesh +in 90 days +none that is trusted`,
		`whoami-1 +spiffe://trivet/whoami +whoami.mesh +expired [1-9][0-9]* seconds? ago +1`,
		`authority 1 expires in 366 days`,
		`authority 2 expires in 366 days`,
		`all in .*/tls; --cacert .*/tls/ca.pem`,
	} {
		if !regexp.MustCompile(`(?m)^` + want + `$`).MatchString(out) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	_, out, _ = certs(t, "--run", dir, "--json")
	var list certificateList
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	var expiredNames []string
	for _, c := range list.Certificates {
		if c.Expired {
			expiredNames = append(expiredNames, c.Name)
		}
	}
	if list.Run != dir || list.CA != a.CA() || len(list.Authorities) != 2 || len(list.Certificates) != 4 || !slices.Equal(expiredNames, []string{"whoami-1"}) {
		t.Errorf("%s", out)
	}
	if edge := list.Certificates[1]; edge.Client || !edge.Server || edge.Path != a.Path("edge") || edge.Authority != 1 || len(edge.Names) != 5 {
		t.Errorf("%+v", edge)
	}
	if strings.Contains(out, "PRIVATE") {
		t.Error("the list has a key")
	}
}

func TestClientGetsCertificateAndCurlLine(t *testing.T) {
	t.Parallel()
	dir, a := certified(t)
	site := filepath.Join(dir, "conf", "site")
	if err := os.MkdirAll(site, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(site, "x.conf"), []byte("# listen 1 ssl;\nlisten 127.0.0.1:9444 ssl http2;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := certs(t, "--run", dir, "client", "alice")
	if code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{a.Path("alice") + "\n", "spiffe://trivet/client/alice", "curl --cacert " + a.CA() + " --cert " + a.Path("alice") + " https://localhost:9444/"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	_, leaves, err := a.List()
	if err != nil || leaves[0].Name != "alice" || leaves[0].Certificate.Subject.CommonName != "alice" {
		t.Errorf("%v, %v", leaves, err)
	}
}

func TestWrongUsesOfCertsSayWhatToDo(t *testing.T) {
	t.Parallel()
	dir, _ := certified(t)
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"renw"}, exitUsage, `unexpected argument "renw": did you mean renew\?; want one of renew, rotate-authority, client, new, or none`},
		{[]string{"client"}, exitUsage, "which name\\? As in: trivet certs client alice"},
		{[]string{"client", "whoami-1"}, exitUsage, `client "whoami-1": want a name`},
		{[]string{"client", "../x"}, exitUsage, `client "../x": want a name`},
		{[]string{"client", "a", "b"}, exitUsage, `unexpected argument "b"`},
		{[]string{"new"}, exitUsage, "new: which directory\\? As in: trivet certs new tls"},
		{[]string{"new", "a", "b"}, exitUsage, `unexpected argument "b"`},
		{[]string{"--run", dir, "new", "a"}, exitUsage, "--run is for certificates of a run"},
		{[]string{"new", filepath.Join(dir, record.TLSDir)}, exitFailed, "has one already; use another directory"},
		{[]string{"rotate-authority", "now"}, exitUsage, `unexpected argument "now"`},
		{[]string{"renew", "--json"}, exitUsage, "--json is for the list"},
		{[]string{"--run", dir, "renew", "whoami-2", "client"}, exitUsage, `no certificate "whoami-2" in .*: did you mean whoami-1\? \(there are: client, edge, nginx, whoami-1\)`},
		{[]string{"--run", dir, "renew"}, exitFailed, "no nginx runs in .*; start one: trivet up --tls --mtls"},
		{[]string{"--run", dir, "rotate-authority"}, exitFailed, "no nginx runs in"},
		{[]string{"--run", t.TempDir()}, exitFailed, "has no certificates: want the directory of a run of trivet up"},
	} {
		if code, _, stderr := certs(t, test.args...); code != test.code || !regexp.MustCompile(test.want).MatchString(stderr) {
			t.Errorf("certs %v: %d, %s; want %d, %s", test.args, code, stderr, test.code, test.want)
		}
	}
	if trusted, _, err := mustOpen(t, dir).List(); err != nil || len(trusted) != 1 {
		t.Errorf("a rotation without nginx began: %v, %v", trusted, err)
	}
}

// TestNewCertificatesAreForContainers checks names, and accounts where this process may set them.
func TestNewCertificatesAreForContainers(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tls")
	code, stdout, stderr := certs(t, "new", dir)
	if code != 0 {
		t.Fatal(code, stderr)
	}
	a, err := authority.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	names, err := certificateNames(a)
	if got := strings.Join(names, " "); err != nil || got != "client edge front-1 nginx whoami-1 whoami-2 whoami-3" {
		t.Errorf("issued %s, %v", got, err)
	}
	for name, account := range map[string]int{"nginx": 101, "edge": 101, "whoami-3": 65532, "front-1": 65532, "client": os.Geteuid()} {
		if os.Geteuid() != 0 {
			mustMatch(t, stdout, `(?m)^  sudo chown 101 .*nginx\.pem`, `(?m)^  sudo chown 65532 .*whoami-1\.pem`)
			break
		}
		info, err := os.Stat(a.Path(name))
		if err != nil {
			t.Fatal(err)
		}
		if got := int(info.Sys().(*syscall.Stat_t).Uid); got != account || info.Mode().Perm() != 0o600 {
			t.Errorf("%s belongs to %d with mode %v, want %d alone", name, got, info.Mode(), account)
		}
	}
}

func mustOpen(t *testing.T, dir string) *authority.Authority {
	t.Helper()
	a, err := authority.Open(filepath.Join(dir, record.TLSDir))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestSpansAreInUnitsOfTwoOrMore(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		time.Second: "1 second", 119 * time.Second: "2 minutes", 89 * time.Second: "89 seconds", 3 * time.Hour: "3 hours", 26 * time.Hour: "26 hours", 90*24*time.Hour - time.Minute: "90 days",
	} {
		if got := span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

// TestCertificatesRotateUnderRunningFleet uses trivet certs beside a trivet up, as its user does.
func TestCertificatesRotateUnderRunningFleet(t *testing.T) {
	t.Parallel()
	o := launch(t, "--tls", "--mtls", "--tls-port", "0", "--http", "0", "--grpc", "0", "--json")
	up := o.until(t, event("up"))
	a := mustOpen(t, up.Dir)
	edge := o.tlsAddress(t, up.Dir)
	own := func() []byte { // what a client keeps
		t.Helper()
		text, err := os.ReadFile(a.CA())
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	// get returns the serial number of the certificate that nginx shows, and calls through it to an instance.
	get := func(ca []byte, client string) (serial string, err error) {
		t.Helper()
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca)
		config := &tls.Config{RootCAs: pool, ServerName: "localhost"}
		if client != "" {
			pair, err := tls.LoadX509KeyPair(a.Path(client), a.Path(client))
			if err != nil {
				t.Fatal(err)
			}
			config.Certificates = []tls.Certificate{pair}
		}
		transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
		response, err := (&http.Client{Transport: transport}).Get("https://" + edge + "/")
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if response.StatusCode != http.StatusOK || client != "" && !strings.Contains(string(text), `"`+client+`"`) {
			t.Errorf("as %q: %s %s", client, response.Status, text)
		}
		return response.TLS.PeerCertificates[0].SerialNumber.Text(16), err
	}
	certs := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), trivet(t), append([]string{"certs"}, args...)...)
		cmd.Env, cmd.Stderr = append(os.Environ(), "TMPDIR="+o.tmp), t.Output()
		text, err := cmd.Output()
		if err != nil {
			t.Fatalf("trivet certs %v: %v\n%s", args, err, text)
		}
		return string(text)
	}
	first := own()
	before, err := get(first, "client")
	if err != nil {
		t.Fatal(err)
	}
	mustMatch(t, certs(), `(?m)^whoami-1 +spiffe://trivet/whoami +whoami.mesh +in 90 days +1$`)
	mustMatch(t, certs("renew", "whoami-2"), `renewed: whoami-2\ninstances use theirs`, `nginx has no new one`)
	if serial, err := get(first, ""); err != nil || serial != before {
		t.Errorf("after the renewal of an instance nginx shows %s, %v; want %s", serial, err, before)
	}
	mustMatch(t, certs("renew"), `renewed: client, edge, nginx, trivet, whoami-1, whoami-2, whoami-3\nnginx was reloaded`)
	if serial, err := get(first, ""); err != nil || serial == before {
		t.Errorf("after its renewal nginx still shows %s, %v", serial, err)
	}
	mustMatch(t, certs("client", "alice"), `curl --cacert \S+/ca.pem --cert \S+/alice.pem https://localhost:[0-9]+/`)
	mustMatch(t, certs("rotate-authority"), `1 of 3: authority 2 is trusted, too`, `2 of 3: authority 2 signed anew: alice, client, edge, `, `3 of 3: authority 2 alone is trusted`, `done; clients`)
	if _, err := get(first, ""); err == nil {
		t.Error("a client with the former authority trusts nginx")
	}
	if _, err := get(own(), "alice"); err != nil {
		t.Error(err)
	}
	o.signal(t, syscall.SIGTERM)
	o.wait(t)
}

// tlsAddress returns where nginx serves TLS, from its configuration.
func (o *outside) tlsAddress(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "conf", "site", "tls-listen.conf"))
	m := regexp.MustCompile(`(?m)^listen (\S+:[0-9]+) ssl`).FindSubmatch(text)
	if err != nil || m == nil {
		t.Fatalf("%v: %s", err, text)
	}
	return string(m[1])
}
