package instance

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

// readEnvFile reads the file at path. On an error it still returns the valid lines, so that errors in their values can be
// reported together with the invalid lines.
func readEnvFile(path string) ([]envLine, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--env-file %s: %w", path, errors.Unwrap(err)) // Without os.PathError's "open PATH".
	}
	defer f.Close()
	return parseEnv(f, path)
}

// parseEnv reads NAME=value lines in the format of Docker Compose's env_file, with values on one line and without
// expansion. Empty lines, lines that start with #, and `export` before a name are ignored. A value may be quoted by ' or ";
// within ", \ escapes " and \. An unquoted value ends before a # that follows white space. The last assignment of a name
// wins.
//
// All invalid lines are reported at once, as path:line.
func parseEnv(r io.Reader, path string) ([]envLine, error) {
	var lines []envLine
	var errs []error
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
			errs = append(errs, fmt.Errorf("%s:%d: %w", path, n, err))
			continue
		}
		lines = append(lines, envLine{name, value, n})
	}
	if err := scanner.Err(); err != nil {
		errs = append(errs, fmt.Errorf("--env-file %s: read lines: %w", path, err))
	}
	return lines, errors.Join(errs...)
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
		return "", "", fmt.Errorf("want the value to end at its closing %c, have %q", rest[0], text)
	}
	return name, value, nil
}

// quoted returns the value within the quotes that s starts with, and what follows; ok reports whether they are closed.
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

// uncomment ends an unquoted value before a # at its start or after white space: a#b is a value.
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
