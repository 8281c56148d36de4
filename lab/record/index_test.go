package record

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Also one of version 1, and one that is no JSON.
func TestIndexOfAnotherVersionIsAnError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for text, want := range map[string]string{
		`{"v": 1, "experiments": []}`: "run.json has version 1, and this trivet reads version 2: run the experiment again, or read it with the trivet that wrote it",
		`{"experiments": []}`:         "run.json has version 0",
		`{"v": 2,`:                    "run.json: unexpected end of JSON input",
		`[]`:                          "run.json: json: cannot unmarshal array",
		"":                            "run.json: unexpected end of JSON input",
	} {
		if err := os.WriteFile(filepath.Join(dir, IndexFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadIndex(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	if _, err := ReadIndex(t.TempDir()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "not the directory of a trivet run") {
		t.Errorf("got %v", err)
	}
}
