package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	whoamiv1 "trivet/gen/whoami/v1"
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

// cost is the CPU time of a process that carries out the plan, less what it takes without any request.
func cost(b *testing.B, http, grpc string, d time.Duration, l scenario.Load, mode string) time.Duration {
	path, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	use := func(d time.Duration) time.Duration {
		line, err := json.Marshal(Plan{HTTP: http, GRPC: grpc, Records: b.TempDir() + "/r", Begin: time.Now().Add(200 * time.Millisecond), For: d, Loads: []scenario.Load{l}})
		if err != nil {
			b.Fatal(err)
		}
		cmd := exec.CommandContext(b.Context(), path, mode)
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
		return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	return use(d) - use(0)
}

// bare carries out a plan of one load with as little code as possible.
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
	for offset := range l.Rate.Offsets(p.For) {
		<-time.After(time.Until(p.Begin.Add(offset)))
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), l.Deadline)
			defer cancel()
			if l.Protocol == scenario.GRPC {
				ctx = metadata.AppendToOutgoingContext(ctx, "x-request-id", "1")
				if _, err := whoamiv1.NewWhoAmIServiceClient(channel).WhoAmI(ctx, &whoamiv1.WhoAmIRequest{}); err != nil {
					fmt.Fprintln(os.Stderr, err)
				}
				return
			}
			request, _ := http.NewRequestWithContext(ctx, "GET", "http://"+p.HTTP+"/", strings.NewReader(""))
			request.Header.Set("X-Request-Id", "1")
			response, err := client.Do(request)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
		})
	}
	all.Wait()
	return 0
}
