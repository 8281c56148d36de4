package page

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"regexp"
	"strings"

	"trivet/lab/feed"
)

// The lines of index.html and of modules that refer to other assets.
var (
	styleLine  = regexp.MustCompile(`(?m)^<link rel="stylesheet" href="assets/([\w.-]+)">\n`)
	scriptLine = regexp.MustCompile(`(?m)^<script [^>]*src="assets/([\w.-]+)"></script>\n`)
	importLine = regexp.MustCompile(`(?m)^import \{ ([\w, ]+) \} from "\./([\w-]+\.js)";\n`)
	exportWord = regexp.MustCompile(`(?m)^export `)
)

// entry is the module that imports all others.
const entry = "main.js"

// WriteFile writes the page as one HTML file that holds its data: it needs no server and no other file. Browsers run its own scripts and
// nothing else: their hashes are in its Content-Security-Policy. The data is in base64, so no text in it can end the element.
func WriteFile(w io.Writer, messages iter.Seq[feed.Message]) error {
	head, rest, err := parts()
	if err != nil {
		return fmt.Errorf("put the page together: %w", err)
	}
	if _, err := io.WriteString(w, head); err != nil {
		return err
	}
	if err := writeData(w, messages); err != nil {
		return err
	}
	_, err = io.WriteString(w, rest)
	return err
}

// writeData writes lines of JSON, compressed, in base64.
func writeData(w io.Writer, messages iter.Seq[feed.Message]) error {
	text := base64.NewEncoder(base64.StdEncoding, w)
	packed := gzip.NewWriter(text)
	lines := json.NewEncoder(packed)
	for m := range messages {
		if err := lines.Encode(m); err != nil {
			return err
		}
	}
	if err := packed.Close(); err != nil {
		return err
	}
	return text.Close()
}

// parts are what stands before the data and after it.
func parts() (head, rest string, err error) {
	index, err := text("index.html")
	if err != nil {
		return "", "", err
	}
	var styles strings.Builder
	for _, found := range styleLine.FindAllStringSubmatch(index, -1) {
		content, err := text(found[1])
		if err != nil {
			return "", "", err
		}
		styles.WriteString(content)
	}
	modules, err := joined()
	if err != nil {
		return "", "", err
	}
	policy := fmt.Sprintf(`<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src %s; style-src %s; img-src data:; base-uri 'none'; form-action 'none'">`,
		hash(modules), hash(styles.String()))
	page := scriptLine.ReplaceAllString(styleLine.ReplaceAllString(index, ""), "")
	page = strings.Replace(page, `<meta charset="utf-8">`, `<meta charset="utf-8">`+"\n"+policy, 1)
	page = strings.Replace(page, "</head>", "<style>"+styles.String()+"</style>\n</head>", 1)
	page, end, found := strings.Cut(page, "</body>")
	if !found {
		return "", "", fmt.Errorf("index.html has no </body>")
	}
	head = page + `<script type="application/json+gzip" id="feed">`
	rest = "</script>\n<script type=\"module\">" + modules + "</script>\n</body>" + end
	return head, rest, nil
}

func text(name string) (string, error) {
	content, err := fs.ReadFile(Assets, name)
	return string(content), err
}

// joined are all modules as one: each after those that it imports, without the words import and export. For that they import whole names
// and have no top-level name twice; the tests check it.
func joined() (string, error) {
	var all bytes.Buffer
	order, err := modules()
	for _, name := range order {
		content, err := text(name)
		if err != nil {
			return "", err
		}
		content = importLine.ReplaceAllString(content, "")
		fmt.Fprintf(&all, "// %s\n%s", name, exportWord.ReplaceAllString(content, ""))
	}
	return all.String(), err
}

// modules are the names of all modules that the entry needs, each after those that it imports.
func modules() (order []string, err error) {
	state := make(map[string]int) // 1: its imports are being read, 2: done
	var visit func(name string) error
	visit = func(name string) error {
		if state[name] == 1 {
			return fmt.Errorf("%s imports itself, through others: a constant would be used before it is set", name)
		}
		if state[name] == 2 {
			return nil
		}
		state[name] = 1
		content, err := text(name)
		if err != nil {
			return err
		}
		for _, found := range importLine.FindAllStringSubmatch(content, -1) {
			if err := visit(found[2]); err != nil {
				return err
			}
		}
		state[name] = 2
		order = append(order, name)
		return nil
	}
	return order, visit(entry)
}

// hash is what a Content-Security-Policy calls an inline script or style.
func hash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
