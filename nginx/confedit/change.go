package confedit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A change replaces the text of a file from start to end.
type change struct {
	file       string
	start, end int
	text       string
}

// make applies changes, which must not overlap.
func (s *sources) make(changes []change) {
	// The last first, so that the offsets of the others stay valid.
	slices.SortStableFunc(changes, func(a, b change) int { return cmp.Compare(b.start, a.start) })
	for _, c := range changes {
		text := s.texts[c.file]
		s.texts[c.file] = text[:c.start] + c.text + text[c.end:]
		s.changed[c.file] = true
	}
}

// like returns the directives in n that d replaces, and the last one of its name.
func (n *node) like(d *statement) (same []*statement, last *statement) {
	named := filter(n.parts, func(other *statement) bool { return other.block == d.block && other.words[0].text == d.words[0].text })
	if len(named) == 0 {
		return nil, nil
	}
	key, last := repeated[d.words[0].text], named[len(named)-1]
	switch {
	case d.block:
		key = func(block *statement) string { return fmt.Sprintf("%q", texts(block.words)) }
	case len(named) == 1 && (key == nil || named[0].off()), key != nil && d.off():
		return named, last
	case key == nil:
		key = firstArgument
	}
	return filter(named, func(other *statement) bool { return key(other) == key(d) }), last
}

// withAddresses returns text, which is d, with the addresses that its servers' names name.
func (s *sources) withAddresses(text string, d *statement) string {
	for _, inner := range slices.Backward(d.body) { // The last first, so that the offsets of the others stay valid.
		text = s.withAddresses(text, inner)
	}
	if d.block || len(d.words) < 2 || d.words[0].text != "server" {
		return text
	}
	if w := d.words[1]; len(s.names[w.text]) == 1 {
		text = text[:w.start] + s.names[w.text][0] + text[w.end:]
	}
	return text
}

// filter returns the elements that are to be kept.
func filter[T any](all []T, keep func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(all), func(one T) bool { return !keep(one) })
}

func texts(all []word) []string {
	var t []string
	for _, w := range all {
		t = append(t, w.text)
	}
	return t
}

// parameter returns the index of the argument of d that has text's name before "=", 0 if there is none.
func (d *statement) parameter(text string) int {
	name, _, _ := strings.Cut(text, "=")
	return 1 + slices.IndexFunc(d.words[1:], func(w word) bool {
		other, _, _ := strings.Cut(w.text, "=")
		return other == name
	})
}

// replacement replaces d by text and a comment, or by the comment alone if text is empty.
func (t *outline) replacement(d *statement, text string) change {
	comment := t.was(d)
	if text != "" {
		comment = text + " " + comment
	}
	return change{d.file, d.start, d.end, comment + t.breakAfter(d)}
}

// mark adds a comment behind d, a parameter of which is changed, with what d was.
func (t *outline) mark(d *statement) change {
	return change{d.file, d.end, d.end, " " + t.was(d) + t.breakAfter(d)}
}

func (t *outline) was(d *statement) string {
	const most = 120
	text := t.header(d)
	if d.block {
		text += " { … }"
	} else {
		text += ";"
	}
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return "# was: " + text
}

// header returns the words of d as its file writes them, on one line.
func (t *outline) header(d *statement) string {
	var all []string
	for _, w := range d.words {
		all = append(all, t.texts[d.file][w.start:w.end])
	}
	return strings.NewReplacer("\n", " ", "\r", " ").Replace(strings.Join(all, " "))
}

// breakAfter returns the line break that a comment behind d needs: none if nothing but a comment follows on the line.
func (t *outline) breakAfter(d *statement) string {
	if _, free := lineEnd(t.texts[d.file], d.end); free {
		return ""
	}
	return "\n" + t.indent(d)
}

// lineEnd returns the end of the line of text at an offset, and reports whether nothing but a comment is on the line from there on.
func lineEnd(text string, at int) (int, bool) {
	line, _, _ := strings.Cut(text[at:], "\n")
	rest := strings.TrimSpace(line)
	return at + len(strings.TrimSuffix(line, "\r")), rest == "" || rest[0] == '#'
}

// indent returns the white space before d on its line.
func (t *outline) indent(d *statement) string {
	text := t.texts[d.file]
	line := text[strings.LastIndexByte(text[:d.start], '\n')+1 : d.start]
	return line[:len(line)-len(strings.TrimLeft(line, " \t"))]
}

const added = " # added"

// after adds text on a line of its own after the line of d.
func (t *outline) after(d *statement, text string) change {
	return t.line(d.file, d.end, t.indent(d)+text+added)
}

// within adds text on a line of its own at the start of n.
func (t *outline) within(n *node, text string) change {
	if n.at == nil {
		return change{n.file, 0, 0, text + added + "\n"}
	}
	indent := t.indent(n.at) + "\t"
	if len(n.at.body) > 0 && n.at.body[0].line > n.at.line {
		indent = t.indent(n.at.body[0])
	}
	return t.line(n.file, n.at.open, indent+text+added)
}

func (t *outline) line(file string, at int, text string) change {
	end, free := lineEnd(t.texts[file], at)
	if !free {
		return change{file, at, at, "\n" + text + "\n"}
	}
	return change{file, end, end, "\n" + text}
}

// positions lists where statements stand, as file:line.
func positions(all []*statement) string {
	var s []string
	for _, d := range all {
		s = append(s, fmt.Sprintf("%s:%d", d.file, d.line))
	}
	return strings.Join(s, ", ")
}
