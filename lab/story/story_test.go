package story_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/story"
	"trivet/lab/trace"
)

// real are requests of trials with nginx 1.22.1, whose records are in testdata.
var real = []struct {
	dir, id, want string
}{
	{"kill-one", "1.http.0.812", `
http GET / ok 5697
The client sent it at +2.716 s, 7.7 ms late.
nginx tried whoami-2 (1): no connection (refused) in less than 1 ms.
nginx tried whoami-3 (2): 200 after 3 ms.
whoami-3 executed it in 0.3 ms: 200.
The client got 200 from whoami-3; latency 13.4 ms.`},
	{"kill-one", "1.http.0.807", `
http GET / ok 25300
The client sent it at +2.692 s, 0.1 ms late.
nginx tried whoami-2 (1): no response header after 15 ms.
nginx cannot know whether whoami-2 executed it.
whoami-2's own records: it did not begin to execute it.
nginx tried whoami-3 (2): 200 after 9 ms.
whoami-3 executed it in 0.3 ms: 200.
The client got 200 from whoami-3; latency 25.4 ms.`},
	{"kill-one", "1.grpc.1.810", `
grpc /whoami.v1.WhoAmIService/WhoAmI ok 58921
The client sent it at +2.702 s, on time.
It made 2 attempts, as its retry policy allows.
Client attempt 1: nginx tried whoami-2 (1): no response header after 6 ms.
Client attempt 1: nginx cannot know whether whoami-2 executed it.
Client attempt 1: whoami-2's own records: it did not begin to execute it.
Client attempt 1: nginx generated the response itself (a local reply): 502, Unavailable.
Client attempt 2: nginx tried whoami-1 (1): 200 after 1 ms.
Client attempt 2: whoami-1 executed it in 0.6 ms: OK.
The client got OK from whoami-1; latency 59.0 ms.`},
	{"slow-hop", "1.grpc.0.2", `
grpc /whoami.v1.WhoAmIService/WhoAmI ok 60500
The client sent it at +0.084 s, 0.2 ms late.
nginx tried whoami-1 (1): 200 after 60 ms.
Call 1: whoami-1 made it at +0.085 s: /front.v1.FrontService/Visit.
Call 1: nginx tried front-2 (1): 200 after 57 ms.
Call 1.1: front-2 made it at +0.086 s: GET /.
Call 1.1: nginx tried whoami-1 (1): 200 after 54 ms.
Call 1.1.1: whoami-1 made it at +0.088 s: /whoami.v1.WhoAmIService/WhoAmI.
Call 1.1.1: nginx tried whoami-1 (1): 200 after 52 ms.
Call 1.1.1: whoami-1 executed it in 51.1 ms: OK.
Call 1.1.1: whoami-1 got OK after 53.6 ms.
Call 1.1: whoami-1 executed it in 54.1 ms: 200.
Call 1.1: front-2 got 200 after 56.2 ms.
Call 1: front-2 executed it in 56.9 ms: OK.
Call 1: whoami-1 got OK after 58.5 ms.
whoami-1 executed it in 58.7 ms: OK.
The client got OK from whoami-1; latency 60.7 ms.`},
	{"storm", "1.http.0.301", `
http GET / nginx_error 283 failed
The client sent it at +1.503 s, 59 µs late.
nginx generated the response itself (a local reply): 429.
The client got the error 429; latency 0.3 ms. It names no instance, so it is nginx's.
The client's error: 429 Too Many Requests.`},
}

// text is a story: what it is of, then its sentences.
func text(s story.Story) string {
	failed := ""
	if s.Failed {
		failed = " failed"
	}
	return fmt.Sprintf("\n%s %s %s %d%s\n%s", s.Protocol, s.Method, s.Outcome, s.Took, failed, strings.Join(s.Sentences, "\n"))
}

