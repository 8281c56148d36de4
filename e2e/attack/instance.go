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
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// composeMemory is the memory limit of an instance in docker-compose.yml, in MiB. In a container whoami sets GOMEMLIMIT to
// three quarters of the limit; here the environment does.
const composeMemory = 128

// An instance is a whoami process under attack.
type instance struct {
	cmd        *exec.Cmd
	http, grpc string
	ended      chan struct{} // closed when the process has ended
}

func (l *lab) instance(ctx context.Context, flags ...string) (*instance, error) {
	i := &instance{ended: make(chan struct{})}
	ports := make([]string, 2)
	for n := range ports {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		_, ports[n], _ = net.SplitHostPort(listener.Addr().String())
		listener.Close()
	}
	i.http, i.grpc = "127.0.0.1:"+ports[0], "127.0.0.1:"+ports[1]
	i.cmd = exec.CommandContext(ctx, l.whoami, append([]string{"--port", ports[0], "--grpc-port", ports[1], "--log-level", "error"}, flags...)...)
	i.cmd.Env = append(os.Environ(), fmt.Sprintf("GOMEMLIMIT=%dMiB", composeMemory*3/4))
	i.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := i.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(i.ended)
		_ = i.cmd.Wait()
	}()
	if err := i.await(ctx); err != nil {
		i.kill()
		return nil, fmt.Errorf("%s on %s: %w", l.whoami, i.http, err)
	}
	return i, nil
}

// await waits until the instance serves.
func (i *instance) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for get(i.http) != nil {
		select {
		case <-tick.C:
		case <-i.ended:
			return errors.New("ended before it served")
		case <-ctx.Done():
			return errors.New("does not serve")
		}
	}
	return nil
}

func (i *instance) kill() {
	i.cmd.Process.Kill()
	<-i.ended
}

// onInstance runs an attack on a new instance.
func onInstance(run func(context.Context, *instance) (outcome, error)) func(context.Context, *lab) (outcome, error) {
	return func(ctx context.Context, l *lab) (outcome, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		i, err := l.instance(ctx)
		if err != nil {
			return outcome{}, err
		}
		defer i.kill()
		return run(ctx, i)
	}
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

// peak returns the maximum resident memory of the instance, in MiB.
func (i *instance) peak() int {
	text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(i.cmd.Process.Pid), "status"))
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.Atoi(strings.Fields(value)[0])
			return kib >> 10
		}
	}
	return 0
}

// memory reports the instance's peak memory, and whether it is below Compose's limit.
func (i *instance) memory(what string) outcome {
	peak := i.peak()
	return outcome{fmt.Sprintf("%s; at most %d MiB resident", what, peak), peak > 0 && peak < composeMemory}
}

const fits = "below Compose's 128 MiB"

// streamWaves opens 1000 streams on each of four clients, four times.
func streamWaves(ctx context.Context, i *instance) (outcome, error) {
	for range 4 {
		var wave []*client
		for range 4 {
			c, err := dial(ctx, i.grpc)
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
	return i.memory("4 x 4 x 1000 streams"), nil
}

// idleConnections opens keep-alive connections that have received one response each.
func idleConnections(ctx context.Context, i *instance) (outcome, error) {
	served := i.openIdle(ctx, 2000)
	return i.memory(fmt.Sprintf("%d of 2000 served", served)), nil
}

func (i *instance) openIdle(ctx context.Context, n int) int64 {
	var served atomic.Int64
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", i.http)
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
func everything(ctx context.Context, i *instance) (outcome, error) {
	served := i.openIdle(ctx, 2000)
	for range 2000 {
		c, err := dial(ctx, i.grpc)
		if err != nil {
			break
		}
		defer c.conn.Close()
		if err := errors.Join(c.open(watch, anHour), c.flush()); err != nil {
			break
		}
	}
	wait(ctx, 3*time.Second)
	return i.memory(fmt.Sprintf("%d REST and 2000 gRPC connections", served)), nil
}

// resetInstance resets calls for ten seconds, on four connections at a time.
func resetInstance(ctx context.Context, i *instance) (outcome, error) {
	attack, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var resets atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { resets.Add(int64(resetFor(attack, i.grpc))) })
	}
	all.Wait()
	return i.memory(fmt.Sprintf("%d resets", resets.Load())), nil
}

// bodyNeverComes measures how long a request without its body holds its connection and a drain.
func bodyNeverComes(ctx context.Context, i *instance) (outcome, error) {
	held, err := i.holdBody(40 * time.Second)
	if err != nil {
		return outcome{}, err
	}
	conn, err := net.Dial("tcp", i.http)
	if err != nil {
		return outcome{}, err
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
	wait(ctx, 300*time.Millisecond) // Until the request is being served.
	began := time.Now()
	_ = i.cmd.Process.Signal(syscall.SIGTERM)
	<-i.ended
	drain := time.Since(began)
	return outcome{
		fmt.Sprintf("connection held %.1f s, drain %.1f s", held.Seconds(), drain.Seconds()),
		held < 20*time.Second && drain < 5*time.Second,
	}, nil
}

func (i *instance) holdBody(timeout time.Duration) (time.Duration, error) {
	conn, err := net.Dial("tcp", i.http)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	began := time.Now()
	_, _ = io.WriteString(conn, "POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
	_ = conn.SetReadDeadline(began.Add(timeout))
	_, _ = io.Copy(io.Discard, conn)
	return time.Since(began), nil
}

// wait waits for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// unfinishedMessages sends 1000 messages of 64 KiB, the maximum of an instance, without their last byte.
func unfinishedMessages(ctx context.Context, i *instance) (outcome, error) {
	const length = 64 << 10
	message := make([]byte, 5+length-1)
	binary.BigEndian.PutUint32(message[1:], length)
	for range 4 {
		c, err := dial(ctx, i.grpc)
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
	return i.memory("1000 messages"), nil
}
