package experiment

import (
	"fmt"
	"maps"
	"slices"

	"trivet/lab/measure"
)

// shareFunctions are functions of expressions: of counts by instance, the part of the sum (0 to 1) that one instance has.
var shareFunctions = map[string]func(counts []int) int{
	"largest_share":  slices.Max[[]int],
	"smallest_share": slices.Min[[]int],
}

// shareOf is a share as a function of expressions, whose last argument is its text. Of nothing it has no value.
func shareOf(share func([]int) int) func(...any) (any, error) {
	return func(arguments ...any) (any, error) {
		counts, sum := slices.Collect(maps.Values(arguments[0].(measure.InstanceCounts))), 0
		for _, n := range counts {
			sum += n
		}
		if sum == 0 {
			return nil, noValue(fmt.Sprintf("%v has no value: no instance has any", arguments[len(arguments)-1]))
		}
		return float64(share(counts)) / float64(sum), nil
	}
}
