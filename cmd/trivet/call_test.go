package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// noise is what differs from one trivet call to the next, and the spaces that depend on it.
var noise = regexp.MustCompile(`\d+\.\d ms|(whoami|front)-\d+|\b[a-z2-7]{8}\b|[ ]+`)

// alike is output without what differs, each of it by its first letter.
func alike(output string) string {
	output = noise.ReplaceAllStringFunc(output, func(text string) string {
		switch {
		case strings.HasSuffix(text, " ms"):
			return "MS"
		case strings.Contains(text, "-"):
			return strings.Split(text, "-")[0] + "-N"
		case strings.TrimSpace(text) == "":
			return " "
		}
		return "ID"
	})
	return strings.TrimSpace(strings.ReplaceAll(output, " \n", "\n"))
}

// The transcripts in docs/hops.md are what trivet call prints: the same but for times, instances and request IDs. The same trees come over
// HTTP and TLS, and JSON is one document.
func TestCallsOfARunningFleet(t *testing.T) {
	t.Parallel()
	o := launch(t, "--json", "--front", "1", "--tls", "--http", "0", "--grpc", "0", "--admin", "0", "--tls-port", "0", "--metrics-port", "0")
	o.until(t, func(l line) bool { return l.Event == "up" })
	call := func(command string) (string, int) {
		cmd := exec.CommandContext(t.Context(), "bash", "-c", strings.ReplaceAll(command, "bin/trivet", trivet(t)))
		cmd.Env = append(os.Environ(), "TMPDIR="+o.tmp)
		output, err := cmd.CombinedOutput()
		if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
			t.Fatal(err)
		}
		return string(output), cmd.ProcessState.ExitCode()
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "hops.md"))
	if err != nil {
		t.Fatal(err)
	}
	commands := 0
	for _, block := range regexp.MustCompile("(?ms)^```console\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		for _, one := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, want, _ := strings.Cut(one, "\n")
			if !strings.HasPrefix(command, "bin/trivet call") {
				continue // It is running.
			}
			commands++
			got, code := call(command)
			if failed := strings.Contains(want, ": "+"call") || strings.Contains(want, "EXCEEDED"); alike(got) != alike(want) || failed != (code == exitFailed) {
				t.Errorf("%s: exit code %d\ngot\n%s\nand docs/hops.md has\n%s", command, code, got, want)
			}
		}
	}
	if commands < 4 {
		t.Errorf("only %d commands in docs/hops.md", commands)
	}
	const want = "CALL INSTANCE CODE ATTEMPTS DURATION\nhttp:whoami whoami-N OK 1 MS\n└ http front-N OK 1 MS\n └ grpc whoami-N OK 1 MS\n\nRequest ID: ID"
	if got, code := call("bin/trivet call --http --tls --hops http:front"); alike(got) != strings.Replace(want, "http front", "http:front front", 1) || code != exitDone {
		t.Errorf("%d\ngot\n%s\nwant\n%s", code, alike(got), want)
	}
	if got, code := call("bin/trivet call --tls --json --hops grpc"); !json.Valid([]byte(got)) || !strings.Contains(got, `"calls":[{"hop":"grpc"`) || code != exitDone {
		t.Errorf("%d: %s", code, got)
	}
	if got, code := call("bin/trivet call --json --hops grpc+1h"); !json.Valid([]byte(got)) || !strings.Contains(got, `"code":3,`) || code != exitFailed {
		t.Errorf("%d: %s", code, got)
	}
}
