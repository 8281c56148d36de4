package record

import (
	"reflect"
	"testing"
)

// Lists as nginx 1.22.1 was seen to write them; see AccessLogEntry.Attempts.
func TestAttemptsOfAccessLogEntry(t *testing.T) {
	t.Parallel()
	one, two := "127.0.0.1:8001", "[::1]:8002"
	for _, c := range []struct {
		name string
		line AccessLogEntry
		want []Attempt
	}{
		{"no attempt", AccessLogEntry{}, []Attempt{}},
		{"a header", AccessLogEntry{Addr: one, HeaderTime: "0.001", BytesSent: "246"}, []Attempt{{one, GotHeader, "", true}}},
		{"refused, then a header", AccessLogEntry{Addr: one + ", " + two, HeaderTime: "-, 0.000", BytesSent: "0, 246"}, []Attempt{{one, Unsent, "", true}, {two, GotHeader, "", false}}},
		{"hung", AccessLogEntry{Addr: one, HeaderTime: "-", BytesSent: "254", Error: "504"}, []Attempt{{one, InDoubt, "", true}}},
		{"client left while connecting", AccessLogEntry{Addr: one, HeaderTime: "-", BytesSent: "0"}, []Attempt{{one, Unsent, "", true}}},
		{"worker_connections are not enough", AccessLogEntry{HeaderTime: "-", BytesSent: "0", Error: "500"}, []Attempt{}},
		{"an attempt, then worker_connections are not enough", AccessLogEntry{Addr: one + " : ", HeaderTime: "- : ", BytesSent: "0 : "}, []Attempt{{one, Unsent, "", true}}},
		{"no connection at all", AccessLogEntry{Addr: one, HeaderTime: "-", BytesSent: "-"}, []Attempt{{one, Unsent, "", true}}},
		{"no live server", AccessLogEntry{Addr: "whoami_http", HeaderTime: "-", BytesSent: "0"}, []Attempt{{"whoami_http", NoLive, "", true}}},
		{"an attempt, then no live server", AccessLogEntry{Addr: one + ", whoami_http", HeaderTime: "-, -", BytesSent: "9, 0"}, []Attempt{{one, InDoubt, "", true}, {"whoami_http", NoLive, "", false}}},
		{"two passes", AccessLogEntry{Addr: one + " : " + two, HeaderTime: "0.001 : 0.002", BytesSent: "1 : 2", AddrStatus: "404 : 200"}, []Attempt{{one, GotHeader, "404", true}, {two, GotHeader, "200", true}}},
		{"two attempts, and two in another pass", AccessLogEntry{Addr: one + ", " + two + " : " + two + ", " + one, HeaderTime: "-, 0.001 : -, 0.002", BytesSent: "0, 1 : 0, 2", AddrStatus: "502, 404 : 502, 200"},
			[]Attempt{{one, Unsent, "502", true}, {two, GotHeader, "404", false}, {two, Unsent, "502", true}, {one, GotHeader, "200", false}}},
		{"pass without an attempt", AccessLogEntry{Addr: one + " : ", HeaderTime: "0.001 : ", BytesSent: "1 : "}, []Attempt{{one, GotHeader, "", true}}},
		{"a deadline in the headers", AccessLogEntry{Addr: one, HeaderTime: "0.001", BytesSent: "1", HeaderStatus: "4"}, []Attempt{{one, Expired, "", true}}},
		{"a deadline in the headers of the last", AccessLogEntry{Addr: one + ", " + two, HeaderTime: "0.001, 0.001", BytesSent: "1, 1", HeaderStatus: "4"}, []Attempt{{one, GotHeader, "", true}, {two, Expired, "", false}}},
		{"nginx's error after a header", AccessLogEntry{Addr: one, HeaderTime: "0.001", BytesSent: "1", HeaderStatus: "4", Error: "408"}, []Attempt{{one, GotHeader, "", true}}},
		{"deadline of nginx", AccessLogEntry{Addr: one, HeaderTime: "-", BytesSent: "1", HeaderStatus: "4", Error: "408"}, []Attempt{{one, InDoubt, "", true}}},
	} {
		if got, err := c.line.Attempts(); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v %v, want %v", c.name, got, err, c.want)
		}
	}
	for _, l := range []AccessLogEntry{
		{Addr: one}, {Addr: one, HeaderTime: "-"}, {HeaderTime: "-, -", BytesSent: "0, 0"}, {HeaderTime: "-"}, {Addr: one, HeaderTime: "-", BytesSent: "-1"},
		{Addr: one, HeaderTime: "-, -", BytesSent: "0"}, {Addr: one, HeaderTime: "-", BytesSent: "much"},
		{Addr: one, HeaderTime: "-", BytesSent: "0", AddrStatus: "502, 200"},
	} {
		if got, err := l.Attempts(); err == nil {
			t.Errorf("%+v: %v", l, got)
		}
	}
}
