package confedit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// lock keeps other calls of Apply, in other processes too, away from the directory until unlock is called. It is a lock of the kernel's,
// which goes with the process, however that ends.
func lock(root *os.Root) (unlock func() error, err error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX)
		if err == nil {
			return dir.Close, nil
		}
		if !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", root.Name(), err), dir.Close())
		}
	}
}

// temporary returns the name of the file that is to take the place of name. The dot keeps it out of includes like "*.conf".
func temporary(name string) string {
	return path.Join(path.Dir(name), "."+path.Base(name)+".edit")
}

// removeStale removes the temporary file for name which a call that was killed has left. Only the holder of the lock may call it.
func removeStale(root *os.Root, name string) error {
	if err := root.Remove(temporary(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// replace gives the file name in root a new text, and keeps its mode. A reader sees the old text or the new one.
func replace(root *os.Root, name, text string) (err error) {
	info, err := root.Stat(name)
	if err != nil {
		return err
	}
	// O_EXCL, so that it writes to no file that a link leads to.
	f, err := root.OpenFile(temporary(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Remove(temporary(name)))
		}
	}()
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Chmod(info.Mode().Perm()), f.Close()); err != nil {
		return err
	}
	return root.Rename(temporary(name), name)
}
