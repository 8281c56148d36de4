package feed

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// lay writes files, texts by name, into a directory.
func lay(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// drawn is a file as its lines are shown.
func drawn(f File) string {
	var b strings.Builder
	for _, l := range f.Lines {
		b.WriteString(l.Mark + "|" + l.Text + "\n")
	}
	return b.String()
}

func TestEditsAreMarkedLineByLine(t *testing.T) {
	t.Parallel()
	const long = "a 1;\nb 2;\nc 3;\nd 4;\ne 5;\nf 6;\ng 7;\nh 8;\ni 9;\nj 10;\n"
	for _, c := range []struct{ name, before, after, want string }{
		{"same", "a 1;\nb 2;\n", "a 1;\nb 2;\n", "|a 1;\n|b 2;\n"},
		{"changed", "a 1;\nb 2;\nc 3;\n", "a 1;\nb 4; # was: b 2;\nc 3;\n", "|a 1;\n-|b 2;\n+|b 4; # was: b 2;\n|c 3;\n"},
		{"added at both ends", long, "x 0;\n" + long + "y 11;\n", "+|x 0;\n" + drawn(File{Lines: split([]byte(long))}) + "+|y 11;\n"},
		{"removed", "a 1;\nb 2;\n", "b 2;\n", "-|a 1;\n|b 2;\n"},
		{"all removed", "a 1;\n", "", "-|a 1;\n"},
		{"all new", "", "a 1;\n", "+|a 1;\n"},
		{"no newline at the end", "a 1;", "a 1;\nb 2;", "-|a 1;\n+|a 1;\n+|b 2;\n"},
		{"lines of hunks", "@@ -1,2 +3,4 @@\n--- a\n", "@@ -1,2 +3,4 @@\n+++ b\n", "|@@ -1,2 +3,4 @@\n-|--- a\n+|+++ b\n"},
		{"empty", "", "", ""},
	} {
		if got := drawn(newFile("x.conf", []byte(c.before), []byte(c.after))); got != c.want {
			t.Errorf("%s: got\n%swant\n%s", c.name, got, c.want)
		}
	}
}

func TestConfigurationHasWhatNginxReadTheEditedFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lay(t, dir, map[string]string{
		"conf/nginx.conf":         "include a.conf;\ninclude z.conf;\ninclude extra/*.conf;\nevents { }\n",
		"conf/a.conf":             "user a;\n",
		"conf/z.conf":             "pid b; # was: pid a;\n",
		"conf/extra/new.conf":     "daemon off;\n",
		"conf/unused.conf":        "banana;\n",
		"shipped/z.conf":          "pid a;\n",
		"shipped/extra/new.conf":  "daemon on;\n", // An edit of a new file: all of it is new.
		"conf/emptied.conf":       "# was: pid c;\n",
		"shipped/emptied.conf":    "pid c;\n",
		"tls/nginx.pem":           "secret",
		"conf/logs-not-conf.json": "{}",
	})
	s := scenario.Scenario{Files: map[string]string{"extra/new.conf": "daemon on;\n"}}
	files, err := configuration(dir, s)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		got = append(got, f.Name, drawn(f))
	}
	want := []string{
		"emptied.conf", "-|pid c;\n+|# was: pid c;\n",
		"extra/new.conf", "+|daemon off;\n", "z.conf", "-|pid a;\n+|pid b; # was: pid a;\n",
		"nginx.conf", "|include a.conf;\n|include z.conf;\n|include extra/*.conf;\n|events { }\n", "a.conf", "|user a;\n",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	again, err := configuration(dir, s)
	if err != nil || again[0].ID != files[0].ID || files[0].ID == files[1].ID {
		t.Errorf("IDs %q, again %q, %v", files[0].ID, again[0].ID, err)
	}
	if none, err := configuration(t.TempDir(), s); err != nil || len(none) > 0 {
		t.Errorf("without a configuration: %v, %v", none, err)
	}
}

func TestPrivateKeysAreNotInTheConfiguration(t *testing.T) {
	t.Parallel()
	const begin, end = "-----BEGIN RSA PRIVATE" + " KEY-----", "-----END RSA PRIVATE" + " KEY-----"
	dir := t.TempDir()
	lay(t, dir, map[string]string{
		"conf/nginx.conf":                 "pid \"" + begin + "\nc2VjcmV0\n" + end + "\";\nuser b;\nuser \"" + begin + "\nb3BlbiBlbmQ=\";\n",
		record.ShippedDir + "/nginx.conf": "pid \"" + begin + "\nb2xkZXI=\n" + end + "\";\n",
	})
	files, err := configuration(dir, scenario.Scenario{})
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	got := drawn(files[0])
	for _, secret := range []string{"c2VjcmV0", "b3BlbiBlbmQ", "b2xkZXI"} {
		if strings.Contains(got, secret) {
			t.Errorf("%s in\n%s", secret, got)
		}
	}
	if !strings.Contains(got, "|user b;\n") {
		t.Errorf("got\n%s", got)
	}
}

// A link in conf/ leads to no file outside it.
func TestConfigurationIsOnlyWhatIsInItsDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lay(t, dir, map[string]string{"conf/nginx.conf": "include key.conf;\n", "tls/key.conf": "secret;\n"})
	if err := os.Symlink("../tls/key.conf", filepath.Join(dir, "conf", "key.conf")); err != nil {
		t.Fatal(err)
	}
	if files, err := configuration(dir, scenario.Scenario{}); err != nil || len(files) != 1 || drawn(files[0]) != "|include key.conf;\n" {
		t.Errorf("got %v, %v", files, err)
	}
	if files, err := configuration(dir, scenario.Scenario{Files: map[string]string{"key.conf": ""}}); err == nil {
		t.Errorf("got %v", files)
	}
}
