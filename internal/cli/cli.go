// Package cli is what command lines have in common. It parses them with cobra and reports all their errors at once, where cobra stops at the
// first, and ends programs by signals.
package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"trivet/internal/nearest"
)

// ParseFlags sets the flags of c from args, and returns the words that are not flags. The error joins all errors of the
// flags.
func ParseFlags(c *cobra.Command, args []string) (words []string, _ error) {
	set := c.Flags()
	var errs []error
	for {
		err := set.Parse(args)
		if err == nil {
			return append(words, set.Args()...), errors.Join(errs...)
		}
		errs = append(errs, explain(set, err))
		n := len(args)
		if _, last := errors.AsType[*pflag.ValueRequiredError](err); !last {
			// The shortest prefix of args with the same error ends with the wrong flag.
			n = 1
			for again := set.Parse(args[:n]); again == nil || again.Error() != err.Error(); again = set.Parse(args[:n]) {
				n++
			}
		}
		words = append(words, set.Args()...)
		if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
			_ = invalid.GetFlag().Value.Set(invalid.GetFlag().DefValue) // So that the value causes no second error.
		}
		wrong := args[n-1]
		args = args[n:]
		if strings.HasPrefix(wrong, "-") && !strings.Contains(wrong, "=") && !meansBool(set, wrong) && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
			args = args[1:] // The word after an unknown flag is most likely its value.
		}
	}
}

// explain words an error by the flag as the user wrote it, and adds the nearest flag to an unknown one.
func explain(set *pflag.FlagSet, err error) error {
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		written := "--" + e.GetSpecifiedName()
		if group := e.GetSpecifiedShortnames(); group != "" {
			written = "-" + group
		}
		return fmt.Errorf("unknown flag %s%s", written, nearest.Hint(written, names(set)))
	}
	if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fmt.Errorf("flag %s needs a value", dashed(e.GetSpecifiedName()))
	}
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		want := "a number"
		if e.GetFlag().Value.Type() == "bool" {
			want = "true or false"
		}
		return fmt.Errorf("%s is %q: want %s", dashed(e.GetFlag().Name), e.GetValue(), want)
	}
	return err
}

// meansBool reports whether the flag that an unknown one most likely means takes no value.
func meansBool(set *pflag.FlagSet, unknown string) bool {
	meant := set.Lookup(strings.TrimLeft(nearest.Name(unknown, names(set)), "-"))
	return meant != nil && meant.Value.Type() == "bool" && nearest.Hint(unknown, names(set)) != ""
}

// names are the flags of a set as users write them.
func names(set *pflag.FlagSet) (all []string) {
	set.VisitAll(func(f *pflag.Flag) {
		all = append(all, dashed(f.Name))
		if f.Shorthand != "" {
			all = append(all, dashed(f.Shorthand))
		}
	})
	return all
}

// dashed returns a flag as users write it: -n, --http.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// Unexpected joins an error for each word beyond the first n.
func Unexpected(words []string, n int) error {
	var errs []error
	for _, word := range words[min(n, len(words)):] {
		errs = append(errs, fmt.Errorf("unexpected argument %q", word))
	}
	return errors.Join(errs...)
}

// PrintErrors prints each of several joined errors on a line of its own, after the program's name.
func PrintErrors(w io.Writer, program string, err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(w, "%s: %s\n", program, strings.TrimSuffix(line, "\n"))
	}
}

// Completion returns the command of program that prints the completion script of a shell.
func Completion(program string) *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Short: "print the completion script of a shell", ValidArgs: shells,
		Long: `Print a script with which a shell completes commands, flags and their values. For bash it needs the package
bash-completion.`,
		Example: strings.ReplaceAll(`  source <(PROGRAM completion bash)      # in this shell; in ~/.bashrc for all
  PROGRAM completion zsh > "${fpath[1]}/_PROGRAM"
  PROGRAM completion fish > ~/.config/fish/completions/PROGRAM.fish`, "PROGRAM", program),
		Args: cobra.ArbitraryArgs, DisableFlagsInUseLine: true,
		RunE: func(c *cobra.Command, args []string) error {
			out := c.OutOrStdout()
			if len(args) == 1 {
				switch args[0] {
				case "bash":
					return c.Root().GenBashCompletionV2(out, true)
				case "zsh":
					return c.Root().GenZshCompletion(out)
				case "fish":
					return c.Root().GenFishCompletion(out, true)
				}
			}
			return fmt.Errorf("completion of %q: want bash, zsh or fish", strings.Join(args, " "))
		},
	}
}

// PrintUsage prints what every help begins with: how to call the command, what it does, and its subcommands.
func PrintUsage(w io.Writer, c *cobra.Command) {
	fmt.Fprintf(w, "Usage: %s\n\n%s\n", c.UseLine(), c.Long)
	if c.HasAvailableSubCommands() {
		fmt.Fprintln(w, "\nCommands:")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(w, "  %-*s  %s\n", c.NamePadding(), sub.Name(), sub.Short)
			}
		}
	}
}
