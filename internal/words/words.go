// Package words puts numbers and foreign texts into messages.
package words

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// Count is "1 line", "2 lines".
func Count(n int, noun string) string { return fmt.Sprintf("%d %s", n, Plural(n, noun)) }

// Plural is "line" if n is 1, else "lines"; of "entry", "entries".
func Plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	if stem, y := strings.CutSuffix(noun, "ry"); y {
		return stem + "ries"
	}
	if strings.HasSuffix(noun, "ch") {
		return noun + "es"
	}
	return noun + "s"
}

// Clip shortens a text to at most so many bytes of whole characters; "…" shows where something is missing.
func Clip(text string, most int) string {
	const ellipsis = "…"
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:max(0, most-len(ellipsis))], "") + ellipsis
}

// Printable is a text with a space for each control character, so that it neither breaks a table nor commands a terminal.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

var (
	names   = regexp.MustCompile(`\b[a-z]+-(worker-)?[0-9]+( \((HTTP|gRPC)\))?`)
	numbers = regexp.MustCompile(`\b[0-9][0-9.]*(ns|µs|ms|s|m|h)?\b`)
	plurals = regexp.MustCompile(`# ([a-z-]+?)s?\b`)
)

// Kind is the same for sentences that differ in numbers, in numbered names like whoami-1, and in the protocol after these only.
func Kind(sentence string) string {
	return plurals.ReplaceAllString(numbers.ReplaceAllString(names.ReplaceAllString(sentence, "@"), "#"), "# $1")
}
