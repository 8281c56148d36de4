package experiment

import (
	"regexp"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"trivet/internal/nearest"
	"trivet/lab/load"
)

var httpStatus = regexp.MustCompile(`^[1-5][0-9][0-9]$`)

// knownKey refuses a key that a figure with keys can never have: it would count as 0 without a word.
func (r *reader) knownKey(figure string, key step, v Variant) bool {
	var known []string
	switch figure {
	case "codes":
		if httpStatus.MatchString(key.name) {
			return true
		}
		for c := codes.OK; c <= codes.Unauthenticated; c++ {
			known = append(known, c.String())
		}
	case "reasons":
		known = []string{load.Deadline, load.Refused, load.Reset, load.Lost, load.Transparent, load.Overdue, load.TooMany}
	default: // By instance.
		known = instances(v.Instances)
	}
	if slices.Contains(known, key.name) {
		return true
	}
	of := ""
	if figure != "codes" && figure != "reasons" {
		of = v.phrase()
	}
	r.lapse(key, "%s never has %q%s: did you mean %s?", strings.ReplaceAll(figure, "_", " "), key.name, of, nearest.Name(key.name, known))
	return false
}
