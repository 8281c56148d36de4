package experiment

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"trivet/nginx"
	"trivet/nginx/confedit"
)

// ErrMachine is in every error that is not one of the file: the configuration could not be laid out here, to see what its edits mean.
var ErrMachine = errors.New("the balancer's configuration cannot be tried here")

// newest stands for every nginx that is newer than all that the site files tell apart.
var newest = nginx.Version{Major: 1, Minor: 1_000_000}

// checkEdits lays out each variant's configuration in a folder of its own, and adds what cannot be edited. Site files differ with nginx's
// version: what can be edited in one of them is for Test to judge.
func (f *File) checkEdits(faults *faults) error {
	for i := range f.Variants {
		v := &f.Variants[i]
		if len(v.Edits) == 0 {
			continue
		}
		first, err := v.tryEdits(nginx.Oldest)
		if err != nil {
			return err
		}
		if len(first) > 0 {
			if again, err := v.tryEdits(newest); err != nil {
				return err
			} else if len(again) == 0 {
				continue
			}
		}
		v.uneditable = len(first) > 0
		for _, e := range first {
			spots := v.sets[e.Index]
			at := spots.what
			switch e.Field {
			case "":
				continue // How many of the three are set has been told by itself.
			case "Context":
				at = spots.context
				if e.Edit.Context == "" {
					continue
				}
			}
			faults.add(at, "%s", e.Message)
		}
	}
	return nil
}

// tryEdits makes the edits for an nginx of a version. The error is one of this machine.
func (v Variant) tryEdits(version nginx.Version) ([]*confedit.Error, error) {
	dir, err := v.layOut(version, v.Edits)
	if dir != "" {
		defer os.RemoveAll(dir)
	}
	var all []*confedit.Error
	for _, fault := range unjoin(err) {
		e, ok := errors.AsType[*confedit.Error](fault)
		if !ok {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// layOut makes a folder with the variant's configuration, which the caller removes. The error is ErrMachine, or all edits' that cannot be
// made.
func (v Variant) layOut(version nginx.Version, edits []confedit.Edit) (dir string, err error) {
	defer func() {
		if _, ok := errors.AsType[*confedit.Error](err); err != nil && !ok {
			err = fmt.Errorf("%w: %w; set TMPDIR to a folder that you may write to and that has room", ErrMachine, err)
		}
	}()
	dir, err = os.MkdirTemp("", "trivet-experiment-")
	if err != nil {
		return "", err
	}
	site := nginx.Site{Workers: v.Workers, Diagnostics: true} // As in a trial, whose ENVIRONMENT is dev.
	if os.Getuid() == 0 {
		site.User = "root" // nginx -t looks up its user; no worker is ever started here.
	}
	if site.HTTP, site.GRPC, site.Admin, err = freeAddresses(); err != nil {
		return dir, err
	}
	for n := range v.Instances {
		site.Servers = append(site.Servers, nginx.Server{HTTP: fmt.Sprintf("127.0.0.1:%d", 8001+n), GRPC: fmt.Sprintf("127.0.0.1:%d", 9001+n)})
	}
	if err := site.Install(dir, nginx.Conf(), version); err != nil {
		return dir, err
	}
	return dir, confedit.Apply(filepath.Join(dir, "conf"), edits)
}

// freeAddresses returns three addresses of this machine on which nothing listens: nginx -t binds them for a moment.
func freeAddresses() (http, grpc, admin string, err error) {
	var free [3]string
	for i := range free {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", "", err
		}
		defer l.Close() // Held until all are found: otherwise two might be the same.
		free[i] = l.Addr().String()
	}
	return free[0], free[1], free[2], nil
}

// Test lays out each variant's configuration for an nginx, and asks that nginx whether it accepts it. What it refuses is a *Fault at each
// edit which makes it refuse, with nginx's own lines; all variants' are joined. Variants with edits that cannot be made, which Read has told, are
// left out. Any other error is one of this machine, or the end of ctx.
func (f *File) Test(ctx context.Context, binary nginx.Binary) error {
	faults := faults{file: f.Path}
	for _, v := range f.Variants {
		if v.uneditable {
			continue
		}
		if err := v.test(ctx, binary, &faults); err != nil {
			return err
		}
	}
	return faults.join()
}

// test tells of the edits of one variant. nginx says no more than what it meets first, and may meet it at an edit that is right but for
// another: so the edits are made one by one, and those that it refused are tried again beside all that it accepts.
func (v Variant) test(ctx context.Context, binary nginx.Binary, faults *faults) error {
	said, err := v.refused(ctx, binary, v.Edits)
	if said == "" || err != nil {
		return err
	}
	if shipped, err := v.refused(ctx, binary, nil); shipped != "" || err != nil {
		if err == nil {
			faults.add(spot{1, 1}, "%s", shipped) // The shipped files by themselves.
		}
		return err
	}
	accepted, refused := make([]bool, len(v.Edits)), []string(nil)
	for more := true; more; {
		more, refused = false, make([]string, len(v.Edits))
		for i := range v.Edits {
			if accepted[i] {
				continue
			}
			accepted[i] = true
			if refused[i], err = v.refused(ctx, binary, v.only(accepted)); err != nil {
				return err
			}
			accepted[i] = refused[i] == ""
			more = more || accepted[i]
		}
	}
	for i, said := range refused {
		if said != "" {
			faults.add(v.sets[i].what, "%s", said)
		}
	}
	return nil
}

// only are some of the variant's edits.
func (v Variant) only(these []bool) (edits []confedit.Edit) {
	for i, e := range v.Edits {
		if these[i] {
			edits = append(edits, e)
		}
	}
	return edits
}

// refused is what there is to say against the variant's configuration with some edits, for an nginx; "" if nothing.
func (v Variant) refused(ctx context.Context, binary nginx.Binary, edits []confedit.Edit) (string, error) {
	dir, err := v.layOut(binary.Version, edits)
	if dir != "" {
		defer os.RemoveAll(dir)
	}
	if e, ok := errors.AsType[*confedit.Error](err); ok {
		return fmt.Sprintf("for nginx %s: %s", binary.Version, e.Message), nil
	}
	if err != nil {
		return "", err
	}
	err = binary.Test(ctx, dir)
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err == nil {
		return "", nil
	}
	if errors.Is(err, nginx.ErrNoVerdict) {
		return "", err
	}
	return fmt.Sprintf("nginx %s refuses: %s", binary.Version, strings.ReplaceAll(err.Error(), dir+"/", "")), nil
}
