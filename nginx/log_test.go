package nginx

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestAccessLogRecordsHostClientAndTrace(t *testing.T) {
	b := startNginx(t, []Server{{web(t), free(t)}})
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	request := get("logged", "/", `User-Agent: a "b"`, "Traceparent: "+trace)
	status, _, body, err := raw(t, b.HTTP, strings.Replace(request, "Host: lab", "Host: LAB.example:8080", 1))
	if err != nil || status != 200 {
		t.Fatalf("%d, %v: %s", status, err, body)
	}
	if l := b.only(t, "logged"); l.V != 1 || l.Host != "lab.example" || l.UserAgent != `a "b"` || l.Traceparent != trace {
		t.Errorf("%+v", l)
	}
}

// TestQueryStringsCanBeLeftOut checks errors too, which change nginx's $uri and $args.
func TestQueryStringsCanBeLeftOut(t *testing.T) {
	for name, c := range map[string]struct {
		edits []edit
		want  map[string]string // by path
	}{
		"as shipped": {nil, map[string]string{"/a%20b?secret=1": "/a%20b?secret=1", "/.nginx-error?secret=2": "/.nginx-error?secret=2"}},
		"left out": {[]edit{{"site/logs.conf", `default "1";`, `default "";`}}, map[string]string{
			"/a%20b?secret=1": "/a%20b", "/.nginx-error?secret=2": "/.nginx-error", "/plain": "/plain", "/?": "/", "/x?a?b": "/x",
			"http://lab/y?secret=3": "/y",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := startNginx(t, []Server{{web(t), free(t)}}, c.edits...)
			want := map[string]string{}
			for path, logged := range c.want {
				id := fmt.Sprint("q", len(want))
				want[id] = logged
				if _, _, _, err := raw(t, b.HTTP, get(id, path)); err != nil {
					t.Fatal(err)
				}
			}
			for _, l := range b.log(t) {
				if l.URI != want[l.ID] {
					t.Errorf("logged %q, want %q", l.URI, want[l.ID])
				}
			}
		})
	}
}

// TestReopenLosesNoLine renames the log and runs `nginx -s reopen` under load: no line may be lost, doubled or torn.
func TestReopenLosesNoLine(t *testing.T) {
	nginx := findNginx(t)
	b := startNginx(t, []Server{{web(t), free(t)}}, edit{"site/process.conf", "worker_processes 1;", "worker_processes 2;"})
	log := filepath.Join(b.dir, "logs", "access.log")
	const clients, rotations = 8, 5
	var finished atomic.Int64
	rotated := make(chan struct{})
	sent := make(chan []int)
	go func() { sent <- sendGETs(t, b.HTTP, clients, &finished, rotated) }()
	for n := range rotations {
		old := fmt.Sprint(log, ".", n)
		// Wait, so that each file gets lines: until nginx opens the new file, it writes to the renamed one.
		await(t, func() bool { return finished.Load() > int64(50*(n+1)) && size(log) > 0 })
		if err := os.Rename(log, old); err != nil {
			t.Fatal(err)
		}
		args := append(nginx.Args(b.dir), "-s", "reopen")
		if out, err := exec.CommandContext(t.Context(), nginx.Path, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		await(t, func() bool { return size(log) > 0 })
	}
	close(rotated)
	counts := <-sent
	b.log(t) // ends nginx
	seen := map[string]int{}
	files, err := filepath.Glob(log + "*")
	if err != nil || len(files) != rotations+1 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for raw := range strings.Lines(string(text)) {
			var l line
			if err := json.Unmarshal([]byte(raw), &l); err != nil {
				t.Fatalf("%s: %v in %s", name, err, raw)
			}
			seen[l.ID]++
		}
	}
	for n := range clients {
		for i := range counts[n] {
			if id := fmt.Sprintf("%d.%d", n, i); seen[id] != 1 {
				t.Errorf("%d lines of %s", seen[id], id)
			}
		}
	}
}

// sendGETs sends GETs with request ID CLIENT.N, sequentially per client, until the channel is closed. It returns how many each client sent.
func sendGETs(t *testing.T, addr string, clients int, finished *atomic.Int64, until <-chan struct{}) []int {
	sent := make([]int, clients)
	var load sync.WaitGroup
	for n := range clients {
		load.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			for ; ; sent[n]++ {
				select {
				case <-until:
					return
				default:
				}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/", nil)
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("X-Request-Id", fmt.Sprintf("%d.%d", n, sent[n]))
				resp, err := transport.RoundTrip(req)
				if err != nil || resp.StatusCode != 200 {
					t.Errorf("%v, %v", resp, err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				finished.Add(1)
			}
		})
	}
	load.Wait()
	return sent
}

// await returns once ok reports true; it fails the test after 30 s.
func await(t *testing.T, ok func() bool) {
	t.Helper()
	deadline, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.Done():
			t.Fatal("condition not met within 30 s")
		}
	}
}

func size(name string) int64 {
	info, err := os.Stat(name)
	if err != nil {
		return 0
	}
	return info.Size()
}
