package record

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
)

// KeepShipped calls edit, which changes the files in ConfDir of a trial directory, and keeps in ShippedDir what they were: a report marks the
// edits, also when a newer trivet ships other files.
func KeepShipped(dir string, edit func() error) error {
	kept := filepath.Join(dir, ShippedDir)
	if err := os.RemoveAll(kept); err != nil {
		return err
	}
	conf := os.DirFS(filepath.Join(dir, ConfDir))
	before, err := texts(conf)
	if err != nil {
		return err
	}
	if err := edit(); err != nil {
		return err
	}
	after, err := texts(conf)
	if err != nil {
		return err
	}
	maps.DeleteFunc(before, func(name, text string) bool { return after[name] == text })
	for name, text := range before {
		path := filepath.Join(kept, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// texts are the regular files of a directory, by name.
func texts(dir fs.FS) (map[string]string, error) {
	all := make(map[string]string)
	err := fs.WalkDir(dir, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := fs.ReadFile(dir, name)
		all[name] = string(text)
		return err
	})
	return all, err
}
