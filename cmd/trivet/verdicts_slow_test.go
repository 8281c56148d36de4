//go:build slow

package main

import "testing"

// The scripts of runs that are valid, like TestScripts. On a busy machine, as beside other tests, they are not: make examples runs them by
// themselves.
func TestVerdicts(t *testing.T) { scripts(t, "testdata/verdicts") }
