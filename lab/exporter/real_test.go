package exporter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/proctest"
	"trivet/lab/labtest"
	"trivet/nginx"
)

// free returns a free address of this machine, which stays reserved for the test.
func free(t *testing.T) string {
	t.Helper()
	return "127.0.0.1:" + proctest.Reserve(t)
}

// startNginx starts a real nginx in front of servers, and returns its directory and process.
func startNginx(t *testing.T, site nginx.Site) (dir string, process *os.Process) {
	t.Helper()
	program := labtest.Nginx(t)
	dir = proctest.Passable(t)
	if err := site.Install(dir, nginx.Conf(), program.Version); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program.Path, program.Args(dir)...)
	cmd.Stderr = t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	eventually(t, func() error {
		conn, err := net.Dial("tcp", site.Admin)
		if err == nil {
			conn.Close()
		}
		return err
	})
	return dir, cmd.Process
}

// eventually waits up to 20 s until holds returns nil.
func eventually(t *testing.T, holds func() error) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		err := holds()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(err)
		}
	}
}

// hangUp listens, reads the beginning of a request, and closes the connection.
func hangUp(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			conn.Close()
		}
	}()
	return listener.Addr().String()
}

// service responds with NOT_FOUND.
type service struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
}

func (service) WhoAmI(context.Context, *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	return nil, status.Error(codes.NotFound, "no")
}

// working serves both protocols, and returns its endpoints.
func working(t *testing.T) nginx.Server {
	t.Helper()
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			w.WriteHeader(http.StatusNotFound)
		}
	})}
	calls := grpc.NewServer()
	whoamiv1.RegisterWhoAmIServiceServer(calls, service{})
	var listeners [2]net.Listener
	for i := range listeners {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = listener
	}
	go func() { _ = server.Serve(listeners[0]) }()
	go func() { _ = calls.Serve(listeners[1]) }()
	t.Cleanup(func() { server.Close(); calls.Stop() })
	return nginx.Server{HTTP: listeners[0].Addr().String(), GRPC: listeners[1].Addr().String()}
}

// serve runs an exporter until the test ends, and returns a function that scrapes it.
func serve(t *testing.T, o Options) func() map[string]float64 {
	t.Helper()
	o.Problem = func(err error) { t.Error(err) }
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	e.follower.grace = 0 // A signal of this test's own says when all workers have reopened the log.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return func() map[string]float64 {
		t.Helper()
		response, err := http.Get("http://" + listener.Addr().String() + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatal(response.Status, err)
		}
		return samples(t, string(text))
	}
}

// samples reads the text format: a value for each series.
func samples(t *testing.T, text string) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all[line[:i]] = value
	}
	return all
}

// sum adds the series that match a regular expression.
func sum(all map[string]float64, pattern string) (total float64) {
	matches := regexp.MustCompile("^" + pattern + "$")
	for series, value := range all {
		if matches.MatchString(series) {
			total += value
		}
	}
	return total
}

