package trivet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"trivet/internal/proctest"
	"trivet/services/whoami"
)

// pages are the pages whose console blocks TestConsoleBlocks runs, with the least number of commands in them.
var pages = map[string]int{"README.md": 8, "docs/mesh.md": 6}

// An example is a command of one of a page's console blocks, and its output.
type example struct {
	command, output string
}

func examples(t *testing.T, page string) []example {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var all []example
	for _, block := range regexp.MustCompile("(?ms)^```console\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		for _, one := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, output, _ := strings.Cut(one, "\n")
			all = append(all, example{command, output})
		}
	}
	if len(all) < pages[page] {
		t.Fatalf("only %d commands in the console blocks of %s", len(all), page)
	}
	return all
}

// masks replace what differs from run to run.
var masks = []struct{ pattern, mask string }{
	{`(?m)^trivet: still starting: .*\n`, ""}, // On a busy machine.
	{`v\d+\.\d+\.\d+-\d{14}-[0-9a-f]{12}(\+dirty)?|\(devel\)`, "VERSION"},
	{`\d{4}-\d\d-\d\dT[0-9:.]+Z`, "TIME"},
	{`ready after \S+`, "ready after TIME"},
	{`pid \d+|kill -9 \d+`, "PID"},
	{`(127\.0\.0\.1|localhost):\d+`, "ADDRESS"},
	{`"port": ?\d+`, "PORT"},
	{`"requestId": ?"[^"]+"|X-Request-Id: \S+`, "ID"},
	{`"hostname": ?"[^"]+"`, "HOST"},
	{`whoami-\d+`, "whoami-N"},
	// On the ports of this test an instance is named after the host, and has no admin listener.
	{`(instance=|"instance":")[A-Za-z0-9._-]+`, "${1}whoami-N"},
	{`(admin=|"admin":")(off|ADDRESS)`, "${1}ADDRESS"},
	{`nginx \d+\.\d+\.\d+`, "nginx V"},
	{`Run directory: \S+`, "RUN DIRECTORY"},
	{`\S+/tls/ca\.pem`, "CA"},
	{`front-\d+`, "front-N"},
	{` {2,}`, "  "},
	{`\r`, ""},
}

func masked(s string) string {
	for _, m := range masks {
		s = regexp.MustCompile(m.pattern).ReplaceAllString(s, m.mask)
	}
	return strings.TrimSpace(s)
}

// TestConsoleBlocks runs the commands of each page in their order, on ports that the kernel gives, and compares the output.
func TestConsoleBlocks(t *testing.T) {
	t.Parallel()
	bin, path := programs(t)
	for page := range pages {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			runPage(t, page, bin, path)
		})
	}
}

func runPage(t *testing.T, page, bin, path string) {
	t.Helper()
	ports := map[string]string{"8001": proctest.Reserve(t), "9001": proctest.Reserve(t), "8002": proctest.Reserve(t), "9002": proctest.Reserve(t)}
	dir := t.TempDir()
	var script strings.Builder
	all := examples(t, page)
	if !slices.ContainsFunc(all, func(e example) bool { return e.command == "make up" }) {
		script.WriteString("up said\n") // The page takes it for granted.
	}
	for n, d := range all {
		want := filepath.Join(dir, fmt.Sprintf("want-%d", n))
		if err := os.WriteFile(want, []byte(d.output), 0o600); err != nil {
			t.Fatal(err)
		}
		command := regexp.MustCompile(`--port (800\d)`).ReplaceAllStringFunc(d.command, func(flag string) string {
			port := strings.TrimPrefix(flag, "--port ")
			return "--port " + ports[port] + " --grpc-port " + ports["9"+port[1:]]
		})
		fmt.Fprintf(&script, "# %s\n%s got '%s'\nsame %s got\n", d.command, verb(command), strings.ReplaceAll(command, "'", "''"), want)
	}
	file := filepath.Join(dir, "page.txt")
	if err := os.WriteFile(file, []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Files: []string{file},
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", path+":"+env.Getenv("PATH"))
			env.Setenv("TRIVET_NGINX", os.Getenv("TRIVET_NGINX"))
			env.Setenv("TMPDIR", proctest.Passable(t)) // For the run directory.
			// .cache has nginx if neither TRIVET_NGINX nor PATH has.
			return errors.Join(os.Symlink(bin, env.WorkDir+"/bin"), link(env.WorkDir, ".env.qa", "go.mod", ".cache"))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"up": up, "serve": serve, "shell": shell, "same": same},
	})
}

