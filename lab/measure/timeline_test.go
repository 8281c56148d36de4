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
				all.request(at, record.OK, names[i%n])
				without.request(at, record.OK, names[i%(n-1)])
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
			line.request(at, record.OK, name)
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
			one.request(at, outcome, names[i%2])
			whole.request(at, outcome, names[i%2])
		}
		sum.add(one)
	}
	if !reflect.DeepEqual(sum, whole) {
		t.Errorf("%+v\nwant\n%+v", sum.recovery(), whole.recovery())
	}
}
