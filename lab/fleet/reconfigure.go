package fleet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/nginx/confedit"
)

// nextDir is where a configuration is installed and tested, in Dir, before it takes the place of the one that is used.
const nextDir = "next"

// Reconfigure makes nginx use its configuration with these edits, after those of Options and in the place of those of an earlier call. It
// returns when new workers serve. An edit that does not fit is a confedit.Error; a configuration that nginx refuses, an error that wraps
// ErrConf and has nginx's own lines. With an error nothing has changed.
func (f *Fleet) Reconfigure(ctx context.Context, edits []confedit.Edit) error {
	f.reloading.Lock()
	defer f.reloading.Unlock()
	if info := f.balancer.Info(); !info.Edits || !info.Reloads {
		return errors.New("the configuration of the load balancer cannot be changed while it runs")
	}
	if f.Process(scenario.Nginx).PID() == 0 {
		return f.Process(scenario.Nginx).down()
	}
	next := filepath.Join(f.options.Dir, nextDir)
	if err := errors.Join(os.RemoveAll(next), record.MkdirAll(next)); err != nil {
		return fmt.Errorf("%w: %w", record.ErrRunDir, err)
	}
	defer os.RemoveAll(next) // What stays of it is removed before the next.
	err := f.install(next, edits)
	if err == nil {
		err = f.balancer.Test(ctx, next)
	}
	if err != nil {
		return inPlace(err, next, f.options.Dir)
	}
	conf := filepath.Join(next, record.ConfDir)
	if err := exchange(conf, filepath.Join(f.options.Dir, record.ConfDir)); err != nil {
		return fmt.Errorf("%w: %w", record.ErrRunDir, err)
	}
	if err := f.reload(ctx); err != nil {
		// nginx uses the old one, or will read it when it is resumed.
		return errors.Join(err, exchange(conf, filepath.Join(f.options.Dir, record.ConfDir)))
	}
	shipped := filepath.Join(f.options.Dir, record.ShippedDir)
	if err := errors.Join(os.RemoveAll(shipped), os.Rename(filepath.Join(next, record.ShippedDir), shipped)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil // Without edits it has no such directory.
}

// exchange makes each of two directories the other, at once where the file system can: nginx may be starting.
func exchange(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	return errors.Join(os.Rename(b, b+".old"), os.Rename(a, b), os.Rename(b+".old", a))
}

// A placedError is an error about a configuration, with the paths that its files have when it is used.
type placedError struct {
	error
	text string
}

func (e placedError) Error() string { return e.text }
func (e placedError) Unwrap() error { return e.error }

func inPlace(err error, next, dir string) error {
	return placedError{err, strings.ReplaceAll(err.Error(), next+"/", dir+"/")}
}
