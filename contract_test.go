package trivet

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// copyOfContract returns the directory of a new repository with the contract and its tools in a first commit.
func copyOfContract(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "proto"), os.DirFS("proto")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"buf.yaml", "go.mod", "go.sum", "tools.mod", "tools.sum"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"init", "-q"}, {"add", "."},
		{"-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", "first"},
	} {
		run(t, dir, "git", args...)
	}
	return dir
}

// run returns a command's output, and whether it succeeded.
func run(t *testing.T, dir, name string, args ...string) (string, bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	output, err := cmd.CombinedOutput()
	return string(output), err == nil
}

func TestIncompatibleContractIsRejected(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, old, new string
		want           string // in the error; "" for none
	}{
		{"no change", "", "", ""},
		{"new field", "uint32 port = 2;", "uint32 port = 2;\n  // Number of cores.\n  uint32 cores = 19;", ""},
		{"field number changed", "uint32 port = 2;", "uint32 port = 12;", `"2"`},
		{"field type changed", "uint32 port = 2;", "string port = 2;", `changed type from "uint32" to "string"`},
		{"method removed", "rpc WhoAmI(", "rpc Identify(", `"WhoAmI"`},
		{"stream became unary", "returns (stream WatchWhoAmIResponse)", "returns (WatchWhoAmIResponse)", "WatchWhoAmI"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := copyOfContract(t)
			file := filepath.Join(dir, "proto/whoami/v1/whoami.proto")
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(text), test.old) != 1 && test.old != "" {
				t.Fatalf("%q occurs %d times in the proto, want once", test.old, strings.Count(string(text), test.old))
			}
			if err := os.WriteFile(file, []byte(strings.Replace(string(text), test.old, test.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			output, compatible := run(t, dir, "proto/breaking", "HEAD")
			if compatible != (test.want == "") || !strings.Contains(output, test.want) {
				t.Errorf("compatible: %t; output: %s", compatible, output)
			}
		})
	}
}

func TestBreakingComparesWithLastTagElseParent(t *testing.T) {
	t.Parallel()
	dir := copyOfContract(t)
	if output, ok := run(t, dir, "proto/breaking"); !ok || !strings.Contains(output, "no earlier contract") {
		t.Errorf("first commit: %s", output)
	}
	run(t, dir, "git", "tag", "v0.1.0")
	if output, ok := run(t, dir, "proto/breaking"); !ok || !strings.Contains(output, "compatible with v0.1.0") {
		t.Errorf("tag: %s", output)
	}
}
