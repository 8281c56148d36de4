package fleet

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// Front is a service like whoami: nginx passes its paths on to it, and it calls whoami through nginx, encrypted where that is.
func TestFrontCallsWhoamiThroughNginx(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]bool{"plain": false, "TLS and mutual TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t, 1)
			o.Front, o.FrontProgram, o.TLS, o.MTLS = 2, front, secure, secure
			f := begin(t, o)
			if want := []string{"whoami-1", "front-1", "front-2"}; !slices.Equal(f.Names(), want) {
				t.Errorf("names %q", f.Names())
			}
			seen := map[string]bool{}
			for range 2 {
				status, instance, err := get(t.Context(), nil, f.HTTP(), "/front?hops=grpc,http", "test")
				if err != nil || status != http.StatusOK {
					t.Errorf("/front: %d from %q, %v", status, instance, err)
				}
				seen[instance] = true
			}
			if !seen["front-1"] || !seen["front-2"] {
				t.Errorf("%v responded, want each instance of front", seen)
			}
			log, err := os.ReadFile(f.Dir() + "/" + record.AccessLogFile)
			encrypted := 0
			for line := range strings.Lines(string(log)) {
				if strings.Contains(line, `"id":"test.`) && strings.Contains(line, `"tls":"TLSv1.3"`) && strings.Contains(line, `"client":"front-`) {
					encrypted++
				}
			}
			if want := map[bool]int{true: 4}[secure]; err != nil || encrypted != want {
				t.Errorf("%d calls of front were encrypted, and had its identity, want %d; %v\n%s", encrypted, want, err, log)
			}
			if err := f.Do(t.Context(), scenario.Operation{Kind: scenario.Restart, Process: "front-2"}); err != nil {
				t.Error(err)
			}
		})
	}
}
