//go:build slow

package prometheus

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/proctest"
	"trivet/lab/labtest"
)

// programs is the directory of prometheus and promtool: $TRIVET_PROMETHEUS, or what deploy/prometheus/fetch gets.
func programs(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("TRIVET_PROMETHEUS")
	if dir == "" {
		output, err := exec.CommandContext(t.Context(), "./fetch", "--which").Output()
		if err != nil {
			t.Fatal(err)
		}
		dir = strings.TrimSpace(string(output))
	}
	if _, err := os.Stat(filepath.Join(dir, "promtool")); err != nil {
		t.Fatalf("no promtool: %v; run deploy/prometheus/fetch", err)
	}
	return dir
}

// atLeast3 reports whether the programs are of version 3, whose promtool reads native histograms.
func atLeast3(t *testing.T, dir string) bool {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), filepath.Join(dir, "promtool"), "--version").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return !strings.Contains(string(output), "version 2.")
}

func TestRulesPassTheirUnitTests(t *testing.T) {
	t.Parallel()
	dir := programs(t)
	args := []string{"test", "rules", "rules_test.yml"}
	if atLeast3(t, dir) {
		args = append(args, "rules_latency_test.yml")
	} else {
		t.Log("rules_latency_test.yml: NOT CHECKED, this promtool reads no native histograms (deploy/prometheus/fetch --next gets one that does)")
	}
	if output, err := exec.CommandContext(t.Context(), filepath.Join(dir, "promtool"), args...).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, output)
	}
}

// launch starts a program that ends with the test, and returns it with its standard output.
func launch(t *testing.T, env []string, path string, args ...string) *bufio.Reader {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		go func() { _, _ = io.Copy(io.Discard, out) }()
		_ = cmd.Wait()
	})
	return bufio.NewReader(out)
}

// up is a fleet of trivet up, with mutual TLS.
type up struct {
	HTTP, GRPC string
	pids       map[string]int
}

func startFleet(t *testing.T, address string) up {
	t.Helper()
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", bin+"/", "trivet/cmd/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // As make build does, whose results Go has in its cache.
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	events := launch(t, []string{"TMPDIR=" + proctest.Passable(t)}, filepath.Join(bin, "trivet"), "up", "--json", "--front", "1", "--tls", "--mtls", "--bind", address, "--nginx", labtest.Nginx(t).Path)
	u := up{pids: map[string]int{}}
	for {
		text, err := events.ReadString('\n')
		if err != nil {
			t.Fatal("trivet up ended: ", err)
		}
		var e struct {
			Event, Name, HTTP, GRPC, Message string
			PID                              int
		}
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatal(err)
		}
		switch e.Event {
		case "started":
			u.pids[e.Name] = e.PID
		case "error":
			t.Fatal(e.Message)
		case "up":
			u.HTTP, u.GRPC = e.HTTP, e.GRPC
			go func() { _, _ = io.Copy(io.Discard, events) }()
			return u
		}
	}
}

// A server is a real Prometheus.
type server struct{ base string }

// startPrometheus starts one by the shipped script and files, which scrapes at address, and more often.
func startPrometheus(t *testing.T, dir, address string) server {
	t.Helper()
	conf := t.TempDir()
	text, err := os.ReadFile("prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile("rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	adapted := strings.NewReplacer("127.0.0.1:", address+":", "interval: 5s", "interval: 1s").Replace(string(text))
	if strings.Count(adapted, address) != 5 || strings.Count(adapted, "interval: 1s") != 2 {
		t.Fatalf("prometheus.yml has changed: this test could not adapt it:\n%s", adapted)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(conf, "prometheus.yml"), []byte(adapted), 0o600), os.WriteFile(filepath.Join(conf, "rules.yml"), rules, 0o600)); err != nil {
		t.Fatal(err)
	}
	out := launch(t, nil, "./run", "-c", conf, "-d", t.TempDir(), "-l", address+":7090", "-p", dir)
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return server{"http://" + address + ":7090"}
}

// get asks the HTTP API, and decodes what is below "data".
func (s server) get(path string, arguments url.Values, data any) error {
	response, err := http.Get(s.base + "/api/v1/" + path + "?" + arguments.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var whole struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&whole); err != nil {
		return fmt.Errorf("%s %v: %w", path, response.Status, err)
	}
	if whole.Status != "success" {
		return fmt.Errorf("%s: %s", arguments.Get("query"), whole.Error)
	}
	return json.Unmarshal(whole.Data, data)
}

// A sample is one series of a response.
type sample struct {
	Metric    map[string]string
	Value     [2]any // time and text
	Histogram []any
}

func (s server) query(expression string) ([]sample, error) {
	var data struct{ Result json.RawMessage }
	if err := s.get("query", url.Values{"query": {expression}}, &data); err != nil {
		return nil, err
	}
	var all []sample
	if err := json.Unmarshal(data.Result, &all); err != nil {
		return nil, fmt.Errorf("%s: %s", expression, data.Result)
	}
	return all, nil
}

// nonempty returns an error unless the query has a series with a value that is a number.
func (s server) nonempty(expression string) error {
	all, err := s.query(expression)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(one sample) bool { return one.Histogram != nil || one.Value[1] != "NaN" }) {
		return fmt.Errorf("no data: %s", expression)
	}
	return nil
}

// eventually waits until holds returns nil. Scrapes are a second apart, and rates need two.
func eventually(t *testing.T, holds func() error) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
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

// counted is a path that only these tests request.
const counted = "/openapi.json"

