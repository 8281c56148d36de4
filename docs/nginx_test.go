// Package docs holds the documentation and tests that keep it true: its quotations are in the quoted files, its links resolve, and the
// tests that it names exist.
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

// block is fenced code, with the paragraph before it.
type block struct {
	line     int // of the opening fence, from 1
	language string
	before   string
	lines    []string
}

// document is Markdown, parsed as far as the tests need it.
type document struct {
	prose  []string // lines; those of code blocks are empty
	blocks []block
}

func parse(text string) document {
	var d document
	var open *block
	var paragraph, before []string // the current paragraph, and the one before the last blank line
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
	codeSpan   = regexp.MustCompile("`(?:[^`\n]|\n[^`\n])*`") // may span a line break, not a blank line
	definition = regexp.MustCompile(`^\[[^\]]+\]:\s+(\S+)`)
	heading    = regexp.MustCompile(`^#{1,6}\s+(.*)$`)
	notSlug    = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// links returns the targets of all links, by line.
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

// anchors returns the names that GitHub and others give to headings.
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

// bare returns a line without surrounding space and trailing comment.
func bare(line string) string {
	return strings.TrimSpace(behind.ReplaceAllString(line, "$1"))
}

// quotes reports whether the file contains lines in this order, with nothing but blank lines and comments between them. A line "# ..."
// stands for any lines up to the next quoted one. If it does not, missing is the line where the longest match ended.
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

// quotedFrom returns how many of lines match from the start of in.
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

// TestQuotedConfigurationIsShipped checks that each block of configuration is in the file that the paragraph before it links last.
// "Not shipped:" in that paragraph marks an exception.
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
			t.Errorf("nginx.md:%d: the paragraph before this %s block has neither a link to its file nor \"Not shipped:\"", b.line, b.language)
			continue
		}
		name := files[len(files)-1]
		text, err := os.ReadFile(name)
		if err != nil {
			t.Errorf("nginx.md:%d: %v", b.line, err)
			continue
		}
		if missing, ok := quotes(b.lines, string(text)); !ok {
			t.Errorf("nginx.md:%d: %s lacks these lines; first missing or misplaced: %s", b.line, name, missing)
		}
		quoted++
	}
	if quoted < 15 {
		t.Errorf("only %d quoted blocks found in nginx.md, want at least 15", quoted)
	}
}

var columns = regexp.MustCompile(` {2,}`)

// TestInlineDirectivesAreShipped checks that a directive in running text, "`a b;` in [file](file)", is in that file, whatever its columns.
func TestInlineDirectivesAreShipped(t *testing.T) {
	t.Parallel()
	text := strings.Join(read(t, "nginx.md").prose, "\n")
	all := regexp.MustCompile("`([^`\n]+;)`\\s+in\\s+\\[[^\\]]+\\]\\((\\.\\./nginx/[^)]+)\\)").FindAllStringSubmatch(text, -1)
	if len(all) < 5 {
		t.Errorf("only %d inline directives found, want at least 5: %q", len(all), all)
	}
	for _, m := range all {
		if file, err := os.ReadFile(m[2]); err != nil {
			t.Error(err)
		} else if _, ok := quotes([]string{m[1]}, columns.ReplaceAllString(string(file), " ")); !ok {
			t.Errorf("%s lacks %s", m[2], m[1])
		}
	}
}

func TestQuotes(t *testing.T) {
	t.Parallel()
	const file = "# why\nserver {\n\tlisten 1; # here\n\n\t# and\n\ta b;\n\tc d;\n\ta e;\n}\n"
	for _, c := range []struct {
		name, block string
		missing     string // "" if the block is quoted
	}{
		{"one line", "listen 1;", ""},
		{"other trailing comment", "listen 1; # there", ""},
		{"across a comment of the file", "listen 1;\na b;", ""},
		{"with a comment of the file", "# and\na b;", ""},
		{"whole file, other indentation", "server {\n    listen 1;\n    a b;\n    c d;\n    a e;\n}", ""},
		{"with a gap", "server {\n# ...\nc d;", ""},
		{"later of two similar lines", "a e;\n}", ""},
		{"changed", "listen 2;", "listen 2;"},
		{"part of a line", "listen", "listen"},
		{"omitted directive", "a b;\na e;", "a e;"},
		{"other order", "c d;\na b;", "a b;"},
		{"comment not in file", "# because\na b;", "# because"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if missing, ok := quotes(strings.Split(c.block, "\n"), file); missing != c.missing || ok != (c.missing == "") {
				t.Errorf("ok %v, missing %q, want %q", ok, missing, c.missing)
			}
		})
	}
}

// markdown returns every Markdown file of the repository, relative to this directory.
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

func TestLinksResolve(t *testing.T) {
	t.Parallel()
	files := markdown(t)
	if !slices.Contains(files, filepath.Join("..", "docs", "nginx.md")) {
		t.Fatalf("no nginx.md in %q", files)
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
					continue // Tests must not depend on other sites.
				}
				file, of := name, d
				if u.Path != "" {
					file = filepath.Join(filepath.Dir(name), filepath.FromSlash(u.Path))
					if _, err := os.Stat(file); err != nil || strings.HasPrefix(u.Path, "/") {
						t.Errorf("%s:%d: %s does not exist", name, line, target)
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

func TestHeadingsAreUnique(t *testing.T) {
	t.Parallel()
	all := read(t, "nginx.md").anchors()
	slices.Sort(all)
	for i := 1; i < len(all); i++ {
		if all[i] == all[i-1] {
			t.Errorf("two headings are #%s: links reach only the first", all[i])
		}
	}
}

// TestSourceReferencesAreDefined checks that each reference link has a definition; otherwise readers see the brackets.
func TestSourceReferencesAreDefined(t *testing.T) {
	t.Parallel()
	text := strings.Join(read(t, "nginx.md").prose, "\n")
	for _, m := range regexp.MustCompile(`\[(ngx_[^\]]+)\]`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(text, "\n["+m[1]+"]: ") {
			t.Errorf("[%s] has no definition", m[1])
		}
	}
}

// TestNamedTestsExist checks that each alternative of -run in a documented command matches a test.
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
				t.Errorf("no test in %s matches %s of %s", m[1], name, m[0])
			}
		}
	}
}
