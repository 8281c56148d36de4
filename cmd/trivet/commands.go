package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"trivet/internal/buildinfo"
	"trivet/internal/cli"
	"trivet/internal/nearest"
	"trivet/internal/words"
	"trivet/lab/load"
)

// Exit codes of all commands; trivet run and trivet check have more, see [trivet/lab/report.Verdict]. Being stopped by Ctrl-C or SIGTERM is a success.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// usualExitCodes is the help of commands without exit codes of their own.
const usualExitCodes = "0 done, or stopped by Ctrl-C or SIGTERM; 1 failed; 2 usage error."

// exitCodes is the annotation that holds a command's exit codes, for its help and its manual page.
const exitCodes = "exit codes"

// invocation is what an action is called with.
type invocation struct {
	args           []string // that are not flags
	flagErr        error    // joins what is wrong with the flags; the action reports it together with its other usage errors
	stdout, stderr io.Writer
}

// isWrong reports whether the command line is wrong, and prints why: errs, after what is wrong with the flags.
func (in invocation) isWrong(errs ...error) bool {
	err := errors.Join(append([]error{in.flagErr}, errs...)...)
	if err != nil {
		printErrors(in.stderr, err)
	}
	return err != nil
}

// done prints an error, if there is one, and returns the exit code.
func (in invocation) done(err error) int {
	if err == nil {
		return exitDone
	}
	printErrors(in.stderr, err)
	return exitFailed
}

// An action is what a command does. It returns the exit code. Data goes to stdout, messages and errors to stderr.
type action func(context.Context, invocation) int

// run is the whole program; it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	code, in := exitDone, invocation{stdout: stdout, stderr: stderr}
	root := newRoot(func(do action) func(*cobra.Command, []string) {
		return func(_ *cobra.Command, words []string) {
			in.args = words
			code = do(ctx, in)
		}
	})
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	// cobra stops at the first wrong flag. Go on, so that the action can report all errors at once.
	root.SetFlagErrorFunc(func(c *cobra.Command, _ error) error {
		_, rest, _ := root.Find(args)
		words, err := cli.ParseFlags(c, rest)
		if help, _ := c.Flags().GetBool("help"); help {
			return c.Help()
		}
		in.flagErr = err
		c.Run(c, words)
		return nil
	})
	if err := root.Execute(); err != nil {
		printErrors(stderr, err)
		return exitFailed
	}
	return code
}

// newRoot returns the tree of commands; runs makes an action the Run of a command.
func newRoot(runs func(action) func(*cobra.Command, []string)) *cobra.Command {
	cobra.EnableCommandSorting = false // The order below is that of the help.
	root, do := rootCommand()
	all := map[*cobra.Command]action{root: do}
	for _, command := range []func() (*cobra.Command, action){
		runCommand, reportCommand, viewCommand, traceCommand, tracesCommand, listCommand, checkCommand, schemaCommand, upCommand, callCommand, doctorCommand, logsCommand,
		certsCommand, exporterCommand,
		completionCommand, versionCommand, loadCommand, manCommand, helpCommand,
	} {
		c, do := command()
		root.AddCommand(c)
		all[c] = do
	}
	for c, do := range all {
		c.Run = runs(do)
		c.Args = cobra.ArbitraryArgs // The action checks them.
		c.Flags().SortFlags = false
		c.DisableFlagsInUseLine = true
		c.SilenceErrors, c.SilenceUsage = true, true
		if c.ValidArgsFunction == nil && c.ValidArgs == nil {
			c.ValidArgsFunction = cobra.NoFileCompletions
		}
		if c.Annotations == nil {
			c.Annotations = map[string]string{exitCodes: usualExitCodes}
		}
	}
	help, _, _ := root.Find([]string{"help"})
	root.SetHelpCommand(help)
	root.SetHelpFunc(printHelp)
	root.CompletionOptions.DisableDefaultCmd = true // It has PowerShell, for which there is no trivet.
	return root
}

