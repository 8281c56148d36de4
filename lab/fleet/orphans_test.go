package fleet

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"trivet/internal/proctest"
	"trivet/lab/labtest"
	"trivet/lab/scenario"
	"trivet/nginx"
)

// act is a program that starts a fleet, does one action, prints the PIDs of all processes, and then waits to be killed.
func act(whoami, binary, dir, kind, process string) (code int) {
	found, err := nginx.Find(context.Background(), binary)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	f, err := Start(context.Background(), Options{Instances: 1, Workers: 2, Whoami: whoami, Nginx: found, Dir: dir, NoRestart: true})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	all := f.Processes()
	if err := f.Do(context.Background(), scenario.Operation{Kind: kind, Process: process}); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(strings.Trim(fmt.Sprint(slices.Collect(maps.Values(all))), "[]"))
	select {}
}

// A stopped process does not handle SIGTERM, which nginx's master gets when this program is killed. The kernel lets a stopped group go on
// only if it is an orphan: here this test adopts it, which is in its session, like a container's first process.
func TestPausedNginxDoesNotOutliveAKilledProgram(t *testing.T) {
	if err := AdoptOrphans(); err != nil {
		t.Fatal(err)
	}
	for _, process := range []string{scenario.Nginx, scenario.WorkerName(1)} {
		t.Run(process, func(t *testing.T) {
			program := exec.Command(os.Args[0], "act", whoami, labtest.Nginx(t).Path, proctest.Passable(t), scenario.Pause, process)
			out, err := program.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := program.Start(); err != nil {
				t.Fatal(err)
			}
			line, _ := bufio.NewReader(out).ReadString('\n')
			if err := program.Process.Kill(); err != nil {
				t.Error(err)
			}
			_ = program.Wait() // It was killed.
			pids := strings.Fields(line)
			if len(pids) != 4 {
				t.Fatalf("%q: want the PIDs of nginx, two workers and an instance", line)
			}
			for _, text := range pids {
				pid, err := strconv.Atoi(text)
				if err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				eventually(t, text+" ends", func() bool { return !runs(pid) })
			}
		})
	}
}
