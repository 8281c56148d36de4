package e2e

import (
	"encoding/json"
	"net/http"
	"testing"

	"trivet/lab/fleet"
	"trivet/nginx"
)

// The call that front makes for a request is encrypted on its whole way, and whoami learns from nginx that front makes it.
func TestHopsProveTheirInstance(t *testing.T) {
	t.Parallel()
	for name, with := range map[string]struct {
		tls, mtls bool
		want      string
	}{"plain": {}, "TLS at the edge alone": {tls: true}, "both": {true, true, "front-1"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t, fleet.Options{Instances: 1, Front: 1, Workers: 1, Conf: nginx.Conf(), TLS: with.tls, MTLS: with.mtls})
			response, err := http.Get("http://" + f.HTTP() + "/front?hops=grpc,http")
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			var visit struct {
				Calls []struct {
					Code     string
					Response struct {
						Caller struct{ ClientIdentity string }
					}
				}
			}
			if err := json.NewDecoder(response.Body).Decode(&visit); err != nil || len(visit.Calls) != 2 {
				t.Fatalf("%+v, %v", visit, err)
			}
			for _, call := range visit.Calls {
				if call.Code != "OK" || call.Response.Caller.ClientIdentity != with.want {
					t.Errorf("%+v, want a call of %q", call, with.want)
				}
			}
		})
	}
}
