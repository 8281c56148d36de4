package flags_test

import (
	"errors"
	"flag"
	"slices"
	"strings"
	"testing"

	"trivet/internal/flags"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		line  []string
		words []string
		n     int
		err   string
	}{
		{line: nil},
		{line: []string{"-n", "2"}, n: 2},
		{line: []string{"up", "--count=3", "--json", "more"}, n: 3, words: []string{"up", "more"}},
		{line: []string{"-"}, words: []string{"-"}},
		{line: []string{"--cuont", "2", "up"}, words: []string{"up"}, err: "unknown flag --cuont: did you mean --count?"},
		{line: []string{"-m"}, err: "unknown flag -m: did you mean -n?"},
		{line: []string{"---n"}, err: "bad flag syntax: ---n"},
		{line: []string{"--count", "x", "--jsno", "--count"}, err: "invalid value \"x\" for flag -count: parse error\nunknown flag --jsno: did you mean --json?\nflag needs an argument: -count"},
	} {
		set, n := flags.New("test"), 0
		set.IntVar(&n, "n", 0, "")
		set.IntVar(&n, "count", 0, "")
		set.Bool("json", false, "")
		words, err := flags.Parse(set, test.line)
		said := ""
		if err != nil {
			said = err.Error()
		}
		if !slices.Equal(words, test.words) || n != test.n || said != test.err {
			t.Errorf("%q: words %q, n %d, error %q; want %q, %d, %q", test.line, words, n, said, test.words, test.n, test.err)
		}
	}
}

func TestHelpWinsOverErrors(t *testing.T) {
	t.Parallel()
	for _, line := range [][]string{{"-h"}, {"--nope", "--help"}, {"word", "-help"}} {
		if _, err := flags.Parse(flags.New("test"), line); !errors.Is(err, flag.ErrHelp) {
			t.Errorf("%q: %v, want help", line, err)
		}
	}
}

// Whatever the line is, Parse ends, and every word is told once at most.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"up -n 2", "---x", "-=", "-- a -b", "--count=x --json word", "- -n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Fields(line)
		set := flags.New("test")
		set.Int("n", 0, "")
		set.Bool("json", false, "")
		words, err := flags.Parse(set, args)
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		for _, word := range words {
			if !slices.Contains(args, word) {
				t.Errorf("%q is none of %q", word, args)
			}
		}
	})
}
