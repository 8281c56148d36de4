package ledger

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"trivet/lab/load"
)

// Whatever happened lawfully, and in whatever order it is told, balances, and is counted the same.
func TestLawfulHistoriesBalance(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := lawful(seed, 200)
			book := NewBook(h.Scene)
			h.feed(t, book)
			balance := book.Settle()
			// NotStarted is what the generator is convicted of.
			if !balance.Balanced() || slices.ContainsFunc(balance.Reasons, func(r string) bool { return !strings.Contains(r, "the generator did not send") }) {
				t.Fatalf("%v %v", balance.Reasons, balance.Breaches)
			}
			for key, want := range h.want {
				got, _ := book.Figures(h.Phases[key[1]].Name, h.Loads[key[0]].Name)
				for _, f := range []string{"Requests", "NotStarted", "OK", "Failed", "ClientAttempts", "NginxAttempts", "Executions", "UnknownToNginx", "NoLive", "FailedAttempts", "NginxAnswers", "ExecutedTwice", "ReachedNobody"} {
					if got, want := reflect.ValueOf(got).FieldByName(f).Int(), reflect.ValueOf(want).FieldByName(f).Int(); got != want {
						t.Errorf("%s of %v: %d, want %d", f, key, got, want)
					}
				}
				if !maps.Equal(got.FirstAttempts, want.FirstAttempts) {
					t.Errorf("first attempts of %v: %v, want %v", key, got.FirstAttempts, want.FirstAttempts)
				}
				if got.Requests != got.NotStarted+got.OK+got.Failed || got.Failed != got.ByInstance+got.ByNginx+got.AtClient {
					t.Errorf("%+v does not add up", got)
				}
			}
			other := NewBook(h.Scene)
			other.keep = 0
			h.shuffled(seed).feed(t, other)
			if got := other.Settle(); !reflect.DeepEqual(got, balance) {
				t.Errorf("in another order: %v %v", got.Reasons, got.Breaches)
			}
			if everything(t, other) != everything(t, book) {
				t.Errorf("in another order, other figures:\n%s\n%s", everything(t, other), everything(t, book))
			}
		})
	}
}

// A corruption spoils a history at one request, and says which rules that breaks.
type corruption struct {
	name  string
	spoil func(h *history, id string)
	rules []int
}

// of tells what a record is: c(lient), n(ginx), a(rrival), e(nd), for one id.
func of(s said, id string) string {
	switch r := s.record.(type) {
	case load.Record:
		if r.ID == id {
			return "client"
		}
	case NginxLine:
		if r.ID == id {
			return "nginx"
		}
	case Call:
		if r.ID == id {
			return r.Event
		}
	}
	return ""
}

func drop(what ...string) func(*history, string) {
	return func(h *history, id string) {
		h.said = slices.DeleteFunc(h.said, func(s said) bool { return slices.Contains(what, of(s, id)) })
	}
}

// again tells a record once more, perhaps changed, as the last.
func again(what string, change func(record any) any) func(*history, string) {
	return func(h *history, id string) {
		i := slices.IndexFunc(h.said, func(s said) bool { return of(s, id) == what })
		h.said = append(h.said, said{h.said[len(h.said)-1].at, change(h.said[i].record)})
	}
}

func changed(what string, change func(record any) any) func(*history, string) {
	return func(h *history, id string) {
		i := slices.IndexFunc(h.said, func(s said) bool { return of(s, id) == what })
		h.said[i].record = change(h.said[i].record)
	}
}

func same(r any) any { return r }

