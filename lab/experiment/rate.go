package experiment

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"trivet/lab/load"
)

// Shapes of rates.
const (
	Constant = "constant"
	Ramp     = "ramp" // evenly from the first to the second
	Step     = "step" // each for an equal part of the time
)

const mostPerSec = 100_000

// A Rate is requests a second.
type Rate struct {
	Shape  string // Constant, Ramp or Step
	PerSec []float64
}

// Points are the rate as a generator takes it, over a time in all.
func (r Rate) Points(total time.Duration) []load.Point {
	var points []load.Point
	switch r.Shape {
	case Ramp:
		return []load.Point{{At: 0, Rate: r.PerSec[0]}, {At: total, Rate: r.PerSec[1]}}
	case Step:
		for i, rate := range r.PerSec {
			at := total * time.Duration(i) / time.Duration(len(r.PerSec))
			if i > 0 {
				points = append(points, load.Point{At: at, Rate: r.PerSec[i-1]})
			}
			points = append(points, load.Point{At: at, Rate: rate})
		}
		return points
	}
	return []load.Point{{At: 0, Rate: r.PerSec[0]}}
}

// planned is about how many requests the rate makes in a time: the mean of all its rates, by the length of the time.
func (r Rate) planned(total time.Duration) int {
	sum := 0.0
	for _, rate := range r.PerSec {
		sum += rate
	}
	return int(math.Ceil(sum / float64(max(1, len(r.PerSec))) * total.Seconds()))
}

// How rates are written, here and for the schema; and those of them which are 0.
const (
	rateSyntax   = `^[0-9]+(\.[0-9]+)?([eE][0-9]+)? */ *[sm]$`
	noRateSyntax = `^0+(\.0+)?([eE][0-9]+)? */`
)

var ratePattern = regexp.MustCompile(rateSyntax)

// parseRate reads "300/s" or "30/m".
func parseRate(text string) (perSec float64, ok bool) {
	if !ratePattern.MatchString(text) {
		return 0, false
	}
	number, unit, _ := strings.Cut(text, "/")
	perSec, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	switch strings.TrimSpace(unit) {
	case "s":
	case "m":
		perSec /= 60
	default:
		return 0, false
	}
	return perSec, err == nil && perSec >= 0 && perSec <= mostPerSec // Not so of NaN.
}

func (r *rateKeys) decode(d *decoder, n *yaml.Node, name string) {
	r.Rate = Rate{Shape: Constant, PerSec: []float64{0}}
	if n.Kind == yaml.ScalarNode {
		rate, ok := parseRate(n.Value)
		if !ok || rate == 0 {
			d.wrong(n, name, fmt.Sprintf("a rate like 300/s or 30/m, more than 0 and at most %d/s", mostPerSec))
			rate = 1 // So that the rest can be checked all the same.
		}
		r.Rate.PerSec[0] = rate
		return
	}
	const want = "a rate like 300/s, {ramp: [100/s, 500/s]} or {step: [100/s, 300/s, 500/s]}"
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		d.wrong(n, name, want)
		return
	}
	var shapes rateShapes
	d.structure(reflect.ValueOf(&shapes).Elem(), n, name)
	switch ramp, step := d.given(&shapes.Ramp), d.given(&shapes.Step); {
	case ramp != nil && step != nil:
		d.add(where(n), "%s has both ramp and step: want one of them", name)
	case ramp != nil:
		d.rates(&r.Rate, Ramp, ramp, shapes.Ramp)
	case step != nil:
		d.rates(&r.Rate, Step, step, shapes.Step)
	}
}

// rateShapes are the keys of a rate that changes.
type rateShapes struct {
	Ramp []string `yaml:"ramp" least:"2" most:"2"`
	Step []string `yaml:"step" least:"2" most:"100"`
}

func (d *decoder) rates(into *Rate, shape string, n *yaml.Node, texts []string) {
	if len(texts) == 0 {
		return // That fault has been told.
	}
	rates, sum := make([]float64, len(texts)), 0.0
	for i, text := range texts {
		rate, ok := parseRate(text)
		if at := d.given(&texts[i]); !ok && at != nil && text != "" {
			d.wrong(at, fmt.Sprintf("%s[%d]", shape, i), fmt.Sprintf("a rate like 300/s or 30/m, at most %d/s", mostPerSec))
			rate = 1
		}
		rates[i] = rate
		sum += rate
	}
	if sum == 0 {
		d.add(where(n), "%s has no rate above 0", shape)
	}
	*into = Rate{shape, rates}
}
