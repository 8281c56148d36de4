package report

import (
	"cmp"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"trivet/lab/experiment"
	"trivet/lab/scenario"
)

// JSON writes the run as one document. Durations are in nanoseconds.
func JSON(w io.Writer, r *Run) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(r)
}

// The elements of a JUnit file as CI systems read them (https://github.com/testmoapp/junitxml).
type (
	suites struct {
		XMLName  xml.Name `xml:"testsuites"`
		Name     string   `xml:"name,attr"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Errors   int      `xml:"errors,attr"`
		Suites   []suite  `xml:"testsuite"`
	}
	suite struct {
		Name       string     `xml:"name,attr"`
		Tests      int        `xml:"tests,attr"`
		Failures   int        `xml:"failures,attr"`
		Errors     int        `xml:"errors,attr"`
		Time       float64    `xml:"time,attr"` // seconds
		Timestamp  string     `xml:"timestamp,attr"`
		Properties []property `xml:"properties>property"`
		Cases      []testCase `xml:"testcase"`
	}
	property struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	testCase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		File    string   `xml:"file,attr"`
		Line    int      `xml:"line,attr,omitempty"`
		Failure *problem `xml:"failure"`
		Error   *problem `xml:"error"`
		Output  *string  `xml:"system-out"`
	}
	problem struct {
		Type    string `xml:"type,attr"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes a suite for each experiment. A test case is an expectation in a variant, or the validity of a variant: if that is an error,
// the expectations are left out. An inconclusive expectation is an error.
func JUnit(w io.Writer, r *Run) error {
	all := suites{Name: "trivet"}
	for _, e := range r.Experiments {
		s := e.suite(r)
		all.Suites = append(all.Suites, s)
		all.Tests, all.Failures, all.Errors = all.Tests+s.Tests, all.Failures+s.Failures, all.Errors+s.Errors
	}
	text, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, text)
	return err
}

func (e Experiment) suite(r *Run) suite {
	s := suite{
		Name: e.Name, Timestamp: r.Time.UTC().Format("2006-01-02T15:04:05"), Time: (e.Length * time.Duration(len(e.Variants)*e.Trials)).Seconds(),
		Properties: []property{
			{"question", e.Question}, {"answer", e.Answer}, {"seed", fmt.Sprint(e.Seed)}, {"nginx", r.Nginx}, {"trivet", r.Trivet}, {"dir", r.Dir},
		},
	}
	for _, v := range e.Variants {
		for i, t := range v.Trials {
			valid := testCase{Class: class(e.Name, v.Name), Name: "the trial is valid", File: e.Path}
			if e.Trials > 1 {
				valid.Name = fmt.Sprintf("trial %d is valid", i+1)
			}
			if t.Verdict != Passed {
				s.Errors++
				valid.Error = &problem{string(t.Verdict), remedied(t.Verdict, t.Reasons[0]), t.problems()}
			}
			s.Cases = append(s.Cases, valid)
		}
	}
	for _, x := range e.Expectations {
		c := testCase{Class: class(e.Name, x.Variant), Name: x.Text, File: e.Path, Line: x.Line}
		switch verdict(x) {
		case Passed:
			c.Output = &x.Measured
		case Invalid: // No CI system may take it for a success, as most take what was skipped.
			s.Errors++
			c.Error = &problem{outcome(x), measured(x), measured(x)}
		default:
			s.Failures++
			c.Failure = &problem{outcome(x), measured(x), measured(x)}
		}
		s.Cases = append(s.Cases, c)
	}
	s.Tests = len(s.Cases)
	return s
}

func class(name, variant string) string {
	if variant == "" || variant == scenario.Only {
		return name
	}
	return name + "." + variant
}

// measured is what an expectation read, or why it is inconclusive; of a comparison over several trials, its size.
func measured(x experiment.ExpectationResult) string {
	if x.Error != "" && x.Size != "" {
		return x.Error + "; " + x.Size
	}
	return cmp.Or(x.Error, x.Size, x.Measured)
}

// problems are all reasons and discrepancies of a trial.
func (t Trial) problems() string {
	var b strings.Builder
	for _, r := range t.Reasons {
		fmt.Fprintln(&b, r)
	}
	for _, d := range t.Discrepancies {
		fmt.Fprintln(&b, d)
	}
	return b.String()
}

// Markdown writes a page on the experiments: question, measured answer, verdict, and how to repeat the measurement.
func Markdown(w io.Writer, r *Run) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Experiments\n\nThe questions, and what was measured on %s with trivet %s, nginx %s and %d CPUs. Written by `trivet report --format markdown`.\n\n",
		r.Time.UTC().Format(time.DateOnly), r.Trivet, r.Nginx, r.CPUs)
	for _, e := range r.Experiments {
		fmt.Fprintf(&b, "## [%s](%s)\n\n**%s**\n\n", e.Name, e.Name+".yaml", strings.TrimSpace(e.Question))
		if e.Answer != "" {
			fmt.Fprintf(&b, "%s\n\n", strings.TrimSpace(e.Answer))
		}
		for _, v := range e.Variants {
			if v.Name != scenario.Only {
				fmt.Fprintf(&b, "- `%s`: %s\n", v.Name, v.Description)
			}
		}
		fmt.Fprintf(&b, "\n%s: %s. nginx %s, seed %d, %d CPUs, %s for each variant. `trivet run %s`\n\n", emphasize(e.Verdict), e.outcome(), r.Nginx, e.Seed, r.CPUs, e.length(), e.Path)
	}
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

// length is how long each variant ran.
func (e Experiment) length() string {
	if e.Trials > 1 {
		return fmt.Sprintf("%d × %v", e.Trials, e.Length)
	}
	return e.Length.String()
}
