package experiment

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// where is the place of a value that was given.
func where(n *yaml.Node) spot { return spot{max(1, n.Line), max(1, n.Column)} }

// hasRead tells whether the file has what a pointer leads to, and it could be read.
func (d *decoder) hasRead(pointer any) bool {
	n := d.given(pointer)
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n != nil && !d.unread[n]
}

// inText is where a character of a text stands in the file, as far as the file holds the text as it is up to there: it does not with
// escapes, or with line breaks that YAML folds. Else it is where the text begins.
func (d *decoder) inText(n *yaml.Node, at int) spot {
	s := where(n)
	if n.Line < 1 || n.Line > len(d.lines) {
		return s
	}
	from := s.column - 1
	switch n.Style {
	case 0:
	case yaml.DoubleQuotedStyle, yaml.SingleQuotedStyle:
		from++
	default:
		return s
	}
	line, text := []rune(d.lines[n.Line-1]), []rune(n.Value)
	if at > len(text) || from+at > len(line) || string(line[from:from+at]) != string(text[:at]) {
		return s
	}
	return spot{s.line, from + at + 1}
}

var (
	yamlError     = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// syntax tells where YAML itself is broken. The library has the line at most, and not always the right one.
func (d *decoder) syntax(err error) {
	line, text := 1, err.Error()
	if m := yamlError.FindStringSubmatch(text); m != nil {
		text = m[2]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
			if strings.HasPrefix(text, "did not find expected") { // Its parser counts lines from 0, unlike its scanner.
				line++
			}
		}
	}
	line = min(line, len(d.lines))
	if at, what := d.unreadable(); what != "" {
		d.add(at, "%s", what)
		return
	}
	if m := unknownAnchor.FindStringSubmatch(text); m != nil {
		d.add(d.alias(m[1]), "not YAML: there is no anchor &%s before this", m[1])
		return
	}
	for n := max(1, line-1); n <= min(line+1, len(d.lines)); n++ {
		if at := strings.IndexByte(indentation(d.lines[n-1]), '\t'); at >= 0 {
			d.add(spot{n, at + 1}, "a tab: YAML wants spaces before a line's text")
			return
		}
	}
	d.add(spot{line, len(indentation(d.lines[line-1])) + 1}, "not YAML: %s", text)
}

// indentation is the white space before a line's text.
func indentation(line string) string { return line[:len(line)-len(strings.TrimLeft(line, " \t"))] }

// unreadable is the first thing that no YAML file may hold, anywhere; "" if there is none.
func (d *decoder) unreadable() (at spot, what string) {
	for i, line := range d.lines {
		column := 1
		for j, c := range line {
			switch _, size := utf8.DecodeRuneInString(line[j:]); {
			case c == utf8.RuneError && size == 1:
				return spot{i + 1, column}, "byte 0x" + strconv.FormatUint(uint64(line[j]), 16) + " is not UTF-8: YAML wants text in that"
			case c < ' ' && c != '\t' && c != '\r', c >= 0x7f && c < 0xa0 && c != 0x85:
				return spot{i + 1, column}, "control character " + strconv.QuoteRuneToASCII(c) + ": YAML wants it as an escape, in double quotes"
			}
			column++
		}
	}
	return spot{}, ""
}

// alias is where *name stands first, but for comments; the file's beginning if it is not found.
func (d *decoder) alias(name string) spot {
	written := regexp.MustCompile(`(?:^|[\s,:\[{-])(\*` + regexp.QuoteMeta(name) + `)(?:[\s,\]}]|$)`)
	for i, line := range d.lines {
		line, _, _ = strings.Cut(line, " #")
		if m := written.FindStringSubmatchIndex(line); m != nil && !strings.HasPrefix(line, "#") {
			return spot{i + 1, utf8.RuneCountInString(line[:m[2]]) + 1}
		}
	}
	return spot{1, 1}
}
