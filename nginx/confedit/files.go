package confedit

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
)

// A FileError reports one file that cannot be added.
type FileError struct {
	Name    string // as given
	Message string
}

func (e *FileError) Error() string { return fmt.Sprintf("file %q: %s", e.Name, e.Message) }

// fileName matches the names that AddFiles accepts: no absolute name, none with "..", none that nginx would take for a pattern.
var fileName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$`)

// AddFiles writes new files, texts by name, into dir, the directory that holds nginx.conf, and creates the directories above them. Names
// are relative to dir, with slashes. What is in dir stays as it is.
//
// All files that cannot be added are reported at once, joined, a *[FileError] for each. Then no file is written.
func AddFiles(dir string, files map[string]string) error {
	if len(files) == 0 {
		return nil
	}
	failed, err := locked(dir, func(root *os.Root) ([]error, error) { return addFiles(root, files) })
	if err != nil {
		return fmt.Errorf("add files to nginx configuration: %w", err)
	}
	return errors.Join(failed...)
}

func addFiles(root *os.Root, files map[string]string) (failed []error, err error) {
	names := slices.Sorted(maps.Keys(files))
	for _, name := range names {
		if message := refusal(root, files, name); message != "" {
			failed = append(failed, &FileError{name, message})
		}
	}
	if len(failed) > 0 {
		return failed, nil
	}
	for _, name := range names {
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return nil, err
		}
		if err := create(root, name, files[name]); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// refusal says why a file cannot be added, "" if it can.
func refusal(root *os.Root, files map[string]string, name string) string {
	const want = `want a name below conf/, like "policies/limit.conf", of letters, digits, "_", "." and "-"`
	if path.IsAbs(name) {
		return "is absolute: " + want
	}
	if !fs.ValidPath(name) || !fileName.MatchString(name) {
		return "is no name of a file: " + want
	}
	if _, err := root.Lstat(name); err == nil {
		return "is in the configuration already: choose another name, or edit the file that is there"
	}
	for above := path.Dir(name); above != "."; above = path.Dir(above) {
		_, new := files[above]
		if info, err := root.Stat(above); new || err == nil && !info.IsDir() {
			return fmt.Sprintf("%s is a file: choose another name", above)
		}
	}
	return ""
}

func create(root *os.Root, name, text string) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
