package feed

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/nginx/confedit"
)

// configuration returns nginx's configuration of a trial: the files that nginx read, the edited first. Of a target there is none.
func configuration(dir string, s scenario.Scenario) ([]File, error) {
	root, err := os.OpenRoot(filepath.Join(dir, record.ConfDir)) // A link leads to no file outside it.
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	shipped, err := filesIn(filepath.Join(dir, record.ShippedDir))
	if err != nil {
		return nil, err
	}
	conf := regular{root.FS()}
	read, err := readByNginx(conf)
	if err != nil {
		return nil, err
	}
	var all []File
	names := slices.Concat(read, slices.Collect(maps.Keys(shipped)), slices.Collect(maps.Keys(s.Files)))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		text, err := fs.ReadFile(conf, name)
		if err != nil {
			return nil, err
		}
		before, edited := shipped[name]
		if _, isNew := s.Files[name]; isNew {
			before = nil
		} else if !edited {
			before = text
		}
		all = append(all, newFile(name, before, text))
	}
	slices.SortStableFunc(all, func(x, y File) int { return cmp.Compare(x.rank(), y.rank()) })
	return all, nil
}

// regular is a file system without pipes and devices, which have no end.
type regular struct{ fs.FS }

func (r regular) Open(name string) (fs.File, error) {
	if info, err := fs.Stat(r.FS, name); err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("no regular file")}
	}
	return r.FS.Open(name)
}

// filesIn are the texts of a directory's files, by name; none of a directory that is not there.
func filesIn(dir string) (map[string][]byte, error) {
	all := make(map[string][]byte)
	root := os.DirFS(dir)
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		all[name], err = fs.ReadFile(root, name)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	return all, err
}

// readByNginx are the names of the files that have directives.
func readByNginx(conf fs.FS) ([]string, error) {
	directives, err := confedit.Read(conf)
	if err != nil {
		return nil, err
	}
	var names []string
	var walk func([]*confedit.Directive)
	walk = func(all []*confedit.Directive) {
		for _, d := range all {
			names = append(names, d.File)
			walk(d.Body)
		}
	}
	walk(directives)
	return names, nil
}

// rank sorts files: the edited ones, nginx.conf, the others.
func (f File) rank() int {
	switch {
	case slices.ContainsFunc(f.Lines, func(l Line) bool { return l.Mark != "" }):
		return 0
	case f.Name == "nginx.conf":
		return 1
	}
	return 2
}

// newFile is a file whose text was another one before the edits.
func newFile(name string, before, text []byte) File {
	f := File{Name: name, Lines: marked(withoutKeys(before), withoutKeys(text))}
	content, err := json.Marshal(f)
	if err != nil {
		panic(err) // It has strings alone.
	}
	sum := sha256.Sum256(content)
	f.ID = hex.EncodeToString(sum[:6])
	return f
}

// privateKey matches one in a text, also if its end is missing.
var privateKey = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE\sKEY-----.*?(-----END [A-Z ]*PRIVATE\sKEY-----|\z)`)

// withoutKeys is a text without private keys: a page is shown to others.
func withoutKeys(text []byte) []byte {
	return privateKey.ReplaceAll(text, []byte("[a private key, not shown]"))
}

// marked are the lines of a text, with marks at those that were not there before, and those that are no longer there.
func marked(before, text []byte) []Line {
	lines := split(text)
	hunks := diff.Diff("", before, "", text)
	if len(hunks) == 0 {
		return lines
	}
	var all []Line
	next := 0 // of lines
	for _, l := range split(hunks)[3:] {
		mark, rest := l.Text[:1], l.Text[1:]
		switch mark {
		case "@":
			var at, count int
			if _, err := fmt.Sscanf(rest[strings.Index(rest, "+"):], "+%d,%d", &at, &count); err != nil {
				panic(err) // This is how package diff writes it.
			}
			if count > 0 {
				at--
			}
			all = append(all, lines[next:at]...)
			next = at + count
		case " ":
			all = append(all, Line{Text: rest})
		case "+", "-":
			all = append(all, Line{Text: rest, Mark: mark})
		} // A backslash says that there is no newline at the end.
	}
	return append(all, lines[next:]...)
}

// split are the lines of a text, without marks.
func split(text []byte) []Line {
	lines := []Line{}
	for line := range bytes.Lines(text) {
		lines = append(lines, Line{Text: string(bytes.TrimRight(line, "\r\n"))})
	}
	return lines
}
