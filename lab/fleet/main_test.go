package fleet

import (
	"os"
	"testing"

	"trivet/lab/labtest"
)

var whoami string // the instances' program, built once

// The test binary is also a load balancer, and a program that runs a fleet.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "balance" {
		os.Exit(balance(os.Args[2]))
	}
	if len(os.Args) == 7 && os.Args[1] == "act" {
		os.Exit(act(os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6]))
	}
	os.Exit(labtest.WithWhoami(func(path string) int {
		whoami = path
		return m.Run()
	}))
}
