package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/spf13/cobra"

	"trivet/internal/cli"
	"trivet/lab/exporter"
)

func exporterCommand() (*cobra.Command, action) {
	c := &cobra.Command{
		Use:   "exporter --access-log FILE [flags]",
		Short: "serve metrics of an nginx to Prometheus, from its access log",
		Long: `Follow the access log of an nginx that logs in the format of
nginx/conf/access-log.conf, and serve metrics at /metrics, until Ctrl-C. Rotation
and truncation of the log are followed; docs/metrics.md lists the metrics.
trivet up does this for its own nginx.`,
		Annotations: map[string]string{exitCodes: "0 stopped by Ctrl-C or SIGTERM; 1 the address is taken, or serving failed; 2\nusage error."},
		Example: `  trivet exporter --access-log /var/log/nginx/access.log \
    --status http://127.0.0.1:7080/nginx_status
  trivet exporter --access-log access.log --route '/users/{id}' --from-start`,
	}
	set := c.Flags()
	var o exporter.Options
	set.StringVar(&o.AccessLog, "access-log", "", "`FILE` that nginx logs to; it may come later")
	set.StringVar(&o.Status, "status", "", "`URL` of nginx's stub_status, for its connections")
	set.StringVar(&o.TLS, "tls", "", "`HOST:PORT` of nginx's TLS listener, for the expiry of its certificate")
	listen := set.String("listen", "127.0.0.1:7079", "serve /metrics at `ADDRESS:PORT`; port 0: any free one")
	routes := set.StringArray("route", nil, "count requests that match `PATTERN` separately, a pattern of Go's http.ServeMux; repeatable")
	set.BoolVar(&o.FromStart, "from-start", false, "count what is in the log already, too")
	for _, flag := range []string{"status", "tls", "listen", "route"} {
		completeFlag(c, flag)
	}
	return c, func(ctx context.Context, in invocation) int {
		o.Routes = append(exporter.Routes(), *routes...)
		o.Problem = func(err error) { printErrors(in.stderr, fmt.Errorf("read the access log: %w; trying again", err)) }
		var missing error
		if o.AccessLog == "" {
			missing = errors.New("--access-log is missing: want the file that nginx logs to")
			o.AccessLog = "missing" // So that New reports what else is wrong.
		}
		e, err := exporter.New(o)
		if _, wrong := netip.ParseAddrPort(*listen); wrong != nil {
			err = errors.Join(err, fmt.Errorf("--listen is %q: want an IP address and a port, like 127.0.0.1:7079", *listen))
		}
		if in.isWrong(cli.Unexpected(in.args, 0), missing, err) {
			return exitUsage
		}
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
		if err != nil {
			return in.done(fmt.Errorf("%w; choose another address with --listen", err))
		}
		fmt.Fprintf(in.stdout, "serving http://%s/metrics; Ctrl-C ends it\n", listener.Addr())
		return in.done(e.Serve(ctx, listener))
	}
}