// link makes files of the tree visible in a directory.
func link(dir string, names ...string) error {
	for _, name := range names {
		path, err := filepath.Abs(name)
		if err != nil {
			return err
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// programs builds what the pages call: the project's programs into bin, which is not on PATH, and grpcurl into path, which is.
func programs(t *testing.T) (bin, path string) {
	t.Helper()
	bin, path = t.TempDir(), t.TempDir()
	if output, ok := run(t, ".", "go", "build", "-buildvcs=auto", "-o", bin, "./cmd/..."); !ok {
		t.Fatal(output)
	}
	if output, ok := run(t, ".", "go", "build", "-modfile=tools.mod", "-o", path, "github.com/fullstorydev/grpcurl/cmd/grpcurl"); !ok {
		t.Fatal(output)
	}
	return bin, path
}

// verb is the script command for a command of a page: servers run in the background.
func verb(command string) string {
	switch {
	case command == "make up":
		return "up"
	case strings.HasPrefix(command, "bin/whoami --"):
		return "serve"
	}
	return "shell"
}

// up does what `make up` does once everything is built, on ports that the kernel gives, and sets $HTTP, $GRPC and $TLS to nginx's, and
// $RUN to the run directory.
func up(ts *testscript.TestScript, _ bool, args []string) {
	command := append([]string{"bin/trivet", "up", "--http", "0", "--grpc", "0", "--tls-port", "0"}, upFlags(ts)...)
	if nginx := ts.Getenv("TRIVET_NGINX"); nginx != "" {
		command = append(command, "--nginx", nginx)
	}
	said := background(ts, command, "Ctrl-C stops everything.")
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(said), 0o600))
	listeners := regexp.MustCompile(`nginx +http://127\.0\.0\.1:(\d+) +grpc://127\.0\.0\.1:(\d+)`).FindStringSubmatch(said)
	if listeners == nil {
		ts.Fatalf("no addresses of nginx in\n%s", said)
	}
	ts.Setenv("HTTP", listeners[1])
	ts.Setenv("GRPC", listeners[2])
	if tls := regexp.MustCompile(`https://localhost:(\d+)`).FindStringSubmatch(said); tls != nil {
		ts.Setenv("TLS", tls[1])
	}
	ts.Setenv("RUN", strings.TrimSpace(regexp.MustCompile(`(?m)^Run directory: (.*)$`).FindStringSubmatch(said)[1]))
}

// upFlags are the flags that the Makefile's target up gives to trivet up.
func upFlags(ts *testscript.TestScript) []string {
	text, err := os.ReadFile("Makefile")
	ts.Check(err)
	found := regexp.MustCompile(`(?m)^\t@exec bin/trivet up (.*)\$\(ARGS\)$`).FindSubmatch(text)
	if found == nil {
		ts.Fatalf("no line of the Makefile starts trivet up")
	}
	return strings.Fields(string(found[1]))
}

// serve runs an instance until the script ends, and takes its first line.
func serve(ts *testscript.TestScript, _ bool, args []string) {
	said := background(ts, strings.Fields(args[1]), "serving")
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(said), 0o600))
}

// shell runs a command in bash. Its output says whether it failed.
func shell(ts *testscript.TestScript, _ bool, args []string) {
	command := strings.NewReplacer("localhost:8080", "localhost:"+ts.Getenv("HTTP"), "localhost:9090", "localhost:"+ts.Getenv("GRPC"), "localhost:8443", "localhost:"+ts.Getenv("TLS")).Replace(args[1])
	cmd := exec.Command("bash", "-c", command)
	cmd.Dir, cmd.Env = ts.MkAbs("."), append(os.Environ(), "PATH="+ts.Getenv("PATH"), "RUN="+ts.Getenv("RUN"), "TMPDIR="+ts.Getenv("TMPDIR"))
	said, _ := cmd.CombinedOutput()
	// curl draws its progress where output is not a terminal.
	said = regexp.MustCompile(`(?s)  % Total.*?\r[^\n{]*`).ReplaceAll(said, nil)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), said, 0o600))
}

// same compares a page's output with the actual one, masked.
func same(ts *testscript.TestScript, _ bool, args []string) {
	want, got := masked(ts.ReadFile(args[0])), masked(ts.ReadFile(args[1]))
	if got != want {
		ts.Fatalf("the page has\n%s\n\nbut the output is\n%s", want, got)
	}
}

// background starts a command that Ctrl-C ends when the script does, and returns its output up to the line with the mark.
func background(ts *testscript.TestScript, command []string, mark string) string {
	reader, writer, err := os.Pipe()
	ts.Check(err)
	cmd := exec.Command(ts.MkAbs(command[0]), command[1:]...)
	cmd.Args[0] = command[0]
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // These tests end no thread, only all of them at once.
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), append(os.Environ(), "PATH="+ts.Getenv("PATH"), "TMPDIR="+ts.Getenv("TMPDIR")), writer, writer
	ts.Check(cmd.Start())
	writer.Close()
	ts.Defer(func() {
		cmd.Process.Signal(syscall.SIGINT)
		cmd.Wait()
	})
	time.AfterFunc(time.Minute, func() { reader.SetReadDeadline(time.Now()) }) // Else a silent program holds up the test.
	lines := bufio.NewReader(reader)
	var said strings.Builder
	for {
		line, err := lines.ReadString('\n')
		said.WriteString(line)
		if strings.Contains(line, mark) {
			go io.Copy(io.Discard, reader) // So that it never waits for a reader.
			return said.String()
		}
		if err != nil {
			ts.Fatalf("%v before %q, after\n%s", err, mark, said.String())
		}
	}
}

// The settings table has a row per setting, as Settings describes it.
func TestREADMESettingsTable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, s := range whoami.Service.Settings() {
		want = append(want, fmt.Sprintf("| `%s` | `--%s` | %s | %s | %s |", s.Name, s.Flag, s.Default, s.Want, s.Help))
	}
	if got := regexp.MustCompile("(?m)^\\| `[A-Z_]+` \\| .*$").FindAllString(string(text), -1); !slices.Equal(got, want) {
		t.Errorf("the README's table is\n%s\nand should be\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
