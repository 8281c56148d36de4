package record_test

import (
	"testing"

	"trivet/lab/labtest"
	"trivet/lab/record"
)

// Files that several trials share are read from where a trial begins.
func TestReaderSkipsWhatWasBeforeTheTrial(t *testing.T) {
	t.Parallel()
	before := "{\"v\":3,\"time\":\"2026-11-26T15:10:00Z\",\"event\":\"ended\"}\nno record\n"
	m := labtest.Manifest(1)
	m.From = map[string]int64{record.EventsFile: int64(len(before))}
	dir := labtest.TrialDir(t, m, map[string][]byte{record.EventsFile: []byte(before + "{\"v\":3,\"time\":\"2026-11-26T15:10:01Z\",\"event\":\"phase\"}\n")})
	m, err := record.ReadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := record.NewReader(dir, m)
	defer r.Close()
	if all := readAll(t, r); len(all) != 1 || all[0].(record.Event).Event != record.PhaseStarted {
		t.Errorf("%+v, want the event of the trial alone", all)
	}
}
