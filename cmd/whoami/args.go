package main

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"trivet/internal/flags"
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
	set := flags.New("whoami")
	set.StringVar(&c.envFile, "env-file", "", "")
	set.BoolVar(&c.version, "version", false, "")
	for _, s := range whoami.Settings() {
		set.Func(s.Flag, s.Help, func(value string) error { c.flags[s.Name] = value; return nil })
	}
	words, err := flags.Parse(set, args)
	if len(words) == 0 {
		return c, err
	}
	faults := []error{err}
	if c.command = words[0]; !slices.Contains(commands, c.command) {
		faults = append(faults, fmt.Errorf("unknown command %q: did you mean %s? Without a command whoami serves", c.command, nearest.Name(c.command, commands)))
	}
	for _, word := range words[1:] {
		faults = append(faults, fmt.Errorf("unexpected argument %q", word))
	}
	return c, errors.Join(faults...)
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
