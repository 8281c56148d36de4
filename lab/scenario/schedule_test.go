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
		rate profile
		d    time.Duration
		want []time.Duration
	}{
		"constant":                 {profile{{0, 4}}, time.Second, ms(125, 375, 625, 875)},
		"a part of a request less": {profile{{0, 4}}, 1100 * time.Millisecond, ms(125, 375, 625, 875)},
		"and more":                 {profile{{0, 4}}, 1126 * time.Millisecond, ms(125, 375, 625, 875, 1125)},
		"a step":                   {profile{{0, 2}, {time.Second, 2}, {time.Second, 4}}, 2 * time.Second, ms(250, 750, 1125, 1375, 1625, 1875)},
		"nothing":                  {profile{{0, 0}}, time.Hour, nil},
		"nothing at first":         {profile{{0, 0}, {time.Hour, 0}, {time.Hour, 2}}, time.Hour + time.Second, ms(3600_250, 3600_750)},
		"nothing in between":       {profile{{0, 2}, {time.Second, 2}, {time.Second, 0}, {9 * time.Second, 0}, {9 * time.Second, 2}}, 10 * time.Second, ms(250, 750, 9250, 9750)},
		// The integral of 2t is t², which is n + 1/2 at √(n + 1/2).
		"a ramp up":   {profile{{0, 0}, {2 * time.Second, 4}}, 2 * time.Second, ms(707.106781, 1224.744871, 1581.138830, 1870.828693)},
		"a ramp down": {profile{{0, 4}, {2 * time.Second, 0}}, 2 * time.Second, ms(129.171307, 418.861170, 775.255129, 1292.893219)},
		"cut short":   {profile{{0, 0}, {2 * time.Second, 4}}, time.Second, ms(707.106781)},
		"no time":     {profile{{0, 1000}}, 0, nil},
	} {
		if got := slices.Collect(test.rate.offsets(test.d)); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// integral is of the rate from 0 to d, by the trapezoids between points.
func integral(rate profile, d time.Duration) float64 {
	sum := 0.0
	for i, p := range rate {
		end, last := d, p.rate
		if i+1 < len(rate) {
			end, last = rate[i+1].at, rate[i+1].rate
		}
		if d < end {
			last = p.rate + (last-p.rate)*float64(d-p.at)/float64(end-p.at)
			end = d
		}
		if end > p.at {
			sum += (p.rate + last) / 2 * (end - p.at).Seconds()
		}
	}
	return sum
}

func TestOffsetsOfAnyRate(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		rate := profile{{0, float64(random.IntN(3)) * 1000 * random.Float64()}}
		for range random.IntN(5) {
			// Now and then a step, and a time of nothing.
			at := rate[len(rate)-1].at + time.Duration(random.IntN(3))*time.Duration(random.Int64N(int64(time.Second)))
			rate = append(rate, point{at, float64(random.IntN(3)) * 1000 * random.Float64()})
		}
		d := time.Duration(random.Int64N(int64(4 * time.Second)))
		n, before := 0, time.Duration(-1)
		for offset := range rate.offsets(d) {
			if offset < before || offset < 0 || offset > d {
				t.Fatalf("%v within %v: %v after %v", rate, d, offset, before)
			}
			if got, want := integral(rate, offset), float64(n)+0.5; math.Abs(got-want) > 1e-4 {
				t.Fatalf("%v: until %v, of request %d, the integral is %v", rate, offset, n, got)
			}
			before = offset
			n++
		}
		if whole := integral(rate, d); math.Abs(float64(n)-whole) > 0.5+1e-6 {
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
		{Rate{Constant, []float64{300}}, 600},
		{Rate{Ramp, []float64{100, 500}}, 600},
		{Rate{Step, []float64{100, 300, 500, 0}}, 450},
	} {
		if got := test.rate.Count(2 * time.Second); got != test.want {
			t.Errorf("%v: %d requests within 2s, want %d", test.rate, got, test.want)
		}
		if got := test.rate.Estimate(2 * time.Second); got != test.want {
			t.Errorf("%v: an estimate of %d requests within 2s, want %d", test.rate, got, test.want)
		}
	}
}