func TestStoriesOfRealRecords(t *testing.T) {
	t.Parallel()
	for _, c := range real {
		check(t, "testdata/"+c.dir, c.id, c.want, story.Options{})
	}
}

func check(t *testing.T, dir, id, want string, o story.Options) {
	t.Helper()
	source, err := trace.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	request, err := source.Request(id)
	if err != nil || request == nil {
		t.Fatalf("%s %s: %v, %v", dir, id, request, err)
	}
	o.Begin = source.Trial().Begin
	s := story.Of(request, o)
	if got := text(s); got != want {
		t.Errorf("%s %s: got%s\nwant%s", dir, id, got, want)
	}
	if s.ID != id || s.Begin.Before(o.Begin) || s.Trace != request {
		t.Errorf("%s %s: ID %q, begin %v", dir, id, s.ID, s.Begin)
	}
}

const id = "11.http.0.3"

// made are requests that the samples lack: their client record, access-log entry and instances' records, with %s for times.
var made = []struct {
	name                     string
	client, entry, instances string
	none                     bool
	want                     string
}{
	{name: "dropped",
		client: `"outcome":"dropped","reason":"overdue","late_us":1200000,"latency_us":1200000,"attempts":0`,
		want: `
http GET / dropped 0 failed
The client never sent it: more than a second after its planned start it was dropped.`},
	{name: "too many in flight",
		client: `"outcome":"incomplete","reason":"in_flight_limit","attempts":0`,
		want: `
http GET / incomplete 0 failed
The client never sent it: too many requests were in flight.`},
	{name: "deadline while an instance executes it",
		client:    `"outcome":"incomplete","reason":"deadline","error":"context deadline exceeded","latency_us":100000,"service_us":100000,"attempts":1`,
		entry:     `"status":"499","upstream_addr":"127.0.0.1:8002","upstream_status":"499","upstream_header_time":"-","upstream_bytes_sent":"99","upstream_response_time":"0.098","duration":0.098`,
		instances: `{"v":2,"event":"arrival","time":"2026-11-24T09:00:00.011Z","instance":"whoami-2","pid":1,"start":"a","call":1,"id":"11.http.0.3","protocol":"http","method":"GET /"}`,
		want: `
http GET / incomplete 100000 failed
The client sent it at +0.010 s, on time.
nginx tried whoami-2 (1): no response header after 98 ms.
nginx cannot know whether whoami-2 executed it.
whoami-2's own records: it began to execute it at +0.011 s, and did not complete it.
The client left before nginx had a whole response for it (499).
The client got no complete response: its deadline passed; latency 100 ms.
The client's error: context deadline exceeded.`},
	{name: "executed twice",
		client: `"outcome":"ok","code":"200","instance":"whoami-1","latency_us":90000,"service_us":90000,"attempts":1`,
		entry:  `"status":"200","upstream_addr":"127.0.0.1:8002, 127.0.0.1:8001","upstream_status":"504, 200","upstream_header_time":"-, 0.005","upstream_bytes_sent":"99, 99","upstream_response_time":"0.080, 0.005","duration":0.085`,
		instances: `{"v":2,"event":"arrival","time":"2026-11-24T09:00:00.016Z","instance":"whoami-2","pid":1,"start":"a","call":1,"id":"11.http.0.3","protocol":"http","method":"GET /"}
{"v":2,"event":"completion","time":"2026-11-24T09:00:00.066Z","instance":"whoami-2","pid":1,"start":"a","call":1,"id":"11.http.0.3","protocol":"http","method":"GET /","code":"200","duration_us":50000}
{"v":2,"event":"arrival","time":"2026-11-24T09:00:00.096Z","instance":"whoami-1","pid":1,"start":"b","call":1,"id":"11.http.0.3","protocol":"http","method":"GET /"}
{"v":2,"event":"completion","time":"2026-11-24T09:00:00.098Z","instance":"whoami-1","pid":1,"start":"b","call":1,"id":"11.http.0.3","protocol":"http","method":"GET /","code":"200","duration_us":2000}`,
		want: `
http GET / ok 90000
The client sent it at +0.010 s, on time.
nginx tried whoami-2 (1): no response header after 80 ms.
nginx cannot know whether whoami-2 executed it.
whoami-2 executed it in 50.0 ms: 200.
nginx tried whoami-1 (2): 200 after 5 ms.
whoami-1 executed it in 2.0 ms: 200.
It was executed 2 times (duplicated): by whoami-2 and whoami-1.
The client got 200 from whoami-1; latency 90.0 ms.`},
	{name: "no live upstreams",
		client: `"outcome":"nginx_error","code":"502","error":"502 Bad Gateway","latency_us":1000,"service_us":1000,"attempts":1`,
		entry:  `"status":"502","error":"502","upstream_addr":"whoami_http","upstream_status":"502","upstream_header_time":"-","upstream_bytes_sent":"0","upstream_response_time":"0.000","duration":0.000`,
		want: `
http GET / nginx_error 1000 failed
The client sent it at +0.010 s, on time.
nginx tried no instance: no live upstreams, because it had ejected all of them.
nginx generated the response itself (a local reply): 502.
The client got the error 502; latency 1.0 ms. It names no instance, so it is nginx's.
The client's error: 502 Bad Gateway.`},
	{name: "an error of an instance, of a client without records; the instances have none either", none: true,
		entry: `"status":"503","upstream_addr":"127.0.0.1:8002, 127.0.0.1:8001","upstream_status":"502, 503","upstream_header_time":"-, 0.005","upstream_bytes_sent":"99, 99","upstream_response_time":"0.080, 0.005","duration":0.085`,
		want: `
http GET / failed 85000 failed
It began at +0.015 s. There is no record of the client.
nginx tried whoami-2 (1): no response header after 80 ms.
nginx cannot know whether whoami-2 executed it.
nginx tried whoami-1 (2): 503 after 5 ms.`},
}

