package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"trivet/internal/cli"
	"trivet/lab/fleet"
)

// upCall is the command line of trivet up, and of trivet doctor, which checks whether that would work.
type upCall struct {
	fleet.Options        // from the flags; programs and directories still missing
	nginx         string // "": look for it
	confDir       string // "": the shipped configuration
	metrics       bool
	metricsPort   int
	dashboard     string // a port, or off
	dashboardBind string
	records       bool // the instances write records where trivet trace and the dashboard look
	json          bool
	flags         *pflag.FlagSet
}

// addUpFlags adds the flags that fill in the call it returns.
func addUpFlags(c *cobra.Command) *upCall {
	call, set := &upCall{flags: c.Flags()}, c.Flags()
	set.IntVarP(&call.Instances, "instances", "n", 3, "start `N` instances, 1 to 1000")
	set.IntVar(&call.Front, "front", 0, "start `N` instances of front, 0 to 60: a second service, which calls whoami through nginx")
	set.BoolVar(&call.TLS, "tls", false, "serve both protocols over TLS, too, on --tls-port")
	set.BoolVar(&call.MTLS, "mtls", false, "let nginx and the instances use mutual TLS")
	set.IntVar(&call.HTTP, "http", 8080, "nginx's `PORT` for HTTP; 0: any free one")
	set.IntVar(&call.GRPC, "grpc", 9090, "nginx's `PORT` for gRPC; 0: any free one")
	set.IntVar(&call.TLSPort, "tls-port", 8443, "nginx's `PORT` for TLS; 0: any free one, the default with --http 0 --grpc 0")
	set.IntVar(&call.Admin, "admin", 7080, "nginx's `PORT` for its own health and status, on a loopback address; 0: any free one, the default with --http 0 --grpc 0")
	set.IntVar(&call.metricsPort, "metrics-port", 7079, "`PORT` for nginx's metrics, on a loopback address; 0: any free one, the default with --http 0 --grpc 0")
	set.BoolVar(&call.metrics, "metrics", true, "serve nginx's metrics to Prometheus, from its access log")
	set.StringVar(&call.dashboard, "dashboard", strconv.Itoa(dashboardPort), "`PORT` of a page to watch and change the fleet in a browser; 0: any free one, the default with --http 0 --grpc 0; off: none")
	set.StringVar(&call.dashboardBind, "dashboard-bind", "", "IP `ADDRESS` of that page; 0.0.0.0 lets other machines change the fleet (default: that of --bind if it is a loopback address, else 127.0.0.1)")
	set.StringVar(&call.Bind, "bind", "127.0.0.1", "IP `ADDRESS` nginx listens on; 0.0.0.0 accepts remote connections, :: over IPv6 only. Instances listen there too if it is a loopback address, else on 127.0.0.1 only")
	set.StringVar(&call.EnvFile, "env-file", "", "read the instances' settings from `FILE`, like .env.qa; whoami --help lists them")
	addNginxFlag(c, &call.nginx)
	set.StringVar(&call.confDir, "nginx-conf", "", "use your own configuration instead of nginx/conf: a `DIR` with nginx.conf at its top. nginx reads a copy; the files in its site/ are written anew, because they say where the instances are")
	set.BoolVar(&call.json, "json", false, "print one JSON object per line")
	for _, number := range []string{"instances", "front", "http", "grpc", "tls-port", "admin", "metrics-port"} {
		completeFlag(c, number)
	}
	completeFlag(c, "dashboard", "off", "0")
	completeFlag(c, "dashboard-bind", "127.0.0.1", "0.0.0.0", "::")
	completeFlag(c, "bind", "127.0.0.1", "0.0.0.0", "::")
	_ = c.MarkFlagDirname("nginx-conf") // It fails only where there is no such flag.
	return call
}

func addNginxFlag(c *cobra.Command, program *string) {
	c.Flags().StringVar(program, "nginx", "", "nginx `PROGRAM` (default: the one on PATH, else .cache/nginx/nginx, which make nginx gets)")
}

// programs are those of the services that the fleet has instances of.
func (c *upCall) programs() servicePrograms {
	all := servicePrograms{whoami: &c.Whoami}
	if c.Front > 0 {
		all[front] = &c.FrontProgram
	}
	return all
}

// check completes the call. The error joins all that is wrong with it.
func (c *upCall) check(in invocation) error {
	return errors.Join(in.flagErr, cli.Unexpected(in.args, 0), c.checkOptions(), c.checkFiles())
}

// optionFlags are the flags for fields of fleet.Options.
var optionFlags = map[string]string{"Instances": "-n", "HTTP": "--http", "GRPC": "--grpc", "Admin": "--admin", "Bind": "--bind", "Front": "--front", "TLSPort": "--tls-port"}

