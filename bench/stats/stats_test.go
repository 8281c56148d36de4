package stats

import (
	"math"
	"testing"
)

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-3*math.Abs(want) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func TestT95MatchesTables(t *testing.T) {
	t.Parallel()
	for freedom, want := range map[int]float64{1: 12.706, 8: 2.306, 30: 2.0423, 31: 2.0395, 60: 2.0003, 1000: 1.9623} {
		near(t, "a quantile", T95(freedom), want)
	}
}

// Worked by hand: the logarithms of 1, 2 and 4 have the mean ln 2 and the standard deviation ln 2.
func TestRatioIsMeanOfLogarithms(t *testing.T) {
	t.Parallel()
	e := Ratio([][2]float64{{1, 1}, {2, 1}, {12, 3}})
	near(t, "the ratio", e.Mean, 2)
	half := 4.3027 * math.Ln2 / math.Sqrt(3)
	near(t, "the lower bound", e.Low, 2*math.Exp(-half))
	near(t, "the upper bound", e.High, 2*math.Exp(half))
	if e.N != 3 {
		t.Errorf("%d blocks, want 3", e.N)
	}
}

func TestRatioCancelsNoiseOfWholeBlock(t *testing.T) {
	t.Parallel()
	e := Ratio([][2]float64{{2, 1}, {200, 100}, {6, 3}})
	near(t, "the lower bound", e.Low, 2)
	near(t, "the upper bound", e.High, 2)
}

func TestSingleBlockHasInfiniteInterval(t *testing.T) {
	t.Parallel()
	if e := Ratio([][2]float64{{3, 1}}); e.Low != 0 || !math.IsInf(e.High, 1) {
		t.Errorf("%+v", e)
	}
}

func TestJudgeComparesIntervalWithBar(t *testing.T) {
	t.Parallel()
	most, least, same := &Bar{AtMost, 1.1}, &Bar{AtLeast, 3}, &Bar{Equal, 1}
	for _, c := range []struct {
		name string
		e    Estimate
		bar  *Bar
		want Verdict
	}{
		{"all below an upper bar", Estimate{1, 0.9, 1.1, 9}, most, Reached},
		{"all above an upper bar", Estimate{1.3, 1.2, 1.4, 9}, most, NotReached},
		{"across an upper bar", Estimate{1.05, 0.9, 1.2, 9}, most, Inconclusive},
		{"all above a lower bar", Estimate{4, 3, 5, 9}, least, Reached},
		{"all below a lower bar", Estimate{2, 1, 2.9, 9}, least, NotReached},
		{"across a lower bar", Estimate{3, 2, 4, 9}, least, Inconclusive},
		{"around an equal bar", Estimate{1.01, 0.9, 1.1, 9}, same, Reached},
		{"above an equal bar", Estimate{1.1, 1.01, 1.2, 9}, same, NotReached},
		{"below an equal bar", Estimate{0.9, 0.8, 0.99, 9}, same, NotReached},
		{"clear, but of too few blocks", Estimate{1, 0.99, 1.01, 8}, most, Inconclusive},
		{"no bar", Estimate{1, 0.9, 1.1, 9}, nil, NoBar},
	} {
		if got := Judge(c.e, c.bar); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestQuantileIsNearestRank(t *testing.T) {
	t.Parallel()
	values := make([]float64, 100)
	for i := range values {
		values[i] = float64(100 - i)
	}
	near(t, "the median", Quantile(values, 0.5), 50)
	near(t, "the 99th percentile of 1 to 100", Quantile(values, 0.99), 99)
	near(t, "the largest", Quantile(values, 1), 100)
	if Quantile(nil, 0.5) != 0 {
		t.Error("no values have a quantile other than 0")
	}
}
