package ledger

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"trivet/lab/labtest"
	"trivet/lab/load"
)

var whoami string // the instances' program, built once

// The test binary is also the generator.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "load" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		os.Exit(load.Serve(ctx, os.Stdin, os.Stderr))
	}
	os.Exit(labtest.WithWhoami(func(path string) int {
		whoami = path
		return m.Run()
	}))
}
