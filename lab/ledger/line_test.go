package ledger

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// Lists as nginx 1.22.1 was seen to write them; see NginxLine.attempts.
func TestAttempts(t *testing.T) {
	t.Parallel()
	one, two := "127.0.0.1:8001", "[::1]:8002"
	for _, c := range []struct {
		name string
		line NginxLine
		want []attempt
	}{
		{"nobody was asked", NginxLine{}, []attempt{}},
		{"an answer", NginxLine{Addr: one, HeaderTime: "0.001", BytesSent: "246"}, []attempt{{one, answered, "", true}}},
		{"refused, then an answer", NginxLine{Addr: one + ", " + two, HeaderTime: "-, 0.000", BytesSent: "0, 246"}, []attempt{{one, unsent, "", true}, {two, answered, "", false}}},
		{"hung", NginxLine{Addr: one, HeaderTime: "-", BytesSent: "254", Error: "504"}, []attempt{{one, doubtful, "", true}}},
		{"the caller left while connecting", NginxLine{Addr: one, HeaderTime: "-", BytesSent: "0"}, []attempt{{one, unsent, "", true}}},
		{"worker_connections are not enough", NginxLine{HeaderTime: "-", BytesSent: "0", Error: "500"}, []attempt{}},
		{"an attempt, then worker_connections are not enough", NginxLine{Addr: one + " : ", HeaderTime: "- : ", BytesSent: "0 : "}, []attempt{{one, unsent, "", true}}},
		{"no connection at all", NginxLine{Addr: one, HeaderTime: "-", BytesSent: "-"}, []attempt{{one, unsent, "", true}}},
		{"no live server", NginxLine{Addr: "whoami_http", HeaderTime: "-", BytesSent: "0"}, []attempt{{"whoami_http", noLive, "", true}}},
		{"an attempt, then no live server", NginxLine{Addr: one + ", whoami_http", HeaderTime: "-, -", BytesSent: "9, 0"}, []attempt{{one, doubtful, "", true}, {"whoami_http", noLive, "", false}}},
		{"two groups", NginxLine{Addr: one + " : " + two, HeaderTime: "0.001 : 0.002", BytesSent: "1 : 2", AddrStatus: "404 : 200"}, []attempt{{one, answered, "404", true}, {two, answered, "200", true}}},
		{"two attempts, and two at another group", NginxLine{Addr: one + ", " + two + " : " + two + ", " + one, HeaderTime: "-, 0.001 : -, 0.002", BytesSent: "0, 1 : 0, 2", AddrStatus: "502, 404 : 502, 200"},
			[]attempt{{one, unsent, "502", true}, {two, answered, "404", false}, {two, unsent, "502", true}, {one, answered, "200", false}}},
		{"a group that was not asked", NginxLine{Addr: one + " : ", HeaderTime: "0.001 : ", BytesSent: "1 : "}, []attempt{{one, answered, "", true}}},
		{"a deadline in the headers", NginxLine{Addr: one, HeaderTime: "0.001", BytesSent: "1", HeaderStatus: "4"}, []attempt{{one, expired, "", true}}},
		{"a deadline in the headers of the last", NginxLine{Addr: one + ", " + two, HeaderTime: "0.001, 0.001", BytesSent: "1, 1", HeaderStatus: "4"}, []attempt{{one, answered, "", true}, {two, expired, "", false}}},
		{"nginx's error after a header", NginxLine{Addr: one, HeaderTime: "0.001", BytesSent: "1", HeaderStatus: "4", Error: "408"}, []attempt{{one, answered, "", true}}},
		{"nginx's own deadline", NginxLine{Addr: one, HeaderTime: "-", BytesSent: "1", HeaderStatus: "4", Error: "408"}, []attempt{{one, doubtful, "", true}}},
	} {
		if got, err := c.line.attempts(); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v %v, want %v", c.name, got, err, c.want)
		}
	}
	for _, l := range []NginxLine{
		{Addr: one}, {Addr: one, HeaderTime: "-"}, {HeaderTime: "-, -", BytesSent: "0, 0"}, {HeaderTime: "-"}, {Addr: one, HeaderTime: "-", BytesSent: "-1"},
		{Addr: one, HeaderTime: "-, -", BytesSent: "0"}, {Addr: one, HeaderTime: "-", BytesSent: "much"},
		{Addr: one, HeaderTime: "-", BytesSent: "0", AddrStatus: "502, 200"},
	} {
		if got, err := l.attempts(); err == nil {
			t.Errorf("%+v: %v", l, got)
		}
	}
}

// Whatever stands in a line, it is read as attempts or refused, and a book takes it or refuses it.
func FuzzNginxLine(f *testing.F) {
	for _, line := range []NginxLine{
		{V: 1, ID: "11.http.0.0", End: 1795513838.423, Addr: "127.0.0.1:8001, 127.0.0.1:8002", HeaderTime: "-, 0.001", BytesSent: "0, 246"},
		{V: 1, ID: "11.grpc.1.0", Addr: "127.0.0.1:9001 : whoami_grpc", HeaderTime: "0.1 : -", BytesSent: "7 : 0", HeaderStatus: "4"},
	} {
		text, err := json.Marshal(line)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		line, err := parseNginx(text)
		if err != nil {
			return
		}
		attempts, err := line.attempts()
		if err == nil && len(attempts) > 1+strings.Count(line.Addr, ", ")+strings.Count(line.Addr, " : ") {
			t.Errorf("%d attempts in %q", len(attempts), line.Addr)
		}
		book := NewBook(stage(1))
		if took := book.Nginx(line); (took == nil) != (err == nil) {
			t.Errorf("%v, and the book says %v", err, took)
		}
		book.Settle()
	})
}
