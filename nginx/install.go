package nginx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// Install writes conf into dir/conf, with site/ files for s in place of those it has, and makes the folders which nginx wants to
// find (dir/logs, dir/temp). dir is made if it is missing, but not its parents. v decides what the site files may use.
//
// Folders get what an nginx started by root needs: its workers, who are not root, can pass through dir (mode 0711; a dir that
// is there only gains that). Every parent of dir must let them through as well, and that is the caller's affair.
//
// It may be called again on the same dir: files are replaced one by one, each at once, so that an nginx which reads them
// meanwhile never sees half a file. Files that conf no longer has stay. On an error what is there may be old and new mixed,
// and a file that does not exist yet is not half made. Everything that is wrong with s is reported at once, and then nothing
// is written.
func (s Site) Install(dir string, conf fs.FS, v Version) error {
	if err := s.Validate(); err != nil {
		return fmt.Errorf("the balancer's site: %w", err)
	}
	if info, err := fs.Stat(conf, "nginx.conf"); errors.Is(err, fs.ErrNotExist) {
		return errors.New("the balancer's configuration has no nginx.conf at its top: name the folder that holds it")
	} else if err != nil {
		return fmt.Errorf("the balancer's configuration: %w", err)
	} else if !info.Mode().IsRegular() {
		return errors.New("the balancer's configuration: nginx.conf is not a file")
	}
	for _, sub := range []string{"", "conf", "conf/site", "logs", "temp"} {
		if err := folder(filepath.Join(dir, sub)); err != nil {
			return fmt.Errorf("laying out the balancer: %w", err)
		}
	}
	files := s.files(v)
	if err := copyConf(filepath.Join(dir, "conf"), conf, files); err != nil {
		return fmt.Errorf("laying out the balancer: %w", err)
	}
	for name, text := range files {
		if err := replace(filepath.Join(dir, "conf", "site", name), []byte(text)); err != nil {
			return fmt.Errorf("laying out the balancer: %w", err)
		}
	}
	return nil
}

// copyConf copies conf to dir, but for the site files that are written anyway.
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
			return folder(to)
		}
		// Stat and not entry.Type, because a link to a file is as good as the file; a named pipe would be read for ever.
		if info, err := fs.Stat(conf, name); err != nil {
			return err
		} else if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is neither a file nor a folder", name)
		}
		text, err := fs.ReadFile(conf, name)
		if err != nil {
			return err
		}
		return replace(to, text)
	})
}

// folder makes name, or lets others pass through the one that is there.
func folder(name string) error {
	if err := os.Mkdir(name, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	// Mkdir's mode went through the umask.
	if mode := info.Mode().Perm(); mode&0o111 != 0o111 {
		return os.Chmod(name, mode|0o111)
	}
	return nil
}

// replace puts a file in place at once: whole and new, or as it was.
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
