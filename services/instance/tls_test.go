package instance

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestPortChecksAreNoErrors(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	log := serverLog{slog.New(slog.NewTextHandler(&text, nil))} // From level info.
	for _, line := range []string{
		"http: TLS handshake error from 127.0.0.1:1: EOF\n",
		"http: TLS handshake error from 127.0.0.1:1: tls: client didn't provide a certificate\n",
	} {
		if n, err := log.Write([]byte(line)); n != len(line) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if got := text.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=WARN") || !strings.Contains(got, "provide a certificate") {
		t.Errorf("logged:\n%s", got)
	}
}
