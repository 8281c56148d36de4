package whoami

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// An envLine is one assignment of an env file.
type envLine struct {
	name, value string
	line        int // from 1
}

// readEnvFile reads the file at path. On an error it still returns what it could read, so that the faults of the values
// can be told together with those of the lines.
func readEnvFile(path string) ([]envLine, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--env-file %s: %w", path, errors.Unwrap(err)) // Without "open".
	}
	defer f.Close()
	return parseEnv(f, path)
}

// parseEnv reads NAME=value lines, of which Docker Compose's env_file takes the same: a value is on one line, and nothing in
// it is expanded. Empty lines and lines that start with # are passed over, `export` before a name too. A value may be quoted
// by ' or ", and within " a \ stands before a " or a \ that is meant as such; unquoted, it ends before a # that follows
// white space. The last of several assignments of one name holds.
//
// All faulty lines are told at once, as path:line.
func parseEnv(r io.Reader, path string) ([]envLine, error) {
	var lines []envLine
	var faults []error
	scanner := bufio.NewScanner(r)
	for n := 1; scanner.Scan(); n++ {
		text := strings.TrimSpace(scanner.Text())
		if n == 1 {
			text = strings.TrimPrefix(text, "\ufeff") // Windows editors write a byte order mark.
		}
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		name, value, err := assignment(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s:%d: %w", path, n, err))
			continue
		}
		lines = append(lines, envLine{name, value, n})
	}
	if err := scanner.Err(); err != nil {
		faults = append(faults, fmt.Errorf("--env-file %s: cannot be read as lines of text: %w", path, err))
	}
	return lines, errors.Join(faults...)
}

func assignment(text string) (name, value string, err error) {
	name, rest, ok := strings.Cut(text, "=")
	name = strings.TrimSpace(name)
	if word, exported, two := strings.Cut(strings.ReplaceAll(name, "\t", " "), " "); two && word == "export" {
		name = strings.TrimSpace(exported)
	}
	if !ok || !isName(name) {
		return "", "", fmt.Errorf("want NAME=value, have %q", text)
	}
	rest = strings.TrimSpace(rest)
	if rest == "" || rest[0] != '"' && rest[0] != '\'' {
		return name, uncomment(rest), nil
	}
	value, tail, ok := quoted(rest)
	if tail = strings.TrimSpace(tail); !ok || tail != "" && tail[0] != '#' {
		return "", "", fmt.Errorf("want one closing %c at the end, have %q", rest[0], text)
	}
	return name, value, nil
}

// quoted takes a value out of its quotes; ok tells whether they are closed.
func quoted(s string) (value, tail string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == s[0]:
			return b.String(), s[i+1:], true
		case s[i] == '\\' && s[0] == '"' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// uncomment cuts an unquoted value before a # that stands at its start or behind white space: a#b is a value.
func uncomment(s string) string {
	for i := range len(s) {
		if s[i] == '#' && (i == 0 || s[i-1] == ' ' || s[i-1] == '\t') {
			return strings.TrimSpace(s[:i])
		}
	}
	return s
}

func isName(s string) bool {
	for i, c := range []byte(s) {
		letter := c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
