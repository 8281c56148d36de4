package page

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"trivet/lab/feed"
)

// read returns an asset.
func read(t *testing.T, name string) string {
	t.Helper()
	content, err := text(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// ours are the names of our own assets of a kind, by their extension.
func ours(t *testing.T, extension string) []string {
	t.Helper()
	names, err := fs.Glob(Assets, "*"+extension)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		t.Fatalf("no asset ends in %s", extension)
	}
	return names
}

func TestAssetsAreSmall(t *testing.T) {
	t.Parallel()
	entries, err := fs.ReadDir(Assets, ".")
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	if sum >= 200_000 {
		t.Errorf("the assets have %d bytes, want fewer than 200,000", sum)
	}
	for _, name := range append(ours(t, ".js"), ours(t, ".css")...) {
		if n := strings.Count(read(t, name), "\n"); n > 600 {
			t.Errorf("%s has %d lines, want at most 600", name, n)
		}
	}
}

var (
	topLevel = regexp.MustCompile(`(?m)^(export )?(?:async )?(?:function\*?|const|let|var|class) ([\w$]+)`)
	// several are names that one line declares: the pattern above would miss them.
	several    = regexp.MustCompile(`(?m)^(export )?(const|let|var) [\[{]`)
	otherLines = regexp.MustCompile(`(?m)^(import|export) .*$`)
)

// The one-file report is all modules as one script, so no name may be there twice, and an import may not rename.
func TestModulesCanBeJoined(t *testing.T) {
	t.Parallel()
	order, err := modules()
	if err != nil {
		t.Fatal(err)
	}
	exports := make(map[string]map[string]bool)
	declared := make(map[string]string)
	for _, name := range ours(t, ".js") {
		if !slices.Contains(order, name) {
			t.Errorf("nothing imports %s", name)
		}
		content := read(t, name)
		exports[name] = make(map[string]bool)
		for _, found := range topLevel.FindAllStringSubmatch(content, -1) {
			if other := declared[found[2]]; other != "" {
				t.Errorf("%s and %s both declare %s", other, name, found[2])
			}
			declared[found[2]] = name
			exports[name][found[2]] = found[1] != ""
		}
		for _, line := range several.FindAllString(content, -1) {
			t.Errorf("%s: %s: declare one name per line", name, line)
		}
		for _, line := range otherLines.FindAllString(content, -1) {
			if !importLine.MatchString(line+"\n") && !topLevel.MatchString(line) {
				t.Errorf("%s: %s: import names as they are, in one line; export declarations", name, line)
			}
		}
	}
	for _, name := range order {
		for _, found := range importLine.FindAllStringSubmatch(read(t, name), -1) {
			for imported := range strings.SplitSeq(found[1], ", ") {
				if !exports[found[2]][imported] {
					t.Errorf("%s imports %s, which %s does not export", name, imported, found[2])
				}
			}
		}
	}
}

// What makes HTML or code of text, and inline styles, which the Content-Security-Policy refuses. An element's style property is allowed.
var forbidden = regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|DOMParser|document\.write|\beval\b|new Function|setAttribute\(\s*["']style|setTimeout\(\s*["']|javascript:|\bstyle: |"?on[a-z]+": `)

func TestModulesMakeNoHTMLOfText(t *testing.T) {
	t.Parallel()
	for _, name := range ours(t, ".js") {
		for _, found := range forbidden.FindAllString(read(t, name), -1) {
			t.Errorf("%s has %q", name, found)
		}
	}
	for _, found := range regexp.MustCompile(` (style|on\w+)=`).FindAllString(read(t, "index.html"), -1) {
		t.Errorf("index.html has%s", found)
	}
}

// outside is what would load something from elsewhere.
var outside = regexp.MustCompile(`(?i)(src|href|action|data|poster|srcset)\s*=\s*["']?\s*(https?:|//)|url\(\s*["']?\s*(https?:|//)|@import|from\s+["'](https?:|\./)|import\(`)

func TestFileNeedsNothingElse(t *testing.T) {
	t.Parallel()
	const hostile = `</script><script>alert(1)</script><!-- <img src=http://example.com onerror=alert(1)>`
	messages := []feed.Message{
		{Hello: &feed.Hello{V: feed.Version, Source: feed.RunDir, Dir: hostile}},
		{Event: &feed.Event{Text: hostile}},
		{End: &feed.End{Text: "the run has ended"}},
	}
	var file bytes.Buffer
	if err := WriteFile(&file, slices.Values(messages)); err != nil {
		t.Fatal(err)
	}
	page := file.String()
	if found := outside.FindAllString(page, -1); found != nil {
		t.Errorf("the file refers to %q", found)
	}
	if strings.Contains(page, "alert(1)") {
		t.Error("text of the data is in the file as it is")
	}
	if got := messagesIn(t, page); fmt.Sprint(got) != fmt.Sprint(plain(t, messages)) {
		t.Errorf("the file has the messages\n%s\nwant\n%s", got, plain(t, messages))
	}
	checkPolicy(t, page)
}

// plain are messages as lines of JSON.
func plain(t *testing.T, messages []feed.Message) (lines []string) {
	t.Helper()
	for _, m := range messages {
		line, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(line))
	}
	return lines
}

// messagesIn are the lines of the data of a file.
func messagesIn(t *testing.T, page string) (lines []string) {
	t.Helper()
	_, after, _ := strings.Cut(page, `id="feed">`)
	data, _, found := strings.Cut(after, "</script>")
	if !found {
		t.Fatal("the file has no data")
	}
	packed, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(unpacked)
	for in.Scan() {
		lines = append(lines, in.Text())
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// checkPolicy checks that the policy allows the inline scripts and styles that are there: without it they do not run.
func checkPolicy(t *testing.T, page string) {
	t.Helper()
	policy := regexp.MustCompile(`http-equiv="Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(page)
	if policy == nil {
		t.Fatal("the file has no Content-Security-Policy")
	}
	inline := regexp.MustCompile(`(?s)<(style|script type="module")>(.*?)</(?:style|script)>`).FindAllStringSubmatch(page, -1)
	if len(inline) != 2 {
		t.Fatalf("the file has %d inline elements, want 2", len(inline))
	}
	for _, e := range inline {
		if !strings.Contains(policy[1], hash(e[2])) {
			t.Errorf("the policy has no hash of the %s that begins with %.40q", e[1], e[2])
		}
	}
	for _, source := range []string{"unsafe-inline", "unsafe-eval", "*", "'self'"} {
		if strings.Contains(policy[1], source) {
			t.Errorf("the policy allows %s: %s", source, policy[1])
		}
	}
}

var token = regexp.MustCompile(`--([\w-]+):\s*light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);`)

// Text needs a contrast of 4.5 (WCAG 2.2, 1.4.3), borders and lines that mean something 3 (1.4.11).
func TestContrastIsEnough(t *testing.T) {
	t.Parallel()
	colors := make(map[string][2]string)
	for _, found := range token.FindAllStringSubmatch(read(t, "style.css"), -1) {
		colors[found[1]] = [2]string{found[2], found[3]}
	}
	surfaces := []string{"surface", "raised", "sunken"}
	for _, c := range []struct {
		front string
		on    []string
		least float64
	}{
		{"text", append([]string{"bad-tint", "good-tint", "warn-tint"}, surfaces...), 4.5},
		{"quiet", append([]string{"bad-tint", "warn-tint"}, surfaces...), 4.5},
		{"http", surfaces, 4.5}, {"grpc", surfaces, 4.5}, {"streams", surfaces, 4.5},
		{"bad", append([]string{"bad-tint"}, surfaces...), 4.5},
		{"good", append([]string{"good-tint"}, surfaces...), 4.5},
		{"warn", append([]string{"warn-tint"}, surfaces...), 4.5},
		{"surface", []string{"text"}, 4.5},
		{"edge", surfaces, 3}, {"focus", surfaces, 3},
	} {
		for _, on := range c.on {
			for i, theme := range []string{"light", "dark"} {
				if colors[c.front][i] == "" || colors[on][i] == "" {
					t.Fatalf("style.css has no %s or no %s", c.front, on)
				}
				if got := contrast(t, colors[c.front][i], colors[on][i]); got < c.least {
					t.Errorf("%s: --%s on --%s has a contrast of %.2f, want %.1f", theme, c.front, on, got, c.least)
				}
			}
		}
	}
}

// contrast is the ratio of two colors as WCAG defines it.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	light, dark := luminance(t, a), luminance(t, b)
	return (max(light, dark) + 0.05) / (min(light, dark) + 0.05)
}

func luminance(t *testing.T, color string) (sum float64) {
	t.Helper()
	for i, part := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(color[1+2*i:3+2*i], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(n) / 255
		if c <= 0.04045 {
			sum += part * c / 12.92
		} else {
			sum += part * math.Pow((c+0.055)/1.055, 2.4)
		}
	}
	return sum
}
