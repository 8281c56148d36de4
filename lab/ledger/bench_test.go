package ledger

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkLedger is what a request costs, from the files of a run folder: four lines each. Entries are how many requests are in memory
// when all have been read, which must not grow with their number.
func BenchmarkLedger(b *testing.B) {
	const requests = 50_000
	h := history{Scene: stage(requests)}
	h.Loads = h.Loads[:1]
	h.Phases = []Phase{{"all", time.Hour}}
	for n := range requests {
		h.said = append(h.said, ordinary(h.Scene, n)...)
	}
	files := h.write(b)
	files[NginxFile] = nil
	for n := range requests {
		// As long as nginx writes it.
		files[NginxFile] = fmt.Appendf(files[NginxFile], `{"v":1,"id":"11.http.0.%d","end":%.3f,"time":"2026-11-24T09:00:00+00:00","duration":0.100,"protocol":"HTTP/1.1","port":"35391",`+
			`"method":"GET","uri":"/","status":"200","error":"","grpc_status_header":"","grpc_status_trailer":"","grpc_previous_attempts":"","upstream_addr":"127.0.0.1:%d",`+
			`"upstream_status":"200","upstream_connect_time":"0.000","upstream_header_time":"0.001","upstream_response_time":"0.001","upstream_bytes_sent":"218",`+
			`"upstream_bytes_received":"412","remote_addr":"127.0.0.1","connection":16,"connection_requests":300,"pid":31046,"bytes_received":89,"bytes_sent":451}`+"\n",
			n, float64(h.Begin.UnixMilli()+int64(n))/1000, 8001+n%3)
	}
	dir := folder(b, h.Scene, files)
	entries := 0
	for b.Loop() {
		l, err := Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Advance(); err != nil {
			b.Fatal(err)
		}
		entries = len(l.entries)
		if balance, err := l.Close(); err != nil || !balance.Balanced() {
			b.Fatal(balance.Breaches, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*requests), "ns/request")
	b.ReportMetric(float64(entries), "entries")
}
