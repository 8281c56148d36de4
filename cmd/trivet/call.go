package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"trivet/internal/cli"
	"trivet/internal/hop"
	"trivet/lab/calltree"
	"trivet/lab/record"
)

func callCommand() (*cobra.Command, action) {
	c := &cobra.Command{
		Use:   "call [flags]",
		Short: "send one request through services that call each other, and draw its calls",
		Long: `Send one request to the newest running trivet up, which makes services call each
other, and draw the tree of its calls: which instance responded, with which
code, after how many attempts, and how long it took.

The request states its path. The service that gets it makes the calls of the
first --hops, and passes the other hops on with each of them. A hop is one call,
or several at the same time, separated by commas. A call is

  PROTOCOL[:SERVICE][*ATTEMPTS[!]][+WORK]

  PROTOCOL  grpc or http
  SERVICE   whoami (the default) or front, which trivet up --front 1 starts
  ATTEMPTS  1 to 5, of a gRPC call that ends UNAVAILABLE; with ! under a budget
            that ends retries while too many calls fail
  WORK      how long its receiver works before it calls or responds, like 20ms

A request has at most 8 hops, and 64 calls in all.`,
		Annotations: map[string]string{exitCodes: `0 the request succeeded; 1 it failed, which the tree shows, or
nothing runs; 2 usage error.`},
		Example: `  trivet call --hops grpc                       whoami calls whoami
  trivet call --hops grpc,http --hops grpc      two at once, each calls one more
  trivet call --service front --http            front calls whoami by itself
  trivet call --hops grpc:front*3 --hops grpc*3+50ms --timeout 200ms
  trivet trace "$(trivet call --hops grpc --json | jq -r .caller.requestId)"`,
	}
	call := treeCall{}
	c.Flags().StringArrayVar(&call.hops, "hops", nil, "`HOP`: one call or several at once; repeat for the calls that these make")
	c.Flags().DurationVar(&call.work, "work", 0, "how long the first service works before it calls, like 20ms")
	c.Flags().StringVar(&call.service, "service", hop.Whoami, "`SERVICE` that gets the request: whoami or front")
	c.Flags().BoolVar(&call.grpc, "grpc", false, "send it over gRPC (the default)")
	c.Flags().BoolVar(&call.http, "http", false, "send it over HTTP")
	c.Flags().StringVar(&call.target, "target", "", "`HOST:PORT` to send it to (default: nginx of the newest running trivet up)")
	c.Flags().BoolVar(&call.tls, "tls", false, "send it over TLS, to nginx's TLS listener")
	c.Flags().StringVar(&call.ca, "cacert", "", "`FILE` with the authorities to trust over TLS (default: ca.pem of that trivet up)")
	c.Flags().DurationVar(&call.timeout, "timeout", 10*time.Second, "deadline of the request; it goes along with each call")
	c.Flags().BoolVar(&call.json, "json", false, "print the response, or the error, as JSON")
	_ = c.MarkFlagFilename("cacert") // It fails only where there is no such flag.
	completes(c, "service", hop.Whoami, hop.Front)
	completes(c, "hops", "grpc", "http", "grpc,http", "grpc:front", "http:front", "grpc*3", "grpc*3!", "grpc+20ms")
	return c, call.run
}

// completes makes words the completions of a flag's value.
func completes(c *cobra.Command, flag string, words ...cobra.Completion) {
	_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // It fails only where there is no such flag.
}

// treeCall is the command line of trivet call.
type treeCall struct {
	hops                  []string
	work, timeout         time.Duration
	service               string
	grpc, http, tls, json bool
	target, ca            string
}

func (call *treeCall) run(ctx context.Context, in invocation) int {
	if in.isWrong(cli.Unexpected(in.args, 0), call.check()) {
		return exitUsage
	}
	request := calltree.Request{Protocol: hop.GRPC, Service: call.service, ID: strings.ToLower(rand.Text()[:8]), Hops: call.hops, Work: call.work}
	if call.http {
		request.Protocol = hop.HTTP
	}
	if err := call.address(&request); err != nil {
		return in.done(err)
	}
	ctx, cancel := context.WithTimeout(ctx, call.timeout)
	defer cancel()
	tree := request.Send(ctx)
	out := &errWriter{Writer: in.stdout}
	if call.json {
		text, err := tree.JSON()
		if err != nil {
			return in.done(err)
		}
		fmt.Fprintf(out, "%s\n", text)
	} else {
		color := useColor(in.stdout)
		tree.Draw(out, func(failed bool, text string) string {
			switch {
			case !color:
				return text
			case failed:
				return "\x1b[" + red + "m" + text + "\x1b[0m"
			}
			return "\x1b[" + green + "m" + text + "\x1b[0m"
		})
	}
	if out.err != nil {
		return in.done(fmt.Errorf("write the tree: %w", out.err))
	}
	if tree.Status.Code() != codes.OK {
		return exitFailed
	}
	return exitDone
}

// check returns what is wrong with the flags.
func (call *treeCall) check() error {
	var errs []error
	if call.service != hop.Whoami && call.service != hop.Front {
		errs = append(errs, fmt.Errorf("--service %q: want whoami or front", call.service))
	}
	if call.grpc && call.http {
		errs = append(errs, errors.New("--grpc and --http: name one"))
	}
	if call.timeout <= 0 {
		errs = append(errs, fmt.Errorf("--timeout %v: want more than 0", call.timeout))
	}
	if call.work < 0 {
		errs = append(errs, fmt.Errorf("--work %v: want 0 or more", call.work))
	}
	if call.ca != "" && !call.tls {
		errs = append(errs, errors.New("--cacert is for --tls"))
	}
	if _, _, err := net.SplitHostPort(call.target); err != nil && call.target != "" {
		errs = append(errs, fmt.Errorf("--target %q: want HOST:PORT, like localhost:8080", call.target))
	}
	if _, err := hop.NewRoute(call.service, call.hops); err != nil {
		errs = append(errs, fmt.Errorf("--hops: %s", strings.ReplaceAll(err.Error(), "\n", "\n--hops: ")))
	}
	return errors.Join(errs...)
}

// address sets where the request goes.
func (call *treeCall) address(r *calltree.Request) error {
	dir, running, err := runningFleet()
	if err != nil && (call.target == "" || call.tls && call.ca == "") {
		return err
	}
	listeners := map[bool]string{true: running.HTTP, false: running.GRPC}
	r.Address = cmp.Or(call.target, listeners[call.http])
	if !call.tls {
		return nil
	}
	if r.Address = cmp.Or(call.target, running.TLS); r.Address == "" {
		return errors.New("the running trivet up serves no TLS; start it with --tls, or name --target and --cacert")
	}
	file := cmp.Or(call.ca, filepath.Join(dir, record.TLSDir, "ca.pem"))
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the authorities to trust: %w; name them by --cacert", err)
	}
	r.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !r.TLS.RootCAs.AppendCertsFromPEM(text) {
		return fmt.Errorf("%s: want certificates in PEM", file)
	}
	return nil
}

// runningFleet is the newest trivet up that runs, and its run directory.
func runningFleet() (string, record.Fleet, error) {
	runs, err := record.Runs(record.Base())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", record.Fleet{}, err
	}
	for _, dir := range runs {
		if !record.Running(dir) {
			continue
		}
		if f, err := record.ReadFleet(dir); err == nil && f.HTTP != "" {
			return dir, f, nil
		}
	}
	return "", record.Fleet{}, errors.New("no trivet up runs; start one: trivet up --front 1, or name --target")
}
