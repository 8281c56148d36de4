package whoami

import "strings"

// Nearest is the known name that takes the fewest edits (insert, delete, replace a byte; case counts for nothing) to
// become name: Levenshtein's distance. The first of several wins; known must not be empty.
func Nearest(name string, known []string) string {
	nearest, least := "", -1
	for _, k := range known {
		if d := distance(strings.ToUpper(name), strings.ToUpper(k)); least < 0 || d < least {
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
