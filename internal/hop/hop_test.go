package hop

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for hop, want := range map[string][]Call{
		"grpc":               {{Text: "grpc", Protocol: GRPC, Service: Whoami, Attempts: 1}},
		"http:front":         {{Text: "http:front", Protocol: HTTP, Service: Front, Attempts: 1}},
		"grpc*3!+20ms,http":  {{Text: "grpc*3!+20ms", Protocol: GRPC, Service: Whoami, Attempts: 3, Budget: true, Work: 20 * time.Millisecond}, {Text: "http", Protocol: HTTP, Service: Whoami, Attempts: 1}},
		"grpc:whoami*5+1.5s": {{Text: "grpc:whoami*5+1.5s", Protocol: GRPC, Service: Whoami, Attempts: 5, Work: 1500 * time.Millisecond}},
		"":                   nil, "GRPC": nil, "grpc ": nil, "grpc,": nil, "grpc:nginx": nil, "grpc*0": nil, "grpc*6": nil, "grpc*99999999999999999999": nil,
		"http*2": nil, "grpc+20": nil, "grpc+-1s": nil, "grpc+20ms*3": nil, "grpc!": nil, "grpc\n": nil,
	} {
		got, err := Parse(hop)
		if !reflect.DeepEqual(got, want) || (want == nil) != errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %+v, %v; want %+v", hop, got, err, want)
		}
	}
}

func TestRouteIsBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		hops  string
		valid bool
	}{
		{"grpc grpc grpc grpc grpc grpc grpc grpc", true},
		{"grpc grpc grpc grpc grpc grpc grpc grpc grpc", false},
		{"grpc,grpc grpc,grpc grpc,grpc grpc,grpc grpc,grpc", true}, // 62 calls
		{"grpc,grpc grpc,grpc grpc,grpc grpc,grpc grpc,grpc grpc,grpc", false},
		{strings.TrimSuffix(strings.Repeat("http,", 64), ","), true},
		{strings.TrimSuffix(strings.Repeat("http,", 65), ","), false},
		{strings.TrimSuffix(strings.Repeat("http:front,", 32), ","), true}, // 64 calls: each front makes one
		{strings.TrimSuffix(strings.Repeat("http:front,", 33), ","), false},
		{strings.TrimSuffix(strings.Repeat("http:front,", 32), ",") + " grpc", true},
	} {
		if _, err := NewRoute(Whoami, strings.Fields(c.hops)); (err == nil) != c.valid {
			t.Errorf("%s: %v", c.hops, err)
		}
	}
}

// The rest of the hops goes with each call; a front that has none calls whoami.
func TestRouteOfReceivers(t *testing.T) {
	t.Parallel()
	r, err := NewRoute(Whoami, []string{"http,grpc:front", "grpc:front"})
	if err != nil || len(r.Calls) != 2 || r.Depth() != 3 {
		t.Fatalf("%+v, depth %d, %v", r, r.Depth(), err)
	}
	for n := range r.Calls {
		front := r.Next(n)
		if len(front.Calls) != 1 || front.Calls[0].Service != Front {
			t.Errorf("%d: %+v", n, front)
		}
		if last := front.Next(0); len(last.Calls) != 1 || last.Calls[0].Text != GRPC || last.Next(0).Depth() != 0 {
			t.Errorf("%d: %+v", n, last)
		}
	}
	if r, _ := NewRoute(Whoami, nil); r.Depth() != 0 {
		t.Errorf("%+v", r)
	}
}

// A request with several errors gets them all.
func TestErrorsOfARouteAreComplete(t *testing.T) {
	t.Parallel()
	_, err := NewRoute(Whoami, []string{"tcp,http*2", "grpc", "grpc:nginx"})
	for _, want := range []string{`"tcp"`, `"http*2"`, `"grpc:nginx"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s in it", err, want)
		}
	}
}

func TestLongestID(t *testing.T) {
	t.Parallel()
	r, err := NewRoute(Whoami, []string{"grpc,grpc,http", "http,grpc:front"})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.LongestID("x"); got != "x.1.2.1" {
		t.Error(got)
	}
}

func TestChildID(t *testing.T) {
	t.Parallel()
	if got := ChildID(ChildID("1.grpc.0.5", 0, 2), 2, 1); got != "1.grpc.0.5.2-3.1" {
		t.Error(got)
	}
}
