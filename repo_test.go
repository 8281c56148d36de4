// Package trivet holds no code: this file tests the house's own rules, and contract_test.go the contract's.
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

// A rule says what a package, or a tree if of ends in /, may import of the house.
type rule struct {
	of     string
	allows []string
	why    string
}

// Who may import what. Two lines, which meet only in gen: an instance is a normal service that knows
// nothing of the lab, and the lab knows instances only as processes.
var rules = []rule{
	{"trivet/gen/", nil, "generated code stands on nothing of ours"},
	{"trivet/internal/", []string{"trivet/internal/"}, "what both lines use must not tie them together"},
	{"trivet/docs", nil, "documents and their test"},
	{"trivet/e2e", nil, "tests alone: nothing may stand on them"},
	{"trivet/e2e/attack", []string{"trivet/gen/", "trivet/lab/", "trivet/nginx"}, "a client of the fleet: it sees no more than one does"},
	{"trivet/e2e/docker", nil, "tests alone: nothing may stand on them"},
	{"trivet/gateway", []string{"trivet/gen/"}, "REST for any implementation, not for ours"},
	{"trivet/services/whoami", []string{"trivet/gen/", "trivet/gateway", "trivet/internal/"}, "an instance knows nothing of the lab"},
	{"trivet/cmd/whoami", []string{"trivet/services/whoami", "trivet/internal/"}, "a main only translates"},
	{"trivet/nginx", []string{"trivet/internal/"}, "the balancer's files know nobody's program"},
	{"trivet/nginx/confedit", []string{"trivet/internal/"}, "it edits any nginx configuration, not only the shipped one"},
	{"trivet/lab/", []string{"trivet/gen/", "trivet/nginx", "trivet/nginx/confedit", "trivet/internal/", "trivet/lab/"}, "the lab starts instances as processes, it does not contain them"},
	{"trivet/cmd/trivet", []string{"trivet/lab/", "trivet/nginx", "trivet/internal/"}, "a main only translates"},
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
		// go list does not read the comments of tests, so of a folder of tests it knows none.
		if p.Doc == "" && len(p.GoFiles) > 0 && !strings.HasPrefix(p.ImportPath, "trivet/gen/") {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// sources are the Go files that people wrote.
func sources(t *testing.T) []string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "git", "ls-files", "-co", "--exclude-standard", "*.go").Output()
	if err != nil {
		t.Fatal(err)
	}
	files := slices.DeleteFunc(strings.Fields(string(output)), func(f string) bool {
		_, err := os.Stat(f) // A file that was removed, and is not committed yet.
		return strings.HasPrefix(f, "gen/") || strings.Contains(f, ".pb.") || err != nil
	})
	if len(files) < 20 {
		t.Fatalf("only %d Go files found: %v", len(files), files)
	}
	return files
}

// The budgets: a file that is read in one sitting, a function that is seen at once, a main that only translates.
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
				t.Errorf("%s: init runs whether or not somebody wants it", files.Position(f.Pos()))
			}
		}
	}
}

// A sleep in a test is a race or a wait in disguise; a skip is a test that nobody sees missing.
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
		t.Error("go.mod names buf, which pins a pre-release of protobuf: it belongs to tools.mod")
	}
}

// No secret, no key, no binary: what is committed is text that a person wrote or a generator.
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
			t.Errorf("%s is a key or no text", name)
		}
	}
}
