package fleet

import (
	"os"
	"path/filepath"
	"testing"

	"trivet/lab/labtest"
)

var whoami, front string // the programs of the services, built once

// The test binary is also a load balancer, and a program that runs a fleet.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "balance" {
		os.Exit(balance(os.Args[2]))
	}
	if len(os.Args) == 7 && os.Args[1] == "act" {
		os.Exit(act(os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6]))
	}
	os.Exit(labtest.WithPrograms(func(dir string) int {
		whoami, front = filepath.Join(dir, "whoami"), filepath.Join(dir, "front")
		return m.Run()
	}, "whoami", "front"))
}
