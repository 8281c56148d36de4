package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/lab/fleet"
	"trivet/nginx"
)

// attacks returns the rows of the table whose name contains only.
func attacks(only string) []attack {
	const others = "0 requests of other clients fail"
	all := []attack{
		{"instance: streams in waves", fits, onInstance(streamWaves)},
		{"instance: idle keep-alive connections", fits, onInstance(idleConnections)},
		{"instance: all its bounds at once", fits, onInstance(everything)},
		{"instance: rapid reset", fits, onInstance(resetInstance)},
		{"instance: unfinished messages", fits, onInstance(unfinishedMessages)},
		{"instance: body that never comes", "held below 20 s, drain below 5 s", onInstance(bodyNeverComes)},
		{"nginx: 8 connections x 1000 streams", others, onFleet(3, beside(func(ctx context.Context, f *fleet.Fleet) { openCalls(ctx, f, 8, watch, anHour) }))},
		{"nginx: 8 connections x 1000 half-open calls", "0 GETs fail; 0 gRPC calls after client_body_timeout (10 s)", onFleet(3, halfOpenCalls)},
		{"nginx: rapid reset", others, onFleet(3, beside(func(ctx context.Context, f *fleet.Fleet) { go resetFor(ctx, f.GRPC()) }))},
		{"nginx: 64 uploads of 1 MB that stall", others + "; temp/ below 64 MiB", onFleet(3, stalledUploads)},
		{"nginx: 2000 bodies that never come", "0 gRPC calls fail", onFleet(3, stalledBodies)},
	}
	return slices.DeleteFunc(all, func(a attack) bool { return !strings.Contains(a.name, only) })
}

// fleet starts instances behind an nginx with one worker, as in Compose.
func (l *lab) fleet(ctx context.Context, instances int) (*fleet.Fleet, func(), error) {
	var conf fs.FS = nginx.Conf()
	if l.conf != "" {
		conf = os.DirFS(l.conf)
	}
	binary, err := nginx.Find(ctx, os.Getenv("TRIVET_NGINX"))
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "trivet-attack-")
	if err != nil {
		return nil, nil, err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // nginx's workers go through it.
		return nil, nil, err
	}
	f, err := fleet.Start(ctx, fleet.Options{
		Instances: instances, Whoami: l.whoami, Nginx: binary, Conf: conf, Workers: 1, Dir: dir, NoRestart: true,
		Env: []string{"LOG_LEVEL=error", fmt.Sprintf("GOMEMLIMIT=%dMiB", composeMemory*3/4)},
	})
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return f, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		defer cancel()
		if err := f.Stop(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "attack:", err)
		}
		os.RemoveAll(dir)
	}, nil
}

// onFleet runs an attack on a new fleet. Connections of the attack are closed when its context ends, before the fleet stops.
func onFleet(instances int, run func(context.Context, *fleet.Fleet) (outcome, error)) func(context.Context, *lab) (outcome, error) {
	return func(ctx context.Context, l *lab) (outcome, error) {
		f, stop, err := l.fleet(ctx, instances)
		if err != nil {
			return outcome{}, err
		}
		defer stop()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		return run(ctx, f)
	}
}

// beside counts the requests of other clients that fail during an attack.
func beside(attack func(context.Context, *fleet.Fleet)) func(context.Context, *fleet.Fleet) (outcome, error) {
	return func(ctx context.Context, f *fleet.Fleet) (outcome, error) {
		attack(ctx, f)
		http, grpc := others(ctx, f)
		return outcome{fmt.Sprintf("%d of 350 GETs and %d of 100 gRPC calls fail", http, grpc), http+grpc == 0}, nil
	}
}

// others sends 350 GETs and 100 gRPC calls, ten at a time, each on a new connection with a timeout of two seconds, and
// returns how many fail.
func others(ctx context.Context, f *fleet.Fleet) (http, rpc int64) {
	var httpFailed, grpcFailed atomic.Int64
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			for range 35 {
				if get(f.HTTP()) != nil {
					httpFailed.Add(1)
				}
			}
			for range 10 {
				if callOnce(ctx, f.GRPC()) != nil {
					grpcFailed.Add(1)
				}
			}
		})
	}
	all.Wait()
	return httpFailed.Load(), grpcFailed.Load()
}

func callOnce(ctx context.Context, addr string) error {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err = whoamiv1.NewWhoAmIServiceClient(conn).WhoAmI(ctx, nil)
	return err
}

// halfOpenCalls starts calls whose messages never arrive. Until they time out they may use up nginx's limit of gRPC calls.
func halfOpenCalls(ctx context.Context, f *fleet.Fleet) (outcome, error) {
	openCalls(ctx, f, 8, whoAmI, nil)
	http, meanwhile := others(ctx, f)
	wait(ctx, 12*time.Second)
	_, afterwards := others(ctx, f)
	return outcome{
		fmt.Sprintf("%d of 350 GETs and %d of 100 gRPC calls fail, afterwards %d", http, meanwhile, afterwards),
		http == 0 && afterwards == 0,
	}, nil
}

// openCalls holds 1000 calls, or as many as are accepted, on each of n connections until the context ends.
func openCalls(ctx context.Context, f *fleet.Fleet, n int, method string, message []byte) {
	for range n {
		c, err := dial(ctx, f.GRPC())
		if err != nil {
			continue
		}
		context.AfterFunc(ctx, func() { c.conn.Close() })
		for range 1000 {
			if c.open(method, message) != nil {
				break
			}
		}
		_ = c.flush()
	}
	wait(ctx, 2*time.Second)
}

// stalledUploads sends bodies of 1 MB without their last byte.
func stalledUploads(ctx context.Context, f *fleet.Fleet) (outcome, error) {
	body := strings.Repeat("x", 1<<20-1)
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			if conn, err := post(ctx, f.HTTP(), 1<<20); err == nil {
				_ = conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
				_, _ = io.WriteString(conn, body)
			}
		})
	}
	all.Wait()
	used, err := openBytes(filepath.Join(f.Dir(), "temp"))
	if err != nil {
		return outcome{}, err
	}
	http, grpc := others(ctx, f)
	return outcome{
		fmt.Sprintf("%d of 350 GETs and %d of 100 gRPC calls fail; %d MiB in temp/", http, grpc, used>>20),
		http+grpc == 0 && used < 64<<20,
	}, nil
}

// stalledBodies sends headers of requests whose bodies never arrive.
func stalledBodies(ctx context.Context, f *fleet.Fleet) (outcome, error) {
	for range 2000 {
		_, _ = post(ctx, f.HTTP(), 1000)
	}
	_, grpc := others(ctx, f)
	return outcome{fmt.Sprintf("%d of 100 gRPC calls fail", grpc), grpc == 0}, nil
}

// post starts a POST and keeps its connection open until the context ends.
func post(ctx context.Context, addr string, length int) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	_, err = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", length)
	return conn, err
}

// openBytes returns the size of the open files below dir: nginx removes a temporary file as soon as it has opened it.
func openBytes(dir string) (bytes int64, err error) {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || !strings.HasPrefix(target, dir+"/") {
			continue // Of another process, or closed meanwhile.
		}
		if info, err := os.Stat(link); err == nil {
			bytes += info.Size()
		}
	}
	return bytes, err
}
