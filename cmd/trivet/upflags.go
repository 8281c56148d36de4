package main

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"trivet/internal/flags"
	"trivet/lab/fleet"
)

const upManual = `trivet up starts instances of whoami and nginx in front of them, waits until a call comes through on both
protocols, says what to try, and follows them: a process that dies is reported and started again. Ctrl-C stops everything.

  trivet up [flags]

  -n N                 how many instances: 1 to 1000 (default 3)
  --http PORT          nginx's port for HTTP (default 8080; 0: any)
  --grpc PORT          nginx's port for gRPC (default 9090; 0: any)
  --admin PORT         nginx's port for its own health and status, on a loopback address (default 7080; 0: any; any too with
                       --http 0 --grpc 0)
  --bind ADDRESS       IP address that nginx listens on (default 127.0.0.1); 0.0.0.0 lets the network in, :: only by IPv6.
                       Instances listen there too if it is a loopback address, else on 127.0.0.1 only
  --env-file FILE      the instances' settings, like .env.qa; whoami --help lists them
  --nginx PROGRAM      which nginx (default: the one on PATH, else .cache/nginx/nginx, which make nginx gets)
  --nginx-conf FOLDER  your own configuration instead of nginx/conf: a folder with nginx.conf at its top. The files in its
                       site/ folder are written anew, because they say where the instances are
  --json               one JSON object a line, for programs, each with an "event": started, ready, died, stopped (of a
                       process), starting, up, stopping, note, error

Instances listen on 8001, 8002 … (HTTP), 9001, 9002 … (gRPC) and 7001, 7002 … (admin); more than 60 of them, or with --http 0
--grpc 0, on ports that the kernel chooses, without admin.

Examples:

  trivet up -n 5                                   five instances
  trivet up --http 0 --grpc 0                      a second one beside the first: all ports are the kernel's choice
  trivet up --nginx-conf my-conf                   try your own configuration
  trivet up --bind 0.0.0.0                         let other machines in
  trivet up --json | jq -r 'select(.event=="died") | .name'

In another terminal: trivet logs whoami-1; kill -9 a pid that trivet up printed, and watch it come back.
`

// adminPort is nginx's admin port unless --admin names another.
const adminPort = 7080

// upCall is the command line of `trivet up`; doctor, which tells whether that would work, takes the same.
type upCall struct {
	n, http, grpc, admin string // as written
	fleet.Options               // from the flags; programs and folders still missing
	nginx                string // "": look for it
	confFolder           string // "": the shipped configuration
	json                 bool
}

// parseUp reads the flags of up. The error tells all that is wrong with them. json is set also beside an error.
func parseUp(args []string) (upCall, error) {
	c := upCall{n: "3", http: "8080", grpc: "9090", Options: fleet.Options{Bind: "127.0.0.1"}}
	c.json = slices.Contains(args, "--json") || slices.Contains(args, "-json") // Errors too are to be JSON then.
	set := flags.New("trivet up")
	set.StringVar(&c.n, "n", c.n, "")
	set.StringVar(&c.http, "http", c.http, "")
	set.StringVar(&c.grpc, "grpc", c.grpc, "")
	set.StringVar(&c.admin, "admin", c.admin, "")
	set.StringVar(&c.Bind, "bind", c.Bind, "")
	set.StringVar(&c.EnvFile, "env-file", "", "")
	set.StringVar(&c.nginx, "nginx", "", "")
	set.StringVar(&c.confFolder, "nginx-conf", "", "")
	set.BoolVar(&c.json, "json", c.json, "")
	words, err := flags.Parse(set, args)
	if errors.Is(err, flag.ErrHelp) {
		return c, err
	}
	return c, errors.Join(err, unwanted(words, 0), c.numbers(), c.files())
}

// fieldFlags are the flags that people gave for fields of fleet.Options.
var fieldFlags = map[string]string{"Instances": "-n", "HTTP": "--http", "GRPC": "--grpc", "Admin": "--admin", "Bind": "--bind"}

// numbers fills in and checks what the fleet has rules for.
func (c *upCall) numbers() error {
	var faults []error
	number := func(flag, text string, to *int, stand int) {
		var err error
		if *to, err = strconv.Atoi(text); err != nil {
			faults = append(faults, fmt.Errorf("%s is %q: want a number", flag, text))
			*to = stand // So that the others can be checked all the same.
		}
	}
	number("-n", c.n, &c.Instances, 1)
	number("--http", c.http, &c.HTTP, 0)
	number("--grpc", c.grpc, &c.GRPC, 0)
	// If the kernel chooses nginx's ports, another fleet has the usual ones, and that has 8001 and 7080 as well.
	beside := c.HTTP == 0 && c.GRPC == 0
	c.Numbered = c.Instances <= fleet.MostNumbered && !beside
	if c.admin == "" && !beside {
		c.Admin = adminPort
	} else if c.admin != "" {
		number("--admin", c.admin, &c.Admin, 0)
	}
	for _, fault := range unjoin(c.Options.Validate()) {
		f, _ := errors.AsType[*fleet.FieldError](fault)
		if f != nil && fieldFlags[f.Field] != "" {
			faults = append(faults, fmt.Errorf("%s is %v: %s", fieldFlags[f.Field], f.Value, f.Want))
		}
	}
	return errors.Join(faults...)
}

// files checks those that can be checked without a program.
func (c *upCall) files() error {
	var faults []error
	if c.EnvFile != "" {
		if f, err := os.Open(c.EnvFile); err != nil {
			faults = append(faults, fmt.Errorf("--env-file: %w", err))
		} else {
			f.Close()
		}
	}
	if c.confFolder != "" {
		if info, err := os.Stat(filepath.Join(c.confFolder, "nginx.conf")); err != nil {
			faults = append(faults, fmt.Errorf("--nginx-conf is %q: want a folder with nginx.conf at its top: %w", c.confFolder, err))
		} else if !info.Mode().IsRegular() {
			faults = append(faults, fmt.Errorf("--nginx-conf is %q: nginx.conf in it is not a file", c.confFolder))
		} else {
			c.Conf = os.DirFS(c.confFolder)
		}
	}
	return errors.Join(faults...)
}

// open tells whether others than this machine can reach what listens on the address.
func open(bind string) bool {
	a, err := netip.ParseAddr(bind)
	return err == nil && !a.IsLoopback()
}

// unjoin is the errors that errors.Join joined.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
