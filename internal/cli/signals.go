package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// UntilSignal returns a context that ends at the first SIGINT, SIGTERM, SIGQUIT or signal of more; its cause is the signal's name. From then on
// a signal has its usual effect, which is to end the program at once. SIGQUIT's is to print Go's stacks as well: instead the second one exits
// with 131, the code that a shell gives a program that SIGQUIT ended.
//
// signal.NotifyContext would not do: its context ends while it still catches signals.
func UntilSignal(more ...os.Signal) context.Context {
	first, second := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(first, append(more, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)...)
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		s := <-first
		signal.Notify(second, syscall.SIGQUIT) // Before the next line: in between SIGQUIT would print stacks.
		signal.Stop(first)
		cancel(errors.New(s.String()))
		<-second
		os.Exit(128 + int(syscall.SIGQUIT))
	}()
	return ctx
}
