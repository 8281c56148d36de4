package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trivet/lab/feed"
	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/nginx/confedit"
)

// pageOf is what trivet report --format html prints of a run directory, and the messages in it.
func pageOf(t *testing.T, dir string) (page string, messages []feed.Message) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"report", "--format", "html", dir}, &stdout, &stderr); code != exitDone || stderr.Len() > 0 {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	_, data, found := strings.Cut(stdout.String(), `id="feed">`)
	data, _, closed := strings.Cut(data, "</script>")
	packed, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(data)))
	if err != nil || !found || !closed {
		t.Fatalf("no data: %v, in %.300s", err, stdout.String())
	}
	for lines := json.NewDecoder(packed); ; {
		var m feed.Message
		if err := lines.Decode(&m); errors.Is(err, io.EOF) {
			return stdout.String(), messages
		} else if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, m)
	}
}

// The page has the stories of requests that failed, and the report.
func TestReportPageHasStoriesAndReport(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	tracedRun(t, base)
	_, messages := pageOf(t, filepath.Join(base, "20261126T230451.456085-31232"))
	failed, stories, reports := 0, make(map[string]string), 0
	for _, m := range messages {
		switch {
		case m.Failures != nil:
			failed += len(m.Failures.Requests)
		case m.Story != nil:
			var s struct {
				ID        string
				Sentences []string
			}
			if err := json.Unmarshal(m.Story, &s); err != nil {
				t.Error(err)
			}
			stories[s.ID] = strings.Join(s.Sentences, " ")
		case m.Experiment != nil:
			reports++
		case m.Omitted != nil:
			t.Errorf("omitted: %s", m.Omitted.Text)
		}
	}
	if messages[0].Hello == nil || reports != 1 || len(stories) == 0 {
		t.Errorf("%d reports, %d stories, %d failed", reports, len(stories), failed)
	}
	for id, text := range stories {
		if !strings.Contains(text, "nginx") {
			t.Errorf("the story of %s is %q", id, text)
		}
	}
}

// On a terminal the page is printed like any report, and a message says how to write it to a file.
func TestReportPageOnATerminalSaysHowToWriteAFile(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	tracedRun(t, base)
	outer, inner := terminal(t, 80)
	printed := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, outer) // It ends with an error when the other end is closed.
		printed <- n
	}()
	var stderr bytes.Buffer
	code := run(t.Context(), []string{"report", "--format", "html", filepath.Join(base, "20261126T230451.456085-31232")}, inner, &stderr)
	inner.Close()
	if n := <-printed; code != exitDone || n < 10_000 || !strings.HasPrefix(stderr.String(), "trivet: HTML is for a browser; write it to a file: trivet report --format html > report.html\n") {
		t.Errorf("exit code %d, %d bytes, %s", code, n, stderr.String())
	}
}

// Whatever texts are in the records of a run, none is HTML in its page. Private keys are not in it at all.
func TestReportPageHasHostileTextsAsDataAlone(t *testing.T) {
	t.Parallel()
	n := 0
	hostile := func() string {
		n++
		return fmt.Sprintf("</script><img src=x onerror=stolen%02d()>", n)
	}
	m := labtest.Manifest(1)
	m.Scenario.Experiment, m.Scenario.Variant, m.Scenario.Description = hostile(), "only", hostile()
	for i := range m.Scenario.Phases {
		m.Scenario.Phases[i].Name = hostile()
	}
	m.Scenario.Loads[0].Name = hostile()
	m.Scenario.Files = map[string]string{"x.conf": "user a;"}
	m.Scenario.Edits = []confedit.Edit{{Context: "main", Add: "user b"}}
	m.Instances[0].Name = hostile()
	m.Nginx, m.Trivet = hostile(), hostile()
	run := filepath.Join(t.TempDir(), "run")
	entry := record.Entry{Dir: "1-x", Experiment: scenario.Experiment{
		Name: hostile(), Path: hostile(), Question: hostile(), Answer: hostile(), Scenarios: []scenario.Scenario{m.Scenario}, Expect: []scenario.Expectation{{Text: hostile()}},
	}}
	dir := entry.Trial(run, "only", 1)
	client := labtest.OK("11.http.0.0", labtest.Planned(m, 0, 0))
	client.Outcome, client.Code, client.Reason, client.Error, client.Instance = record.Incomplete, "", "refused", hostile(), ""
	client.Method = hostile()
	arrival := record.Call{V: record.CallVersion, Event: record.Arrival, Time: client.Planned.Add(time.Millisecond), Instance: m.Instances[0].Name, PID: 1, Start: "a", Call: 1, ID: client.ID, Protocol: "http"}
	died := record.Event{V: record.EventVersion, Time: m.Begin.Add(time.Second), Event: record.ProcessEvent, Kind: record.Died, Process: m.Instances[0].Name, PID: 1, Start: "a", Exit: &record.Exit{Error: hostile()}}
	ended := record.Event{V: record.EventVersion, Time: m.Begin.Add(time.Minute), Event: record.LabError, Error: hostile()}
	files := labtest.History{Records: []any{client, arrival, died, ended}}.Files(t)
	files["conf/nginx.conf"] = []byte("user b; # " + hostile() + "\ninclude x.conf;\nevents { }\n")
	files["conf/x.conf"] = []byte("user a; # " + hostile() + "\n")
	files["shipped/nginx.conf"] = []byte("user a; # " + hostile() + "\n")
	const secret = "c2VjcmV0IGtleQ"
	key := "-----BEGIN PRIVATE" + " KEY-----\n" + secret + "\n-----END PRIVATE" + " KEY-----\n"
	files["tls/edge.pem"] = []byte(key)
	files["conf/x.conf"] = append(files["conf/x.conf"], "daemon \""+key+"\";\n"...)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(m.Write(dir), record.Index{Trivet: hostile(), Nginx: hostile(), Experiments: []record.Entry{entry}}.Write(run)); err != nil {
		t.Fatal(err)
	}
	page, messages := pageOf(t, run)
	if strings.Contains(page, "stolen") {
		t.Error("a text of the records is in the page as it is")
	}
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(messages); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(data.String(), secret) {
		t.Error("the page has a private key")
	}
	missing := 0
	for i := range n {
		if !strings.Contains(data.String(), fmt.Sprintf("stolen%02d", i+1)) {
			missing++
			t.Logf("text %d is not in the data", i+1)
		}
	}
	if n-missing < 12 {
		t.Errorf("only %d of %d texts are in the data", n-missing, n)
	}
}
