package trivet

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// copyOfContract is a repository with the contract and its tools in a first commit.
func copyOfContract(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(filepath.Join(folder, "proto"), os.DirFS("proto")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"buf.yaml", "go.mod", "go.sum", "tools.mod", "tools.sum"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"init", "-q"}, {"add", "."},
		{"-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", "first"},
	} {
		run(t, folder, "git", args...)
	}
	return folder
}

// run gives what a command said, and whether it succeeded.
func run(t *testing.T, folder, name string, args ...string) (string, bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = folder
	output, err := cmd.CombinedOutput()
	return string(output), err == nil
}

func TestIncompatibleContractIsRejected(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, old, new string
		want           string // in the refusal; "" if there is to be none
	}{
		{"nothing changed", "", "", ""},
		{"a field more", "uint32 port = 2;", "uint32 port = 2;\n  // Number of cores.\n  uint32 cores = 9;", ""},
		{"a field's number changed", "uint32 port = 2;", "uint32 port = 12;", `"2"`},
		{"a field's type changed", "uint32 port = 2;", "string port = 2;", `changed type from "uint32" to "string"`},
		{"a method is gone", "rpc WhoAmI(", "rpc WhoIs(", `"WhoAmI"`},
		{"a stream became unary", "returns (stream WatchWhoAmIResponse)", "returns (WatchWhoAmIResponse)", "WatchWhoAmI"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			folder := copyOfContract(t)
			file := filepath.Join(folder, "proto/whoami/v1/whoami.proto")
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(text), test.old) != 1 && test.old != "" {
				t.Fatalf("%q stands %d times in the proto", test.old, strings.Count(string(text), test.old))
			}
			if err := os.WriteFile(file, []byte(strings.Replace(string(text), test.old, test.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			output, compatible := run(t, folder, "proto/breaking", "HEAD")
			if compatible != (test.want == "") || !strings.Contains(output, test.want) {
				t.Errorf("compatible: %t; said: %s", compatible, output)
			}
		})
	}
}

func TestBreakingComparesWithLastTagElseParent(t *testing.T) {
	t.Parallel()
	folder := copyOfContract(t)
	if output, ok := run(t, folder, "proto/breaking"); !ok || !strings.Contains(output, "no earlier contract") {
		t.Errorf("a first commit: %s", output)
	}
	run(t, folder, "git", "tag", "v0.1.0")
	if output, ok := run(t, folder, "proto/breaking"); !ok || !strings.Contains(output, "compatible with v0.1.0") {
		t.Errorf("a tag: %s", output)
	}
}
