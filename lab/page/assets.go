// Package page is the page that shows a live stack, a run and a report: its files, which the binary embeds. docs/feed.md describes what it
// reads, assets/store.js how its views share it.
package page

import (
	"embed"
	"io/fs"
)

//go:embed assets
var files embed.FS

// Assets are the files of the page. index.html refers to the others as assets/NAME.
var Assets = sub()

func sub() fs.FS {
	assets, err := fs.Sub(files, "assets")
	if err != nil {
		panic(err) // The name is a constant.
	}
	return assets
}
