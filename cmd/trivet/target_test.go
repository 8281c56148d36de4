package main

import (
	"strings"
	"testing"

	"trivet/lab/remote"
	"trivet/lab/scenario"
)

func TestParseTarget(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text, ca string
		want     target
	}{
		{"k8s:trivet-dev", "", target{kind: scenario.Kubernetes, of: "trivet-dev"}},
		{"compose", "", target{kind: scenario.Compose}},
		{"compose:my_lab-2", "", target{kind: scenario.Compose, of: "my_lab-2"}},
		{"http://127.0.0.1:8080", "", target{kind: scenario.URL, at: remote.Address{HTTP: "127.0.0.1:8080", GRPC: "127.0.0.1:9090"}}},
		{"https://a:8443", "ca.pem", target{kind: scenario.URL, at: remote.Address{HTTP: "a:8443", GRPC: "a:8443", TLS: true}}},
	} {
		test.want.name, test.want.ca = test.text, test.ca
		if got, err := parseTarget(test.text, test.ca); err != nil || got != test.want {
			t.Errorf("%s: %+v, %v", test.text, got, err)
		}
		if opens[test.want.kind] == nil {
			t.Errorf("%s: nothing opens it", test.text)
		}
	}
}

func TestParseTargetSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                     "want k8s:NAMESPACE, compose",
		"k8s":                  "k8s wants a namespace",
		"k8s:":                 "k8s wants a namespace",
		"k8s:Dev":              `"Dev" is no name of a namespace`,
		"k8s:-a":               "is no name of a namespace",
		"compose:":             `"" is no name of a Compose project`,
		"compose:My Lab":       "is no name of a Compose project",
		"compsoe":              "did you mean compose",
		"localhost:8080":       "want k8s:NAMESPACE, compose",
		"http://a":             "without a port it is not known",
		"https://a:8443":       "--target-ca: name the file of the authorities",
		"http://a:1 ca.pem":    "--target-ca is for a target that is called over TLS",
		"compose ca.pem":       "--target-ca is for a target that is called over TLS",
		"k8s:trivet-dev c.pem": "--target-ca is for a target that is called over TLS",
	} {
		text, ca, _ := strings.Cut(text, " ")
		if strings.HasPrefix(text, "compose:My") {
			text, ca = "compose:My Lab", ""
		}
		if got, err := parseTarget(text, ca); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %s", text, got, err, want)
		}
	}
}
