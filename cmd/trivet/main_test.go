package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"trivet/internal/proctest"
	"trivet/lab/fleet"
	"trivet/lab/labtest"
	"trivet/lab/trial"
)

func TestMain(m *testing.M) {
	testscript.Main(withServices{m}, map[string]func(){"trivet": func() {
		proctest.EndWithTests()
		system = func(f *fleet.Fleet) trial.System { return unsampled{f} }
		main()
	}})
}

// An unsampled fleet has processes of which the sampler does not know.
type unsampled struct{ *fleet.Fleet }

func (unsampled) Processes() map[string]int { return nil }

// withServices puts the programs of the instances on PATH, beside trivet, which testscript.Main put there, and runs the tests.
type withServices struct{ m *testing.M }

func (w withServices) Run() int {
	// Under nohup this process ignores SIGHUP, and its children would, too. If it catches SIGHUP, they have the default.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	return labtest.WithPrograms(func(dir string) int {
		err := errors.Join(os.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH")),
			os.Setenv("GORACE", proctest.QuickExit+" "+os.Getenv("GORACE")))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return w.m.Run()
	}, "whoami", "front")
}

var addresses atomic.Uint32

// ownAddress returns a loopback address that no other test uses, in this process or another on this machine. So tests may use numbered ports.
func ownAddress() string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 1+(addresses.Add(1)-1)%63+uint32(pid>>16&3)*63, pid>>8&255, pid&255)
}

// TestScripts runs the scripts in testdata with the real main. Beside testscript's commands they have `exits CODE command …`, `holding PORT`
// (listens on that port of ADDRESS while the script runs), judged, document and junit; and the variables REAL (a real nginx), ADDRESS (that no
// other test uses), PROGRAM (trivet's file), UID, and TMPDIR (where run directories are made). `collecting` starts a collector at $COLLECTOR, and
// `collected N` wants it to have N traces.
func TestScripts(t *testing.T) {
	t.Parallel()
	scripts(t, "testdata")
}

// scripts runs those in a directory.
func scripts(t *testing.T, dir string) {
	t.Helper()
	nginx := labtest.Nginx(t).Path
	program, err := exec.LookPath("trivet")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", os.Getenv("GORACE"))
			env.Setenv("REAL", nginx)
			env.Setenv("PROGRAM", program)
			env.Setenv("ADDRESS", ownAddress())
			env.Setenv("UID", strconv.Itoa(os.Getuid()))
			env.Setenv("TMPDIR", proctest.Passable(t))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": proctest.Exits, "holding": holding, "judged": judged, "document": document, "junit": junit, "collecting": collecting, "collected": collected,
		},
	})
}

func holding(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: holding PORT")
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(ts.Getenv("ADDRESS"), args[0]))
	ts.Check(err)
	ts.Defer(func() { listener.Close() })
}
