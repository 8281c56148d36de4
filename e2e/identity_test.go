package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/proctest"
	"trivet/lab/authority"
	"trivet/lab/fleet"
	"trivet/lab/labtest"
	"trivet/lab/scenario"
)

// A secured fleet has one instance, with numbered ports so that there are admin listeners.
type secured struct {
	*fleet.Fleet
	bind string
}

// startSecured runs a fleet with TLS and mutual TLS until the test ends.
func startSecured(t *testing.T) secured {
	t.Helper()
	bind := ownAddress(88)
	f, err := fleet.Start(t.Context(), fleet.Options{
		Instances: 1, Whoami: whoami, Nginx: labtest.Nginx(t), Workers: 1, Dir: proctest.Passable(t), Numbered: true, Bind: bind, TLS: true, MTLS: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := f.Stop(ctx); err != nil {
			t.Error(err)
		}
		if log, _ := os.ReadFile(f.LogFile(scenario.Nginx)); t.Failed() {
			t.Logf("nginx's error log:\n%s", log)
		}
	})
	return secured{f, bind}
}

// ownAddress is a loopback address that no other process uses.
func ownAddress(network int) string {
	return fmt.Sprintf("127.%d.%d.%d", network, os.Getpid()>>8&255, os.Getpid()&255)
}

// as is the configuration of a client with a certificate that the fleet's authority issues now; "": with none. server is the name of the
// one it calls.
func (f secured) as(t *testing.T, name string, leaf authority.Leaf, server string) *tls.Config {
	t.Helper()
	text, err := os.ReadFile(f.CA())
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: server}
	config.RootCAs.AppendCertsFromPEM(text)
	if name == "" {
		return config
	}
	path, err := f.Authority().Issue(name, leaf)
	if err != nil {
		t.Fatal(err)
	}
	own, err := tls.LoadX509KeyPair(path, path)
	if err != nil {
		t.Fatal(err)
	}
	config.Certificates = []tls.Certificate{own}
	return config
}

