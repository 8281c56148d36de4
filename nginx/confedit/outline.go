package confedit

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"trivet/internal/nearest"
	textwords "trivet/internal/words"
)

// sources holds the files of a configuration while it is edited.
type sources struct {
	root    fs.FS
	names   Names
	texts   map[string]string // as they are now, by name
	changed map[string]bool
}

func newSources(root fs.FS, names Names) *sources {
	return &sources{root: root, names: names, texts: map[string]string{}, changed: map[string]bool{}}
}

// begins reports whether words begin with those that are given, or with what these name.
func (s *sources) begins(words []word, given []string) bool {
	if len(words) < len(given) {
		return false
	}
	for i, text := range given {
		if words[i].text != text && !slices.Contains(s.names[text], words[i].text) {
			return false
		}
	}
	return true
}

// An outline is a configuration with its included files in place.
type outline struct {
	*sources
	main     *node
	nodes    []*node // main, files and blocks, in reading order
	parsed   map[string][]*statement
	included map[string][]string     // by file: where it is included
	reads    map[*statement][]string // by include: the files that it reads, of those in the configuration directory
}

// A node is a block or an included file: what a context can name.
type node struct {
	names  [][]string // in words
	title  string
	at     *statement // nil for a file
	file   string     // the block's, or its name
	parent *node
	parts  []*statement // its directives and blocks, including those of included files
}

// mostIncludes bounds the nodes of files that include others many times.
const mostIncludes = 1000

// outline parses the configuration as it is now.
func (s *sources) outline() (*outline, error) {
	t := &outline{sources: s, parsed: map[string][]*statement{}, included: map[string][]string{}, reads: map[*statement][]string{}}
	body, err := t.parse("nginx.conf")
	if err != nil {
		return nil, err
	}
	t.main = &node{names: [][]string{{"main"}, {"nginx.conf"}}, title: "main", file: "nginx.conf"}
	t.nodes = append(t.nodes, t.main)
	return t, t.fill(t.main, body)
}

func (t *outline) parse(name string) ([]*statement, error) {
	if body, ok := t.parsed[name]; ok {
		return body, nil
	}
	if _, ok := t.texts[name]; !ok {
		text, err := fs.ReadFile(t.root, name)
		if err != nil {
			return nil, err
		}
		t.texts[name] = string(text)
	}
	body, err := parse(name, t.texts[name])
	if errors.Is(err, errUnfinished) {
		err = fmt.Errorf("%s: %w", name, err)
	}
	t.parsed[name] = body
	return body, err
}

