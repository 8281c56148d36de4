package nginx

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"net/http"
	"testing"
	"time"
)

// signed returns a client certificate with any subject, which the authority has signed: no subject may pass for another client.
func (c certificates) signed(t *testing.T, subject pkix.Name) *tls.Certificate {
	t.Helper()
	ca, err := tls.LoadX509KeyPair(c.Path("authority-1"), c.Path("authority-1"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: subject, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca.Leaf, key.Public(), ca.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestSubjectsDoNotPassForOthers(t *testing.T) {
	t.Parallel()
	c := issued(t, "edge")
	edge := c.edge(t)
	startSite(t, Site{Servers: []Server{{web(t), free(t)}}, Workers: 1, TLS: edge})
	commonName := asn1.ObjectIdentifier{2, 5, 4, 3}
	two := func(first, second string) pkix.Name {
		return pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: commonName, Value: first}, {Type: commonName, Value: second}}}
	}
	for _, subject := range []struct {
		name pkix.Name
		want string
	}{
		{pkix.Name{CommonName: "client", Organization: []string{"Example, Inc."}}, "client"},
		{pkix.Name{CommonName: "client"}, "client"},
		{pkix.Name{CommonName: "a,CN=client"}, ""},
		{pkix.Name{CommonName: "client,O=x"}, ""},
		{pkix.Name{CommonName: "client+OU=x"}, ""},
		{pkix.Name{CommonName: `\`, Organization: []string{`\,CN=client`}}, ""},
		{pkix.Name{CommonName: "a b", Organization: []string{",CN=client"}}, ""},
		{pkix.Name{Organization: []string{"CN=client"}}, ""},
		{pkix.Name{Organization: []string{"x,CN=client,O=y"}}, ""},
		{pkix.Name{Organization: []string{`x\`}, CommonName: "other"}, "other"},
		{pkix.Name{SerialNumber: "1,CN=client"}, ""},
		{pkix.Name{CommonName: "client\r\nX-Evil: 1"}, ""},
		{two("other", "client"), ""},
		{two("client", "other"), ""},
	} {
		e := edgeClient{edge.Listen, c.client(t, "")}
		certificate := c.signed(t, subject.name)
		e.config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
		resp, body := e.send(t, "HTTP/1.1", newRequest(t, "GET", "https://localhost/", nil))
		var h http.Header
		if err := json.Unmarshal([]byte(body), &h); err != nil || resp.StatusCode != 200 || h.Get("X-Client-Identity") != subject.want || h.Get("X-Evil") != "" {
			t.Errorf("%v: %d, identity %q, want %q; %v", subject.name, resp.StatusCode, h.Get("X-Client-Identity"), subject.want, err)
		}
	}
}
