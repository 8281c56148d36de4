package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// WatchWhoAmI over HTTP passes nginx message by message, in both formats. With an interval of 3600 s one message arrives, so it did not wait
// for a second.
func TestHTTPStreamPassesNginxMessageByMessage(t *testing.T) {
	t.Parallel()
	s := start(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for accept, prefix := range map[string]string{"application/x-ndjson": "", "text/event-stream": "data: "} {
		for interval, messages := range map[string]int{"0.02s": 3, "3600s": 1} {
			t.Run(accept+" "+interval, func(t *testing.T) {
				watchHTTP(ctx, t, "http://"+s.HTTP()+"/watch?interval="+interval, accept, prefix, messages)
			})
		}
	}
}

// watchHTTP reads the first messages of a stream, each on a line with the prefix.
func watchHTTP(ctx context.Context, t *testing.T, url, accept, prefix string, messages int) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("X-Request-Id", "watch")
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != accept || resp.Header.Get("X-Request-Id") != "watch" {
		t.Fatalf("%s, %v", resp.Status, resp.Header)
	}
	lines := bufio.NewScanner(resp.Body)
	for n := 1; n <= messages; {
		if !lines.Scan() {
			t.Fatalf("message %d: %v", n, lines.Err())
		}
		text, ok := strings.CutPrefix(lines.Text(), prefix)
		if !ok || text == "" {
			continue // An event's other lines.
		}
		var message struct {
			Result struct {
				Sequence string
				Answer   struct{ Instance string }
			}
		}
		if err := json.Unmarshal([]byte(text), &message); err != nil || message.Result.Sequence != strconv.Itoa(n) || message.Result.Answer.Instance == "" {
			t.Fatalf("message %d is %q: %v", n, text, err)
		}
		n++
	}
}
