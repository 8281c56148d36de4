package measure

import (
	"reflect"
	"testing"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// Exact round robin is fair at any rate; without one of the instances it is not, once each has had a turn.
func TestExactRoundRobinIsFair(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, 5} {
		names := scenario.InstanceNames(n)
		for rate := 1; rate <= 60; rate++ {
			all, without := newTimeline(4*time.Second, names), newTimeline(4*time.Second, names)
			for i := range 4 * rate {
				at := (2*time.Duration(i) + 1) * time.Second / time.Duration(2*rate)
				all.request(at, time.Millisecond, 0, record.OK, names[i%n])
				without.request(at, time.Millisecond, 0, record.OK, names[i%(n-1)])
			}
			if r := all.recovery(); !r.FairAtEnd || value(r.FairSince) != 0 {
				t.Errorf("%d responses/s of %d instances: %+v", rate, n, r)
			}
			if r := without.recovery(); rate > n && r.FairAtEnd {
				t.Errorf("%d responses/s of %d instances, one of which sends none: %+v", rate, n, r)
			}
		}
	}
}

// A phase ends when it ends, and not with its last whole second.
func TestLastPartOfASecondCounts(t *testing.T) {
	t.Parallel()
	names := scenario.InstanceNames(3)
	for _, c := range []struct {
		length, gone time.Duration // when whoami-2 is gone
		fair         bool
	}{
		{900 * time.Millisecond, time.Hour, true},
		{900 * time.Millisecond, 0, false},
		{1900 * time.Millisecond, time.Second, false},
		{1900 * time.Millisecond, time.Hour, true},
		{2 * time.Second, time.Second, false},
	} {
		line := newTimeline(c.length, names)
		for i := 0; time.Duration(i)*5*time.Millisecond < c.length; i++ {
			at, name := time.Duration(i)*5*time.Millisecond, names[i%3]
			if name == "whoami-2" && at >= c.gone {
				name = "whoami-1"
			}
			line.request(at, time.Millisecond, 0, record.OK, name)
		}
		if r := line.recovery(); r.FairAtEnd != c.fair || c.fair && value(r.FairSince) != 0 || !c.fair && r.FairSince != nil {
			t.Errorf("%v, whoami-2 gone after %v: %+v", c.length, c.gone, r)
		}
	}
}

// Timelines of loads add up to that of all their requests.
func TestTimelinesAddUp(t *testing.T) {
	t.Parallel()
	names := scenario.InstanceNames(2)
	whole, sum := newTimeline(5*time.Second, names), newTimeline(5*time.Second, names)
	for load := range 3 {
		one := newTimeline(5*time.Second, names)
		for i := range 700 {
			at, outcome := time.Duration(i*7+load)*time.Millisecond, record.OK
			if i > 100*load && i < 100*load+30 {
				outcome = record.Incomplete
			}
			one.request(at, time.Millisecond, 0, outcome, names[i%2])
			whole.request(at, time.Millisecond, 0, outcome, names[i%2])
		}
		sum.add(one)
	}
	if !reflect.DeepEqual(sum, whole) {
		t.Errorf("%+v\nwant\n%+v", sum.recovery(), whole.recovery())
	}
}

// The knee is the arrival rate of the last second that kept up, and the peak the most responses that ended in one.
func TestSaturation(t *testing.T) {
	t.Parallel()
	const slow, prompt = 1001 * time.Millisecond, time.Second
	type planned struct {
		n, late int // requests, and how many of them were slow
	}
	for name, c := range map[string]struct {
		seconds []planned
		want    Saturation
	}{
		"none planned":             {[]planned{{}, {}, {}}, Saturation{}},
		"kept up":                  {[]planned{{100, 5}, {100, 5}, {100, 5}}, Saturation{Peak: 100}},
		"a single slow second":     {[]planned{{100, 0}, {100, 6}, {100, 0}, {100, 6}}, Saturation{Peak: 100}},
		"a ramp":                   {[]planned{{100, 0}, {200, 0}, {300, 100}, {400, 200}, {500, 0}}, Saturation{Saturated: true, Knee: new(200.0), Peak: 500}},
		"saturated from the start": {[]planned{{100, 100}, {100, 100}}, Saturation{Saturated: true, Peak: 100}},
		"again later":              {[]planned{{10, 0}, {20, 20}, {20, 20}, {30, 0}, {40, 40}, {40, 40}}, Saturation{Saturated: true, Knee: new(10.0), Peak: 40}},
	} {
		line := newTimeline(time.Duration(len(c.seconds))*time.Second, scenario.InstanceNames(1))
		for second, p := range c.seconds {
			for i := range p.n {
				took := prompt
				if i < p.late {
					took = slow
				}
				line.request(time.Duration(second)*time.Second, took, 0, record.OK, "whoami-1")
			}
		}
		if got := line.saturation(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %t %v %v, want %t %v %v", name, got.Saturated, got.Knee, got.Peak, c.want.Saturated, c.want.Knee, c.want.Peak)
		}
	}
	streams := newTimeline(3*time.Second, nil)
	for second := range 3 { // Held for a second, they end after it.
		streams.request(time.Duration(second)*time.Second, slow, time.Second, record.OK, "")
	}
	if got := streams.saturation(); got.Saturated {
		t.Errorf("streams: %+v", got)
	}
	line := newTimeline(3*time.Second, nil)
	for second := range 3 {
		line.request(time.Duration(second)*time.Second, time.Millisecond, 0, record.NginxError, "")
	}
	if got := line.saturation(); !got.Saturated || got.Knee != nil || got.Peak != 0 {
		t.Errorf("failures kept up: %+v", got)
	}
}
