package whoami

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/proctest"
	"trivet/lab/authority"
	"trivet/services/instance"
)

// secured runs an instance with an identity, which nginx and clients may call.
func secured(t *testing.T, a *authority.Authority, environ map[string]string) instance.Config {
	t.Helper()
	own := issued(t, a, "whoami-7", authority.Standard("whoami-7"))
	all := map[string]string{"TLS_CERT": own, "TLS_KEY": own, "TLS_CA": a.CA(), "TLS_CALLERS": "spiffe://trivet/nginx,spiffe://trivet/client/*,spiffe://trivet/whoami"}
	maps.Copy(all, environ)
	return launch(t, all)
}

func issued(t *testing.T, a *authority.Authority, name string, l authority.Leaf) (path string) {
	t.Helper()
	path, err := a.Issue(name, l)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// as is the configuration of a client with the certificate in a file; "": with none.
func as(t *testing.T, a *authority.Authority, path string) *tls.Config {
	t.Helper()
	text, err := os.ReadFile(a.CA())
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "whoami.mesh"}
	config.RootCAs.AppendCertsFromPEM(text)
	if path != "" {
		own, err := tls.LoadX509KeyPair(path, path)
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config
}

// ask calls WhoAmI over both listeners, each with a new connection and with a header.
func ask(t *testing.T, c instance.Config, config *tls.Config, header string) map[string]answer {
	t.Helper()
	rest, transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, insecure.NewCredentials()
	scheme := "http"
	if config != nil {
		scheme, transport = "https", credentials.NewTLS(config)
	}
	request, err := http.NewRequestWithContext(t.Context(), "GET", scheme+"://"+c.HTTPAddr()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if header != "" {
		request.Header.Set("X-Client-Identity", header)
		ctx = metadata.AppendToOutgoingContext(ctx, "x-client-identity", header)
	}
	connection, err := grpc.NewClient("passthrough:///"+c.GRPCAddr(), grpc.WithTransportCredentials(transport), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	all := map[string]answer{"http": getAnswer(rest, request)}
	m, err := whoamiv1.NewWhoAmIServiceClient(connection).WhoAmI(ctx, nil)
	all["grpc"] = answer{m, err, ""}
	return all
}

// An answer is a message, an error of the connection, or an HTTP response that is no message.
type answer struct {
	*whoamiv1.WhoAmIResponse
	err  error
	text string
}

func getAnswer(transport *http.Transport, request *http.Request) answer {
	response, err := transport.RoundTrip(request)
	if err != nil {
		return answer{nil, err, ""}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	m := &whoamiv1.WhoAmIResponse{}
	if err != nil || protojson.Unmarshal(text, m) != nil {
		return answer{nil, err, string(text)}
	}
	return answer{m, nil, ""}
}

// What is refused is refused over both protocols, and in the same way with RAW_SYSCALLS.
func TestCallersNeedAnIdentity(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"false", "true"} {
		t.Run("RAW_SYSCALLS="+raw, func(t *testing.T) {
			t.Parallel()
			a, err := authority.New(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			c := secured(t, a, map[string]string{"RAW_SYSCALLS": raw})
			spoiled := func(wrong string) string {
				leaf, err := authority.Standard("nginx").Spoil(wrong)
				if err != nil {
					t.Fatal(err)
				}
				return issued(t, a, wrong, leaf)
			}
			old := as(t, a, issued(t, a, "nginx", authority.Standard("nginx")))
			old.MaxVersion = tls.VersionTLS12
			for name, test := range map[string]struct {
				config *tls.Config
				want   []string // any of these
			}{
				"no certificate":       {as(t, a, ""), []string{"certificate required", "write: broken pipe", "connection reset"}},
				"another authority":    {as(t, a, spoiled("other_authority")), []string{"certificate", "broken pipe", "connection reset"}},
				"expired":              {as(t, a, spoiled("expired")), []string{"certificate", "broken pipe", "connection reset"}},
				"not yet valid":        {as(t, a, spoiled("not_yet_valid")), []string{"certificate", "broken pipe", "connection reset"}},
				"another trust domain": {as(t, a, spoiled("wrong_name")), []string{"bad certificate", "broken pipe", "connection reset"}},
				"no identity":          {as(t, a, spoiled("no_identity")), []string{"bad certificate", "broken pipe", "connection reset"}},
				"not among the callers": {
					as(t, a, issued(t, a, "front-1", authority.Standard("front-1"))), []string{"bad certificate", "broken pipe", "connection reset"},
				},
				"TLS 1.2":    {old, []string{"protocol version not supported"}},
				"plain text": {nil, []string{"HTTP request to an HTTPS server", "server preface", "reset", "EOF"}},
			} {
				for protocol, got := range ask(t, c, test.config, "") {
					said := got.text
					if got.err != nil {
						said = got.err.Error()
					}
					known := false
					for _, want := range test.want {
						known = known || strings.Contains(said, want)
					}
					if got.WhoAmIResponse != nil || !known {
						t.Errorf("%s over %s: %v, %q; want one of %q", name, protocol, got.WhoAmIResponse, said, test.want)
					}
				}
			}
			for protocol, got := range ask(t, c, as(t, a, issued(t, a, "nginx", authority.Standard("nginx"))), "") {
				if got.err != nil || got.GetCaller().GetIdentity() != "spiffe://trivet/nginx" || got.GetCaller().ClientIdentity != nil || got.GetProtocol() != protocol {
					t.Errorf("nginx over %s: %v, %v", protocol, got.WhoAmIResponse, got.err)
				}
			}
			if state, err := instance.CheckHealth(t.Context(), c); err != nil || state != healthv1.HealthCheckResponse_SERVING {
				t.Errorf("health: %v, %v", state, err)
			}
			c.TLSCallers = c.TLSCallers[:1]
			if state, err := instance.CheckHealth(t.Context(), c); err == nil || !strings.Contains(err.Error(), "add spiffe://trivet/whoami to TLS_CALLERS") {
				t.Errorf("health of an instance that its own identity may not call: %v, %v", state, err)
			}
		})
	}
}

// Only nginx is believed what it says of its clients: in plain HTTP, and to any other caller, the header means nothing.
func TestClientIdentityIsBelievedFromNginxAlone(t *testing.T) {
	t.Parallel()
	a, err := authority.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tlsInstance, plain := secured(t, a, nil), launch(t, nil)
	nginx, client := as(t, a, issued(t, a, "nginx", authority.Standard("nginx"))), as(t, a, issued(t, a, "alice", authority.Standard("alice")))
	for name, test := range map[string]struct {
		instance         instance.Config
		config           *tls.Config
		identity, client string
	}{
		"nginx":    {tlsInstance, nginx, "spiffe://trivet/nginx", "bob"},
		"a client": {tlsInstance, client, "spiffe://trivet/client/alice", ""},
		"plain":    {plain, nil, "", ""},
	} {
		for protocol, got := range ask(t, test.instance, test.config, "bob") {
			if got.err != nil || got.GetCaller().GetIdentity() != test.identity || got.GetCaller().GetClientIdentity() != test.client {
				t.Errorf("%s over %s: %v, %v %s", name, protocol, got.GetCaller(), got.err, got.text)
			}
		}
	}
}

// The admin listener stays plain, on a loopback address.
func TestAdminListenerStaysPlain(t *testing.T) {
	t.Parallel()
	a, err := authority.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	port := proctest.Reserve(t)
	c := secured(t, a, map[string]string{"ADMIN_PORT": port, "BIND": "0.0.0.0"})
	response, err := http.Get("http://" + c.AdminAddr() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK || !c.AdminBind.IsLoopback() {
		t.Errorf("%s at %s", response.Status, c.AdminAddr())
	}
	for _, address := range outside(t) {
		if conn, err := net.DialTimeout("tcp", net.JoinHostPort(address, port), time.Second); err == nil {
			conn.Close()
			t.Errorf("the admin listener accepts connections to %s", address)
		}
	}
}

// outside are addresses of this machine that others can reach.
func outside(t *testing.T) []string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"127.0.0.9"} // Another loopback address shows the same, where the machine has no network.
	for _, address := range addresses {
		if ip, ok := address.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() {
			all = append(all, ip.IP.String())
		}
	}
	return all
}
