package report

import (
	"fmt"
	"strings"

	"trivet/internal/words"
	"trivet/lab/record"
)

// reconciled says which records of a trial on a target were compared; "" of a fleet, of which there are all.
func reconciled(m record.Manifest) string {
	if m.Target == nil {
		return ""
	}
	accessLog, calls := m.Has()
	has, lacks := []string{"client"}, []string{}
	for _, source := range []struct {
		there      bool
		name, none string
	}{{accessLog, "nginx", "nginx's access log"}, {calls, "instances", "instances' records"}} {
		if source.there {
			has = append(has, source.name)
		} else {
			lacks = append(lacks, source.none)
		}
	}
	text := strings.Join(has, ", ")
	if n := len(has); n > 1 {
		text = strings.Join(has[:n-1], ", ") + " and " + has[n-1]
	} else {
		text += " alone"
	}
	if len(lacks) > 0 {
		text += "; " + strings.Join(lacks, ", ") + ": none"
	}
	return text
}

// target writes what a variant was run on, what its verdict stands on, and how many requests of others there were in all of its trials.
func (t Text) target(v Variant) {
	others := 0
	for _, one := range v.Trials {
		others += one.Others
	}
	for _, one := range v.Trials {
		if one.Target == nil {
			continue
		}
		text := fmt.Sprintf("target: %s; reconciled: %s", line(one.Target.Name), one.Reconciled)
		if others > 0 {
			text += fmt.Sprintf("; ignored: %s of others", words.Count(others, "request"))
		}
		fmt.Fprintf(t, "    %s\n", strings.Join(wrapped(text, maxWidth-4), "\n    "))
		return
	}
}

// onTarget reports whether a variant was run on one.
func (v Variant) onTarget() *record.Target {
	for _, one := range v.Trials {
		if one.Target != nil {
			return one.Target
		}
	}
	return nil
}
