// Package nearest suggests the known name that a misspelled one most likely means.
package nearest

import (
	"fmt"
	"strings"
)

// Hint returns a suggestion to append to an error about an unknown name, like ": did you mean HTTP_PORT?", or "" if no
// known name is near.
func Hint(name string, known []string) string {
	n := Name(name, known)
	if n == "" || distance(strings.ToUpper(name), strings.ToUpper(n)) > len(name)/2 && !contains(n, name) {
		return ""
	}
	return fmt.Sprintf(": did you mean %s?", n)
}

// Name returns the known name nearest to name: one that contains it (PORT: HTTP_PORT), else the one with the fewest
// edits (insert, delete or replace a byte: the Levenshtein distance). It ignores case; the first of several wins. It
// returns "" if known is empty.
func Name(name string, known []string) string {
	nearest, least := "", -1
	for _, k := range known {
		d := distance(strings.ToUpper(name), strings.ToUpper(k))
		if contains(k, name) {
			d = 0
		}
		if least < 0 || d < least {
			nearest, least = k, d
		}
	}
	return nearest
}

// contains reports whether known contains name, if name is long enough for that to mean something.
func contains(known, name string) bool {
	return len(name) > 2 && strings.Contains(strings.ToUpper(known), strings.ToUpper(name))
}

func distance(a, b string) int {
	row := make([]int, len(b)+1) // edits from a[:i] to b[:j]
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
