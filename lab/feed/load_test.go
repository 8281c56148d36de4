package feed

import (
	"testing"

	"trivet/lab/scenario"
)

func TestRatesInWords(t *testing.T) {
	t.Parallel()
	for want, rate := range map[string]scenario.Rate{
		"300/s":            {Shape: scenario.Constant, PerSecond: []float64{300}},
		"0.333/s":          {Shape: scenario.Constant, PerSecond: []float64{20.0 / 60}},
		"16.667/s":         {Shape: scenario.Constant, PerSecond: []float64{1000.0 / 60}},
		"0/s to 0.00012/s": {Shape: scenario.Ramp, PerSecond: []float64{0, 0.00012}},
		"50/s, 500/s":      {Shape: scenario.Step, PerSecond: []float64{50, 500, 500}},
	} {
		if got := rateWords(rate); got != want {
			t.Errorf("%v: %s, want %s", rate, got, want)
		}
	}
}
