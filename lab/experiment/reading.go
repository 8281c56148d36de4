package experiment

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"trivet/lab/measure"
)

// maxCombined is how many doubtful sets are combined in every way; of more, only all of them and each single one are adjusted.
const maxCombined = 8

// maxMixed bounds the mixtures of times in doubt: of five of them, each with three values.
const maxMixed = 243

// reading returns metrics of one trial, those of some sets adjusted.
func reading(trial int, m Measures, adjusted []set) func(set) (measure.Metrics, bool) {
	return func(s set) (measure.Metrics, bool) {
		measured, other, ok := m(s.variant, trial, s.phase, s.group)
		if slices.Contains(adjusted, s) {
			return other, ok
		}
		return measured, ok
	}
}

// doubtful are the sets that an expression reads whose two readings differ.
func (e *expression) doubtful(trial int, m Measures) (all []set) {
	for _, s := range e.sets {
		if measured, adjusted, ok := m(s.variant, trial, s.phase, s.group); ok && !reflect.DeepEqual(measured, adjusted) {
			all = append(all, s)
		}
	}
	return all
}

// combinations are the selections of sets to adjust, but for none.
func combinations(sets []set) (all [][]set) {
	if len(sets) > maxCombined {
		all = append(all, sets)
		for i := range sets {
			all = append(all, sets[i:i+1])
		}
		return all
	}
	for selected := 1; selected < 1<<len(sets); selected++ {
		var some []set
		for i, s := range sets {
			if selected&(1<<i) != 0 {
				some = append(some, s)
			}
		}
		all = append(all, some)
	}
	return all
}

// between are values of what an expression has read that lie between their two readings: one time may be as measured, while another of
// the same set is not, and both may be in between, where p99 > 100 ms && p99 < 200 ms holds and at neither end. Counts of one set depend on
// each other, so only one by itself is changed.
func (e *expression) between(measured []read, trial int, m Measures, doubtful []set) []map[string]any {
	_, adjusted, _ := e.evaluate(reading(trial, m, doubtful))
	all := []map[string]any{{}}
	mix := func(text string, values ...any) {
		var more []map[string]any
		for _, value := range values {
			for _, one := range all {
				one = maps.Clone(one)
				one[text] = value
				more = append(more, one)
			}
		}
		all = more
	}
	counts, texts := map[string][2]int{}, map[string]int{}
	for _, a := range measured {
		texts[a.text]++
		i := slices.IndexFunc(adjusted, func(b read) bool { return a.text == b.text })
		if i < 0 || a.value == nil || texts[a.text] > 1 {
			continue
		}
		switch first := a.value.(type) {
		case time.Duration:
			if second, ok := adjusted[i].value.(time.Duration); ok && second != first && len(all) < maxMixed {
				mix(a.text, first, second, (first+second)/2)
			}
		case int:
			if second, ok := adjusted[i].value.(int); ok && second != first {
				counts[a.text] = [2]int{min(first, second), max(first, second)}
			}
		}
	}
	if len(counts) == 1 {
		for text, of := range counts {
			var values []any
			for n := of[0]; n <= of[1]; n += max(1, (of[1]-of[0])/8) {
				values = append(values, n)
			}
			mix(text, values...)
		}
	}
	return all
}

// doubt says what is in doubt of what an expression has read.
func (e *expression) doubt(measured []read, trial int, m Measures, doubtful []set) error {
	_, adjusted, _ := e.evaluate(reading(trial, m, doubtful))
	var all []string
	for _, a := range measured {
		i := slices.IndexFunc(adjusted, func(b read) bool { return a.text == b.text })
		if i < 0 || a.String() == adjusted[i].String() {
			continue
		}
		first, second := a.value, adjusted[i].value
		x, isNumber := number(first)
		y, _ := number(second)
		switch _, isExplanation := first.(explanation); {
		case isExplanation:
			all = append(all, a.text+" could come out differently")
		case isNumber && x > y:
			all = append(all, fmt.Sprintf("%s is between %s and %s", a.text, Say(second), Say(first)))
		case isNumber:
			all = append(all, fmt.Sprintf("%s is between %s and %s", a.text, Say(first), Say(second)))
		default:
			all = append(all, fmt.Sprintf("%s is %s or %s", a.text, Say(first), Say(second)))
		}
	}
	if len(all) == 0 {
		all = []string{"the result could come out differently"}
	}
	return errors.New(strings.Join(all, ", ") + ": " + cause(trial, m, doubtful))
}

// cause says what has put metrics in doubt.
func cause(trial int, m Measures, doubtful []set) string {
	stall, others := time.Duration(0), 0.0
	for _, s := range doubtful {
		m, _, _ := m(s.variant, trial, s.phase, s.group)
		if m.Lateness.Max != nil {
			stall = max(stall, *m.Lateness.Max)
		}
		if m.OtherCPUs != nil {
			others = max(others, *m.OtherCPUs)
		}
	}
	var all []string
	if stall >= 10*time.Millisecond {
		all = append(all, "the generator stalled or was late, for up to "+Say(stall))
	}
	if others >= 0.1 {
		all = append(all, "other programs used "+Say(others)+" CPUs")
	}
	if len(all) == 0 {
		return "the processes waited for a CPU"
	}
	return strings.Join(all, ", and ")
}

// number is a value as a number; false if it is none.
func number(value any) (float64, bool) {
	switch v := reflect.ValueOf(value); {
	case value == nil:
		return 0, false
	case v.CanInt():
		return float64(v.Int()), true
	case v.CanFloat():
		return v.Float(), true
	}
	return 0, false
}