// TestRealNginx has one server that refuses connections, one that hangs up, and one that works.
func TestRealNginx(t *testing.T) {
	t.Parallel()
	works := working(t)
	refuses, hangsUp := nginx.Server{HTTP: free(t), GRPC: free(t)}, nginx.Server{HTTP: hangUp(t), GRPC: hangUp(t)}
	site := nginx.Site{HTTP: free(t), GRPC: free(t), Admin: free(t), Servers: []nginx.Server{refuses, hangsUp, works}, Workers: 2}
	dir, process := startNginx(t, site)
	logFile := filepath.Join(dir, "logs", "access.log")
	scrape := serve(t, Options{AccessLog: logFile, FromStart: true, Status: "http://" + site.Admin + "/nginx_status"})

	const each = 12
	requests := func(round int) {
		for i := range each {
			get(t, site.HTTP, "/", http.StatusOK)
			get(t, site.HTTP, fmt.Sprintf("/%d/%d?x=%d", round, i, i), http.StatusNotFound)
		}
		post(t, site.HTTP, 2<<20, http.StatusRequestEntityTooLarge)
		for range each {
			call(t, site.GRPC)
		}
	}
	const all = 3*each + 1
	logged := func(rounds float64) map[string]float64 {
		var now map[string]float64
		eventually(t, func() error {
			if now = scrape(); now["nginx_log_lines_total"] != rounds*all {
				return fmt.Errorf("%v lines have been read, want %v", now["nginx_log_lines_total"], rounds*all)
			}
			return nil
		})
		return scrape() // The first one may have been halfway through an entry.
	}
	requests(0)
	first := logged(1)
	if err := os.Rename(logFile, logFile+".1"); err != nil {
		t.Fatal(err)
	}
	if err := process.Signal(syscall.SIGUSR1); err != nil { // nginx reopens its log
		t.Fatal(err)
	}
	eventually(t, func() error { _, err := os.Stat(logFile); return err })
	requests(1)
	got := logged(2)

	for pattern, want := range map[string]float64{
		`nginx_requests_total\{code="200",protocol="http",route="/"\}`:                                    2 * each,
		`nginx_requests_total\{code="404",protocol="http",route="other"\}`:                                2 * each,
		`nginx_requests_total\{code="413",protocol="http",route="/"\}`:                                    2,
		`nginx_local_replies_total\{protocol="http",status="413"\}`:                                       2,
		`nginx_requests_total\{.*protocol="grpc".*\}`:                                                     2 * each,
		`nginx_request_duration_seconds_count\{protocol="http",route="/"\}`:                               2*each + 2,
		`nginx_upstream_attempts_total\{outcome="response",protocol="http",server="` + works.HTTP + `"\}`: 4 * each,
		`nginx_upstream_duration_seconds_count\{protocol="http",server="` + works.HTTP + `"\}`:            4 * each,
		`nginx_log_rejected_lines_total\{.*\}`:                                                            0,
		`nginx_log_unread_bytes`:                                                                          0,
		`nginx_log_rotations_total`:                                                                       1,
		`nginx_client_retries_total\{.*\}`:                                                                2 * each,
		`nginx_up`:                                                                                        1,
	} {
		if got := sum(got, pattern); got != want {
			t.Errorf("%s is %v, want %v", pattern, got, want)
		}
	}
	checkAttempts(t, got, refuses, hangsUp, works, 4*each)
	notFound, unavailable := sum(got, `nginx_requests_total\{code="NotFound",protocol="grpc",route="/whoami.v1.WhoAmIService/WhoAmI"\}`), sum(got, `nginx_requests_total\{code="Unavailable",protocol="grpc",.*`)
	if notFound == 0 || unavailable == 0 || notFound+unavailable != 2*each || unavailable != sum(got, `nginx_local_replies_total\{protocol="grpc",status="502"\}`) {
		t.Errorf("%v NOT_FOUND and %v UNAVAILABLE of %d calls", notFound, unavailable, 2*each)
	}
	// The paths of the second round differ from those of the first, and the number of series does not.
	if sum(got, `nginx_http_requests_total`) < 2*all || len(got) > len(first)+20 {
		t.Errorf("%d series after the first round, %d after the second", len(first), len(got))
	}
}

// checkAttempts compares the outcomes of attempts with what each server does. Over HTTP each request succeeds in the end.
func checkAttempts(t *testing.T, got map[string]float64, refuses, hangsUp, works nginx.Server, requests float64) {
	t.Helper()
	for _, c := range []struct{ outcome, http, grpc string }{
		{outcomeRefused, refuses.HTTP, refuses.GRPC}, {outcomeInDoubt, hangsUp.HTTP, hangsUp.GRPC}, {outcomeResponse, works.HTTP, works.GRPC},
	} {
		series := `nginx_upstream_attempts_total\{outcome="` + c.outcome + `",protocol="%s",server="%s"\}`
		all := sum(got, `nginx_upstream_attempts_total\{outcome="`+c.outcome+`".*`)
		http, grpc := sum(got, fmt.Sprintf(series, "http", c.http)), sum(got, fmt.Sprintf(series, "grpc", c.grpc))
		if http == 0 || grpc == 0 || http+grpc != all {
			t.Errorf("%s: %v over HTTP and %v over gRPC, of %v in all", c.outcome, http, grpc, all)
		}
	}
	if retries, attempts := sum(got, `nginx_retries_total\{protocol="http"\}`), sum(got, `nginx_upstream_attempts_total\{.*protocol="http".*`); retries == 0 || retries != attempts-requests {
		t.Errorf("%v retries over HTTP, %v attempts of %v requests", retries, attempts, requests)
	}
}

func get(t *testing.T, address, path string, want int) {
	t.Helper()
	response, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != want {
		t.Fatalf("GET %s: %s, want %d", path, response.Status, want)
	}
}

func post(t *testing.T, address string, bytes int64, want int) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Expect", "100-continue") // nginx refuses the size before the body.
	request.Body, request.ContentLength = io.NopCloser(io.LimitReader(endless{}, bytes)), bytes
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != want {
		t.Fatalf("POST of %d bytes: %s, want %d", bytes, response.Status, want)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// call makes a call that fails: the server that works responds with NOT_FOUND, nginx with UNAVAILABLE.
func call(t *testing.T, address string) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "grpc-previous-rpc-attempts", "1")
	_, err = whoamiv1.NewWhoAmIServiceClient(conn).WhoAmI(ctx, &whoamiv1.WhoAmIRequest{})
	if code := status.Code(err); code != codes.NotFound && code != codes.Unavailable {
		t.Fatal(errors.Join(errors.New("a call"), err))
	}
}
