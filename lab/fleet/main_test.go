package fleet

import (
	"os"
	"testing"

	"trivet/lab/labtest"
)

var whoami string // the instances' program, built once

func TestMain(m *testing.M) {
	os.Exit(labtest.WithWhoami(func(path string) int {
		whoami = path
		return m.Run()
	}))
}
