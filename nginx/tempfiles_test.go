package nginx

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestLargeResponsesUseNoDisk checks that a response to a slow client uses no disk and arrives complete. With nginx's default of 1 GB per
// response, it would fill a small disk and be cut off.
func TestLargeResponsesUseNoDisk(t *testing.T) {
	t.Parallel()
	const size = 32 << 20
	var written atomic.Int64
	instance := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for written.Load() < size {
			n, err := w.Write(make([]byte, 64<<10))
			if written.Add(int64(n)); err != nil {
				return
			}
		}
	}))
	t.Cleanup(instance.Close)
	b := startNginx(t, []Server{{instance.Listener.Addr().String(), free(t)}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+b.HTTP, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	// Read on once everything between instance and client is full: nothing was written for 500 ms.
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for last, same := int64(-1), 0; same < 5; same++ {
		<-tick.C
		if now := written.Load(); now != last {
			last, same = now, 0
		}
	}
	stalledAt := written.Load()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != size {
		t.Errorf("%d bytes of %d arrived: %v", n, size, err)
	}
	log, err := os.ReadFile(filepath.Join(b.dir, "logs", "error.log"))
	if err != nil || strings.Contains(string(log), "temporary file") {
		t.Errorf("nginx wrote a temporary file: %s, %v", log, err)
	}
	t.Logf("instance had written %d bytes of %d before the client read on", stalledAt, size)
}

// TestSlowUploadsLeaveDiskSpace checks the limit on bodies in files, over all workers: 64 slow uploads do not fill a disk of 64 MB.
func TestSlowUploadsLeaveDiskSpace(t *testing.T) {
	t.Parallel()
	const uploads, admitted = 64, 48
	for name, head := range map[string]string{
		"with a length": "Content-Length: 1000000\r\n\r\n",
		"chunked":       "Transfer-Encoding: chunked\r\n\r\nF4240\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startSite(t, Site{Servers: []Server{{web(t), free(t)}}, Workers: 2})
			refused := make(chan error, uploads)
			for n := range uploads {
				conn, err := net.DialTimeout("tcp", b.HTTP, 5*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.Close() })
				go func() {
					// A refused client may see the connection end while it sends.
					_, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: lab\r\nX-Request-Id: upload-%d\r\n%s%s", n, head, strings.Repeat("b", 999_000))
					resp, readErr := http.ReadResponse(bufio.NewReader(conn), nil)
					if readErr != nil {
						refused <- fmt.Errorf("%w, %w", err, readErr)
						return
					}
					_ = resp.Body.Close()
					if resp.StatusCode != http.StatusTooManyRequests {
						err = fmt.Errorf("%s", resp.Status)
					}
					refused <- err
				}()
			}
			for range uploads - admitted {
				select {
				case <-refused:
				case <-time.After(20 * time.Second):
					t.Fatalf("fewer than %d uploads were refused", uploads-admitted)
				}
			}
			if status, _, _, err := raw(t, b.HTTP, get("small", "/", "Content-Length: 9999", "", strings.Repeat("b", 9999))); err != nil || status != 200 {
				t.Errorf("small body beside them: %d, %v", status, err)
			}
			if status, _, _, err := raw(t, b.HTTP, strings.Replace(get("large", "/", "Content-Length: 10000"), "GET", "POST", 1)); err != nil || status != 429 {
				t.Errorf("another large body: %d, %v; want 429", status, err)
			}
		})
	}
}
