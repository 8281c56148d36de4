package nginx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// Install writes conf into dir/conf, with its site/ files replaced by those for s and nginx version v, and creates the directories that
// nginx expects: dir/logs and dir/temp. It creates dir, but not dir's parents. It validates s first; if s is invalid it reports all
// errors and writes nothing.
//
// Directories get mode 0711, so that the workers of an nginx that root started can pass through; an existing dir only gains those bits.
// The caller makes dir's parents passable.
//
// Install may run again on the same dir, also while nginx reads it: each file is replaced atomically. Files that conf no longer has stay.
// After an error, old and new files may be mixed, but none is incomplete.
func (s Site) Install(dir string, conf fs.FS, v Version) error {
	if err := s.Validate(); err != nil {
		return fmt.Errorf("install nginx configuration: invalid site: %w", err)
	}
	if info, err := fs.Stat(conf, "nginx.conf"); errors.Is(err, fs.ErrNotExist) {
		return errors.New("install nginx configuration: no nginx.conf: name the directory that holds it")
	} else if err != nil {
		return fmt.Errorf("install nginx configuration: %w", err)
	} else if !info.Mode().IsRegular() {
		return errors.New("install nginx configuration: nginx.conf is not a regular file")
	}
	for _, sub := range []string{"", "conf", "conf/site", "logs", "temp"} {
		if err := makeDir(filepath.Join(dir, sub)); err != nil {
			return fmt.Errorf("install nginx configuration: %w", err)
		}
	}
	files := s.files(v)
	if err := copyConf(filepath.Join(dir, "conf"), conf, files); err != nil {
		return fmt.Errorf("install nginx configuration: %w", err)
	}
	for name, text := range files {
		if err := replace(filepath.Join(dir, "conf", "site", name), []byte(text)); err != nil {
			return fmt.Errorf("install nginx configuration: %w", err)
		}
	}
	return nil
}

// copyConf copies conf to dir, except for the files of site.
func copyConf(dir string, conf fs.FS, site map[string]string) error {
	return fs.WalkDir(conf, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if _, ours := site[path.Base(name)]; ours && path.Dir(name) == "site" {
			return nil
		}
		to := filepath.Join(dir, filepath.FromSlash(name))
		if entry.IsDir() {
			return makeDir(to)
		}
		// fs.Stat follows links, unlike entry.Type. Reading a named pipe would block forever.
		if info, err := fs.Stat(conf, name); err != nil {
			return err
		} else if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is neither a regular file nor a directory", name)
		}
		text, err := fs.ReadFile(conf, name)
		if err != nil {
			return err
		}
		return replace(to, text)
	})
}

// makeDir creates a directory that other users can pass through, or makes an existing one passable.
func makeDir(name string) error {
	if err := os.Mkdir(name, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	// The umask may have removed bits of Mkdir's mode.
	if mode := info.Mode().Perm(); mode&0o111 != 0o111 {
		return os.Chmod(name, mode|0o111)
	}
	return nil
}

// replace writes a file atomically.
func replace(name string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
