package instance

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestParseEnv(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, in, value string }{
		{"plain", "A=b", "b"},
		{"export", "export A=b", "b"},
		{"export and a tab", "export\tA=b", "b"},
		{"escaped quote", `A="b \"c\" \\ \n"`, `b "c" \ \n`},
		{"no escapes in single quotes", `A='b\'`, `b\`},
		{"white space around", "  A = b  ", "b"},
		{"comment behind", "A=b # c", "b"},
		{"hash inside is a value", "A=b#c", "b#c"},
		{"comment only", "A=# c", ""},
		{"double quotes", `A="b # c"`, "b # c"},
		{"single quotes", `A='b "c"'`, `b "c"`},
		{"comment behind quotes", `A="b" # c`, "b"},
		{"equals sign in the value", "A=b=c", "b=c"},
		{"empty", "A=", ""},
		{"carriage return", "A=b\r", "b"},
		{"byte order mark", "\ufeffA=b", "b"},
		{"comments and blank lines", "# x\n\n  # y\nA=b", "b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			lines, err := parseEnv(strings.NewReader(test.in), "f")
			if err != nil {
				t.Fatal(err)
			}
			if len(lines) != 1 || lines[0].name != "A" || lines[0].value != test.value {
				t.Errorf("%v, want A=%s", lines, test.value)
			}
		})
	}
}

func TestParseEnvReportsAllInvalidLines(t *testing.T) {
	t.Parallel()
	lines, err := parseEnv(strings.NewReader("no sign\nA=1\n=x\n1A=x\nB='open\nC=\"x\" y\n"), "f.env")
	want := `f.env:1: want NAME=value, have "no sign"
f.env:3: want NAME=value, have "=x"
f.env:4: want NAME=value, have "1A=x"
f.env:5: want the value to end at its closing ', have "B='open"
f.env:6: want the value to end at its closing ", have "C=\"x\" y"`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if !slices.Equal(lines, []envLine{{"A", "1", 2}}) {
		t.Errorf("read %v beside the invalid lines", lines)
	}
}

func TestUnreadableEnvFileErrorNamesPath(t *testing.T) {
	t.Parallel()
	for _, path := range []string{filepath.Join(t.TempDir(), "none"), t.TempDir()} {
		if _, err := readEnvFile(path); err == nil || !strings.HasPrefix(err.Error(), "--env-file "+path+": ") {
			t.Errorf("%v, want one that names --env-file %s", err, path)
		}
	}
}

func FuzzParseEnv(f *testing.F) {
	for _, seed := range []string{"A=b", "export A='b'", "A=\"b\" # c", "# x", "A=b #c\n\nB=", "=\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		lines, err := parseEnv(strings.NewReader(in), "f")
		count := strings.Count(in, "\n") + 1
		for _, l := range lines {
			if !isName(l.name) || l.line < 1 || l.line > count || strings.ContainsAny(l.value, "\n") {
				t.Errorf("%+v from %q (%v)", l, in, err)
			}
		}
		// A value that was read reads the same when written in quotes.
		for _, l := range lines {
			escaped := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(l.value)
			again, err := parseEnv(strings.NewReader(l.name+`="`+escaped+`"`), "f")
			if err != nil || len(again) != 1 || again[0].value != l.value {
				t.Errorf("%+v read again as %v, %v", l, again, err)
			}
		}
	})
}

// isID matches a pattern without package regexp, because it runs for every request.
func FuzzIsID(f *testing.F) {
	pattern := regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	for _, seed := range []string{"", "a", "Aa0.-_", strings.Repeat("x", 64), strings.Repeat("x", 65), "a\n", "ä"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if want := pattern.MatchString(s) && !strings.HasSuffix(s, "\n"); isID(s) != want {
			t.Errorf("%q: %t, want %t", s, isID(s), want)
		}
	})
}
