package scenario

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestOffsets(t *testing.T) {
	t.Parallel()
	ms := func(all ...float64) (d []time.Duration) {
		for _, m := range all {
			d = append(d, time.Duration(math.Round(m*1e6)))
		}
		return d
	}
	for name, test := range map[string]struct {
		rate Rate
		d    time.Duration
		want []time.Duration
	}{
		"constant":                 {Rate{Shape: Constant, PerSecond: []float64{4}}, time.Second, ms(125, 375, 625, 875)},
		"a part of a request less": {Rate{Shape: Constant, PerSecond: []float64{4}}, 1100 * time.Millisecond, ms(125, 375, 625, 875)},
		"and more":                 {Rate{Shape: Constant, PerSecond: []float64{4}}, 1126 * time.Millisecond, ms(125, 375, 625, 875, 1125)},
		"a step":                   {Rate{Shape: Step, PerSecond: []float64{2, 4}}, 2 * time.Second, ms(250, 750, 1125, 1375, 1625, 1875)},
		"a step of given times":    {Rate{Shape: Step, PerSecond: []float64{4, 0, 1}, For: []time.Duration{time.Second / 2, time.Second, 2 * time.Second}}, 3500 * time.Millisecond, ms(125, 375, 2000, 3000)},
		"nothing":                  {Rate{Shape: Constant, PerSecond: []float64{0}}, time.Hour, nil},
		"nothing at first":         {Rate{Shape: Step, PerSecond: append(make([]float64, 3600), 2)}, time.Hour + time.Second, ms(3600_250, 3600_750)},
		"nothing in between":       {Rate{Shape: Step, PerSecond: []float64{2, 0, 0, 0, 0, 0, 0, 0, 0, 2}}, 10 * time.Second, ms(250, 750, 9250, 9750)},
		// The integral of 2t is t², which is n + 1/2 at √(n + 1/2).
		"a ramp up":   {Rate{Shape: Ramp, PerSecond: []float64{0, 4}}, 2 * time.Second, ms(707.106781, 1224.744871, 1581.138830, 1870.828693)},
		"a ramp down": {Rate{Shape: Ramp, PerSecond: []float64{4, 0}}, 2 * time.Second, ms(129.171307, 418.861170, 775.255129, 1292.893219)},
		"no time":     {Rate{Shape: Constant, PerSecond: []float64{1000}}, 0, nil},
	} {
		if got := slices.Collect(test.rate.Offsets(test.d)); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// integral is of the rate over d, from 0 to t.
func integral(r Rate, d, t time.Duration) float64 {
	if r.Shape == Ramp {
		s, whole := t.Seconds(), d.Seconds()
		return r.PerSecond[0]*s + (r.PerSecond[1]-r.PerSecond[0])*s*s/2/whole
	}
	sum, each := 0.0, d.Seconds()/float64(len(r.PerSecond))
	for i, rate := range r.PerSecond {
		sum += rate * min(max(t.Seconds()-float64(i)*each, 0), each)
	}
	return sum
}

func TestOffsetsOfAnyRate(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		rate := Rate{Shape: []string{Constant, Ramp, Step}[random.IntN(3)]}
		for range map[string]int{Constant: 1, Ramp: 2, Step: 1 + random.IntN(5)}[rate.Shape] {
			rate.PerSecond = append(rate.PerSecond, float64(random.IntN(3))*1000*random.Float64()) // now and then nothing
		}
		d := time.Duration(random.Int64N(int64(4 * time.Second)))
		n, before := 0, time.Duration(-1)
		for offset := range rate.Offsets(d) {
			if offset < before || offset < 0 || offset > d {
				t.Fatalf("%v within %v: %v after %v", rate, d, offset, before)
			}
			if got, want := integral(rate, d, offset), float64(n)+0.5; math.Abs(got-want) > 1e-4 {
				t.Fatalf("%v: until %v, of request %d, the integral is %v", rate, offset, n, got)
			}
			before = offset
			n++
		}
		if whole := integral(rate, d, d); math.Abs(float64(n)-whole) > 0.5+1e-6 {
			t.Fatalf("%v: %d requests within %v, want about %v", rate, n, d, whole)
		}
	}
}

func TestRateShapes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		rate Rate
		want int
	}{
		{Rate{Shape: Constant, PerSecond: []float64{300}}, 600},
		{Rate{Shape: Ramp, PerSecond: []float64{100, 500}}, 600},
		{Rate{Shape: Step, PerSecond: []float64{100, 300, 500, 0}}, 450},
		{Rate{Shape: Step, PerSecond: []float64{100, 300}, For: []time.Duration{1500 * time.Millisecond, time.Second / 2}}, 300},
	} {
		if got := test.rate.Count(2 * time.Second); got != test.want {
			t.Errorf("%v: %d requests within 2s, want %d", test.rate, got, test.want)
		}
		if got := test.rate.Estimate(2 * time.Second); got != test.want {
			t.Errorf("%v: an estimate of %d requests within 2s, want %d", test.rate, got, test.want)
		}
	}
}
