package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// BenchmarkCPU measures the generator's CPU time per request at 2,000/s, and its ratio to a bare client's, which paces its requests alike
// and records nothing: net/http's with its defaults but for the idle connections, grpc-go's.
func BenchmarkCPU(b *testing.B) {
	f := newFleet(b)
	for name, l := range map[string]scenario.Load{"http": get(2000), "http replaying": get(2000), "grpc": call(2000)} {
		l.Retry = name == "http replaying"
		b.Run(name, func(b *testing.B) {
			const d = 3 * time.Second
			var bare, ours time.Duration
			for b.Loop() {
				bare += cost(b, f.HTTP(), f.GRPC(), d, l, "bare")
				ours += cost(b, f.HTTP(), f.GRPC(), d, l, "load")
			}
			requests := float64(b.N * l.Rate.Count(d))
			b.ReportMetric(float64(ours.Microseconds())/requests, "cpu-µs/request")
			b.ReportMetric(float64(bare.Microseconds())/requests, "bare-cpu-µs/request")
			b.ReportMetric(float64(ours)/float64(bare), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkStarts measures how late requests start at 5,000/s, and the CPU time that it takes, beside a bare client, which waits by Go's
// timers. The servers respond at once.
func BenchmarkStarts(b *testing.B) {
	address := quick(b)
	server := (&service{unary: func(context.Context, int) error { return nil }}).start(b)
	for name, l := range map[string]scenario.Load{"http": get(5000), "grpc": call(5000)} {
		l.Deadline = time.Second
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				for _, mode := range []string{"bare", "load"} {
					used, late := measured(b, Plan{HTTP: address, GRPC: server, For: 3 * time.Second, Loads: []scenario.Load{l}}, mode)
					b.ReportMetric(float64(late[len(late)/2]), mode+"-p50-late-µs")
					b.ReportMetric(float64(late[len(late)*99/100]), mode+"-p99-late-µs")
					b.ReportMetric(float64(used.Microseconds())/float64(len(late)), mode+"-cpu-µs/request")
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// cost is the CPU time of a process that carries out the plan, less what it takes without any request.
func cost(b *testing.B, http, grpc string, d time.Duration, l scenario.Load, mode string) time.Duration {
	p := Plan{HTTP: http, GRPC: grpc, For: d, Loads: []scenario.Load{l}}
	all, _ := measured(b, p, mode)
	p.For = 0
	none, _ := measured(b, p, mode)
	return all - none
}

// measured carries out a plan in a process. It returns its CPU time, and by how many microseconds each request started late, in order.
func measured(b *testing.B, p Plan, mode string) (time.Duration, []int64) {
	b.Helper()
	path, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	p.Records, p.Begin = b.TempDir()+"/r", time.Now().Add(200*time.Millisecond)
	line, err := json.Marshal(p)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), path, mode)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		_, err = in.Write(line)
	}
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		b.Fatal(err)
	}
	var late []int64
	for _, r := range written(b, p.Records) {
		late = append(late, r.Late)
	}
	slices.Sort(late)
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), late
}

// bare carries out a plan of one load with as little code as possible. At the end it writes how late each start was.
func bare() int {
	var p Plan
	if err := json.NewDecoder(os.Stdin).Decode(&p); err != nil {
		return 1
	}
	l := p.Loads[0]
	client := &http.Client{Timeout: l.Deadline, Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
	channel, err := grpc.NewClient("passthrough:///"+p.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 1
	}
	var all sync.WaitGroup
	var once sync.Once
	failed := func(err error) { once.Do(func() { fmt.Fprintln(os.Stderr, "the first failure:", err) }) }
	late := make([]int64, l.Rate.Count(p.For))
	n := 0
	for offset := range l.Rate.Offsets(p.For) {
		planned := p.Begin.Add(offset)
		<-time.After(time.Until(planned))
		i := n
		n++
		all.Go(func() {
			late[i] = time.Since(planned).Microseconds()
			ctx, cancel := context.WithTimeout(context.Background(), l.Deadline)
			defer cancel()
			if l.Protocol == scenario.GRPC {
				ctx = metadata.AppendToOutgoingContext(ctx, "x-request-id", "1")
				if _, err := whoamiv1.NewWhoAmIServiceClient(channel).WhoAmI(ctx, &whoamiv1.WhoAmIRequest{}); err != nil {
					failed(err)
				}
				return
			}
			request, _ := http.NewRequestWithContext(ctx, "GET", "http://"+p.HTTP+"/", strings.NewReader(""))
			request.Header.Set("X-Request-Id", "1")
			response, err := client.Do(request)
			if err != nil {
				failed(err)
				return
			}
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
		})
	}
	all.Wait()
	records, err := os.Create(p.Records)
	if err != nil {
		return 1
	}
	defer records.Close()
	lines := json.NewEncoder(records)
	for _, l := range late {
		if lines.Encode(record.Client{Late: l}) != nil {
			return 1
		}
	}
	return 0
}