func TestStoriesOfMadeRecords(t *testing.T) {
	t.Parallel()
	for _, c := range made {
		m, files := labtest.Manifest(10), make(map[string][]byte)
		if c.client != "" {
			files[record.ClientFile] = fmt.Appendf(nil, `{"v":%d,"id":%q,"protocol":"http","method":"GET /","planned":"2026-11-24T09:00:00.010Z",%s}`+"\n", record.ClientVersion, id, c.client)
		}
		if c.entry != "" {
			files[record.AccessLogFile] = fmt.Appendf(nil, `{"v":%d,"id":%q,"end":%.3f,"method":"GET","uri":"/","protocol":"HTTP/1.1",%s}`+"\n", record.AccessLogVersion, id, float64(m.Begin.UnixMilli()+100)/1000, c.entry)
		}
		if c.instances != "" {
			files[record.InstancesFile] = []byte(c.instances + "\n")
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			check(t, labtest.TrialDir(t, m, files), id, c.want, story.Options{NoInstances: c.none})
		})
	}
}

func TestStoryIsJSON(t *testing.T) {
	t.Parallel()
	source, err := trace.Open("testdata/storm")
	if err != nil {
		t.Fatal(err)
	}
	request, err := source.Request("1.http.0.301")
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(story.Of(request, story.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		ID, Protocol, Method, Outcome string
		Begin                         time.Time
		Took                          int64 `json:"took_us"`
		Failed                        bool
		Sentences                     []string
		Trace                         struct {
			Spans []struct{ Kind string }
		}
	}
	if err := json.Unmarshal(encoded, &got); err != nil {
		t.Fatal(err)
	}
	if got.ID != "1.http.0.301" || got.Outcome != "nginx_error" || !got.Failed || got.Took != 283 || len(got.Sentences) != 4 || got.Trace.Spans[0].Kind != "client" {
		t.Errorf("%s", encoded)
	}
}
