package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"trivet/internal/proctest"
	"trivet/lab/authority"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"whoami": func() {
		proctest.EndWithTests()
		main()
	}})
}

// The scripts in testdata run the real main. They have the ports $HTTP, $GRPC and $ADMIN, reserved for them, certificates in tls/, and two more
// commands: `exits CODE command …`, and `await URL`, which waits for a response with status 200.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", proctest.QuickExit)
			env.Setenv("HTTP", proctest.Reserve(t))
			env.Setenv("GRPC", proctest.Reserve(t))
			env.Setenv("ADMIN", proctest.Reserve(t))
			return certify(filepath.Join(env.WorkDir, "tls"))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": proctest.Exits, "await": await},
	})
}

// certify issues certificates of whoami-1 and of a stranger.
func certify(dir string) error {
	a, err := authority.New(dir)
	if err != nil {
		return err
	}
	_, err = a.Issue("whoami-1", authority.Standard("whoami-1"))
	stranger, wrong := authority.Standard("whoami-1").Spoil("other_authority")
	_, other := a.Issue("stranger", stranger)
	return errors.Join(err, wrong, other)
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await URL")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := poll(ctx, args[0]); err != nil {
		ts.Fatalf("%v", err)
	}
}

// poll requests url until the status is 200.
func poll(ctx context.Context, url string) error {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, "GET", url, nil)
		if err != nil {
			return err
		}
		if response, err := http.DefaultClient.Do(request); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return errors.New(url + " did not respond with 200 in time")
		}
	}
}

// start starts whoami as a process.
func start(t *testing.T, args ...string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	path, err := exec.LookPath("whoami") // testscript.Main put the registered commands on PATH.
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append(os.Environ(), "GORACE="+proctest.QuickExit)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewReader(stderr)
}

// readTo reads a log up to the first line that contains text, and returns what it read.
func readTo(t *testing.T, log *bufio.Reader, text string) string {
	t.Helper()
	var all strings.Builder
	for {
		line, err := log.ReadString('\n')
		all.WriteString(line)
		if strings.Contains(line, text) {
			return all.String()
		}
		if err != nil {
			t.Fatalf("no line with %q before %v in\n%s", text, err, all.String())
		}
	}
}

func TestSecondSignalEndsProcessAtOnce(t *testing.T) {
	t.Parallel()
	rest, rpc := proctest.Reserve(t), proctest.Reserve(t)
	cmd, log := start(t, "--port", rest, "--grpc-port", rpc, "--drain-delay", "10m")
	readTo(t, log, "msg=serving")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	readTo(t, log, "msg=draining")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, log); err != nil {
		t.Fatal(err)
	}
	exit, _ := errors.AsType[*exec.ExitError](cmd.Wait())
	if exit == nil || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGINT {
		t.Errorf("ended by %v, want by the second signal", exit)
	}
}

func TestSignalsDrainAndExit0(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			rest, rpc := proctest.Reserve(t), proctest.Reserve(t)
			cmd, log := start(t, "--port", rest, "--grpc-port", rpc)
			readTo(t, log, "msg=serving")
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if text := readTo(t, log, "msg=drained"); !strings.Contains(text, signal.String()) {
				t.Errorf("the log does not name %v:\n%s", signal, text)
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// If the log's reader leaves (whoami 2>&1 | head -1), the line "draining" must not end the process: streams drain.
func TestClosedLogDoesNotEndTheInstance(t *testing.T) {
	t.Parallel()
	rest, rpc := proctest.Reserve(t), proctest.Reserve(t)
	path, err := exec.LookPath("whoami")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "--port", rest, "--grpc-port", rpc, "--log-level", "debug")
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = writer, writer // Both the same pipe, as with 2>&1: Go raises SIGPIPE only for 1 and 2.
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	readTo(t, bufio.NewReader(reader), "msg=serving")
	reader.Close()

	request, err := http.NewRequestWithContext(t.Context(), "GET", "http://127.0.0.1:"+rest+"/watch?interval=3600s", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	stream := bufio.NewReader(response.Body)
	if _, err := stream.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if last, err := stream.ReadString('\n'); err != nil || !strings.Contains(last, "draining: reconnect") {
		t.Errorf("the stream ended with %q, %v", last, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("whoami ended with %v, want exit code 0", err)
	}
}
