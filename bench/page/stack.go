package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"syscall"
	"time"

	"trivet/bench/launch"
	"trivet/lab/feed"
)

// A stack is a trivet up with its page.
type stack struct {
	group   *launch.Group
	process *launch.Process
	url     string
	token   string
}

// start starts trivet up in dir and waits until it serves the page.
func start(ctx context.Context, dir string) (*stack, error) {
	const program = "bin/trivet"
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("%w; run make bench-page in Trivet's source tree", err)
	}
	s := &stack{group: launch.NewGroup(dir)}
	var err error
	s.process, err = s.group.Start(launch.Program{Path: program, Env: []string{"TMPDIR=" + dir}, Args: []string{"up", "--json", "--http", "0", "--grpc", "0", "--dashboard", "0", "--metrics=false"}})
	if err == nil {
		err = s.process.Await(ctx, 10*time.Millisecond, func(context.Context) error {
			text, err := s.process.Output()
			if err == nil {
				s.url, err = pageURL(text)
			}
			return err
		})
	}
	if err == nil {
		s.token, err = s.findToken(ctx)
	}
	if err != nil {
		s.group.Stop()
		return nil, err
	}
	return s, nil
}

// pageURL is where the page is, as trivet up --json says.
func pageURL(events []byte) (string, error) {
	for line := range bytes.Lines(events) {
		var event struct{ Event, Dashboard string }
		if err := json.Unmarshal(line, &event); err == nil && event.Event == "up" {
			if event.Dashboard == "" {
				return "", errors.New("trivet up serves no page")
			}
			return event.Dashboard, nil
		}
	}
	return "", errors.New("it is not up")
}

var tokenMeta = regexp.MustCompile(`name="trivet-token" content="([^"]+)"`)

// findToken reads the token that the page has.
func (s *stack) findToken(ctx context.Context) (string, error) {
	response, err := s.get(ctx, "/")
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	found := tokenMeta.FindSubmatch(text)
	if found == nil {
		return "", errors.New("the page has no token")
	}
	return string(found[1]), nil
}

func (s *stack) get(ctx context.Context, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.join(path), nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err == nil && response.StatusCode != http.StatusOK {
		response.Body.Close()
		err = fmt.Errorf("GET %s: %s", path, response.Status)
	}
	return response, err
}

func (s *stack) join(path string) string {
	return string(bytes.TrimRight([]byte(s.url), "/")) + path
}

// load starts the load, half of it over each protocol.
func (s *stack) load(ctx context.Context, rate float64) error {
	body, err := json.Marshal(map[string]any{"http": rate / 2, "grpc": rate / 2, "streams": 0, "deadline_ms": 2000, "retry": false})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.join("/api/load"), bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Trivet-Token", s.token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if text, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusOK {
		return fmt.Errorf("POST /api/load: %s: %s", response.Status, text)
	}
	return nil
}

// messages calls f for each message of the feed, with its size in bytes, until f returns false or ctx ends.
func (s *stack) messages(ctx context.Context, f func(feed.Message, int) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	response, err := s.get(ctx, "/api/feed")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:"))
		if !ok {
			continue
		}
		var m feed.Message
		if err := json.Unmarshal(data, &m); err != nil {
			return fmt.Errorf("feed: %w in %.200s", err, data)
		}
		if !f(m, len(lines.Bytes())) {
			return nil
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(lines.Err(), errors.New("the feed has ended"))
}

// rate is how many requests per second were planned in a time, as a new reader of the feed is shown it: in the bins that are all in it.
func (s *stack) rate(ctx context.Context, from, to time.Time) (perSecond float64, err error) {
	var trial *feed.Trial
	counts := map[int]int{}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	seen := false
	err = s.messages(ctx, func(m feed.Message, _ int) bool {
		if m.Trial != nil {
			trial = m.Trial
		}
		if m.Bins != nil {
			for _, b := range m.Bins.Bins {
				counts[b.N] = 0
				for _, flow := range b.Flows {
					counts[b.N] += flow.Requests
				}
				seen = seen || trial != nil && trial.Begin.Add(time.Duration(int64(b.N)*trial.Width)*time.Millisecond).After(to)
			}
		}
		return !seen
	})
	if err != nil || trial == nil {
		return 0, errors.Join(err, ctx.Err())
	}
	requests, length := 0, time.Duration(0)
	width := time.Duration(trial.Width) * time.Millisecond
	for n, count := range counts {
		if begin := trial.Begin.Add(time.Duration(n) * width); !begin.Before(from) && !begin.Add(width).After(to) {
			requests, length = requests+count, length+width
		}
	}
	if length == 0 {
		return 0, errors.New("the feed has no bin of the time that was measured")
	}
	return float64(requests) / length.Seconds(), nil
}

// stop ends trivet up, or kills it if that takes too long.
func (s *stack) stop() error {
	defer s.group.Stop()
	if err := s.process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := s.process.Wait(ctx)
	return err
}
