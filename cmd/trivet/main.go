// Command trivet is a load-balancing lab: it runs instances of whoami behind a real nginx on this machine, and experiments on them.
package main

import (
	"os"
	"os/signal"
	"syscall"

	"trivet/internal/cli"
)

func main() {
	var more []os.Signal
	if !signal.Ignored(syscall.SIGHUP) { // nohup trivet up
		more = append(more, syscall.SIGHUP) // The terminal was closed.
	}
	os.Exit(run(cli.UntilSignal(more...), os.Args[1:], os.Stdout, os.Stderr))
}
