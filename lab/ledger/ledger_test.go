package ledger

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// closed reads a run folder at once.
func closed(t testing.TB, dir string) (*Ledger, Balance) {
	t.Helper()
	l, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	balance, err := l.Close()
	if err != nil {
		t.Fatal(err)
	}
	return l, balance
}

// The view of a run that goes on and the report on its files are the same: in many steps, with files that are not there yet and
// lines that are half written, as at once.
func TestAtOnceAndInManySteps(t *testing.T) {
	t.Parallel()
	for seed := range uint64(1) {
		h := lawful(seed, 500)
		drop("nginx")(&h, plain(h, 5)) // So that there is something to tell.
		files := h.write(t)
		once, want := closed(t, folder(t, h.Scene, files))

		dir := folder(t, h.Scene, nil)
		if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, "records"), 0o755); err != nil {
			t.Fatal(err)
		}
		l, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		l.keep = 100
		rng := rand.New(rand.NewPCG(seed, 5))
		names := []string{EventsFile, ClientFile, InstancesFile, NginxFile}
		for len(files) > 0 {
			name := names[rng.IntN(len(names))]
			part := files[name][:min(len(files[name]), rng.IntN(10_000))]
			if files[name] = files[name][len(part):]; len(files[name]) == 0 {
				delete(files, name)
			}
			write(t, filepath.Join(dir, name), part)
			if err := l.Advance(); err != nil {
				t.Fatal(err)
			}
		}
		got, err := l.Close()
		if err != nil || !reflect.DeepEqual(got, want) || got.Total != 2 {
			t.Errorf("in steps %v %v, at once %v %v", got.Reasons, got.Breaches, want.Reasons, want.Breaches)
		}
		if got, want := everything(t, l.Book), everything(t, once.Book); got != want {
			t.Errorf("in steps\n%s\nat once\n%s", got, want)
		}
	}
}

// write appends.
func write(t testing.TB, path string, text []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(text); err != nil {
		t.Fatal(err)
	}
}

