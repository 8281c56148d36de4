// Package trivet has only tests of the repository: this file checks its rules, contract_test.go the contract, ci_test.go CI.
package trivet

import (
	"bufio"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A rule lists the packages of this module that a package, or a tree if of ends in /, may import.
type rule struct {
	of     string
	allows []string
	why    string
}

// The rules keep two sides apart that share only gen and internal: an instance is a normal service that knows nothing of
// the lab, and the lab knows instances only as processes.
var rules = []rule{
	{"trivet/gen/", []string{"trivet/gen/"}, "generated code depends on nothing else of ours"},
	{"trivet/internal/", []string{"trivet/internal/"}, "what both sides use must not couple them"},
	{"trivet/deploy/kubernetes/cluster", nil, "tests only: nothing may import them"},
	{"trivet/deploy/prometheus", nil, "tests only: nothing may import them"},
	{"trivet/deploy/swarm", nil, "tests only: nothing may import them"},
	{"trivet/docs", nil, "documents and their tests"},
	{"trivet/e2e", nil, "tests only: nothing may import them"},
	{"trivet/e2e/attack", []string{"trivet/gen/", "trivet/lab/", "trivet/nginx"}, "a client of the fleet, with the same view as any other"},
	{"trivet/e2e/browser", nil, "tests only: nothing may import them"},
	{"trivet/e2e/docker", nil, "tests only: nothing may import them"},
	{"trivet/experiments/examples", nil, "tests only: nothing may import them"},
	{"trivet/gateway", []string{"trivet/gen/"}, "it serves any implementation over REST, not only ours"},
	{"trivet/services/identity", nil, "it can be copied as it is"},
	{"trivet/services/instance", []string{"trivet/gateway", "trivet/services/identity", "trivet/internal/"}, "what services share knows none of them, and nothing of the lab"},
	{"trivet/services/instance/command", []string{"trivet/services/instance", "trivet/internal/"}, "a command line of any service"},
	{"trivet/services/outgoing", []string{"trivet/services/identity", "trivet/services/instance"}, "how any service calls others, whatever they are"},
	{"trivet/services/caller", []string{"trivet/gen/", "trivet/services/instance"}, "what all services' responses say of their clients"},
	{"trivet/services/hops", []string{"trivet/gen/", "trivet/services/outgoing", "trivet/services/instance", "trivet/internal/"}, "services take hops in the same way, and know nothing of the lab"},
	{"trivet/services/front", []string{"trivet/gen/", "trivet/gateway", "trivet/services/caller", "trivet/services/hops", "trivet/services/instance", "trivet/internal/"}, "a service knows nothing of the lab"},
	{"trivet/services/whoami", []string{"trivet/gen/", "trivet/gateway", "trivet/services/caller", "trivet/services/hops", "trivet/services/instance", "trivet/internal/"}, "a service knows nothing of the lab"},
	{"trivet/cmd/front", []string{"trivet/services/front", "trivet/services/instance/command", "trivet/internal/"}, "a main is only an entry point"},
	{"trivet/cmd/whoami", []string{"trivet/services/whoami", "trivet/services/instance/command", "trivet/internal/"}, "a main is only an entry point"},
	{"trivet/nginx", []string{"trivet/internal/"}, "nginx's configuration is independent of the programs behind it"},
	{"trivet/nginx/confedit", []string{"trivet/internal/"}, "it edits any nginx configuration, not only the shipped one"},
	{"trivet/lab/labtest", []string{"trivet/lab/record", "trivet/lab/scenario", "trivet/nginx"}, "what the lab's tests share"},
	{"trivet/lab/authority", nil, "certificates need the standard library alone, and know no fleet"},
	{"trivet/lab/scenario", []string{"trivet/nginx/confedit", "trivet/internal/"}, "plain values: no YAML, no files, no processes"},
	{"trivet/lab/record", []string{"trivet/lab/scenario", "trivet/internal/"}, "what is written down depends on no program that writes it"},
	{"trivet/lab/evidence", []string{"trivet/nginx", "trivet/nginx/confedit"}, "it judges a configuration, and neither runs nor edits one"},
	{"trivet/lab/ledger", []string{"trivet/lab/record", "trivet/lab/scenario", "trivet/internal/"}, "the ledger matches records and does no I/O"},
	{"trivet/lab/measure", []string{"trivet/lab/ledger", "trivet/lab/record", "trivet/lab/scenario", "trivet/internal/"}, "metrics come from reconciled requests alone"},
	{"trivet/lab/load", []string{"trivet/lab/record", "trivet/lab/scenario", "trivet/gen/", "trivet/nginx", "trivet/internal/"}, "the generator records, and judges nothing"},
	{"trivet/lab/fleet", []string{"trivet/lab/authority", "trivet/lab/record", "trivet/lab/scenario", "trivet/gen/", "trivet/nginx", "trivet/nginx/confedit", "trivet/internal/"}, "a system knows no load and no measurement"},
	{"trivet/lab/remote", []string{"trivet/gen/", "trivet/lab/record", "trivet/lab/scenario", "trivet/lab/trial"}, "it can call a stack, and do nothing else with it"},
	{"trivet/lab/exporter", []string{"trivet/gen/", "trivet/lab/record"}, "it exports what any nginx logs, and starts none"},
	{"trivet/lab/engine", []string{"trivet/internal/"}, "it runs a command line, and knows no containers"},
	{"trivet/lab/logstream", []string{"trivet/lab/engine", "trivet/lab/record", "trivet/lab/scenario"}, "it reads logs of any engine's containers"},
	{"trivet/lab/compose", []string{"trivet/lab/engine", "trivet/lab/logstream", "trivet/lab/record", "trivet/lab/scenario", "trivet/lab/trial"}, "a system knows no load and no measurement"},
	{"trivet/lab/kubernetes", []string{"trivet/lab/engine", "trivet/lab/logstream", "trivet/lab/record", "trivet/lab/scenario", "trivet/lab/trial", "trivet/nginx/confedit"}, "a system knows no load and no measurement"},
	{"trivet/lab/sampler", []string{"trivet/lab/record", "trivet/lab/scenario"}, "samples are of any processes, and nothing judges them here"},
	{"trivet/lab/experiment", []string{"trivet/gen/", "trivet/lab/authority", "trivet/lab/evidence", "trivet/lab/measure", "trivet/lab/record", "trivet/lab/scenario", "trivet/nginx", "trivet/nginx/confedit", "trivet/internal/"}, "expectations read metrics alone"},
	{"trivet/lab/trace", []string{"trivet/lab/record", "trivet/lab/scenario", "trivet/internal/"}, "a trace comes from records alone"},
	{"trivet/lab/otlp", []string{"trivet/lab/trace", "trivet/internal/"}, "another form of traces, and nothing else"},
	{"trivet/lab/story", []string{"trivet/lab/trace", "trivet/internal/"}, "it puts traces into words, and reads no files"},
	{"trivet/lab/waterfall", []string{"trivet/lab/trace", "trivet/internal/"}, "it draws traces, and reads no files"},
	{"trivet/lab/calltree", []string{"trivet/gen/", "trivet/internal/"}, "one client and its drawing: it knows no fleet and no records"},
	{"trivet/lab/trial", []string{"trivet/lab/load", "trivet/lab/measure", "trivet/lab/otlp", "trivet/lab/record", "trivet/lab/sampler", "trivet/lab/scenario", "trivet/internal/"}, "a trial takes a system, it does not know which"},
	{"trivet/lab/report", []string{"trivet/lab/experiment", "trivet/lab/ledger", "trivet/lab/measure", "trivet/lab/record", "trivet/lab/scenario", "trivet/internal/"}, "a report reads a run directory and nothing else"},
	{"trivet/lab/draft", []string{"trivet/lab/scenario", "trivet/nginx/confedit", "trivet/internal/"}, "it writes what was done, and neither does nor measures anything"},
	{"trivet/lab/session", []string{"trivet/lab/draft", "trivet/lab/feed", "trivet/lab/fleet", "trivet/lab/load", "trivet/lab/measure", "trivet/lab/record", "trivet/lab/sampler", "trivet/lab/scenario", "trivet/lab/trace", "trivet/nginx/confedit", "trivet/internal/"}, "it does to a fleet what a person asks for, and shows nothing"},
	{"trivet/lab/feed", []string{"trivet/lab/measure", "trivet/lab/record", "trivet/lab/report", "trivet/lab/scenario", "trivet/lab/story", "trivet/lab/trace", "trivet/nginx/confedit", "trivet/internal/"}, "it turns records into messages, and starts nothing"},
	{"trivet/lab/page", []string{"trivet/lab/feed"}, "it shows messages, wherever they come from"},
	{"trivet/lab/dashboard", []string{"trivet/lab/feed", "trivet/lab/page", "trivet/lab/record", "trivet/lab/story", "trivet/lab/trace", "trivet/internal/"}, "it serves a feed and takes orders for any Control, and knows no fleet"},
	{"trivet/cmd/trivet", []string{"trivet/lab/", "trivet/nginx", "trivet/internal/"}, "a main is only an entry point"},
}

func within(path string, trees []string) bool {
	return slices.ContainsFunc(trees, func(t string) bool {
		return path == t || strings.HasSuffix(t, "/") && strings.HasPrefix(path, t)
	})
}

func TestImportsFollowRules(t *testing.T) {
	t.Parallel()
	output, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Doc,GoFiles", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for decoder := json.NewDecoder(strings.NewReader(string(output))); ; {
		var p struct {
			ImportPath, Doc  string
			Imports, GoFiles []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		n := slices.IndexFunc(rules, func(r rule) bool { return within(p.ImportPath, []string{r.of}) })
		if n < 0 {
			if p.ImportPath != "trivet" {
				t.Errorf("%s has no rule about what it may import: add one", p.ImportPath)
			}
			continue
		}
		for _, i := range p.Imports {
			if strings.HasPrefix(i, "trivet/") && !within(i, rules[n].allows) {
				t.Errorf("%s imports %s: %s", p.ImportPath, i, rules[n].why)
			}
		}
		// go list does not read comments of test files, so a directory with only tests has none.
		if p.Doc == "" && len(p.GoFiles) > 0 && !strings.HasPrefix(p.ImportPath, "trivet/gen/") {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// sources returns the Go files that are not generated.
func sources(t *testing.T) []string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "git", "ls-files", "-co", "--exclude-standard", "*.go").Output()
	if err != nil {
		t.Fatal(err)
	}
	files := slices.DeleteFunc(strings.Fields(string(output)), func(f string) bool {
		_, err := os.Stat(f) // The file was removed, and this is not committed yet.
		return strings.HasPrefix(f, "gen/") || strings.Contains(f, ".pb.") || err != nil
	})
	if len(files) < 20 {
		t.Fatalf("only %d Go files found: %v", len(files), files)
	}
	return files
}

// The budgets keep a file readable in one sitting, a function on one screen, and main a mere entry point.
func TestBudgets(t *testing.T) {
	t.Parallel()
	const mostInFile, mostInFunction, mostInMain = 600, 75, 40
	for _, name := range sources(t) {
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Error(err)
			continue
		}
		if lines := files.Position(file.End()).Line; lines > mostInFile {
			t.Errorf("%s has %d lines, more than %d", name, lines, mostInFile)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines, most := files.Position(f.End()).Line-files.Position(f.Pos()).Line+1, mostInFunction
			if f.Name.Name == "main" {
				most = mostInMain
			}
			if lines > most {
				t.Errorf("%s: %s has %d lines, more than %d", files.Position(f.Pos()), f.Name.Name, lines, most)
			}
			if f.Name.Name == "init" {
				t.Errorf("%s: init runs in every importing program, needed or not", files.Position(f.Pos()))
			}
		}
	}
}

// A sleep in a test hides a race or a missing wait; a skip hides that a test did not run.
func TestTestsNeitherSleepNorSkip(t *testing.T) {
	t.Parallel()
	for _, name := range sources(t) {
		if !strings.HasSuffix(name, "_test.go") || name == "repo_test.go" {
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		scanner := bufio.NewScanner(f)
		for line := 1; scanner.Scan(); line++ {
			for _, call := range []string{"time.Sleep(", ".Skip(", ".Skipf(", ".SkipNow("} {
				if strings.Contains(scanner.Text(), call) {
					t.Errorf("%s:%d: %s", name, line, call)
				}
			}
		}
		f.Close()
	}
}

func TestGoModReplacesNothingAndNamesNoBuf(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"go.mod", "tools.mod"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(strings.TrimSpace(line), "replace") {
				t.Errorf("%s: %s", name, strings.TrimSpace(line))
			}
		}
	}
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "bufbuild") {
		t.Error("go.mod requires buf, which pins a pre-release of protobuf: it belongs in tools.mod")
	}
}

// The tree has no keys and no binaries, only text.
func TestTreeIsText(t *testing.T) {
	t.Parallel()
	output, err := exec.CommandContext(t.Context(), "git", "ls-files", "-z").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.Trim(string(output), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.FromSlash(name))
		if errors.Is(err, os.ErrNotExist) || strings.HasSuffix(name, ".png") {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "PRIVATE "+"KEY") || strings.Contains(string(text), "\x00") {
			t.Errorf("%s contains a private key, or is not text", name)
		}
	}
}
