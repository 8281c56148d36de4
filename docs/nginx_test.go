// Package docs holds what a user reads after the README, and the tests that keep it true: what it quotes stands in the
// files, what it links to exists, and the tests it names can be run.
package docs

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A block is fenced code, and the paragraph before it.
type block struct {
	line     int // of the opening fence, from 1
	language string
	before   string
	lines    []string
}

// A document is Markdown, taken apart as far as the tests need it.
type document struct {
	prose  []string // the lines, those of code blocks emptied
	blocks []block
}

func parse(text string) document {
	var d document
	var open *block
	var paragraph, before []string // the paragraph that is being read, and the one that a blank line ended
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		trimmed := strings.TrimSpace(line)
		switch language, fence := strings.CutPrefix(trimmed, "```"); {
		case fence && open == nil:
			if len(paragraph) == 0 {
				paragraph = before
			}
			open = &block{line: i + 1, language: language, before: strings.Join(paragraph, " ")}
			paragraph, before = nil, nil
		case fence:
			d.blocks = append(d.blocks, *open)
			open = nil
		case open != nil:
			open.lines = append(open.lines, line)
		case trimmed == "":
			if len(paragraph) > 0 {
				paragraph, before = nil, paragraph
			}
		default:
			paragraph = append(paragraph, trimmed)
		}
		if open != nil || strings.HasPrefix(trimmed, "```") {
			line = ""
		}
		d.prose = append(d.prose, line)
	}
	return d
}

var (
	link       = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	codeSpan   = regexp.MustCompile("`(?:[^`\n]|\n[^`\n])*`") // may go over a line's end, not over a blank line
	definition = regexp.MustCompile(`^\[[^\]]+\]:\s+(\S+)`)
	heading    = regexp.MustCompile(`^#{1,6}\s+(.*)$`)
	notSlug    = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// links are the targets of all links, by the line they stand in.
func (d document) links() map[int][]string {
	all := map[int][]string{}
	text := codeSpan.ReplaceAllStringFunc(strings.Join(d.prose, "\n"), func(span string) string {
		return strings.Repeat("\n", strings.Count(span, "\n")) // Line numbers stay.
	})
	for i, line := range strings.Split(text, "\n") {
		for _, m := range append(link.FindAllStringSubmatch(line, -1), definition.FindAllStringSubmatch(line, -1)...) {
			all[i+1] = append(all[i+1], m[1])
		}
	}
	return all
}

// anchors are the names that GitHub and others give to headings.
func (d document) anchors() []string {
	var all []string
	for _, line := range d.prose {
		if m := heading.FindStringSubmatch(line); m != nil {
			text := strings.ToLower(notSlug.ReplaceAllString(m[1], ""))
			all = append(all, strings.ReplaceAll(text, " ", "-"))
		}
	}
	return all
}

func read(t *testing.T, name string) document {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return parse(string(text))
}

var behind = regexp.MustCompile(`([;{}])\s*#.*$`)

// bare is a line without the space around it and without a comment behind a directive.
func bare(line string) string {
	return strings.TrimSpace(behind.ReplaceAllString(line, "$1"))
}

// quotes reports whether the lines stand in the file in this order, one directly after the other but for blank lines and
// comments of the file. A line "# ..." stands for any lines, up to the first that is the next one quoted. If they do not,
// missing is the line at which the best try ended.
func quotes(lines []string, file string) (missing string, ok bool) {
	in := strings.Split(file, "\n")
	most := -1
	for from := range in {
		n := quotedFrom(lines, in[from:])
		if n == len(lines) {
			return "", true
		}
		if n > most {
			most, missing = n, bare(lines[n])
		}
	}
	return missing, false
}

// quotedFrom counts the lines that the file's beginning has, as quotes says.
func quotedFrom(lines, in []string) int {
	gap := false
	for n, l := range lines {
		if l = bare(l); l == "" {
			continue
		} else if l == "# ..." {
			gap = true
			continue
		}
		for len(in) > 0 && bare(in[0]) != l && (gap || skippable(in[0])) {
			in = in[1:]
		}
		if len(in) == 0 || bare(in[0]) != l {
			return n
		}
		in, gap = in[1:], false
	}
	return len(lines)
}

func skippable(line string) bool {
	line = strings.TrimSpace(line)
	return line == "" || strings.HasPrefix(line, "#")
}

// What the document shows of the configuration stands there, in the file that the paragraph before it ends with; what is in
// no file says so.
func TestQuotedConfigurationIsShipped(t *testing.T) {
	t.Parallel()
	quoted := 0
	for _, b := range read(t, "nginx.md").blocks {
		if b.language != "nginx" && b.language != "json" {
			continue
		}
		var files []string
		for _, m := range link.FindAllStringSubmatch(b.before, -1) {
			if strings.HasPrefix(m[1], "../nginx/") {
				files = append(files, m[1])
			}
		}
		if strings.Contains(b.before, "Not shipped:") {
			continue
		}
		if len(files) == 0 {
			t.Errorf("nginx.md:%d: a block of %s after neither a link to its file nor \"Not shipped:\"", b.line, b.language)
			continue
		}
		name := files[len(files)-1]
		text, err := os.ReadFile(name)
		if err != nil {
			t.Errorf("nginx.md:%d: %v", b.line, err)
			continue
		}
		if missing, ok := quotes(b.lines, string(text)); !ok {
			t.Errorf("nginx.md:%d: %s has no such lines; the first that is missing or elsewhere: %s", b.line, name, missing)
		}
		quoted++
	}
	if quoted < 15 {
		t.Errorf("only %d blocks are quoted: is nginx.md still read rightly?", quoted)
	}
}

var columns = regexp.MustCompile(` {2,}`)

// A directive in running text, "`a b;` in [file](file)", stands in that file too, though perhaps in columns.
func TestDirectivesInTheTextAreShipped(t *testing.T) {
	t.Parallel()
	text := strings.Join(read(t, "nginx.md").prose, "\n")
	all := regexp.MustCompile("`([^`\n]+;)`\\s+in\\s+\\[[^\\]]+\\]\\((\\.\\./nginx/[^)]+)\\)").FindAllStringSubmatch(text, -1)
	if len(all) < 5 {
		t.Errorf("only %d found: %q", len(all), all)
	}
	for _, m := range all {
		if file, err := os.ReadFile(m[2]); err != nil {
			t.Error(err)
		} else if _, ok := quotes([]string{m[1]}, columns.ReplaceAllString(string(file), " ")); !ok {
			t.Errorf("%s is not in %s", m[1], m[2])
		}
	}
}

func TestQuotes(t *testing.T) {
	t.Parallel()
	const file = "# why\nserver {\n\tlisten 1; # here\n\n\t# and\n\ta b;\n\tc d;\n\ta e;\n}\n"
	for _, c := range []struct {
		name, block string
		missing     string // "" if it is a quotation
	}{
		{"one line", "listen 1;", ""},
		{"with another comment behind it", "listen 1; # there", ""},
		{"over a comment of the file", "listen 1;\na b;", ""},
		{"with a comment of the file", "# and\na b;", ""},
		{"the whole, indented otherwise", "server {\n    listen 1;\n    a b;\n    c d;\n    a e;\n}", ""},
		{"with a gap", "server {\n# ...\nc d;", ""},
		{"a later one of two that begin alike", "a e;\n}", ""},
		{"changed", "listen 2;", "listen 2;"},
		{"half a line", "listen", "listen"},
		{"a directive left out", "a b;\na e;", "a e;"},
		{"in another order", "c d;\na b;", "a b;"},
		{"a comment of nobody's", "# because\na b;", "# because"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if missing, ok := quotes(strings.Split(c.block, "\n"), file); missing != c.missing || ok != (c.missing == "") {
				t.Errorf("%v, missing is %q, want %q", ok, missing, c.missing)
			}
		})
	}
}

