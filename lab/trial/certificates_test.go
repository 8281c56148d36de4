package trial

import (
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/scenario"
)

// Actions on certificates are operations like others: each is in the event log once, at its planned time, and no request notices.
func TestActionsOnCertificatesAreLogged(t *testing.T) {
	t.Parallel()
	s := during(8*time.Second,
		on(scenario.Add, scenario.Authority), reload, wait(300*time.Millisecond),
		on(scenario.Renew, scenario.Edge, scenario.Nginx, "whoami-1", "whoami-2", "whoami-3"), reload, wait(300*time.Millisecond),
		on(scenario.Retire, scenario.Authority), reload,
		on(scenario.IssueExpired, "whoami-2"), on(scenario.Renew, "whoami-2"), on(scenario.Distrust, "whoami-3"), on(scenario.Trust, "whoami-3"))
	s.TLS, s.MTLS = true, true
	s.Loads = []scenario.Load{httpLoad(50), grpcLoad("calls", 50)}
	for i := range s.Loads {
		s.Loads[i].Retry = true // A reload may lose a request of clients that send each once.
	}
	set := setup(t, s, local(t, whoami))
	if err := run(t, t.Context(), set); err != nil {
		t.Fatal(err)
	}
	got := words(events(t, set.Dir))
	var want []string
	for _, o := range s.Phases[0].Operations() {
		want = append(want, "during: action_started "+o.Name(), "during: action_done "+o.Name())
	}
	from := max(0, slices.Index(got, want[0]))
	if part := got[from:min(len(got), from+len(want))]; !slices.Equal(part, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(part, "\n"), strings.Join(want, "\n"))
	}
	r := checked(t, set.Dir)
	for _, protocol := range []string{scenario.HTTP, scenario.GRPC} {
		if m, ok := r.Adjusted("", protocol); !ok || m.OK == 0 || m.NginxErrors > 0 {
			t.Errorf("%s: %+v", protocol, m)
		}
	}
}
