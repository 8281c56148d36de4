package remote

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Address{
		"http://127.0.0.1:8080":                 {HTTP: "127.0.0.1:8080", GRPC: "127.0.0.1:9090"},
		"http://lab.example:8080/":              {HTTP: "lab.example:8080", GRPC: "lab.example:9090"},
		"http://[::1]:8080":                     {HTTP: "[::1]:8080", GRPC: "[::1]:9090"},
		"http://a,grpc://b:50051":               {HTTP: "a:80", GRPC: "b:50051"},
		"http://a:30080,grpc://a:30090":         {HTTP: "a:30080", GRPC: "a:30090"},
		"https://lab.example:8443":              {HTTP: "lab.example:8443", GRPC: "lab.example:8443", TLS: true},
		"https://lab.example":                   {HTTP: "lab.example:443", GRPC: "lab.example:443", TLS: true},
		"http://127.0.0.1:64525":                {HTTP: "127.0.0.1:64525", GRPC: "127.0.0.1:65535"},
		"http://127.0.0.1:65535,grpc://[::1]:1": {HTTP: "127.0.0.1:65535", GRPC: "[::1]:1"},
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"ftp://a:21":                  `scheme "ftp": want http://HOST:PORT or https://HOST:PORT`,
		"http://a":                    "without a port it is not known where gRPC is served",
		"http://:8080":                "no host",
		"http://a:70000":              "port 70000: want 1 to 65535",
		"http://a:65000":              "there is no port 66010 for gRPC: name it, like http://a:65000,grpc://a:9090",
		"http://a:8080/front":         "more than a host and a port",
		"http://a:8080?x=1":           "more than a host and a port",
		"http://me:pw@a:8080":         "a user",
		"http://a:8080,http://a:9090": `scheme "http" after the comma: want grpc://HOST:PORT`,
		"http://a:8080,grpc://a":      "no port: want grpc://HOST:PORT",
		"http://a:8080,":              "no host",
		"https://a,grpc://a:1":        `an https URL is for both protocols: remove ",grpc://a:1"`,
		"http://a b":                  "invalid character",
	} {
		if got, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %s", text, got, err, want)
		}
	}
}
