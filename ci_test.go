package trivet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// TestGovulncheckFailsExceptWithoutDatabase runs .ci/govulncheck with made-up databases: a vulnerability in a called function
// fails, an unreachable database does not, and other errors are not taken for an unreachable database.
func TestGovulncheckFailsExceptWithoutDatabase(t *testing.T) {
	t.Parallel()
	const osv = `{"schema_version":"1.3.1","id":"GO-2000-0001","modified":"2000-01-01T00:00:00Z","published":"2000-01-01T00:00:00Z",
		"summary":"made up","details":"made up","affected":[{"package":{"name":"stdlib","ecosystem":"Go"},
		"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}],
		"ecosystem_specific":{"imports":[{"path":"runtime/debug","symbols":["ReadBuildInfo"]}]}}],"database_specific":{"url":"https://pkg.go.dev/vuln/GO-2000-0001"}}`
	database := func(modules string) string {
		dir := t.TempDir()
		for name, text := range map[string]string{
			"index/db.json": `{"modified":"2000-01-01T00:00:00Z"}`, "index/modules.json": modules, "index/vulns.json": "[]", "ID/GO-2000-0001.json": osv,
		} {
			write(t, filepath.Join(dir, name), text)
		}
		return "file://" + dir
	}
	affected := database(`[{"path":"stdlib","vulns":[{"id":"GO-2000-0001","modified":"2000-01-01T00:00:00Z"}]}]`)
	for name, c := range map[string]struct {
		db, pkg, says string
		ok            bool
	}{
		"vulnerable":  {affected, "./internal/buildinfo", "GO-2000-0001", false},
		"clean":       {database("[]"), "./internal/buildinfo", "No vulnerabilities found", true},
		"unreachable": {"http://127.0.0.1:1", "./internal/buildinfo", "NOT CHECKED", true},
		"no package":  {affected, "./internal/missing", "missing", false},
	} {
		output, err := exec.CommandContext(t.Context(), ".ci/govulncheck", "-db", c.db, c.pkg).CombinedOutput()
		if (err == nil) != c.ok || !strings.Contains(string(output), c.says) {
			t.Errorf("%s: %v: %s\nwant %q", name, err, output, c.says)
		}
	}
}

// TestShellcheckIsNotSilentlyMissing runs .ci/shellcheck where it can neither find nor download shellcheck.
func TestShellcheckIsNotSilentlyMissing(t *testing.T) {
	t.Parallel()
	tree, bin := t.TempDir(), t.TempDir()
	write(t, filepath.Join(tree, ".ci", "shellcheck"), readFile(t, ".ci/shellcheck"))
	for _, name := range []string{"bash", "dirname"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	for args, ok := range map[string]bool{"": true, "--get": false} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(tree, ".ci", "shellcheck"), strings.Fields(args)...)
		cmd.Env = []string{"PATH=" + bin}
		output, err := cmd.CombinedOutput()
		if (err == nil) != ok || ok && !strings.Contains(string(output), "NOT CHECKED") || !strings.Contains(string(output), "install shellcheck") {
			t.Errorf("%q: %v: %s", args, err, output)
		}
	}
}

// TestKubernetesIsNotSilentlyMissing runs .ci/kubernetes in a repository of two commits. It proves if that is quick or something changed,
// and says which; otherwise it says what does. It fails if the proof does.
func TestKubernetesIsNotSilentlyMissing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		missing, changes, proof, says string
		ok                            bool
	}{
		"cached":            {"3", "README.md", "true", "is in Go's cache (3 packages are not)\nproven", true},
		"manifests changed": {"2000", "deploy/kubernetes/base/whoami.yaml", "true", "changed since ", true},
		"nginx changed":     {"2000", "nginx/conf/nginx.conf", "true", "nginx changed since ", true},
		"unchanged":         {"2000", "README.md", "false", "NOT CHECKED: 2000 packages", true},
		"refused":           {"0", "README.md", "false", "make: ***", false},
	} {
		tree := t.TempDir()
		write(t, filepath.Join(tree, ".ci/kubernetes"), readFile(t, ".ci/kubernetes"))
		write(t, filepath.Join(tree, "deploy/kubernetes/proof/test"), "#!/bin/sh\necho "+c.missing+"\n")
		write(t, filepath.Join(tree, "Makefile"), "test-kubernetes:\n\t@"+c.proof+" && echo proven\n")
		run := func(program string, args ...string) (string, error) {
			cmd := exec.CommandContext(t.Context(), program, args...)
			cmd.Dir = tree
			// make test's own variables would make make say which directory it enters, and count itself.
			cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS") })
			output, err := cmd.CombinedOutput()
			return string(output), err
		}
		for n, args := range [][]string{{"init", "-q"}, {"add", "."}, {"commit", "-qm", "before"}, {"add", "."}, {"commit", "-qm", "after"}} {
			write(t, filepath.Join(tree, c.changes), fmt.Sprintln("after command", n))
			if output, err := run("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@test.invalid"}, args...)...); err != nil {
				t.Fatalf("git %q: %v: %s", args, err, output)
			}
		}
		if output, err := run(".ci/kubernetes"); (err == nil) != c.ok || !strings.Contains(output, c.says) || c.missing == "2000" && c.ok && c.proof == "true" && !strings.Contains(output, "proven") {
			t.Errorf("%s: %v: %s\nwant %q", name, err, output, c.says)
		}
	}
}

