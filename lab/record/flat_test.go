package record

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Lines as they are written: one of nginx's, two of an instance's, and two of the client's.
var flatLines = []string{
	`{"v":1,"id":"1.http.1.0.2","end":1795750057.637,"time":"2026-11-27T03:27:37+00:00","duration":0.002,"protocol":"HTTP/1.1","port":"41177","method":"GET","host":"127.0.0.1","uri":"/","status":"200","error":"","user_agent":"whoami","traceparent":"00-50cba288fe8972b2a5231f89cda66398-50cba288fe8972b2-01","trace":"50cba288fe8972b2a5231f89cda66398","span":"93e6d1f47128493e","parent_span":"50cba288fe8972b2","tls":"","client":"","grpc_status_header":"","grpc_status_trailer":"","grpc_previous_attempts":"","upstream_addr":"127.0.0.1:36503, 127.0.0.1:36504","upstream_status":"502, 200","upstream_connect_time":"-, 0.000","upstream_header_time":"-, 0.002","upstream_response_time":"0.000, 0.002","upstream_bytes_sent":"0, 307","upstream_bytes_received":"0, 481","cache":"","remote_addr":"127.0.0.1","connection":15,"connection_requests":1,"pid":4301,"bytes_received":184,"bytes_sent":520}`,
	`{"v":2,"event":"arrival","time":"2026-11-27T03:27:36.561008374Z","instance":"front-1","pid":4279,"start":"EYPJ4USI3GMKL2ECS6H3G2WQS3","call":1,"id":"1.grpc.0.7","protocol":"http","method":"GET /readyz"}`,
	`{"v":2,"event":"completion","time":"2026-11-27T03:27:36.561125734Z","instance":"front-1","pid":4279,"start":"EYPJ4USI3GMKL2ECS6H3G2WQS3","call":1,"id":"1.grpc.0.7","protocol":"grpc","method":"WhoAmI","previous_attempts":"1","code":"OK","duration_us":117}`,
	`{"v":3,"id":"1.grpc.0.0","load":0,"protocol":"grpc","method":"/whoami.v1.WhoAmIService/WhoAmI","planned":"2026-11-27T03:27:37.628249322Z","late_us":161,"latency_us":20724,"service_us":20562,"stalled_us":1532,"outcome":"ok","code":"OK","instance":"whoami-2","attempts":1}`,
	`{"v":3,"id":"1.http.1.0","load":1,"protocol":"http","method":"GET /","user":3,"address":"127.0.0.9","planned":"2026-11-27T03:27:37.628249322Z","late_us":668,"latency_us":20865,"service_us":20197,"outcome":"dropped","reason":"overdue","messages":2,"attempts":1}`,
}

// What is written in ordinary lines is read the fast way, all of it.
func TestOrdinaryLinesAreReadTheFastWay(t *testing.T) {
	t.Parallel()
	for i, line := range flatLines {
		var fast bool
		switch {
		case i == 0:
			_, fast = new(flat).entry([]byte(line))
		case i < 3:
			_, fast = new(flat).call([]byte(line))
		default:
			_, fast = new(flat).client([]byte(line))
		}
		if !fast {
			t.Errorf("it is not: %s", line)
		}
		same(t, []byte(line))
	}
}

func TestUnusualLinesAreLeftToJSON(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		`{"v":1,"id":"a\"b"}`, `{"v":1,"ID":"x"}`, `{"v":1e0}`, `{"v":01}`, `{"v":-1}`, `{"v":1.5}`, `{"v":1,}`, `{"v":1} `, ` {"v":1}`, `{"v":1}{}`, `{"v":null}`, `{"id":5}`, `{"id":"é"}`, `{"pid":99999999999999999999}`,
		`{"v":1,"x":[1]}`, `{"v":1`, `{`, ``, `[]`, `{"v" :1}`, "{\"id\":\"a\tb\"}", `{"end":1.}`, `{"end":-}`, `{"end":.5}`, `{"end":tru}`,
	} {
		if same(t, []byte(line)) {
			t.Errorf("%s is read the fast way", line)
		}
	}
}

// Each field of each kind of line, with values of each type: what encoding/json refuses is refused, whatever else the line may say.
func TestTypesOfFields(t *testing.T) {
	t.Parallel()
	for _, kind := range []any{AccessLogEntry{}, Outgoing{}, clientLine{}} {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(kind)) {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			for _, value := range []string{`""`, `"x"`, `"2026-11-27T03:27:36Z"`, `0`, `-1`, `1.5`, `1000000000000000`, `true`, `false`, `null`, `[]`, `{}`} {
				same(t, []byte(`{"`+name+`":`+value+`}`))
				same(t, []byte(`{"late_us":1,"latency_us":1,"service_us":1,"`+name+`":`+value+`}`))
			}
		}
	}
}

// same wants each way to read a line to say the same, if the fast way says anything.
func same(t *testing.T, text []byte) (fast bool) {
	t.Helper()
	if l, ok := new(flat).entry(text); ok {
		var want AccessLogEntry
		if err := json.Unmarshal(text, &want); err != nil || !reflect.DeepEqual(l, want) {
			t.Errorf("%s\nfast %+v\nslow %+v %v", text, l, want, err)
		}
		fast = true
	}
	if c, ok := new(flat).call(text); ok {
		var want Outgoing
		if err := json.Unmarshal(text, &want); err != nil || !reflect.DeepEqual(c, want.Call) || want.Event == OutgoingCall {
			t.Errorf("%s\nfast %+v\nslow %+v %v", text, c, want, err)
		}
		fast = true
	}
	if c, ok := new(flat).client(text); ok {
		var line clientLine
		err := json.Unmarshal(text, &line)
		want, missing := line.client()
		if err != nil || missing != nil || !reflect.DeepEqual(c, want) {
			t.Errorf("%s\nfast %+v\nslow %+v %v %v", text, c, want, err, missing)
		}
		fast = true
	}
	return fast
}

func FuzzFastReadingMeansWhatJSONDoes(f *testing.F) {
	for _, line := range flatLines {
		f.Add([]byte(line))
	}
	f.Add([]byte(`{"v":1,"id":"é","end":-0.5,"time":"2026-11-27T03:27:36Z","maybe_unlogged":["reset"],"x":{"y":null}}`))
	f.Add([]byte(`{"attempts":"","reason":5}`))
	f.Fuzz(func(t *testing.T, text []byte) { same(t, text) })
}

// BenchmarkRead is a line of each kind.
func BenchmarkRead(b *testing.B) {
	m := Manifest{}
	parsers := []func([]byte) (parsed, error){parseEntry(), parseCall(), parseCall(), parseClient(m), parseClient(m)}
	for b.Loop() {
		for i, line := range flatLines {
			if p, err := parsers[i]([]byte(line)); err != nil || p.time.Before(time.Unix(0, 0)) {
				b.Fatal(err)
			}
		}
	}
}
