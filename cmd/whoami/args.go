package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"trivet/internal/nearest"
	"trivet/services/whoami"
)

// call is a command line, taken apart.
type call struct {
	command string            // "" (serve), config or health
	flags   map[string]string // by the setting's name
	envFile string
	version bool
}

var commands = []string{"config", "health"}

// parse takes the command line apart. It tells all its faults at once; flag.ErrHelp wins over them.
func parse(args []string) (call, error) {
	c := call{flags: make(map[string]string)}
	set := flag.NewFlagSet("whoami", flag.ContinueOnError)
	set.SetOutput(io.Discard) // run prints, once.
	set.StringVar(&c.envFile, "env-file", "", "")
	set.BoolVar(&c.version, "version", false, "")
	for _, s := range whoami.Settings() {
		set.Func(s.Flag, s.Help, func(value string) error { c.flags[s.Name] = value; return nil })
	}
	var faults []error
	for first := true; len(args) > 0; first = false {
		if word := args[0]; !strings.HasPrefix(word, "-") || word == "-" {
			if err := c.word(word, first); err != nil {
				faults = append(faults, err)
			}
			args = args[1:]
			continue
		}
		// Parse stops at the first fault, and behind it; going on from there finds the others.
		err := set.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			return c, err
		}
		args = set.Args()
		if err != nil {
			faults = append(faults, unknown(err))
			if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
				args = args[1:] // Most likely the unknown flag's value.
			}
		}
	}
	return c, errors.Join(faults...)
}

// word takes an argument that is no flag: the command, if it comes first.
func (c *call) word(word string, first bool) error {
	if !first {
		return fmt.Errorf("unexpected argument %q", word)
	}
	if slices.Contains(commands, word) {
		c.command = word
		return nil
	}
	return fmt.Errorf("unknown command %q: did you mean %s? Without a command whoami serves", word, nearest.Name(word, commands))
}

// unknown adds the nearest flag to flag's own error about an unknown one.
func unknown(err error) error {
	name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !ok {
		return err
	}
	known := []string{"env-file", "version", "help"}
	for _, s := range whoami.Settings() {
		known = append(known, s.Flag)
	}
	return fmt.Errorf("unknown flag --%s: did you mean --%s?", name, nearest.Name(name, known))
}

// help prints the manual.
func help(w io.Writer) {
	fmt.Fprint(w, `whoami is one instance: it tells over REST and gRPC who answered.

  whoami [flags]           serve until Ctrl-C or SIGTERM, then drain
  whoami config [flags]    check the settings, and show each with where it came from
  whoami health [flags]    ask the instance with these settings for its gRPC health; exit 1 unless SERVING

In three terminals, as three instances:

  whoami --port 8001       curl localhost:8001/
  whoami --port 8002       grpcurl -plaintext localhost:9002 whoami.v1.WhoAmIService/WhoAmI
  whoami --port 8003       whoami health --port 8003

Each setting is a flag, an environment variable or a line of an env file; the first of these that has it wins.

  --env-file FILE          read settings from FILE, lines of NAME=value, like .env.qa
  --version                print version and revision
  --help                   print this

`)
	for _, s := range whoami.Settings() {
		fmt.Fprintf(w, "  --%s, %s (default %s)\n      %s: %s\n", s.Flag, s.Name, s.Default, s.Help, s.Want)
	}
	fmt.Fprint(w, `
Exit codes: 0 stopped or done, 1 failed (a busy port, unhealthy), 2 wrong use.
`)
}