func spoiled(t *testing.T, name, wrong string) authority.Leaf {
	t.Helper()
	leaf, err := authority.Standard(name).Spoil(wrong)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// claim is what a client says that nginx has verified.
const claim = "admin"

// whoAmI is the response over both protocols, each by a new connection, of a request that claims an identity; nil if there is none.
func whoAmI(t *testing.T, http, grpc string, config *tls.Config) map[string]*whoamiv1.WhoAmIResponse {
	t.Helper()
	return map[string]*whoamiv1.WhoAmIResponse{"http": overHTTP(t, http, config), "grpc": overGRPC(t, grpc, config)}
}

func overHTTP(t *testing.T, address string, config *tls.Config) *whoamiv1.WhoAmIResponse {
	t.Helper()
	scheme := "http"
	if config != nil {
		scheme = "https"
	}
	request, err := http.NewRequestWithContext(t.Context(), "GET", scheme+"://"+address+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"X-Client-Identity", "Grpc-Metadata-X-Client-Identity", "X_Client_Identity"} {
		request.Header.Set(name, claim)
	}
	response, err := (&http.Transport{TLSClientConfig: config, DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	m := &whoamiv1.WhoAmIResponse{}
	if err != nil || response.StatusCode != http.StatusOK || protojson.Unmarshal(text, m) != nil {
		return nil
	}
	return m
}

func overGRPC(t *testing.T, address string, config *tls.Config) *whoamiv1.WhoAmIResponse {
	t.Helper()
	transport := insecure.NewCredentials()
	if config != nil {
		transport = credentials.NewTLS(config)
	}
	connection, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(transport), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-client-identity", claim)
	m, err := whoamiv1.NewWhoAmIServiceClient(connection).WhoAmI(ctx, nil)
	if err != nil {
		return nil
	}
	return m
}

// Each is a way in that must stay closed, by real processes.
func TestWaysInStayClosed(t *testing.T) {
	t.Parallel()
	f := startSecured(t)
	p := f.Process("whoami-1")
	t.Run("instance", func(t *testing.T) {
		const name = "whoami.mesh"
		for way, config := range map[string]*tls.Config{
			"plain text":            nil,
			"no certificate":        f.as(t, "", authority.Leaf{}, name),
			"another authority":     f.as(t, "a", spoiled(t, "nginx", "other_authority"), name),
			"expired":               f.as(t, "b", spoiled(t, "nginx", "expired"), name),
			"not yet valid":         f.as(t, "c", spoiled(t, "nginx", "not_yet_valid"), name),
			"another trust domain":  f.as(t, "d", spoiled(t, "nginx", "wrong_name"), name),
			"without an identity":   f.as(t, "e", spoiled(t, "nginx", "no_identity"), name),
			"server's, no client's": f.as(t, "g", authority.Leaf{DNS: []string{name}, URI: authority.TrustDomain + "whoami", Server: true}, name),
		} {
			for protocol, m := range whoAmI(t, p.HTTP(), p.GRPC(), config) {
				if m != nil {
					t.Errorf("%s over %s: %v", way, protocol, m.GetCaller())
				}
			}
		}
	})
	// What gets in has the identity of its certificate, whatever it claims.
	for way, test := range map[string]struct {
		http, grpc       string
		config           *tls.Config
		identity, client string
	}{
		"plain text through nginx":     {f.HTTP(), f.GRPC(), nil, "spiffe://trivet/nginx", ""},
		"TLS through nginx":            {f.TLS(), f.TLS(), f.as(t, "", authority.Leaf{}, "localhost"), "spiffe://trivet/nginx", ""},
		"TLS through nginx as alice":   {f.TLS(), f.TLS(), f.as(t, "alice", authority.Standard("alice"), "localhost"), "spiffe://trivet/nginx", "alice"},
		"to the instance as alice":     {p.HTTP(), p.GRPC(), f.as(t, "alice2", authority.Standard("alice2"), "whoami.mesh"), "spiffe://trivet/client/alice2", ""},
		"to the instance as another's": {p.HTTP(), p.GRPC(), f.as(t, "front-1", authority.Standard("front-1"), "whoami.mesh"), "spiffe://trivet/front", ""},
	} {
		for protocol, m := range whoAmI(t, test.http, test.grpc, test.config) {
			if m == nil || m.GetCaller().GetIdentity() != test.identity || m.GetCaller().GetClientIdentity() != test.client {
				t.Errorf("%s over %s: %v; want identity %q, client identity %q", way, protocol, m.GetCaller(), test.identity, test.client)
			}
		}
	}
	// A client that nginx cannot verify is refused, or has no identity.
	for way, config := range map[string]*tls.Config{
		"another authority": f.as(t, "eve", spoiled(t, "eve", "other_authority"), "localhost"),
		"expired":           f.as(t, "old", spoiled(t, "old", "expired"), "localhost"),
	} {
		for protocol, m := range whoAmI(t, f.TLS(), f.TLS(), config) {
			if m.GetCaller().GetClientIdentity() != "" {
				t.Errorf("%s over %s: client identity %q", way, protocol, m.GetCaller().GetClientIdentity())
			}
		}
	}
	t.Run("admin", func(t *testing.T) { adminIsClosed(t, f) })
}

// adminIsClosed checks that the admin listeners of nginx and the instance can be reached at the fleet's loopback address alone.
func adminIsClosed(t *testing.T, f secured) {
	_, nginx, err := net.SplitHostPort(f.Admin())
	if err != nil {
		t.Fatal(err)
	}
	outside := []string{ownAddress(89)} // An address that is not the fleet's shows the same as one of the network.
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		if prefix, ok := address.(*net.IPNet); ok && prefix.IP.IsGlobalUnicast() {
			outside = append(outside, prefix.IP.String())
		}
	}
	for _, port := range []string{nginx, "7001"} {
		if conn, err := net.DialTimeout("tcp", net.JoinHostPort(f.bind, port), 10*time.Second); err != nil {
			t.Errorf("port %s is no admin listener: %v", port, err)
		} else {
			conn.Close()
		}
		for _, host := range outside {
			if conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), 10*time.Second); err == nil {
				conn.Close()
				t.Errorf("an admin listener accepts connections to %s:%s", host, port)
			}
		}
	}
	for _, path := range []string{"/status", "/metrics", "/nginx_status", "/debug/pprof/"} {
		response, err := browser(t).Get("http://" + f.HTTP() + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusNotFound {
			t.Errorf("nginx passes %s on: %s", path, response.Status)
		}
	}
}
