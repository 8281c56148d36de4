package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"trivet/lab/report"
)

func TestDocumentHasTheExitCode(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		of   report.Verdict
		err  error
		want report.Verdict
	}{
		{report.Passed, nil, report.Passed},
		{report.Passed, errors.New("write event: file too large"), report.Error},
		{report.Invalid, errors.New("write event: file too large"), report.Error},
		{report.Interrupted, errors.New("write event: file too large"), report.Interrupted},
	} {
		var stdout, stderr bytes.Buffer
		out := newOutcome(invocation{stdout: &stdout, stderr: &stderr}, true)
		code := out.complete(&report.Run{Verdict: test.of, Code: test.of.Code()}, test.err)
		var read report.Run
		if err := json.Unmarshal(stdout.Bytes(), &read); err != nil || read.Code != code || read.Verdict != test.want || code != test.want.Code() {
			t.Errorf("%+v: exit code %d beside %s, %v", test, code, stdout.String(), err)
		}
	}
}
