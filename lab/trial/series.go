package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"trivet/internal/buildinfo"
	"trivet/lab/experiment"
	"trivet/lab/fleet"
	"trivet/lab/ledger"
	"trivet/nginx"
)

// A Series is experiments, carried out one after the other, variant by variant.
type Series struct {
	Files  []*experiment.File
	Dir    string       // the run folder: absolute, and empty but for what fleet.NewRun makes
	Nginx  nginx.Binary // see Setup for these
	Whoami string
	Trivet string
	// Watch is called when a variant begins, then with nil, and a few times a second while its load runs.
	Watch func(*experiment.File, experiment.Variant, *ledger.Ledger)
	// Done is called when an experiment has ended, in their order, however it has.
	Done func()
}

// IndexFile is a run folder's table of contents, an Index.
const IndexFile = "run.json"

// IndexVersion is in every Index.
const IndexVersion = 1

// An Index tells what a run folder holds. For each experiment that is a folder, in it a copy of the experiment's file, and a folder for each variant
// that has been begun, of the variant's name; package ledger knows what that holds.
type Index struct {
	V           int       `json:"v"` // IndexVersion
	Time        time.Time `json:"time"`
	Trivet      string    `json:"trivet"` // versions
	Nginx       string    `json:"nginx"`
	CPUs        int       `json:"cpus"` // of this machine
	Experiments []Entry   `json:"experiments"`
}

// Entry is one experiment of an Index.
type Entry struct {
	Path   string `json:"path"`   // its file, as it was named
	Folder string `json:"folder"` // in the run folder
}

// Copy is the copy of the experiment's file. Its ending is .yaml, whatever the file's is: no variant can be called like that.
func (e Entry) Copy(dir string) string {
	name := filepath.Base(e.Path)
	return filepath.Join(dir, e.Folder, strings.TrimSuffix(name, filepath.Ext(name))+".yaml")
}

// Variant is the folder of one of its variants.
func (e Entry) Variant(dir, name string) string { return filepath.Join(dir, e.Folder, name) }

// Run carries all out. When one breaks, the rest of its variants are left out, and the next experiment follows: the error joins all that broke.
// When ctx ends, that is the end.
func (s Series) Run(ctx context.Context) error {
	index, err := s.write()
	if err != nil {
		return fmt.Errorf("%w: %w; set TMPDIR to a folder that you may write to and that has room", fleet.ErrRunFolder, err)
	}
	var faults []error
	for i, file := range s.Files {
		for _, variant := range file.Variants {
			err := s.one(ctx, file, variant, index.Experiments[i].Variant(s.Dir, variant.Name))
			if err != nil && ctx.Err() != nil {
				s.Done()
				return errors.Join(append(faults, err)...)
			}
			if err != nil {
				faults = append(faults, fmt.Errorf("%s, %s: %w", file.Name, variant.Name, err))
				break
			}
		}
		s.Done()
	}
	return errors.Join(faults...)
}

func (s Series) one(ctx context.Context, file *experiment.File, variant experiment.Variant, dir string) error {
	if err := makeFolder(dir); err != nil {
		return fmt.Errorf("%w: %w", fleet.ErrRunFolder, err)
	}
	s.Watch(file, variant, nil)
	return Run(ctx, Setup{
		File: file, Variant: variant, Dir: dir, Nginx: s.Nginx, Whoami: s.Whoami, Trivet: s.Trivet,
		Watch: func(book *ledger.Ledger) { s.Watch(file, variant, book) },
	})
}

// write makes the index, and each experiment's folder with the copy of its file.
func (s Series) write() (Index, error) {
	index := Index{V: IndexVersion, Time: time.Now(), Trivet: buildinfo.String(), Nginx: s.Nginx.Version.String(), CPUs: runtime.NumCPU()}
	for i, file := range s.Files {
		entry := Entry{Path: file.Path, Folder: fmt.Sprintf("%d-%s", i+1, file.Name)}
		if err := makeFolder(filepath.Join(s.Dir, entry.Folder)); err != nil {
			return index, err
		}
		if err := os.WriteFile(entry.Copy(s.Dir), file.Source, 0o644); err != nil {
			return index, err
		}
		index.Experiments = append(index.Experiments, entry)
	}
	text, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return index, err
	}
	return index, os.WriteFile(filepath.Join(s.Dir, IndexFile), append(text, '\n'), 0o644)
}

// makeFolder makes one that others may pass through, whatever the umask: nginx's workers, who are not root when nginx is, write in it.
func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	return os.Chmod(dir, 0o711)
}

// ReadIndex reads a run folder's.
func ReadIndex(dir string) (Index, error) {
	var index Index
	text, err := os.ReadFile(filepath.Join(dir, IndexFile))
	if err != nil {
		return index, fmt.Errorf("no run folder of experiments: %w", err)
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return index, fmt.Errorf("%s: %w", filepath.Join(dir, IndexFile), err)
	}
	if index.V != IndexVersion {
		return index, fmt.Errorf("%s has version %d, and this program reads %d", filepath.Join(dir, IndexFile), index.V, IndexVersion)
	}
	return index, nil
}
