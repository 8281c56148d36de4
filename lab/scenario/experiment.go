package scenario

import "time"

// An Experiment is a question, the scenarios that are compared to answer it, and what is expected of their metrics. It is what a run
// directory keeps of an experiment's file, so that a report reads no YAML.
type Experiment struct {
	Path      string        `json:"path"` // of its file, as the command line named it
	Name      string        `json:"name"` // the last element of Path without its extension: kill-one
	Question  string        `json:"question"`
	Answer    string        `json:"answer,omitempty"` // a sentence with expressions in braces; may be empty
	Trials    int           `json:"trials"`           // of each variant, at least 1
	Scenarios []Scenario    `json:"scenarios"`        // one per variant, at least one, in the file's order
	Expect    []Expectation `json:"expect"`
}

// An Expectation is a condition on metrics, as the file writes it.
type Expectation struct {
	Text string `json:"text"`
	Line int    `json:"line"` // in the file, from 1
}

// Length is the time of load of all trials together.
func (e Experiment) Length() time.Duration {
	var sum time.Duration
	for _, s := range e.Scenarios {
		sum += s.Length()
	}
	return sum * time.Duration(e.Trials)
}

// Scenario returns the scenario of a variant, and false if there is none of that name.
func (e Experiment) Scenario(variant string) (Scenario, bool) {
	for _, s := range e.Scenarios {
		if s.Variant == variant {
			return s, true
		}
	}
	return Scenario{}, false
}
