package confedit

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// A Directive is a directive of a configuration as nginx reads it.
type Directive struct {
	Words []string // its name and its arguments, without quotes; at least one
	File  string   // relative to the configuration directory
	Line  int      // of its name, from 1
	Block bool
	// Body holds the directives of a block. Those of included files are in the place of the include directive. An include stays only
	// if it names a file that is not in the configuration directory.
	Body []*Directive
}

// Read returns the directives of the configuration in conf, which has nginx.conf at its root. Files that are not in conf, or that a link
// leads to outside it, are not read.
func Read(conf fs.FS) ([]*Directive, error) {
	t, err := newSources(conf, nil).outline()
	if err != nil {
		return nil, fmt.Errorf("read nginx configuration: %w", err)
	}
	return t.export(t.parsed["nginx.conf"]), nil
}

func (t *outline) export(body []*statement) []*Directive {
	var all []*Directive
	for _, d := range body {
		names, include := t.reads[d]
		if include && (len(names) > 0 || t.matchesNothing(d)) {
			for _, name := range names {
				all = append(all, t.export(t.parsed[name])...)
			}
			continue
		}
		all = append(all, &Directive{texts(d.words), d.file, d.line, d.block, t.export(d.body)})
	}
	return all
}

// matchesNothing reports whether an include is a pattern that could match only files in the configuration directory, and matches none.
func (t *outline) matchesNothing(d *statement) bool {
	pattern := path.Clean(d.words[1].text)
	if !strings.ContainsAny(pattern, "*?[") || path.IsAbs(pattern) || pattern == ".." || strings.HasPrefix(pattern, "../") {
		return false
	}
	found, err := fs.Glob(t.root, pattern)
	return err == nil && len(found) == 0
}

// Name returns the directive's name.
func (d *Directive) Name() string { return d.Words[0] }

// Place returns where the directive is, as file:line.
func (d *Directive) Place() string { return fmt.Sprintf("%s:%d", d.File, d.Line) }

// String returns the directive's words on one line, in quotes where they need them.
func (d *Directive) String() string {
	var all []string
	for _, w := range d.Words {
		if w == "" || strings.ContainsAny(w, " \t\r\n;{}\"'") {
			w = `"` + strings.NewReplacer(`"`, `\"`, "\n", " ", "\r", " ").Replace(w) + `"`
		}
		all = append(all, w)
	}
	return strings.Join(all, " ")
}