// fill adds body to the parts of n, and makes nodes of its blocks and included files.
func (t *outline) fill(n *node, body []*statement) error {
	for _, d := range body {
		for up := n; up != nil; up = up.parent {
			up.parts = append(up.parts, d)
			if up.at != nil {
				break // A directive belongs to its own block only; a file is part of the block that includes it.
			}
		}
		var err error
		switch {
		case d.block:
			block := &node{names: [][]string{texts(d.words)}, title: t.header(d), at: d, file: d.file, parent: n}
			t.nodes = append(t.nodes, block)
			err = t.fill(block, d.body)
		case d.words[0].text == "include" && len(d.words) == 2:
			err = t.include(n, d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// include adds the files that d names, if they are in the configuration directory. Others are left to nginx.
func (t *outline) include(n *node, d *statement) error {
	pattern := path.Clean(d.words[1].text)
	found := []string{pattern}
	t.reads[d] = nil
	if strings.ContainsAny(pattern, "*?[") {
		found, _ = fs.Glob(t.root, pattern)
	}
	for _, name := range found {
		for up := n; up != nil; up = up.parent {
			if up.at == nil && up.file == name {
				return fmt.Errorf("%s:%d: %s includes itself", d.file, d.line, name)
			}
		}
		if info, err := fs.Stat(t.root, name); err != nil || !info.Mode().IsRegular() {
			continue // Missing, or outside the configuration directory.
		}
		body, err := t.parse(name)
		if err != nil {
			return err
		}
		t.reads[d] = append(t.reads[d], name)
		if t.included[name] = append(t.included[name], fmt.Sprintf("%s:%d", d.file, d.line)); len(t.nodes) > mostIncludes {
			return fmt.Errorf("%s:%d: more than %d blocks and included files", d.file, d.line, mostIncludes)
		}
		file := &node{names: [][]string{{name}}, title: name, file: name, parent: n}
		t.nodes = append(t.nodes, file)
		if err := t.fill(file, body); err != nil {
			return err
		}
	}
	return nil
}

// A contextError reports a context that does not name exactly one block.
type contextError struct{ error }

func contextErrorf(format string, args ...any) error {
	return contextError{fmt.Errorf(format, args...)}
}

// find returns the one node that context names.
func (t *outline) find(name string, context []string) (*node, error) {
	found := t.matching(context)
	switch len(found) {
	case 1:
		if at := found[0].at; at != nil && at.hasLua() {
			return nil, contextErrorf("context %q is Lua code (%s), which holds no directives: replace the block as a whole", name, found[0].place())
		}
		return found[0], nil
	case 0:
		return nil, contextErrorf("context %q means no block%s", name, t.nearest(name))
	}
	return nil, t.several(name, found)
}

// matching returns the nodes that context can name.
func (t *outline) matching(context []string) []*node {
	return t.distinct(func(n *node) bool { return n.matches(context) })
}

// distinct returns the nodes that are wanted. A file included twice has each node twice; only the first is returned.
func (t *outline) distinct(want func(*node) bool) []*node {
	var found []*node
	for _, n := range filter(t.nodes, want) {
		if !slices.ContainsFunc(found, func(f *node) bool { return f.at == n.at && f.file == n.file }) {
			found = append(found, n)
		}
	}
	return found
}

// matches reports whether context ends in the name of n, and names enclosing nodes of n before it, in order.
func (n *node) matches(context []string) bool {
	return slices.ContainsFunc(n.names, func(name []string) bool {
		rest := len(context) - len(name)
		return rest >= 0 && slices.Equal(context[rest:], name) && n.parent.around(context[:rest])
	})
}

func (n *node) around(context []string) bool {
	if len(context) == 0 {
		return true
	}
	return n != nil && (n.matches(context) || n.parent.around(context))
}

func (t *outline) several(name string, found []*node) error {
	var places, unique []string
	for _, n := range found {
		places = append(places, n.place())
		if u := t.unique(n); u != "" {
			unique = append(unique, fmt.Sprintf("%q", u))
		}
	}
	remedy := "no context names only one of them"
	if len(unique) > 0 {
		remedy = "write one of " + strings.Join(unique, ", ")
	}
	return contextErrorf("context %q means %d blocks: %s: %s", name, len(found), strings.Join(places, ", "), remedy)
}

// unique returns a short context that names n alone, "" if there is none.
func (t *outline) unique(n *node) string {
	for _, context := range n.contexts() {
		if w, err := words(context); err == nil && len(t.matching(w)) == 1 {
			return context
		}
	}
	return ""
}

// contexts returns the names of n, alone and with one or two of its enclosing nodes, the shortest first.
func (n *node) contexts() []string {
	one, two, three := []string{n.title}, []string(nil), []string(nil)
	for up := n.parent; up != nil; up = up.parent {
		two = append(two, up.title+" "+n.title)
		for upper := up.parent; upper != nil; upper = upper.parent {
			three = append(three, upper.title+" "+up.title+" "+n.title)
		}
	}
	return slices.Concat(one, two, three)
}

func (n *node) place() string {
	if n.at == nil {
		return n.file
	}
	return fmt.Sprintf("%s:%d", n.file, n.at.line)
}

func (n *node) label() string {
	if n.at == nil {
		return n.title
	}
	return fmt.Sprintf("%s (%s)", n.title, n.place())
}

// nearest suggests a node for a context that names none.
func (t *outline) nearest(name string) string {
	var known []string
	of := map[string]*node{}
	for _, n := range t.nodes {
		for _, context := range n.contexts() {
			if of[context] == nil {
				of[context] = n
				known = append(known, context)
			}
		}
	}
	// A context that begins with "upstream" gets an upstream suggested, however different its name, not another kind of block.
	for word := range strings.FieldsSeq(name) {
		if same := filter(known, func(context string) bool { return strings.HasPrefix(context+" ", word+" ") }); len(same) > 0 {
			known = same
			break
		}
	}
	n := of[nearest.Name(strings.Join(strings.Fields(name), " "), known)]
	context := t.unique(n)
	if context == "" {
		context = n.title
	}
	place := n.place()
	if n.at == nil {
		place += ":1" // A file, from its beginning.
	}
	return fmt.Sprintf("; the nearest is %q (%s)", context, place)
}

// nearest suggests a directive of n for a name that n does not have.
func (n *node) nearest(name string) string {
	var known []string
	for _, d := range n.parts {
		known = append(known, d.words[0].text)
	}
	if len(known) == 0 {
		return ", which is empty"
	}
	near := nearest.Name(name, known)
	d := n.parts[slices.Index(known, near)]
	return fmt.Sprintf("; the nearest is %s (%s:%d)", near, d.file, d.line)
}

// someDirective returns the name of a directive in n, of an upstream "server".
func (n *node) someDirective() string {
	name := "directive"
	for _, d := range n.parts {
		if !d.block && (name == "directive" || d.words[0].text == "server") {
			name = d.words[0].text
		}
	}
	return name
}

// directives returns the directives that the last words of context name, by their name and perhaps their first arguments, in the one block
// that the words before them name.
func (t *outline) directives(name string, context []string) ([]*statement, *node, error) {
	if len(context) == 1 {
		return t.anywhere(name)
	}
	last := len(context) - 1
	for at := last; at > 0; at-- {
		n, err := t.find("", context[:at])
		if err != nil {
			continue
		}
		named := n.named(context[at])
		found := filter(named, func(d *statement) bool { return t.begins(d.words, context[at:]) })
		switch {
		case len(found) > 0:
			return found, n, nil
		case len(named) > 0:
			return nil, nil, contextErrorf("context %q ends in no directive: no %s of %s begins with %s; there are %s", name, context[at], n.label(),
				strings.Join(context[at+1:], " "), t.arguments(named))
		}
	}
	before := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(name), context[last]))
	n, err := t.find(before, context[:last])
	if blocks := t.matching(context); err != nil && len(blocks) > 0 {
		return nil, nil, contextErrorf("context %q ends in a block, %s: for a parameter a directive's name comes after it, like %q",
			name, blocks[0].label(), strings.TrimSpace(name)+" "+blocks[0].someDirective())
	}
	if err != nil {
		return nil, nil, fmt.Errorf("context %q: %w", name, err)
	}
	return nil, nil, contextErrorf("context %q ends in no directive: there is no %s in %s%s", name, context[last], n.label(), n.nearest(context[last]))
}

// anywhere returns the directives of a name in the only block that has any.
func (t *outline) anywhere(name string) ([]*statement, *node, error) {
	word := strings.TrimSpace(name)
	switch found := t.distinct(func(n *node) bool { return (n.at != nil || n == t.main) && len(n.named(word)) > 0 }); len(found) {
	case 1:
		return found[0].named(word), found[0], nil
	case 0:
		return nil, nil, contextErrorf("context %q ends in no directive: for a parameter write it like %q", name, "upstream whoami_grpc server")
	default:
		return nil, nil, t.several(name, found)
	}
}

// named returns the directives of n of a name that are no blocks.
func (n *node) named(name string) []*statement {
	return filter(n.parts, func(d *statement) bool { return !d.block && d.words[0].text == name })
}

// arguments lists the first arguments of directives, by their names if they have any.
func (t *outline) arguments(all []*statement) string {
	var list []string
	for _, d := range all {
		shown := firstArgument(d)
		for _, name := range slices.Sorted(maps.Keys(t.names)) {
			if slices.Contains(t.names[name], shown) {
				shown = name
				break
			}
		}
		list = append(list, shown)
	}
	const most = 200
	return textwords.Clip(strings.Join(list, ", "), most)
}

// alone returns an error if d, a part of n, cannot be changed for n alone because its file is included elsewhere too.
func (t *outline) alone(n *node, d *statement) error {
	if at := t.included[d.file]; d.file != n.file && len(at) > 1 {
		return contextErrorf("it is at %s:%d, in a file included %d times (%s): to change it for all of them, write the context %q",
			d.file, d.line, len(at), strings.Join(at, ", "), d.file)
	}
	return nil
}
