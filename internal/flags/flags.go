// Package flags parses command lines with the standard library's flag package, and tells all their faults at once, where
// that stops at the first. Flags and other words may come in any order.
package flags

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"trivet/internal/nearest"
)

// New is an empty set that prints nothing itself: who parses by it prints what Parse returns, once.
func New(program string) *flag.FlagSet {
	set := flag.NewFlagSet(program, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	return set
}

// Parse sets the flags of set from args, and returns the words that are no flags. The error joins every fault; an unknown
// flag is told with the nearest known one. flag.ErrHelp, for -h and --help, is returned alone.
func Parse(set *flag.FlagSet, args []string) (words []string, err error) {
	var faults []error
	for len(args) > 0 {
		if word := args[0]; !strings.HasPrefix(word, "-") || word == "-" {
			words, args = append(words, word), args[1:]
			continue
		}
		// set.Parse stops at the first fault, and behind it: going on from there finds the others.
		err := set.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		rest := set.Args()
		if err == nil {
			args = rest
			continue
		}
		faults = append(faults, explain(set, err))
		// What was wrong with the syntax itself (---x) is not passed over. What follows an unknown flag is most likely its value.
		if len(rest) == len(args) || len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
			rest = rest[1:]
		}
		args = rest
	}
	return words, errors.Join(faults...)
}

// explain adds the nearest flag to the flag package's own error about an unknown one.
func explain(set *flag.FlagSet, err error) error {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return err
	}
	known := []string{"help"}
	set.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
	return fmt.Errorf("unknown flag %s: did you mean %s?", dashed(name), dashed(nearest.Name(name, known)))
}

// dashed is a flag as people write it: -n, --http.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + strings.TrimLeft(name, "-")
}
