package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"trivet/lab/fleet"
	"trivet/lab/scenario"
)

// composeMemory is the memory limit of an instance in docker-compose.yml, in MiB. In a container whoami sets GOMEMLIMIT to
// three quarters of the limit; here the environment does.
const composeMemory = 128

// onInstance runs an attack on a new instance without nginx, whose connections would count against the instance's limit.
func onInstance(run func(context.Context, *fleet.Process) (outcome, error)) func(context.Context, *lab) (outcome, error) {
	return onFleet(1, func(ctx context.Context, f *fleet.Fleet) (outcome, error) {
		if _, err := f.Process(scenario.Nginx).Stop(ctx); err != nil {
			return outcome{}, err
		}
		return run(ctx, f.Process(f.Names()[0]))
	})
}

// get sends a GET on a new connection, with a timeout of two seconds.
func get(addr string) error {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + addr + "/")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s, %w", response.Status, err)
	}
	return nil
}

// peak returns the maximum resident memory of a process, in MiB.
func peak(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.Atoi(strings.Fields(value)[0])
			return kib >> 10
		}
	}
	return 0
}

// memory reports the instance's peak memory, and whether it is below Compose's limit.
func memory(i *fleet.Process, what string) outcome {
	peak := peak(i.PID())
	return outcome{fmt.Sprintf("%s; at most %d MiB resident", what, peak), peak > 0 && peak < composeMemory}
}

const fits = "below Compose's 128 MiB"

// streamWaves opens 1000 streams on each of four clients, four times.
func streamWaves(ctx context.Context, i *fleet.Process) (outcome, error) {
	for range 4 {
		var wave []*client
		for range 4 {
			c, err := dial(ctx, i.GRPC())
			if err != nil {
				return outcome{}, err
			}
			defer c.conn.Close()
			wave = append(wave, c)
			for range 1000 {
				if err := c.open(watch, anHour); err != nil {
					break // The instance ends a connection with more streams than its limit.
				}
			}
			_ = c.flush()
		}
		wait(ctx, 2*time.Second)
		for _, c := range wave {
			c.conn.Close()
		}
	}
	return memory(i, "4 x 4 x 1000 streams"), nil
}

// idleConnections opens keep-alive connections that have received one response each.
func idleConnections(ctx context.Context, i *fleet.Process) (outcome, error) {
	served := openIdle(ctx, i.HTTP(), 2000)
	return memory(i, fmt.Sprintf("%d of 2000 served", served)), nil
}

func openIdle(ctx context.Context, addr string, n int) int64 {
	var served atomic.Int64
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", addr)
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { conn.Close() })
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if line, err := bufio.NewReader(conn).ReadString('\n'); err == nil && strings.Contains(line, "200") {
				served.Add(1)
			}
		})
	}
	all.Wait()
	return served.Load()
}

// everything uses all limits at once: idle REST connections, and gRPC connections with one stream each.
func everything(ctx context.Context, i *fleet.Process) (outcome, error) {
	served := openIdle(ctx, i.HTTP(), 2000)
	for range 2000 {
		c, err := dial(ctx, i.GRPC())
		if err != nil {
			break
		}
		defer c.conn.Close()
		if err := errors.Join(c.open(watch, anHour), c.flush()); err != nil {
			break
		}
	}
	wait(ctx, 3*time.Second)
	return memory(i, fmt.Sprintf("%d REST and 2000 gRPC connections", served)), nil
}

// resetInstance resets calls for ten seconds, on four connections at a time.
func resetInstance(ctx context.Context, i *fleet.Process) (outcome, error) {
	attack, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var resets atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { resets.Add(int64(resetFor(attack, i.GRPC()))) })
	}
	all.Wait()
	return memory(i, fmt.Sprintf("%d resets", resets.Load())), nil
}

// bodyNeverComes measures how long a request without its body holds its connection and a drain.
func bodyNeverComes(ctx context.Context, i *fleet.Process) (outcome, error) {
	began := time.Now()
	conn, err := post(ctx, i.HTTP(), 10)
	if err != nil {
		return outcome{}, err
	}
	_ = conn.SetReadDeadline(began.Add(40 * time.Second))
	_, _ = io.Copy(io.Discard, conn)
	held := time.Since(began)
	if _, err := post(ctx, i.HTTP(), 10); err != nil {
		return outcome{}, err
	}
	wait(ctx, 300*time.Millisecond) // Until the request is being served.
	began = time.Now()
	if _, err := i.Stop(ctx); err != nil {
		return outcome{}, err
	}
	drain := time.Since(began)
	return outcome{
		fmt.Sprintf("connection held %.1f s, drain %.1f s", held.Seconds(), drain.Seconds()),
		held < 20*time.Second && drain < 5*time.Second,
	}, nil
}

// wait waits for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// unfinishedMessages sends 1000 messages of 64 KiB, the maximum of an instance, without their last byte.
func unfinishedMessages(ctx context.Context, i *fleet.Process) (outcome, error) {
	const length = 64 << 10
	message := make([]byte, 5+length-1)
	binary.BigEndian.PutUint32(message[1:], length)
	for range 4 {
		c, err := dial(ctx, i.GRPC())
		if err != nil {
			return outcome{}, err
		}
		defer c.conn.Close()
		for range 250 {
			if err := errors.Join(c.open(whoAmI, nil), c.data(message)); err != nil {
				break
			}
		}
		_ = c.flush()
	}
	wait(ctx, 3*time.Second)
	return memory(i, "1000 messages"), nil
}
