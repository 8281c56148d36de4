// Command bench measures Trivet side by side with others, and prints one table of ratios.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	first := make(chan os.Signal, 1)
	signal.Notify(first, os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		s := <-first
		signal.Stop(first) // The second one ends the program at once, and the kernel what it has started.
		cancel(errors.New(s.String()))
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
