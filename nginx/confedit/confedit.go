// Package confedit changes nginx configuration files one directive at a time, and keeps their comments and layout.
//
// An [Edit] names a block in the words of the files, "upstream whoami_http", and a directive or parameter to set, add or remove. A place
// that does not exist, or is ambiguous, is an error that names the nearest one, with file and line. [Apply] writes nothing unless
// every edit can be made. [AddFiles] puts new files beside the others, for edits to include, and [Read] returns what nginx reads.
package confedit

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
)

// An Edit is one change to a configuration; see [Apply]. Exactly one of Directive, Add, Parameter and Remove is set.
//
// Context names the place: the blocks as the files write them, the innermost last, with as many of the enclosing blocks before it as
// make it unambiguous: "upstream whoami_http", "grpc-listener.conf server", "http-listener.conf server location /". The name of an included
// file counts like a block's and is optional like one. "main" is the top level. For Parameter, and for Remove of a parameter, the
// last word is a directive's name, "upstream whoami_grpc server": every directive of that name in that one block; or its first arguments
// follow, "upstream whoami_grpc server 10.0.0.2:9090": those that begin so. See [Names].
type Edit struct {
	Context string `json:"context"`
	// Directive is one directive, "keepalive 4", or a whole block; the final ";" is optional. It replaces the one directive of its name
	// in the block; a block replaces the one with the same arguments. Of directives that a block can have several of (add_header,
	// limit_req, access_log, ssl_certificate) it replaces only the one for the same thing: the same first argument or zone; "off"
	// replaces the only one. If there is none it is added: after the last of its name, else at the start of the block, so that a
	// balancing method stands above keepalive.
	Directive string `json:"directive,omitempty"`
	// Add is one directive or a whole block, as in Directive. It replaces nothing: it is added after the last of its name, beside others.
	Add string `json:"add,omitempty"`
	// Parameter is one argument, "max_fails=1" or "backup". It replaces the one with the same name before "=", or is added.
	Parameter string `json:"parameter,omitempty"`
	// Remove is a directive, "zone", with as many of its first arguments as make it unambiguous: "error_page 494". Where Context ends
	// in a directive it is a parameter: "max_fails".
	Remove string `json:"remove,omitempty"`
}

// Names are names for arguments, which edits can write in their place: where "whoami-2" names 10.0.0.2:9090, "server whoami-2" is the
// server of that address. A name of one argument can stand in a directive to set or add, too: "server whoami-2:grpc backup".
type Names map[string][]string

// An Error reports one edit that cannot be made.
type Error struct {
	Index   int    // of the edit, from 0
	Edit    Edit   // as given
	Field   string // of Edit: Context, Directive, Add, Parameter or Remove; "" if it is all of them
	Message string // names files and lines relative to the configuration directory
}

func (e *Error) Error() string { return fmt.Sprintf("edit %d: %s", e.Index+1, e.Message) }

// Apply edits the configuration in dir, the directory that holds nginx.conf. Later edits see what earlier ones did. Comments and layout
// stay, and a comment after each change shows what it replaced: "keepalive 4; # was: keepalive 256;".
//
// An included file in dir is part of the block that includes it. Files outside dir are neither read nor written. Apply checks syntax
// only; whether nginx accepts the result, nginx must say: "nginx -t".
//
// All edits that cannot be made are reported at once, joined, an *[Error] for each. Then no file is written.
//
// Each file is replaced at once, so that a reader, or a crash, finds it either old or new. Calls for the same dir wait for each other.
func Apply(dir string, edits []Edit, names Names) error {
	if len(edits) == 0 {
		return nil
	}
	failed, err := locked(dir, func(root *os.Root) ([]error, error) { return apply(root, edits, names) })
	if err != nil {
		return fmt.Errorf("edit nginx configuration: %w", err)
	}
	return errors.Join(failed...)
}

// locked calls change with a configuration's directory, while no other call for the same dir does.
func locked(dir string, change func(*os.Root) (failed []error, err error)) (failed []error, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	unlock, err := lock(root)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return change(root)
}

