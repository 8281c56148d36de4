package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"trivet/internal/proctest"
)

// startToStdout starts whoami with records to a standard output, and logs all that it can log. It returns the URL of its HTTP listener,
// and a function that ends it and returns its log.
func startToStdout(t *testing.T, stdout *os.File, args ...string) (url string, end func() string) {
	t.Helper()
	path, err := exec.LookPath("whoami")
	if err != nil {
		t.Fatal(err)
	}
	rest, rpc, admin := proctest.Reserve(t), proctest.Reserve(t), proctest.Reserve(t)
	url = "http://127.0.0.1:" + rest
	cmd := exec.CommandContext(t.Context(), path, append([]string{
		"--port", rest, "--grpc-port", rpc, "--admin-port", admin, "--records", "stdout", "--request-log", "true", "--log-level", "debug", "--pprof", "true",
	}, args...)...)
	var log strings.Builder
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "GORACE="+proctest.QuickExit), stdout, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stdout.Close()
	until(t, "it is ready", func() bool { status, _ := fetch("http://127.0.0.1:" + admin + "/readyz"); return status == "200" })
	return url, func() string {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("ended by %v", err)
		}
		return log.String()
	}
}

// ends returns both ends of a standard output, reader and writer. A socket cannot be opened again by the name /dev/stdout, like a
// container's pipe by a user other than root.
func ends(t *testing.T, socket bool) (reader, writer *os.File) {
	t.Helper()
	if !socket {
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { reader.Close() })
		return reader, writer
	}
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	reader, writer = os.NewFile(uintptr(fds[0]), "reader"), os.NewFile(uintptr(fds[1]), "writer")
	t.Cleanup(func() { reader.Close() })
	return reader, writer
}

// With RECORDS=stdout nothing but records is on standard output, whatever is called and logged, and all log lines are on standard error.
func TestStandardOutputHasOnlyRecords(t *testing.T) {
	t.Parallel()
	for name, socket := range map[string]bool{"pipe": false, "socket": true} {
		for _, raw := range []string{"false", "true"} {
			t.Run(name+",RAW_SYSCALLS="+raw, func(t *testing.T) {
				t.Parallel()
				reader, writer := ends(t, socket)
				url, end := startToStdout(t, writer, "--raw-syscalls", raw)
				paths := []string{"/", "/?hops=grpc", "/?hops=banana", "/nowhere", "/healthz", "/openapi.json", "/watch?interval=1ms"}
				for _, path := range paths {
					response, err := http.Get(url + path)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := io.Copy(io.Discard, response.Body); err != nil {
						t.Error(err)
					}
					response.Body.Close()
				}
				log := end()
				events := make(map[string]int)
				lines := bufio.NewScanner(reader)
				for lines.Scan() {
					var record struct{ Event, Instance, Start, Time string }
					if err := json.Unmarshal(lines.Bytes(), &record); err != nil || record.Start == "" || record.Time == "" {
						t.Errorf("not a record: %s (%v)", lines.Text(), err)
					}
					events[record.Event]++
				}
				if events["arrival"] < len(paths) || events["arrival"] != events["completion"] || len(events) != 2 {
					t.Errorf("%v after %d requests", events, len(paths))
				}
				for _, want := range []string{"msg=serving", "msg=request", "msg=drained"} {
					if !strings.Contains(log, want) {
						t.Errorf("no %s on standard error:\n%s", want, log)
					}
				}
			})
		}
	}
}

// A standard output that is full or closed loses records and says so once, as a full disk does; calls do not fail.
func TestUnwritableStandardOutputFailsNoCall(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func() *os.File{
		"full disk": func() *os.File {
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			return full
		},
		"closed": func() *os.File { reader, writer := ends(t, false); reader.Close(); return writer },
		"full": func() *os.File {
			_, writer := ends(t, false)
			connection, err := writer.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			// As large as the instance would make it: else there would be room again.
			_ = connection.Control(func(fd uintptr) { _, err = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 1<<20) })
			if err != nil {
				t.Fatal(err)
			}
			for full := false; !full; {
				_ = connection.Control(func(fd uintptr) { _, err := syscall.Write(int(fd), make([]byte, 512)); full = err == syscall.EAGAIN })
			}
			return writer
		},
	} {
		for _, raw := range []string{"false", "true"} {
			t.Run(name+",RAW_SYSCALLS="+raw, func(t *testing.T) {
				t.Parallel()
				url, end := startToStdout(t, open(), "--raw-syscalls", raw)
				for range 2 {
					response, err := http.Get(url + "/")
					if err != nil || response.StatusCode != http.StatusOK {
						t.Fatalf("%v, %v", response, err)
					}
					response.Body.Close()
				}
				if log := end(); strings.Count(log, "records are incomplete from here on") != 1 {
					t.Errorf("it does not say once that records are incomplete:\n%s", log)
				}
			})
		}
	}
}