// checkOptions checks what the fleet has rules for.
func (c *upCall) checkOptions() error {
	// If the kernel chooses nginx's ports, another fleet has the usual ones, and that has 8001 and 7080 as well.
	beside := c.HTTP == 0 && c.GRPC == 0
	c.Numbered = c.Instances <= fleet.MaxNumbered && !beside
	if beside && !c.flags.Changed("admin") {
		c.Admin = 0
	}
	if beside && !c.flags.Changed("tls-port") {
		c.TLSPort = 0
	}
	if beside && !c.flags.Changed("metrics-port") {
		c.metricsPort = 0
	}
	if beside && !c.flags.Changed("dashboard") {
		c.dashboard = "0"
	}
	errs := []error{c.checkMetricsPort(), c.checkDashboard()}
	if c.flags.Changed("tls-port") && !c.TLS {
		errs = append(errs, errors.New("--tls-port is the port of --tls; give that, too"))
	}
	for _, err := range unjoin(c.Options.Validate()) {
		if e, ok := errors.AsType[*fleet.FieldError](err); ok && optionFlags[e.Field] != "" {
			errs = append(errs, fmt.Errorf("%s is %v: %s", optionFlags[e.Field], e.Value, e.Want))
		}
	}
	return errors.Join(errs...)
}

func (c *upCall) checkMetricsPort() error {
	if c.metricsPort < 0 || c.metricsPort > 65535 {
		return fmt.Errorf("--metrics-port is %d: want a port, 1 to 65535, or 0 for any", c.metricsPort)
	}
	if !c.metrics {
		return nil
	}
	return c.checkBeside("--metrics-port", c.metricsPort)
}

// checkBeside checks that neither nginx nor an instance has a port of what is served beside them.
func (c *upCall) checkBeside(name string, port int) error {
	taken := []int{c.HTTP, c.GRPC, c.Admin}
	if c.TLS {
		taken = append(taken, c.TLSPort)
	}
	switch of := c.InstanceAt(port); {
	case port == 0:
	case slices.Contains(taken, port):
		return fmt.Errorf("%s is %d: nginx has that port already", name, port)
	case of != "":
		return fmt.Errorf("%s is %d: that is a port of %s", name, port, of)
	}
	return nil
}

// dashboardOff is the value of --dashboard without a page.
const dashboardOff = "off"

// checkDashboard checks where the page is to be, and completes it.
func (c *upCall) checkDashboard() error {
	var errs []error
	if c.dashboardBind == "" {
		c.dashboardBind = "127.0.0.1"
		if a, err := netip.ParseAddr(c.Bind); err == nil && a.IsLoopback() {
			c.dashboardBind = c.Bind
		}
	} else if _, err := netip.ParseAddr(c.dashboardBind); err != nil {
		errs = append(errs, fmt.Errorf("--dashboard-bind is %q: want an IP address, like 127.0.0.1", c.dashboardBind))
	}
	if c.dashboard == dashboardOff {
		return errors.Join(errs...)
	}
	port, err := parsePort(c.dashboard)
	switch {
	case err != nil:
		errs = append(errs, fmt.Errorf("--dashboard is %q: want a port, 1 to 65535, 0 for any, or off", c.dashboard))
	case port != 0 && c.metrics && port == c.metricsPort:
		errs = append(errs, fmt.Errorf("--dashboard is %d: nginx's metrics have that port already", port))
	default:
		errs = append(errs, c.checkBeside("--dashboard", port))
	}
	return errors.Join(errs...)
}

// checkFiles checks those that can be checked without a program.
func (c *upCall) checkFiles() error {
	var errs []error
	if c.EnvFile != "" {
		if f, err := os.Open(c.EnvFile); err != nil {
			errs = append(errs, fmt.Errorf("--env-file: %w", err))
		} else {
			f.Close()
		}
	}
	if c.confDir != "" {
		if info, err := os.Stat(filepath.Join(c.confDir, "nginx.conf")); err != nil {
			errs = append(errs, fmt.Errorf("--nginx-conf is %q: want a directory with nginx.conf at its top: %w", c.confDir, err))
		} else if !info.Mode().IsRegular() {
			errs = append(errs, fmt.Errorf("--nginx-conf is %q: nginx.conf in it is not a regular file", c.confDir))
		} else {
			c.Conf = os.DirFS(c.confDir)
		}
	}
	return errors.Join(errs...)
}

// isRemote reports whether other machines can reach what listens on the address.
func isRemote(bind string) bool {
	a, err := netip.ParseAddr(bind)
	return err == nil && !a.IsLoopback()
}

// unjoin returns the errors that errors.Join joined.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