func rootCommand() (*cobra.Command, action) {
	c := &cobra.Command{
		Use:     "trivet COMMAND",
		Short:   "load-balancing lab: instances of whoami behind a real nginx",
		Version: buildinfo.String(),
		Long: `trivet is a load-balancing lab: it runs instances of whoami behind a real nginx
on this machine, and experiments on them. trivet help COMMAND describes a
command: its flags, exit codes and examples.`,
		Annotations: map[string]string{exitCodes: `0 done, or stopped by Ctrl-C or SIGTERM; 1 failed (a busy port, no
nginx); 2 usage error. trivet run has more of them.`},
		Example: `  trivet up               three instances, nginx on 8080 (HTTP) and 9090 (gRPC)
  curl localhost:8080/    in another terminal, repeatedly: whoami-1, whoami-2
                          and whoami-3 respond in turn
  trivet run experiments/kill-one.yaml    what happens when one is killed?
  trivet view             replay that run in a browser`,
	}
	c.SetVersionTemplate("trivet {{.Version}}\n")
	return c, func(_ context.Context, in invocation) int {
		switch {
		case len(in.args) > 0:
			printErrors(in.stderr, unknownCommand(c, in.args[0]))
		case in.isWrong():
			printErrors(in.stderr, errors.New("flags follow a command, as in: trivet up -n 5"))
		default:
			c.SetOut(in.stderr)
			printHelp(c, nil)
		}
		return exitUsage
	}
}

func helpCommand() (*cobra.Command, action) {
	c := &cobra.Command{Use: "help [COMMAND]", Short: "describe a command", Long: "Describe a command."}
	c.ValidArgsFunction = func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return commandNames(c.Root()), cobra.ShellCompDirectiveNoFileComp
	}
	return c, func(_ context.Context, in invocation) int {
		target, _, err := c.Root().Find(in.args)
		if len(in.args) > 0 && target == c.Root() {
			err = unknownCommand(target, in.args[0])
		}
		if in.isWrong(err) {
			return exitUsage
		}
		target.InitDefaultHelpFlag()
		target.InitDefaultVersionFlag()
		printHelp(target, nil)
		return exitDone
	}
}

func versionCommand() (*cobra.Command, action) {
	c := &cobra.Command{Use: "version", Short: "print version and revision", Long: "Print version and revision."}
	return c, func(_ context.Context, in invocation) int {
		if in.isWrong(cli.Unexpected(in.args, 0)) {
			return exitUsage
		}
		fmt.Fprintln(in.stdout, "trivet", c.Root().Version)
		return exitDone
	}
}

// loadCommand is the load generator, which trivet run starts.
func loadCommand() (*cobra.Command, action) {
	return &cobra.Command{Use: "load", Short: "generate load (for trivet run)", Hidden: true}, func(ctx context.Context, in invocation) int {
		return load.Serve(ctx, os.Stdin, in.stderr)
	}
}

// printHelp is the help of all commands.
func printHelp(c *cobra.Command, _ []string) {
	w := c.OutOrStdout()
	cli.PrintUsage(w, c)
	// Of --json[=true|false], --json is enough.
	flags := strings.ReplaceAll(c.LocalFlags().FlagUsagesWrapped(80), "[=true|false]", strings.Repeat(" ", len("[=true|false]")))
	fmt.Fprintf(w, "\nFlags:\n%s\nExit codes: %s\n", flags, c.Annotations[exitCodes])
	if c.HasExample() {
		fmt.Fprintf(w, "\nExamples:\n%s\n", c.Example)
	}
}

func commandNames(root *cobra.Command) []string {
	names := []string{"help"}
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

func unknownCommand(root *cobra.Command, name string) error {
	return fmt.Errorf("unknown command %q%s (trivet help lists the commands)", name, nearest.Hint(name, commandNames(root)))
}

// printErrors prints each of several joined errors on a line of its own, without control characters of a file.
func printErrors(w io.Writer, err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(w, "trivet:", words.Printable(strings.TrimSuffix(line, "\n")))
	}
}
