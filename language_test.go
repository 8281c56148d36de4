package trivet

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rejected are words of this project's past for which the field has a standard term, or which hide the actor of a sentence.
var rejected = regexp.MustCompile(`(?i)\b(doors?|witness(es)?|diar(y|ies)|scenes?|breach(es)?|tall(y|ies)|troupe|muster(s|ed)?|specimens?|lapses?|told|tells? whether|who|whom|whoever|nobody|somebody|folders?|licen[c]e|patience|convict(s|ed)?|deeds?|figures?|harms?|laborator(y|ies)|laws?)\b`)

// fault is a word of fault injection alone: a wrong setting is a configuration error, a wrong line of a file a diagnostic.
var (
	fault     = regexp.MustCompile(`(?i)\bfaults?\b`)
	injection = regexp.MustCompile(`(?i)fault[- ]?(injection|control)|inject|\bfaults/`)
)

// unwritten are files that no person writes, or that cannot say it otherwise.
var unwritten = regexp.MustCompile(`^(gen/|LICENSE$|language_test\.go$|gateway/openapi/|lab/page/assets/uPlot\.(LICENSE|iife\.min\.js|min\.css)$|e2e/browser/testdata/axe/)|\.pb(\.gw)?\.go$|\.(sum|mod|png|svg|cast)$|testdata/fuzz/`)

func TestLanguageIsStandard(t *testing.T) {
	t.Parallel()
	output, err := exec.CommandContext(t.Context(), "git", "ls-files", "-co", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	files := slices.DeleteFunc(strings.Fields(string(output)), unwritten.MatchString)
	if len(files) < 100 {
		t.Fatalf("only %d files found", len(files))
	}
	for _, name := range files {
		if _, err := os.Stat(name); err != nil {
			continue // Removed, and not committed yet.
		}
		for _, found := range rejectedIn(t, name) {
			t.Errorf("%s: %s", name, found)
		}
	}
}

func TestLanguageRejectsWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"the door of an instance": true, "newDoor": true, "BookBreach": true, "whoami": false, "WhoAmI": false, "WatchWhoAmI": false, "whoAmI": false, "who asked": true, "default": false,
		"a wrong setting is a fault": true, "fault injection": false, "a fold": false, "tells whether it runs": true, "tells nginx": false, "NOBODY": true,
		"DOOR_COUNT": true, "# user nobody;": false,
	} {
		if got := len(wordsIn(text)) > 0; got != want {
			t.Errorf("%q: rejected %v, want %v", text, got, want)
		}
	}
}

// rejectedIn are the places of a file, its name included, that use rejected words.
func rejectedIn(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	found := wordsIn(name)
	if path.Ext(name) == ".go" {
		return append(found, rejectedInGo(t, name, text)...)
	}
	fenced := false
	for line := range strings.Lines(string(text)) {
		if path.Ext(name) == ".md" {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				fenced = !fenced
			}
			if line = codeSpan.ReplaceAllString(line, ""); fenced {
				continue
			}
		}
		for _, word := range wordsIn(line) {
			found = append(found, word+": "+strings.TrimSpace(line))
		}
	}
	return found
}

var codeSpan = regexp.MustCompile("`[^`]*`")

// rejectedInGo looks at comments, string literals and identifiers.
func rejectedInGo(t *testing.T, name string, text []byte) (found []string) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	look := func(at token.Pos, text string) {
		for _, word := range wordsIn(text) {
			found = append(found, files.Position(at).String()+": "+word)
		}
	}
	for _, group := range file.Comments {
		for _, comment := range group.List {
			look(comment.Pos(), comment.Text)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			look(n.Pos(), n.Value)
		case *ast.Ident:
			look(n.Pos(), n.Name)
		}
		return true
	})
	return found
}

var hump = regexp.MustCompile(`([a-z0-9])([A-Z])`)

// wordsIn are the rejected words of a text, in identifiers too. The account nobody is a name.
func wordsIn(text string) []string {
	text = strings.NewReplacer("WhoAmI", "whoami", "whoAmI", "whoami", "user nobody;", "user;", "_", " ").Replace(text)
	text = hump.ReplaceAllString(text, "$1 $2")
	found := rejected.FindAllString(text, -1)
	if fault.MatchString(text) && !injection.MatchString(text) {
		found = append(found, fault.FindString(text))
	}
	return found
}