// TestWorkflowIsMinimal checks what actionlint does not: the workflow runs .ci/run on both architectures, has read permission only, and
// pins actions by commit.
func TestWorkflowIsMinimal(t *testing.T) {
	t.Parallel()
	text := readFile(t, ".github/workflows/ci.yml")
	var workflow struct {
		Permissions map[string]string
		Jobs        map[string]struct {
			Permissions map[string]string
			Strategy    struct{ Matrix struct{ Runner []string } }
			Steps       []struct{ Run string }
		}
	}
	if err := yaml.Unmarshal([]byte(text), &workflow); err != nil {
		t.Fatal(err)
	}
	job := workflow.Jobs["run"]
	if !slices.Equal(job.Strategy.Matrix.Runner, []string{"ubuntu-24.04", "ubuntu-24.04-arm"}) || len(job.Steps) == 0 || job.Steps[len(job.Steps)-1].Run != ".ci/run" {
		t.Errorf("job run: %+v", job)
	}
	if len(workflow.Permissions) != 1 || workflow.Permissions["contents"] != "read" || job.Permissions != nil || strings.Contains(text, "secrets.") {
		t.Errorf("permissions %v, or a secret", workflow.Permissions)
	}
	for _, uses := range regexp.MustCompile(`uses: .*`).FindAllString(text, -1) {
		if !regexp.MustCompile(`^uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`).MatchString(uses) {
			t.Errorf("%s: want a commit, with its version in a comment", uses)
		}
	}
}

// TestIssueFormsAreComplete finds errors that the forge would report only when an issue is opened.
func TestIssueFormsAreComplete(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bug", "experiment", "question"} {
		var form struct {
			Name, Description string
			Body              []struct {
				Type, ID   string
				Attributes struct{ Label, Value string }
			}
		}
		if err := yaml.Unmarshal([]byte(readFile(t, ".github/ISSUE_TEMPLATE/"+name+".yml")), &form); err != nil {
			t.Error(err)
			continue
		}
		if form.Name == "" || form.Description == "" || len(form.Body) == 0 {
			t.Errorf("%s: name %q, description %q, %d fields", name, form.Name, form.Description, len(form.Body))
		}
		seen := map[string]bool{}
		for _, field := range form.Body {
			if field.Type == "markdown" && field.Attributes.Value != "" {
				continue
			}
			if field.ID == "" || seen[field.ID] || field.Attributes.Label == "" || !slices.Contains([]string{"textarea", "input", "dropdown", "checkboxes"}, field.Type) {
				t.Errorf("%s: field %+v", name, field)
			}
			seen[field.ID] = true
		}
	}
}

// TestMakeHelpIsComplete checks that each target of the Makefile has a help text and is phony.
func TestMakeHelpIsComplete(t *testing.T) {
	t.Parallel()
	text := readFile(t, "Makefile")
	phony := strings.Fields(strings.TrimPrefix(regexp.MustCompile(`(?m)^\.PHONY:.*`).FindString(text), ".PHONY:"))
	var targets []string
	for _, line := range regexp.MustCompile(`(?m)^[a-z-]+:[^=].*|^[a-z-]+:$`).FindAllString(text, -1) {
		if !strings.Contains(line, " ## ") {
			t.Errorf("no help text: %s", line)
		}
		targets = append(targets, line[:strings.Index(line, ":")])
	}
	slices.Sort(phony)
	slices.Sort(targets)
	if len(targets) < 20 || !slices.Equal(phony, targets) {
		t.Errorf("targets\n%v, but .PHONY\n%v", targets, phony)
	}
}

// TestPagesNameTargets checks that each target that a page names is in the Makefile.
func TestPagesNameTargets(t *testing.T) {
	t.Parallel()
	known := readFile(t, "Makefile")
	pages, err := exec.CommandContext(t.Context(), "git", "ls-files", "*.md").Output()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for page := range strings.FieldsSeq(string(pages)) {
		for _, target := range regexp.MustCompile("(?m)(?:^ {4}|`|\\$ )make ([a-z-]+)").FindAllStringSubmatch(readFile(t, page), -1) {
			if n++; !strings.Contains(known, "\n"+target[1]+":") {
				t.Errorf("%s: there is no target %s", page, target[1])
			}
		}
	}
	if n < 50 {
		t.Errorf("only %d targets in pages", n)
	}
}

// TestContributingListsCI checks that CONTRIBUTING.md lists exactly the steps of .ci/run, in order.
func TestContributingListsCI(t *testing.T) {
	t.Parallel()
	var steps []string
	for _, s := range regexp.MustCompile(`(?m)^step "([^"]+)"`).FindAllStringSubmatch(readFile(t, ".ci/run"), -1) {
		steps = append(steps, fmt.Sprintf("%d. %s", len(steps)+1, s[1]))
	}
	got := regexp.MustCompile(`(?m)^\d+\. .*`).FindAllString(readFile(t, "CONTRIBUTING.md"), -1)
	for n := range got {
		got[n], _, _ = strings.Cut(got[n], ":")
	}
	if len(steps) < 5 || !slices.Equal(got, steps) {
		t.Errorf("CONTRIBUTING.md lists\n%s\nbut .ci/run runs\n%s", strings.Join(got, "\n"), strings.Join(steps, "\n"))
	}
}

// TestRenovateKnowsEachTool checks that a rule names each tool: all requirements in tools.mod are marked indirect, and Renovate
// ignores those without a rule.
func TestRenovateKnowsEachTool(t *testing.T) {
	t.Parallel()
	config := readFile(t, "renovate.json5")
	block := regexp.MustCompile(`(?s)\ntool \((.*?)\n\)`).FindStringSubmatch(readFile(t, "tools.mod"))
	if block == nil {
		t.Fatal("no tools in tools.mod")
	}
	for tool := range strings.FieldsSeq(block[1]) {
		module, _, _ := strings.Cut(tool, "/cmd/")
		if !strings.Contains(config, fmt.Sprintf("%q", module)) {
			t.Errorf("renovate.json5 does not name %s", module)
		}
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
