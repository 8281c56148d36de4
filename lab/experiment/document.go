package experiment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"trivet/internal/words"
)

// A document is a YAML file as plain values, with the position of each. Values are named by their JSON pointers:
// /load/0/rate.
type document struct {
	diagnostics
	lines   []string
	nodes   map[string]*yaml.Node // of values
	keys    map[string]*yaml.Node // of the keys that lead to values
	invalid map[string]bool       // values that are not what the schema wants: checks of several values together skip them
	open    map[*yaml.Node]bool   // values that are being read
	left    int                   // how much more memory the values may take: aliases make many of few, and depth makes their pointers long
}

// maxMemory is what the values of a file may take, in bytes; valueMemory is about what one takes beside its pointer.
const (
	maxMemory   = 64 << 20
	valueMemory = 200
)

// maxText is the most bytes of the file that a message quotes.
const maxText = 200

// child is the pointer of a key or index below at.
func child(at, key string) string { return at + "/" + escape.Replace(key) }

var (
	escape   = strings.NewReplacer("~", "~0", "/", "~1")
	unescape = strings.NewReplacer("~1", "/", "~0", "~")
)

// load reads the one document of a file. It returns nil if there is nothing to go on with.
func (d *document) load(source []byte) any {
	d.lines = strings.Split(string(source), "\n")
	decoder := yaml.NewDecoder(bytes.NewReader(source))
	var first, second yaml.Node
	if err := decoder.Decode(&first); errors.Is(err, io.EOF) || err == nil && len(first.Content) == 0 {
		return nil
	} else if err != nil {
		d.syntax(err)
		return nil
	}
	if err := decoder.Decode(&second); err == nil {
		d.add(where(&second), "a second document begins here: want one experiment per file")
	} else if !errors.Is(err, io.EOF) {
		d.syntax(err)
	}
	value := d.value(first.Content[0], "")
	if d.left < 0 {
		return nil
	}
	return value
}

// syntax reports where the YAML itself is wrong.
func (d *document) syntax(err error) {
	at, message := position{1, 1}, err.Error()
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		message = e.Message
		if e.Mark.Line > 0 {
			at = position{min(e.Mark.Line, len(d.lines)), e.Mark.Column}
		}
	}
	line := d.lines[at.line-1]
	switch bad, what := d.unreadable(); {
	case what != "":
		d.add(bad, "%s", what)
	case strings.Contains(message, "cannot start any token") && at.column <= len(line) && line[at.column-1] == '\t':
		d.add(at, "a tab: YAML wants spaces before a line's text")
	default:
		d.add(at, "not YAML: %s", message)
	}
}

// unreadable finds the first character that no YAML file may contain; what is "" if there is none. The YAML library does not say where
// it stands.
func (d *document) unreadable() (at position, what string) {
	for i, line := range d.lines {
		column := 1
		for j, c := range line {
			switch _, size := utf8.DecodeRuneInString(line[j:]); {
			case c == utf8.RuneError && size == 1:
				return position{i + 1, column}, fmt.Sprintf("byte 0x%x is not UTF-8, which YAML wants", line[j])
			case c < ' ' && c != '\t' && c != '\r', c >= 0x7f && c < 0xa0 && c != 0x85:
				return position{i + 1, column}, "control character " + strconv.QuoteRuneToASCII(c) + ": YAML wants it as an escape, in double quotes"
			}
			column++
		}
	}
	return position{}, ""
}

// value turns a node into a value that JSON has a type for. What it has none for is nil.
func (d *document) value(n *yaml.Node, at string) any {
	d.nodes[at] = n
	n = target(n)
	switch {
	case d.left < 0:
		return nil
	case d.open[n]:
		d.add(where(d.nodes[at]), "alias %s is inside its own anchor", d.nodes[at].Value)
		d.invalid[at] = true
		return nil
	}
	if d.left -= len(at) + valueMemory; d.left < 0 {
		d.add(where(d.nodes[at]), "the values of this file, one for each alias, take more than %d MiB up to here", maxMemory>>20)
		return nil
	}
	d.open[n] = true
	defer delete(d.open, n)
	switch n.Kind {
	case yaml.MappingNode:
		return d.mapping(n, at)
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = d.value(item, child(at, strconv.Itoa(i)))
		}
		return list
	}
	switch n.Tag {
	case "!!str":
		return n.Value
	case "!!bool", "!!int":
		var value any
		if err := n.Decode(&value); err == nil && !ambiguous.MatchString(n.Value) {
			return value
		}
	}
	return nil // Also a float: no key wants a fraction, and a whole number of many digits would lose some.
}

// ambiguous is an integer with leading zeros: octal in YAML 1.1, decimal in YAML 1.2.
var ambiguous = regexp.MustCompile(`^[-+]?0[0-9_]`)

func (d *document) mapping(n *yaml.Node, at string) any {
	values, lines := map[string]any{}, map[string]int{}
	for pair := range slices.Chunk(n.Content, 2) {
		key := target(pair[0])
		switch line, twice := lines[key.Value]; {
		case key.Tag == "!!merge":
			d.add(where(pair[0]), "<< is not supported: write the keys out")
		case key.Kind != yaml.ScalarNode:
			d.add(where(pair[0]), "%s where a key should be: want a name; one that contains braces or brackets needs quotes", describe(key))
		case twice:
			d.add(where(pair[0]), "key %q is here a second time; the first is in line %d", clip(key.Value), line)
		default:
			lines[key.Value] = pair[0].Line
			to := child(at, key.Value)
			d.keys[to] = pair[0]
			values[key.Value] = d.value(pair[1], to)
		}
	}
	return values
}

// target is the node that an alias stands for; any other node is its own.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// describe shows a value in a message.
func describe(n *yaml.Node) string {
	switch {
	case n == nil:
		return "missing"
	case n.Kind == yaml.MappingNode && len(n.Content) == 0:
		return "an empty mapping"
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "empty"
	case n.Tag == "!!str":
		return strconv.Quote(clip(n.Value))
	}
	return clip(n.Value)
}

func clip(text string) string { return words.Clip(text, maxText) }

// where is a node's place.
func where(n *yaml.Node) position { return position{max(1, n.Line), max(1, n.Column)} }

// has reports whether the file itself has a value; otherwise it has its default.
func (d *document) has(at string) bool { return d.nodes[at] != nil }

// position is the place of a value; if the file does not have it, that of the nearest value around it.
func (d *document) position(at string) position {
	for d.nodes[at] == nil && at != "" {
		at = at[:strings.LastIndexByte(at, '/')]
	}
	return where(d.nodes[at])
}

// valid reports whether the file has a value and everything in it is what the schema wants.
func (d *document) valid(at string) bool {
	for invalid := range d.invalid {
		if invalid == at || strings.HasPrefix(invalid, at+"/") {
			return false
		}
	}
	return d.has(at)
}

// inText is the place of a character of a text, as long as the file writes the text up to there as it is: escapes and folded lines are
// not. Then it is the start of the text.
func (d *document) inText(at string, offset int) position {
	n := d.nodes[at]
	start := where(n)
	from := start.column - 1
	switch n.Style {
	case 0:
	case yaml.DoubleQuotedStyle, yaml.SingleQuotedStyle:
		from++
	default:
		return start
	}
	line, text := []rune(d.lines[start.line-1]), []rune(n.Value)
	if offset > len(text) || from+offset > len(line) || string(line[from:from+offset]) != string(text[:offset]) {
		return start
	}
	return position{start.line, from + offset + 1}
}
