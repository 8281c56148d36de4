package dashboard

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trivet/lab/labtest"
)

func TestChangesReachTheControl(t *testing.T) {
	t.Parallel()
	for path, test := range map[string]struct{ did, response string }{
		"/api/load":       {`load {"HTTP":300,"GRPC":150.5,"Streams":2,"DeadlineMS":2000,"Retry":true}`, `{}`},
		"/api/load/stop":  {`stop 0`, `{}`},
		"/api/action":     {`act ["kill","whoami-2"]`, `{}`},
		"/api/nginx":      {`nginx {"balancing":"least_conn"}`, `{}`},
		"/api/request":    {`request "http"`, `{"id":"1"}`},
		"/api/experiment": {`experiment 0`, `{"name":"mine","yaml":"question: \u003cb\u003e\n"}`},
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			control := &doer{}
			s := serve(t, control, nil)
			code, text := s.send(s.change(path, changes[path]))
			if code != http.StatusOK || strings.TrimSpace(text) != test.response || control.done() != test.did {
				t.Errorf("%d, %s; did %s", code, text, control.done())
			}
		})
	}
}

// Every error of a body is in the response, and nothing is done.
func TestWrongBodiesAreRefused(t *testing.T) {
	t.Parallel()
	control := &doer{}
	s := serve(t, control, nil)
	for _, test := range []struct {
		path, body string
		code       int
		says       []string
	}{
		{"/api/load", `{"http":"many","grp":1,"streams":1.5,"retry":1,"deadline_ms":null}`, 400, []string{
			`http is "many": want a number`, `unknown field "grp": did you mean grpc?`, `streams is 1.5: want a whole number`, `retry is 1: want true or false`,
			`deadline_ms is null: want a whole number`,
		}},
		{"/api/load", `{"http":-1,"streams":"many"}`, 400, []string{`streams is "many": want a whole number`, "http is -1"}},
		{"/api/load/stop", `{"now":true}`, 400, []string{`unknown field "now"`}},
		{"/api/action", `{"action":["kill"],"process":7}`, 400, []string{`action is ["kill"]: want a text`, `process is 7: want a text`}},
		{"/api/nginx", `{"balancing":7,"keepalive":["off"],"failures":null}`, 400, []string{"balancing is 7: want a text", `keepalive is ["off"]: want a text`, "failures is null: want a text"}},
		{"/api/nginx", `null`, 400, []string{"it is null"}},
		{"/api/nginx", `"balancing"`, 400, []string{"it is of type string"}},
		{"/api/experiment", `{"name":"../mine"}`, 400, []string{`unknown field "name": there is none`}},
		{"/api/action", `{"action":"kill"`, 400, []string{"not the JSON object"}},
		{"/api/action", `{} {}`, 400, []string{"not the JSON object"}},
		{"/api/action", `null`, 400, []string{"not the JSON object"}},
		{"/api/action", `[]`, 400, []string{"it is of type array"}},
		{"/api/action", ``, 400, []string{"not the JSON object"}},
		{"/api/action", `{"action":"` + strings.Repeat("k", mostBody) + `"}`, 413, []string{"8192 bytes"}},
	} {
		code, text := s.send(s.change(test.path, test.body))
		if code != test.code {
			t.Errorf("%s %.60s: %d, %s", test.path, test.body, code, text)
		}
		for _, want := range test.says {
			if !strings.Contains(text, want) {
				t.Errorf("%s %.60s: no %q in %s", test.path, test.body, want, text)
			}
		}
	}
	if did := control.done(); did != "" {
		t.Errorf("did %s", did)
	}
}

func TestRefusalHasItsStatusAndDetail(t *testing.T) {
	t.Parallel()
	s := serve(t, &doer{fail: &Refusal{Code: 422, Text: "nginx refuses it", Detail: "nginx: [emerg] <here>"}}, nil)
	response, err := client.Do(s.change("/api/nginx", `{}`))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	if want := `{"error":"nginx refuses it","detail":"nginx: [emerg] \u003chere\u003e"}` + "\n"; response.StatusCode != 422 || body.String() != want {
		t.Errorf("%s, %s", response.Status, body.String())
	}
}

func TestPageWithoutFleetChangesNothing(t *testing.T) {
	t.Parallel()
	s := serve(t, nil, nil)
	for path, body := range changes {
		if code, text := s.send(s.change(path, body)); code != http.StatusNotFound || !strings.Contains(text, "trivet up") {
			t.Errorf("%s: %d, %s", path, code, text)
		}
	}
}

func TestStoryIsFromTheRecordsOfItsTrial(t *testing.T) {
	t.Parallel()
	m := labtest.Manifest(1)
	dir := labtest.TrialDir(t, m, labtest.History{Manifest: m, Records: labtest.Ordinary(m, 0)}.Files(t))
	s := serve(t, nil, func(trial int, _ string) string {
		if trial == 3 {
			return dir
		}
		return ""
	})
	for query, test := range map[string]struct {
		code int
		says string
	}{
		"trial=3&id=11.http.0.0": {200, `"sentences":["The client sent it at `},
		"trial=3&id=11.http.0.9": {404, `no record of request \"11.http.0.9\" yet`},
		"trial=4&id=11.http.0.0": {404, "no trial 4"},
		"trial=x":                {400, `trial is \"x\": want a number, 0 or more; id is missing`},
	} {
		response, err := client.Get("http://" + s.address + "/api/story?" + query)
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		_, err = body.ReadFrom(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != test.code || !strings.Contains(body.String(), test.says) {
			t.Errorf("%s: %s, %s (%v)", query, response.Status, body.String(), err)
		}
	}
}

// A request of a load has its records in the load's directory, any other in that of trivet up.
func TestLiveStoriesAreOfTheirLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for n, seed := range map[string]uint64{"1": 11, "2": 117} {
		m := labtest.Manifest(1)
		m.Scenario.Seed = seed
		load := filepath.Join(dir, "loads", n)
		if err := errors.Join(os.MkdirAll(load, 0o700), m.Write(load)); err != nil {
			t.Fatal(err)
		}
	}
	find := LiveStories(dir)
	for id, want := range map[string]string{
		"11.http.0.0": filepath.Join(dir, "loads", "1"), "117.grpc.1.5": filepath.Join(dir, "loads", "2"), "1.http.0.0": dir, "d5b0": dir,
	} {
		if got := find(0, id); got != want {
			t.Errorf("%s is in %q, want %q", id, got, want)
		}
	}
	if got := find(1, "11.http.0.0"); got != "" {
		t.Errorf("trial 1 is %q", got)
	}
}