// markdown is every Markdown file of the repository, from this folder.
func markdown(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir("..", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != ".." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || entry.Name() == "bin"):
			return filepath.SkipDir
		case !entry.IsDir() && filepath.Ext(name) == ".md":
			all = append(all, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	files := markdown(t)
	if !slices.Contains(files, filepath.Join("..", "docs", "nginx.md")) {
		t.Fatalf("nginx.md is not among %q", files)
	}
	for _, name := range files {
		d := read(t, name)
		for line, targets := range d.links() {
			for _, target := range targets {
				u, err := url.Parse(target)
				if err != nil {
					t.Errorf("%s:%d: %v", name, line, err)
					continue
				}
				if u.Scheme != "" {
					continue // Elsewhere; a test must not depend on it.
				}
				file, of := name, d
				if u.Path != "" {
					file = filepath.Join(filepath.Dir(name), filepath.FromSlash(u.Path))
					if _, err := os.Stat(file); err != nil || strings.HasPrefix(u.Path, "/") {
						t.Errorf("%s:%d: %s leads nowhere", name, line, target)
						continue
					}
				}
				if u.Fragment == "" || filepath.Ext(file) != ".md" {
					continue
				}
				if file != name {
					of = read(t, file)
				}
				if !slices.Contains(of.anchors(), u.Fragment) {
					t.Errorf("%s:%d: %s has no heading #%s", name, line, file, u.Fragment)
				}
			}
		}
	}
}

func TestHeadingsDifferFromEachOther(t *testing.T) {
	t.Parallel()
	all := read(t, "nginx.md").anchors()
	slices.Sort(all)
	for i := 1; i < len(all); i++ {
		if all[i] == all[i-1] {
			t.Errorf("two headings are #%s: links lead to the first only", all[i])
		}
	}
}

// What a short link in brackets stands for is defined, or a reader sees the brackets.
func TestSourceReferencesAreDefined(t *testing.T) {
	t.Parallel()
	text := strings.Join(read(t, "nginx.md").prose, "\n")
	for _, m := range regexp.MustCompile(`\[(ngx_[^\]]+)\]`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(text, "\n["+m[1]+"]: ") {
			t.Errorf("[%s] is not defined", m[1])
		}
	}
}

// A command that the document gives runs the tests it means: each alternative of -run matches a test's name.
func TestNamedTestsExist(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("nginx.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile(`go test [^\x60\n]*\./(\S+) -run '?([^'\x60\n]+)'?`).FindAllStringSubmatch(string(text), -1)
	if len(commands) < 10 {
		t.Fatalf("only %d commands found", len(commands))
	}
	for _, m := range commands {
		files, err := filepath.Glob(filepath.Join("..", m[1], "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		var source strings.Builder
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(text)
		}
		for name := range strings.SplitSeq(m[2], "|") {
			if !regexp.MustCompile(`(?m)^func Test\w*` + strings.TrimPrefix(name, "Test")).MatchString(source.String()) {
				t.Errorf("no test of %s is meant by %s", m[1], m[0])
			}
		}
	}
}
