package ledger

import (
	"os"
	"testing"

	"trivet/lab/labtest"
	"trivet/lab/load"
)

var whoami string // the instances' program, built once

// The test binary is also the generator.
func TestMain(m *testing.M) {
	labtest.Generate(load.Serve)
	os.Exit(labtest.WithWhoami(func(path string) int {
		whoami = path
		return m.Run()
	}))
}