// Reading a large folder keeps no more in memory than what is in doubt, and what was settled last.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	h := history{Scene: stage(2_000)}
	h.Loads = h.Loads[:1]
	for n := range 2_000 {
		h.said = append(h.said, ordinary(h.Scene, n)...)
	}
	h.Phases = []Phase{{"all", time.Hour}}
	l, err := Open(folder(t, h.Scene, h.write(t)))
	if err != nil {
		t.Fatal(err)
	}
	l.keep, l.room = 100, 120
	if err := l.Advance(); err != nil {
		t.Fatal(err)
	}
	if l.excess > 0 {
		t.Errorf("%d records found more than %d requests waiting", l.excess, l.room)
	}
	if len(l.entries) != l.keep || len(l.streams[0].dropped.bits) > 1 || len(l.streams[0].recorded.bits) > 1 {
		t.Errorf("%d entries, %d and %d words of bits", len(l.entries), len(l.streams[0].dropped.bits), len(l.streams[0].recorded.bits))
	}
	if live := l.Live(); live.Protocols["http"].OK != 2_000 {
		t.Errorf("%+v", live)
	}
	if balance, err := l.Close(); err != nil || !balance.Balanced() {
		t.Errorf("%v %v", balance.Breaches, err)
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	whole := lawful(1, 50).write(t)
	insert := func(name, text string) func(map[string][]byte) {
		return func(files map[string][]byte) {
			i := bytes.IndexByte(files[name], '\n') + 1
			files[name] = slices.Insert(slices.Clone(files[name]), i, []byte(text)...)
		}
	}
	for want, spoil := range map[string]func(map[string][]byte){
		NginxFile + " has 1 line that cannot be read as records; the first is line 2: ":                                     insert(NginxFile, "{\"v\":1,\"id\":\"11.ht\n"),
		InstancesFile + " has 1 line that cannot be read as records; the first is line 2: no record: id \"\"":               insert(InstancesFile, `{"v":1,"time":"2026-11-24T09:00:00Z","pid":1,"call":1}`+"\n"),
		ClientFile + " has 2 lines that cannot be read as records; the first is line 2: no record: outcome \"fine\"":        insert(ClientFile, strings.Repeat(`{"v":1,"planned":"2026-11-24T09:00:00Z","late_us":0,"latency_us":0,"service_us":0,"outcome":"fine"}`+"\n", 2)),
		NginxFile + " has 1 line that cannot be read as records; the first is line 2: no record: lists of different":        insert(NginxFile, `{"v":1,"id":"x","upstream_addr":"a:1, b:1","upstream_status":"-, -","upstream_header_time":"-","upstream_bytes_sent":"0, 0"}`+"\n"),
		NginxFile + " has 1 line that cannot be read as records; the first is line 2: no record: upstream_bytes_sent \"x\"": insert(NginxFile, `{"v":1,"id":"x","upstream_addr":"a:1","upstream_header_time":"-","upstream_bytes_sent":"x"}`+"\n"),
		NginxFile + " has 1 line that cannot be read as records; the first is line 2: no id":                                insert(NginxFile, `{"v":1}`+"\n"),
		ClientFile + " has 1 record of another version; the first: line 2 has version 2, and this program reads 1":          insert(ClientFile, "{\"v\":2,\"outcome\":\"ok\"}\n"),
		EventsFile + " has 1 line that cannot be read as records; the first is line 2: unexpected end of JSON input":        insert(EventsFile, "\n"),
		EventsFile + ": there is no event \"banana\"":                                                                       insert(EventsFile, "{\"v\":1,\"event\":\"banana\"}\n"),
		InstancesFile + ` ends within a line: "{\"v\":1,"`:                                                                  func(f map[string][]byte) { f[InstancesFile] = append(slices.Clone(f[InstancesFile]), `{"v":1,`...) },
		NginxFile + " is not there": func(f map[string][]byte) { delete(f, NginxFile) },
		NginxFile + " has ":         insert(NginxFile, strings.Repeat("x", 8*longestLine)+"\n"),
	} {
		files := make(map[string][]byte)
		maps.Copy(files, whole)
		spoil(files)
		_, balance := closed(t, folder(t, lawful(1, 50).Scene, files))
		if !slices.ContainsFunc(balance.Reasons, func(r string) bool { return strings.HasPrefix(r, want) }) {
			t.Errorf("no %q in %q", want, balance.Reasons)
		}
	}
}

func TestAFolderWithoutAScene(t *testing.T) {
	t.Parallel()
	for want, scene := range map[string]string{
		"no run folder of the laboratory":         "",
		"has version 7, and this program reads 1": `{"v":7}`,
		"scene.json: invalid character":           "banana",
		"has no phases":                           `{"v":1}`,
	} {
		dir := t.TempDir()
		if scene != "" {
			if err := os.WriteFile(filepath.Join(dir, SceneFile), []byte(scene), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// ordinary is what is said of one ordinary HTTP request.
func ordinary(s Scene, n int) []said {
	h := &teller{history: history{Scene: s}}
	at := s.Begin.Add(time.Duration(n) * time.Millisecond)
	id := fmt.Sprintf("11.http.0.%d", n)
	c := Call{V: 1, Event: Arrival, Time: at, Instance: s.Instances[n%3].Name, PID: 1, Call: uint64(n + 1), ID: id, Protocol: "http"}
	end := c
	end.Event, end.Code = Completion, "200"
	l := NginxLine{V: 1, ID: id, End: float64(at.UnixMilli()) / 1000, Status: "200", Addr: s.Instances[n%3].HTTP, AddrStatus: "200", HeaderTime: "0.001", BytesSent: "254"}
	r := okay(id, at)
	r.Instance = s.Instances[n%3].Name
	h.said = append(h.said, said{at, c}, said{at, end}, said{at, l}, said{at, r})
	return h.said
}
