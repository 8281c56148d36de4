// Package browser tests the page in a real Chromium: trivet's own binary, with a real nginx and real instances, and pages that a browser
// shows at several sizes.
//
// It finds Chromium in $TRIVET_CHROMIUM, else as e2e/browser/fetch does, and fails without one. Screenshots, and of a test that failed what
// the page and trivet printed, are in $TRIVET_ARTIFACTS, else in .cache/artifacts/browser.
package browser

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"trivet/lab/labtest"
)

// programs is the directory of trivet and its services.
var programs string

// started is the browser of all tests: starting one takes longer than most of them.
var started struct {
	once   sync.Once
	ctx    context.Context
	cancel context.CancelFunc
	err    error
}

func TestMain(m *testing.M) {
	os.Exit(labtest.WithPrograms(func(dir string) int {
		programs = dir
		defer func() {
			if started.cancel != nil {
				started.cancel()
			}
		}()
		return m.Run()
	}, "trivet", "whoami", "front"))
}

// root is the top of this tree.
func root() string {
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		panic(err)
	}
	return dir
}

// artifacts returns the path of a file that outlives the tests.
func artifacts(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(cmp.Or(os.Getenv("TRIVET_ARTIFACTS"), filepath.Join(root(), ".cache", "artifacts", "browser")), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// chromium returns the path of the browser.
func chromium() (string, error) {
	if path := os.Getenv("TRIVET_CHROMIUM"); path != "" {
		return path, nil
	}
	output, err := exec.Command(filepath.Join(root(), "e2e", "browser", "fetch"), "--which").Output()
	if err != nil {
		return "", fmt.Errorf("e2e/browser/fetch --which: %w", err)
	}
	path := strings.TrimSpace(string(output))
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("no Chromium for tests: %w; run make chromium, or set TRIVET_CHROMIUM", err)
	}
	return path, nil
}

// browser returns the context of the browser, and starts it if necessary.
func browser(t testing.TB) context.Context {
	t.Helper()
	started.once.Do(func() {
		path, err := chromium()
		if err != nil {
			started.err = err
			return
		}
		options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path),
			chromedp.NoSandbox, // Root has none, and the pages are this project's own.
			chromedp.Flag("hide-scrollbars", true), chromedp.Flag("font-render-hinting", "none"), chromedp.Flag("disable-gpu", true),
			// Names of other web pages, also of those that lead here.
			chromedp.Flag("host-resolver-rules", "MAP *.test 127.0.0.1"))
		allocator, _ := chromedp.NewExecAllocator(context.Background(), options...)
		started.ctx, started.cancel = chromedp.NewContext(allocator)
		started.err = chromedp.Do(started.ctx)
	})
	if started.err != nil {
		t.Fatal(started.err)
	}
	return started.ctx
}
