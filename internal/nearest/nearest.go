// Package nearest finds the name that somebody meant who misspelt it.
package nearest

import "strings"

// Name is the known name nearest to name: one that contains it (PORT: HTTP_PORT), else the one that takes the fewest
// edits (insert, delete, replace a byte), Levenshtein's distance. Case counts for nothing; the first of several wins.
// It is "" if known is empty.
func Name(name string, known []string) string {
	nearest, least := "", -1
	for _, k := range known {
		d := distance(strings.ToUpper(name), strings.ToUpper(k))
		if len(name) > 2 && strings.Contains(strings.ToUpper(k), strings.ToUpper(name)) {
			d = 0
		}
		if least < 0 || d < least {
			nearest, least = k, d
		}
	}
	return nearest
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
