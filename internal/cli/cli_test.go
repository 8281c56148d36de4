package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// command returns a command with flags -n, --count, --json and --help.
func command() (*cobra.Command, *int) {
	c, n := &cobra.Command{Use: "test"}, new(int)
	c.Flags().IntVarP(n, "count", "n", 0, "")
	c.Flags().Bool("json", false, "")
	c.InitDefaultHelpFlag()
	return c, n
}

func TestParseFlagsReportsAllErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		line, words string
		n           int
		err         string
	}{
		{line: "-n 2", n: 2},
		{line: "up --count=3 --json more", n: 3, words: "up more"},
		{line: "-", words: "-"},
		{line: "-n 2 -- -n 3", n: 2, words: "-n 3"},
		{line: "--cuont 2 up", words: "up", err: "unknown flag --cuont: did you mean --count?"},
		{line: "--wholly-other", err: "unknown flag --wholly-other"},
		{line: "-m", err: "unknown flag -m: did you mean -n?"},
		{line: "-json", err: "unknown flag -json: did you mean --json?"},
		{line: "---n", err: "bad flag syntax: ---n"},
		{line: "--count x --jsno up --count", words: "up", err: "--count is \"x\": want a number\nunknown flag --jsno: did you mean --json?\nflag --count needs a value"},
		{line: "--json=maybe word -n 2", words: "word", n: 2, err: "--json is \"maybe\": want true or false"},
	} {
		c, n := command()
		words, err := ParseFlags(c, strings.Fields(test.line))
		said := ""
		if err != nil {
			said = err.Error()
		}
		if strings.Join(words, " ") != test.words || *n != test.n || said != test.err {
			t.Errorf("%q: words %q, n %d, error %q; want %q, %d, %q", test.line, words, *n, said, test.words, test.n, test.err)
		}
	}
}

// ParseFlags returns for every line, and only words of the line.
func FuzzParseFlags(f *testing.F) {
	for _, seed := range []string{"up -n 2", "---x", "-=", "-- a -b", "--count=x --json word", "- -n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c, _ := command()
		words, _ := ParseFlags(c, strings.Fields(line))
		for _, word := range words {
			if !slices.Contains(strings.Fields(line), word) {
				t.Errorf("%q is none of %q", word, line)
			}
		}
	})
}
