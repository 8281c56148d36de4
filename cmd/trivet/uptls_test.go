package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// What trivet up prints about the mesh works as it stands; the plain ports serve as without it.
func TestUpOfTheMeshNamesWhatToTry(t *testing.T) {
	t.Parallel()
	o := launch(t, "-n", "1", "--front", "1", "--tls", "--mtls")
	var said strings.Builder
	for !strings.Contains(said.String(), "Ctrl-C stops everything.") {
		line, err := o.lines.ReadString('\n')
		if said.WriteString(line); err != nil {
			t.Fatalf("trivet ended after\n%s", said.String())
		}
		if strings.HasSuffix(line, " \n") {
			t.Errorf("blanks end the line %q", line)
		}
	}
	for _, want := range []string{
		"1 instance and 1 of front behind nginx 1.", ":8443  grpcs://", "whoami-1  https://127.", "front-1   https://127.", ":8101 ", ":9101 ",
		"-cacert /", ":8443 whoami.v1.WhoAmIService/WhoAmI", " certs ",
	} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("no %q in:\n%s", want, said.String())
		}
	}
	curl := regexp.MustCompile(`curl --cacert (\S+) (https://\S+)`).FindStringSubmatch(said.String())
	plain := regexp.MustCompile(`curl (127\S+:8080)/\n`).FindStringSubmatch(said.String())
	if curl == nil || plain == nil {
		t.Fatalf("no curl in\n%s", said.String())
	}
	text, err := os.ReadFile(curl[1])
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(text)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}}
	for _, url := range []string{curl[2], "http://" + plain[1] + "/", "http://" + plain[1] + "/front"} {
		response, err := client.Get(url)
		if err != nil {
			t.Error(err)
			continue
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", url, response.Status)
		}
	}
	o.signal(t, syscall.SIGTERM)
	if status := o.wait(t); status != 0 {
		t.Errorf("ended with %v", status)
	}
}