// apply returns what is wrong with the edits; err is everything else.
func apply(root *os.Root, edits []Edit, names Names) (failed []error, err error) {
	s := newSources(root.FS(), names)
	t, err := s.outline()
	if err != nil {
		return nil, err
	}
	for i, e := range edits {
		after, err := s.edit(t, e)
		if err != nil {
			err.Index, err.Edit = i, e
			failed = append(failed, err)
			continue
		}
		t = after
	}
	if len(failed) > 0 {
		return failed, nil
	}
	for name := range s.texts {
		if err := removeStale(root, name); err != nil {
			return nil, err
		}
	}
	for name := range s.changed {
		if err := replace(root, name, s.texts[name]); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// An operation is what an edit does: it makes changes from the context and its words, and from text.
type operation struct {
	field, text string
	changes     func(t *outline, name string, context []string, text string) ([]change, error)
}

// edit applies one edit to the texts, which t outlines, and returns their outline afterwards. With an error they stay as they are.
func (s *sources) edit(t *outline, e Edit) (*outline, *Error) {
	given := filter([]operation{
		{"Directive", e.Directive, (*outline).setDirective},
		{"Add", e.Add, (*outline).addDirective},
		{"Parameter", e.Parameter, (*outline).setParameter},
		{"Remove", e.Remove, (*outline).remove},
	}, func(o operation) bool { return o.text != "" })
	if len(given) != 1 {
		return nil, &Error{Message: "want one of directive, add, parameter and remove"}
	}
	context, err := words(e.Context)
	if err != nil || len(context) == 0 {
		return nil, &Error{Field: "Context", Message: fmt.Sprintf(
			`context %q is not a sequence of blocks' names: write it like "upstream whoami_http", "http-listener.conf server" or "main"`, e.Context)}
	}
	changes, err := given[0].changes(t, e.Context, context, given[0].text)
	if _, ok := errors.AsType[contextError](err); ok {
		return nil, &Error{Field: "Context", Message: err.Error()}
	}
	if err != nil {
		return nil, &Error{Field: given[0].field, Message: err.Error()}
	}
	texts, changed := maps.Clone(s.texts), maps.Clone(s.changed)
	s.make(changes)
	after, err := s.outline()
	if err != nil { // The edit includes what cannot be read.
		s.texts, s.changed = texts, changed
		return nil, &Error{Field: given[0].field, Message: err.Error()}
	}
	return after, nil
}

// directive returns the block that context names, the one directive in text, and text with the final ";".
func (t *outline) directive(what, name string, context []string, text string) (*node, *statement, string, error) {
	n, err := t.find(name, context)
	if err != nil {
		if all, n, e := t.directives(name, context); e == nil {
			err = contextErrorf("context %q ends in a directive, %s: name the block alone, %q, or set a parameter", name, positions(all), t.unique(n))
		}
		return nil, nil, "", err
	}
	d, err := oneDirective(text)
	if err == nil {
		if named := t.withAddresses(text, d); named != text {
			text = named
			d, err = oneDirective(text)
		}
	}
	if err != nil {
		return nil, nil, "", fmt.Errorf("%s %q %w", what, text, err)
	}
	text = text[d.start:min(d.end, len(text))]
	if !d.block && !strings.HasSuffix(text, ";") {
		text += ";"
	}
	return n, d, text, nil
}

// unhidden returns an error if a directive of n takes the effect of d, which is to come after it.
func (n *node) unhidden(d *statement, what, text string) error {
	code, earlier := n.hides(d)
	if earlier == nil {
		return nil
	}
	return fmt.Errorf("%s %q would have no effect for %s: %s comes before it; set or remove that one, error_page %s",
		what, text, code, positions([]*statement{earlier}), firstArgument(earlier))
}

// setDirective replaces the directive that text names, or adds text.
func (t *outline) setDirective(name string, context []string, text string) ([]change, error) {
	n, d, text, err := t.directive("directive", name, context, text)
	if err != nil {
		return nil, err
	}
	same, last := n.like(d)
	switch {
	case len(same) > 1:
		remedy := "remove all but one first"
		switch {
		case d.off():
			remedy = "remove those first"
		case repeated[d.words[0].text] == nil:
			remedy = "give the first argument of the one to replace"
		}
		return nil, fmt.Errorf("directive %q could replace any of %d in %s: %s: %s", text, len(same), n.label(), positions(same), remedy)
	case len(same) == 1:
		if err := t.alone(n, same[0]); err != nil {
			return nil, err
		}
		return []change{t.replacement(same[0], text)}, nil
	case last != nil:
		if err := t.alone(n, last); err != nil {
			return nil, err
		}
		if err := n.unhidden(d, "directive", text); err != nil {
			return nil, err
		}
		return []change{t.after(last, text)}, nil
	}
	return []change{t.within(n, text)}, nil
}

// addDirective adds text after the last directive of its name that is n's alone.
func (t *outline) addDirective(name string, context []string, text string) ([]change, error) {
	n, d, text, err := t.directive("add", name, context, text)
	if err != nil {
		return nil, err
	}
	named := filter(n.parts, func(other *statement) bool {
		return other.block == d.block && other.words[0].text == d.words[0].text && t.alone(n, other) == nil
	})
	if err := n.unhidden(d, "add", text); err != nil {
		return nil, err
	}
	if len(named) == 0 {
		return []change{t.within(n, text)}, nil
	}
	return []change{t.after(named[len(named)-1], text)}, nil
}

// setParameter sets a parameter of all directives that the last word of context names.
func (t *outline) setParameter(name string, context []string, text string) ([]change, error) {
	all, n, err := t.directives(name, context)
	if err != nil {
		return nil, err
	}
	p, err := words(text)
	if err != nil || len(p) != 1 {
		return nil, fmt.Errorf("parameter %q is not one word: write it like max_fails=1 or backup", text)
	}
	var changes []change
	for _, d := range all {
		if err := t.alone(n, d); err != nil {
			return nil, err
		}
		at := d.words[len(d.words)-1].end
		changed := change{d.file, at, at, " " + strings.TrimSpace(text)}
		if i := d.parameter(p[0]); i > 0 {
			changed = change{d.file, d.words[i].start, d.words[i].end, strings.TrimSpace(text)}
		}
		changes = append(changes, changed, t.mark(d))
	}
	return changes, nil
}

// remove removes a directive, or a parameter of all directives that the last word of context names.
func (t *outline) remove(name string, context []string, text string) ([]change, error) {
	what, err := words(text)
	if err != nil || len(what) == 0 {
		return nil, fmt.Errorf("remove %q is neither a directive nor a parameter: write it like zone or max_fails", text)
	}
	n, err := t.find(name, context)
	if err != nil {
		if all, n, e := t.directives(name, context); e == nil {
			return t.removeParameter(n, all, text, what)
		}
		return nil, err
	}
	found := filter(n.parts, func(d *statement) bool { return t.begins(d.words, what) })
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("remove %q: there is no such directive in %s%s", text, n.label(), n.nearest(what[0]))
	case 1:
		if err := t.alone(n, found[0]); err != nil {
			return nil, err
		}
		return []change{t.replacement(found[0], "")}, nil
	}
	return nil, fmt.Errorf("remove %q means %d directives of %s: %s: write its first arguments too", text, len(found), n.label(), positions(found))
}

func (t *outline) removeParameter(n *node, all []*statement, text string, what []string) ([]change, error) {
	if len(what) != 1 {
		return nil, fmt.Errorf("remove %q is not one word: write it like max_fails or backup", text)
	}
	var changes []change
	for _, d := range all {
		i := d.parameter(what[0])
		if i == 0 || strings.Contains(what[0], "=") && d.words[i].text != what[0] {
			continue
		}
		if err := t.alone(n, d); err != nil {
			return nil, err
		}
		changes = append(changes, change{d.file, d.words[i-1].end, d.words[i].end, ""}, t.mark(d))
	}
	if len(changes) == 0 {
		return nil, fmt.Errorf("remove %q: no %s in %s has such a parameter: %s", text, all[0].words[0].text, n.label(), positions(all))
	}
	return changes, nil
}
