// Package command is the command line of a service's program: to serve, to print the settings, and to check the health of an instance.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"trivet/internal/buildinfo"
	"trivet/internal/cli"
	"trivet/internal/nearest"
	"trivet/services/instance"
)

// An action runs a command with valid settings.
type action func(context.Context, instance.Service, instance.Config, []instance.Value, streams) error

// streams are the outputs of a command: data goes to out, messages and errors to err.
type streams struct{ out, err io.Writer }

// newRoot returns the tree of commands for one command line.
func newRoot(s instance.Service, args []string, environ envconfig.Lookuper, out streams) *cobra.Command {
	cobra.EnableCommandSorting = false
	root := &cobra.Command{
		Use: s.Name, Version: buildinfo.String(), SilenceErrors: true, SilenceUsage: true, Long: s.Summary, Example: s.Example,
	}
	config := &cobra.Command{
		Use: "config", Short: "check the settings, and print each with its source",
		Long: "Check the settings, and print each with its source, in the format of an env file.",
	}
	health := &cobra.Command{
		Use: "health", Short: "print the gRPC health of the instance with these settings",
		Long: "Print the gRPC health of the instance that runs on this machine with these settings. The exit code is 0 only if\nit is SERVING.",
	}
	root.AddCommand(config, health, cli.Completion(s.Name))
	root.CompletionOptions.DisableDefaultCmd = true // It has PowerShell too.
	root.SetArgs(args)
	root.SetOut(out.out)
	root.SetErr(out.err)
	root.SetVersionTemplate(s.Name + " {{.Version}}\n")
	root.SetHelpFunc(func(c *cobra.Command, _ []string) { help(s, c) })
	for c, do := range map[*cobra.Command]action{root: serve, config: show, health: checkHealth} {
		takesSettings(c, s, args, environ, out, do)
	}
	return root
}

// takesSettings adds a flag for each setting to c, and makes it run do if all flags and settings are valid.
func takesSettings(c *cobra.Command, s instance.Service, args []string, environ envconfig.Lookuper, out streams, do action) {
	from := instance.Sources{Flags: make(map[string]string), Environ: environ}
	c.Flags().SortFlags = false
	c.Flags().StringVar(&from.EnvFile, "env-file", "", "read settings from `FILE`")
	for _, setting := range s.Settings() {
		c.Flags().Func(setting.Flag, setting.Help, func(value string) error { from.Flags[setting.Name] = value; return nil })
		if values := oneOf(setting.Want); values != nil {
			_ = c.RegisterFlagCompletionFunc(setting.Flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
		} else if setting.Name != "RECORDS" {
			_ = c.RegisterFlagCompletionFunc(setting.Flag, cobra.NoFileCompletions)
		}
	}
	run := func(c *cobra.Command, words []string, flagErr error) error {
		config, values, err := s.Load(c.Context(), from)
		if err := errors.Join(flagErr, unexpected(c, words), err); err != nil {
			return fmt.Errorf("%w\nnothing was started; `%s --help` lists the settings", err, s.Name)
		}
		if err := do(c.Context(), s, config, values, out); err != nil {
			return failure{err}
		}
		return nil
	}
	c.Args, c.ValidArgsFunction = cobra.ArbitraryArgs, cobra.NoFileCompletions
	c.RunE = func(c *cobra.Command, words []string) error { return run(c, words, nil) }
	// cobra stops at the first wrong flag. Go on, to report all errors at once.
	c.SetFlagErrorFunc(func(c *cobra.Command, _ error) error {
		_, rest, err := c.Root().Find(args)
		if err != nil {
			return err
		}
		words, err := cli.ParseFlags(c, rest)
		if help, _ := c.Flags().GetBool("help"); help {
			return c.Help()
		}
		return run(c, words, err)
	})
}

// oneOf returns the values that want, like "dev, qa or prod", lists; nil if it describes them instead.
func oneOf(want string) []string {
	if !regexp.MustCompile(`^([a-z]+, )*[a-z]+ or [a-z]+$`).MatchString(want) {
		return nil
	}
	return strings.Split(strings.Replace(want, " or ", ", ", 1), ", ")
}

// unexpected returns an error for each word: the program takes a command, the commands take none.
func unexpected(c *cobra.Command, words []string) error {
	if c.HasParent() || len(words) == 0 {
		return cli.Unexpected(words, 0)
	}
	var names []string
	for _, sub := range c.Commands() {
		names = append(names, sub.Name())
	}
	return errors.Join(
		fmt.Errorf("unknown command %q (to serve, give none)%s", words[0], nearest.Hint(words[0], names)),
		cli.Unexpected(words, 1))
}

// help prints the manual of a command.
func help(s instance.Service, c *cobra.Command) {
	w := c.OutOrStdout()
	cli.PrintUsage(w, c)
	if c.Flags().Lookup("env-file") != nil {
		helpOnSettings(s, c, w)
	}
	if c.HasExample() {
		fmt.Fprintf(w, "\nExamples:\n%s\n", c.Example)
	}
}

// helpOnSettings prints the flags and exit codes of a command that takes settings.
func helpOnSettings(service instance.Service, c *cobra.Command, w io.Writer) {
	fmt.Fprint(w, `
Each setting is a flag, an environment variable or a line of an env file; the first of these that has it wins.

  --env-file FILE    read settings from FILE, lines of NAME=value, like .env.qa
  -h, --help         print this
`)
	if c.Version != "" {
		fmt.Fprint(w, "  -v, --version      print version and revision\n")
	}
	fmt.Fprintln(w)
	for _, s := range service.Settings() {
		fmt.Fprintf(w, "  --%s, %s: %s (default %s)\n      %s\n", s.Flag, s.Name, s.Want, s.Default, s.Help)
	}
	fmt.Fprint(w, "\nExit codes: 0 stopped or done; 1 failed (a busy port, not SERVING); 2 usage error.\n")
}
