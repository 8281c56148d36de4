// Command attack attacks an instance and the shipped nginx configuration like a hostile client, and prints the effects on
// them and on the requests of other clients. It takes two minutes: `make attack`.
//
// Everything runs on this machine, on loopback. Attacks that take only seconds are also tests, in services/whoami and
// nginx; here each runs at full size.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"
)

// An attack is one row of the table.
type attack struct {
	name  string
	bound string // what the attack must not exceed
	run   func(context.Context, *lab) (outcome, error)
}

// outcome is the result of an attack, and whether the bound holds.
type outcome struct {
	result string
	holds  bool
}

// lab is what the attacks run against.
type lab struct {
	whoami string // path of the program whoami
	conf   string // directory of nginx's configuration; "" for the shipped one
}

func main() {
	l := &lab{}
	set := flag.NewFlagSet("attack", flag.ContinueOnError)
	set.StringVar(&l.whoami, "whoami", "bin/whoami", "`PATH` of the program whoami")
	set.StringVar(&l.conf, "conf", "", "`DIR` of another nginx configuration to attack")
	only := set.String("only", "", "run only attacks whose name contains `TEXT`")
	switch err := set.Parse(os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil || set.NArg() > 0:
		fmt.Fprintln(os.Stderr, "attack: want only flags; attack --help lists them")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(runAll(ctx, l, *only))
}

// runAll runs the attacks one after the other, prints their table, and returns the exit code: 1 if a bound is exceeded or
// an attack could not run.
func runAll(ctx context.Context, l *lab, only string) int {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "attack\tresult\tbound\tverdict")
	code := 0
	for _, a := range attacks(only) {
		began := time.Now()
		fmt.Fprintf(os.Stderr, "attack: %s … ", a.name)
		o, err := a.run(ctx, l)
		fmt.Fprintf(os.Stderr, "%.0f s\n", time.Since(began).Seconds())
		verdict := "holds"
		switch {
		case ctx.Err() != nil:
			return 130
		case err != nil:
			o.result, verdict, code = err.Error(), "ERROR", 1
		case !o.holds:
			verdict, code = "BROKEN", 1
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", a.name, o.result, a.bound, verdict)
	}
	if err := table.Flush(); err != nil {
		return 1
	}
	return code
}