var corruptions = []corruption{
	{"the client's record is lost", drop("client"), []int{1}},
	{"every record is lost", drop("client", "nginx", Arrival, Completion), []int{1}},
	{"a second record of the client's", again("client", same), []int{1}},
	{"nginx's line is lost", drop("nginx"), []int{2, 4}},
	{"nginx's line and the instance's records are lost", drop("nginx", Arrival, Completion), []int{2}},
	{"a second line of nginx's", again("nginx", same), []int{2, 3}},
	{"a second line that asked nobody", again("nginx", func(r any) any {
		l := r.(NginxLine)
		l.Addr, l.AddrStatus, l.HeaderTime, l.BytesSent = "", "", "", ""
		return l
	}), []int{2}},
	{"the instance's records are lost", drop(Arrival, Completion), []int{3}},
	{"the arrival is lost", drop(Arrival), []int{3}},
	{"one more arrival", again(Arrival, func(r any) any {
		c := r.(Call)
		c.Call += 1 << 32
		return c
	}), []int{3}},
	{"an arrival told twice", again(Arrival, same), []int{3}},
	{"an arrival elsewhere", again(Arrival, func(r any) any {
		c := r.(Call)
		c.Instance = map[string]string{"whoami-1": "whoami-2", "whoami-2": "whoami-3", "whoami-3": "whoami-1"}[c.Instance]
		return c
	}), []int{4}},
	{"an arrival at the other door", again(Arrival, func(r any) any {
		c := r.(Call)
		c.Protocol = map[string]string{load.HTTP: load.GRPC, load.GRPC: load.HTTP}[c.Protocol]
		return c
	}), []int{4}},
	{"another address in nginx's line", changed("nginx", func(r any) any {
		l := r.(NginxLine)
		l.Addr = strings.NewReplacer("1", "2", "2", "3", "3", "1").Replace(l.Addr[len(l.Addr)-1:])
		l.Addr = map[bool]string{true: "127.0.0.1:900", false: "127.0.0.1:800"}[strings.Contains(l.ID, "grpc")] + l.Addr
		return l
	}), []int{3, 4}},
	{"an address of nobody's", changed("nginx", func(r any) any {
		l := r.(NginxLine)
		l.Addr = "127.0.0.9:1"
		return l
	}), []int{3, 4}},
	{"nginx says that nothing was sent", changed("nginx", func(r any) any {
		l := r.(NginxLine)
		l.HeaderTime, l.BytesSent = "-", "0"
		return l
	}), []int{3}},
	{"an attempt too many in the client's record", changed("client", func(r any) any {
		c := r.(load.Record)
		c.Attempts++
		return c
	}), []int{2}},
	{"an answer without an attempt", changed("client", func(r any) any {
		c := r.(load.Record)
		c.Attempts = 0
		return c
	}), []int{1, 2}},
	{"not started, and sent", changed("client", func(r any) any {
		c := r.(load.Record)
		c.Outcome = load.NotStarted
		return c
	}), []int{1}},
}

// Each corruption of a lawful history is found: it, and nothing else.
func TestCorruptionsAreFound(t *testing.T) {
	t.Parallel()
	for seed, c := range corruptions {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := lawful(uint64(seed), 100)
			id := plain(h, uint64(seed))
			c.spoil(&h, id)
			for round := range uint64(3) {
				book := NewBook(h.Scene)
				if round > 0 {
					h = h.shuffled(round)
				}
				h.feed(t, book)
				balance := book.Settle()
				var rules []int
				for _, b := range balance.Breaches {
					if rules = append(rules, b.Rule); b.ID != id || b.What == "" || b.Client == "" || b.Nginx == "" || b.Instances == "" {
						t.Errorf("%+v", b)
					}
				}
				if !slices.Equal(rules, c.rules) || balance.Total != len(rules) || balance.Balanced() || balance.Valid() {
					t.Errorf("breaches %v, want rules %v of %s", balance.Breaches, c.rules, id)
				}
			}
		})
	}
}

// plain is a request with one record of each kind.
func plain(h history, skip uint64) string {
	for _, s := range h.said {
		r, ok := s.record.(load.Record)
		if !ok || r.Outcome != load.OK || r.Attempts != 1 {
			continue
		}
		kinds := make(map[string]int)
		for _, other := range h.said {
			kinds[of(other, r.ID)]++
		}
		parts := 0
		for _, other := range h.said {
			if l, ok := other.record.(NginxLine); ok && l.ID == r.ID {
				parts = strings.Count(l.Addr, ",") + strings.Count(l.Addr, " : ")
			}
		}
		if kinds[Arrival] == 1 && kinds[Completion] == 1 && parts == 0 {
			if skip == 0 {
				return r.ID
			}
			skip--
		}
	}
	panic("no plain request")
}