// traffic sends requests of all kinds until stop is called, which returns how many of that path got a response, and how many of those 200.
func traffic(t *testing.T, u up) (stop func() (all, ok int64)) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+u.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	client := whoamiv1.NewWhoAmIServiceClient(conn)
	ctx, cancel := context.WithCancel(t.Context())
	var responses, succeeded atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			for path, method := range map[string]string{"/": http.MethodGet, counted: http.MethodGet, "/front": http.MethodGet, "/no": http.MethodGet, "/large": http.MethodPost} {
				request, _ := http.NewRequest(method, "http://"+u.HTTP+path, http.NoBody)
				if method == http.MethodPost { // nginx refuses it itself.
					request.Body, request.ContentLength = io.NopCloser(strings.NewReader("x")), 2<<20
					request.Header.Set("Expect", "100-continue")
				}
				response, err := http.DefaultClient.Do(request)
				if err != nil {
					continue
				}
				_, _ = io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if path != counted {
					continue
				}
				responses.Add(1)
				if response.StatusCode == http.StatusOK {
					succeeded.Add(1)
				}
			}
			_, _ = client.WhoAmI(metadata.AppendToOutgoingContext(context.Background(), "grpc-previous-rpc-attempts", "1"), &whoamiv1.WhoAmIRequest{})
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	stop = func() (all, ok int64) {
		cancel()
		<-ended
		conn.Close()
		return responses.Load(), succeeded.Load()
	}
	t.Cleanup(func() { stop() })
	return stop
}

func TestRealPrometheus(t *testing.T) {
	t.Parallel()
	dir, pid := programs(t), os.Getpid()
	address := fmt.Sprintf("127.%d.%d.%d", 128+pid>>16&63, pid>>8&255, pid&255) // No other test has it.
	u := startFleet(t, address)
	s := startPrometheus(t, dir, address)
	stop := traffic(t, u)
	for _, name := range []string{"whoami-1", "whoami-2", "whoami-3"} { // All at once, so that requests fail. trivet up starts them again.
		if err := syscall.Kill(u.pids[name], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error { return s.targets("whoami-1", "whoami-2", "whoami-3", "front-1", "nginx") })
	eventually(t, func() error { return s.dashboard(readDashboard(t)) })
	eventually(t, s.rules)
	all, ok := stop()
	if ok == 0 || ok == all {
		t.Errorf("%d of %d requests succeeded", ok, all)
	}
	// Native histograms and counters have the same counts as the client.
	for expression, want := range map[string]int64{
		`histogram_count(sum(nginx_request_duration_seconds{route="` + counted + `"}))`: all,
		`sum(nginx_requests_total{route="` + counted + `", code="200"})`:                ok,
	} {
		eventually(t, func() error {
			if got, err := s.query(expression); err != nil || len(got) != 1 || got[0].Value[1] != fmt.Sprint(want) {
				return fmt.Errorf("%s is %v (%v), want %d", expression, got, err, want)
			}
			return nil
		})
	}
	for _, metric := range []string{"nginx_request_duration_seconds", "nginx_upstream_duration_seconds", "service_request_duration_seconds"} {
		all, err := s.query(metric)
		if err != nil || len(all) == 0 || slices.ContainsFunc(all, func(one sample) bool { return one.Histogram == nil }) {
			t.Errorf("%s is no native histogram: %v %v", metric, all, err)
		}
	}
	var exemplars []struct {
		Exemplars []struct{ Labels map[string]string }
	}
	err := s.get("query_exemplars", url.Values{"query": {"service_request_duration_seconds"}, "start": {fmt.Sprint(time.Now().Add(-time.Minute).Unix())}, "end": {fmt.Sprint(time.Now().Unix() + 1)}}, &exemplars)
	if err != nil || len(exemplars) == 0 || len(exemplars[0].Exemplars[0].Labels["trace_id"]) != 32 {
		t.Errorf("exemplars %v: %v", exemplars, err)
	}
}

// targets returns an error unless these targets are up.
func (s server) targets(want ...string) error {
	all, err := s.query("up == 1")
	for _, name := range want {
		if !slices.ContainsFunc(all, func(one sample) bool { return one.Metric["instance"] == name }) {
			err = errors.Join(err, fmt.Errorf("%s is not up", name))
		}
	}
	return err
}

// dashboard runs every query of the dashboard, as Grafana would, over the last seconds.
func (s server) dashboard(d dashboard) (err error) {
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			if e := s.nonempty(strings.NewReplacer("$__rate_interval", "20s", "$service", ".*").Replace(target.Expr)); e != nil {
				err = errors.Join(err, fmt.Errorf("panel %q: %w", p.Title, e))
			}
		}
	}
	return err
}

// comparison is what makes an alert of an expression.
var comparison = regexp.MustCompile(` (==|<|>) [0-9.]+(e[0-9]+)?( \* [0-9]+)*`)

// rules evaluates each rule: it has no error, and what it compares has data.
func (s server) rules() (err error) {
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Query, Health, LastError string }
		}
	}
	if err := s.get("rules", nil, &data); err != nil {
		return err
	}
	count := 0
	for _, group := range data.Groups {
		for _, rule := range group.Rules {
			count++
			if rule.Health != "ok" {
				err = errors.Join(err, fmt.Errorf("rule %s: %s %s", rule.Name, rule.Health, rule.LastError))
			}
			if e := s.nonempty(comparison.ReplaceAllString(rule.Query, "")); e != nil {
				err = errors.Join(err, fmt.Errorf("rule %s: %w", rule.Name, e))
			}
		}
	}
	if count < 15 {
		err = errors.Join(err, fmt.Errorf("only %d rules", count))
	}
	return err
}