func TestForeigners(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"7.http.0.0", "11.http.0.99", "11.grpc.0.1", "11.http.0.01", "11.http.0.+1", "11.http.3.1", "elsewhere", "11.http.0.1.2"} {
		for kind, rule := range map[string]int{"client": 1, "nginx": 2, Arrival: 4} {
			h := lawful(1, 3)
			book := NewBook(h.Scene)
			h.feed(t, book)
			var err error
			switch kind {
			case "client":
				err = book.Client(load.Record{ID: id, Outcome: load.OK, Attempts: 1})
			case "nginx":
				err = book.Nginx(NginxLine{ID: id})
			case Arrival:
				err = book.Call(Call{Event: Arrival, ID: id, Instance: "whoami-1", Protocol: load.HTTP})
			}
			balance := book.Settle()
			if err != nil || balance.Total != 1 || balance.Breaches[0].Rule != rule || balance.Breaches[0].ID != id {
				t.Errorf("%s of %s: %v, %v", kind, id, balance.Breaches, err)
			}
		}
	}
}

// What comes when its request has long been dropped is told all the same.
func TestLateRecords(t *testing.T) {
	t.Parallel()
	for kind, rule := range map[string]int{"client": 1, "nginx": 2, Arrival: 4, Completion: 4} {
		h := lawful(3, 300)
		id := plain(h, 0)
		again(kind, same)(&h, id)
		book := NewBook(h.Scene)
		book.keep = 100
		h.feed(t, book)
		balance := book.Settle()
		if balance.Total != 1 || balance.Breaches[0].Rule != rule || balance.Breaches[0].ID != id {
			t.Errorf("%s: %v", kind, balance.Breaches)
		}
	}
}

// What comes while its request is still in memory is judged beside the rest, and the request is not dropped.
func TestRecordsThatComeALittleLate(t *testing.T) {
	t.Parallel()
	for kind, rules := range map[string][]int{"client": {1}, "nginx": {2, 3}, Arrival: {3}, Completion: {3}} {
		s := stage(100)
		s.Loads = s.Loads[:1]
		h := history{Scene: s}
		for n := range 100 {
			h.said = append(h.said, ordinary(s, n)...)
			if n == 5 {
				again(kind, same)(&h, "11.http.0.0")
			}
		}
		book := NewBook(s)
		book.keep = 10
		h.feed(t, book)
		var got []int
		for _, b := range book.Settle().Breaches {
			got = append(got, b.Rule)
		}
		if !slices.Equal(got, rules) {
			t.Errorf("%s: rules %v, want %v", kind, got, rules)
		}
	}
}

func TestTheFirstBreachesAreKept(t *testing.T) {
	t.Parallel()
	s := stage(500)
	for seed := range uint64(3) {
		h := history{Scene: s}
		for n := range 500 {
			h.said = append(h.said, said{s.Begin, Call{Event: Arrival, ID: fmt.Sprintf("11.http.0.%d", n), Instance: "whoami-1", Protocol: load.HTTP}})
		}
		book := NewBook(s)
		h.shuffled(seed).feed(t, book)
		balance := book.Settle()
		// No client record of any load, and arrivals without a line.
		if balance.Total != 1500+500 || len(balance.Breaches) != MostBreaches || balance.Breaches[0].ID != "11.http.0.0" || balance.Breaches[MostBreaches-1].ID != "11.http.0.49" {
			t.Errorf("%d, %d kept: %v", balance.Total, len(balance.Breaches), balance.Breaches[0])
		}
	}
}

// A flood of records that wait for a witness ends in a reason, not in all of the memory.
func TestThereIsRoomForSoMany(t *testing.T) {
	t.Parallel()
	const room = 1000
	book := NewBook(stage(2 * room))
	book.room = room
	for n := range 3 * room / 2 {
		if err := book.Nginx(NginxLine{ID: fmt.Sprintf("11.http.0.%d", n)}); err != nil {
			t.Fatal(err)
		}
	}
	if len(book.entries) != room {
		t.Errorf("%d entries", len(book.entries))
	}
	if balance := book.Settle(); !slices.Contains(balance.Reasons, "more than 1000 requests waited for a witness at once: 500 records were not joined") {
		t.Errorf("%v", balance.Reasons)
	}
}
