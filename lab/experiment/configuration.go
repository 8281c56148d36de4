package experiment

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/nginx"
	"trivet/nginx/confedit"
)

// ErrMachine is in every error that is not one of the file: the configuration could not be installed here, to try the edits.
var ErrMachine = errors.New("cannot try the edits of nginx's configuration")

// newest stands for every nginx that is newer than all versions that the shipped files distinguish.
var newest = nginx.Version{Major: 1, Minor: 1_000_000}

// checkEdits installs each variant's configuration in a directory of its own, and adds what cannot be edited.
func (f *File) checkEdits() error {
	for i := range f.Scenarios {
		if len(f.Scenarios[i].Edits) == 0 {
			continue
		}
		refused, err := tryEdits(&f.Scenarios[i])
		if err != nil {
			return err
		}
		f.uneditable[i] = len(refused) > 0
		for _, e := range refused {
			if e.Field != "" && (e.Field != "Context" || e.Edit.Context != "") { // Otherwise the schema has refused it.
				at := fmt.Sprintf("%s/%d/%s", f.editsAt[i], e.Index, strings.ToLower(e.Field))
				f.doc.add(f.doc.position(at), "%s", e.Message)
			}
		}
	}
	return nil
}

// tryEdits makes a scenario's edits. The shipped files differ with nginx's version: what can be edited in some of them is for Test to
// judge. The error is one of this machine.
func tryEdits(s *scenario.Scenario) (refused []*confedit.Error, err error) {
	for _, version := range []nginx.Version{newest, nginx.Oldest} {
		scratch, err := install(s, version, s.Edits)
		discard(scratch)
		if _, ok := errors.AsType[*confedit.Error](err); !ok {
			return nil, err
		}
		refused = nil
		for _, one := range err.(interface{ Unwrap() []error }).Unwrap() { // Apply joins them.
			refused = append(refused, one.(*confedit.Error))
		}
	}
	return refused, nil
}

// install makes a directory with a scenario's configuration, which the caller discards; nil if there is none. The error is ErrMachine, or
// those of all edits that cannot be made.
func install(s *scenario.Scenario, version nginx.Version, edits []confedit.Edit) (scratch *record.Scratch, err error) {
	defer func() {
		if _, ok := errors.AsType[*confedit.Error](err); err != nil && !ok {
			err = fmt.Errorf("%w: %w; set TMPDIR to a writable directory with free space", ErrMachine, err)
		}
	}()
	scratch, err = record.NewScratch(record.Base())
	if err != nil {
		return nil, err
	}
	site := nginx.Site{Workers: s.Workers, Diagnostics: true} // As in a trial, whose ENVIRONMENT is dev.
	if os.Getuid() == 0 {
		site.User = "root" // nginx -t looks up its user; no worker is ever started here.
	}
	for _, address := range []*string{&site.HTTP, &site.GRPC, &site.Admin} { // nginx -t binds them for a moment.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return scratch, err
		}
		defer l.Close() // Held until all are found: otherwise two might be the same.
		*address = l.Addr().String()
	}
	for n := range s.Instances {
		site.Servers = append(site.Servers, nginx.Server{HTTP: fmt.Sprintf("127.0.0.1:%d", 8001+n), GRPC: fmt.Sprintf("127.0.0.1:%d", 9001+n)})
	}
	if err := site.Install(scratch.Dir, nginx.Conf(), version); err != nil {
		return scratch, err
	}
	return scratch, confedit.Apply(filepath.Join(scratch.Dir, "conf"), edits)
}

// discard discards what install has made, if anything. What cannot be removed now is removed by the next check.
func discard(scratch *record.Scratch) {
	if scratch != nil {
		_ = scratch.Discard()
	}
}

// Test installs each variant's configuration for an nginx, and runs its nginx -t. What it refuses is a *Diagnostic at each edit that makes it
// refuse, with nginx's own lines; those of all variants are joined. Variants with edits that cannot be made, which Read has reported,
// are left out. Any other error is one of this machine, or the end of ctx.
func (f *File) Test(ctx context.Context, binary nginx.Binary) error {
	all := diagnostics{file: f.Path}
	for i := range f.Scenarios {
		if f.uneditable[i] {
			continue
		}
		if err := f.test(ctx, binary, i, &all); err != nil {
			return err
		}
	}
	return all.join()
}

// test reports the edits of one scenario. nginx -t reports only the first error that it meets, and may meet it at an edit that is right
// but for another: so the edits are made one by one, and those that it refused are tried again beside all that it accepts.
func (f *File) test(ctx context.Context, binary nginx.Binary, variant int, all *diagnostics) error {
	s := &f.Scenarios[variant]
	said, err := refusal(ctx, binary, s, s.Edits)
	if said == "" || err != nil {
		return err
	}
	if shipped, err := refusal(ctx, binary, s, nil); shipped != "" || err != nil {
		if err == nil {
			all.add(position{1, 1}, "%s", shipped) // The shipped files by themselves.
		}
		return err
	}
	accepted, refused := make([]bool, len(s.Edits)), make([]string, len(s.Edits))
	for more := true; more; {
		more = false
		for i := range s.Edits {
			if accepted[i] {
				continue
			}
			var edits []confedit.Edit
			for j, e := range s.Edits {
				if accepted[j] || j == i {
					edits = append(edits, e)
				}
			}
			if refused[i], err = refusal(ctx, binary, s, edits); err != nil {
				return err
			}
			accepted[i] = refused[i] == ""
			more = more || accepted[i]
		}
	}
	for i, said := range refused {
		if said == "" {
			continue
		}
		at := fmt.Sprintf("%s/%d", f.editsAt[variant], i)
		for _, key := range []string{"directive", "parameter", "remove"} {
			if f.doc.has(child(at, key)) {
				at = child(at, key)
			}
		}
		all.add(f.doc.position(at), "%s", said)
	}
	return nil
}

// refusal is why an nginx refuses a scenario's configuration with some edits; "" if it accepts it.
func refusal(ctx context.Context, binary nginx.Binary, s *scenario.Scenario, edits []confedit.Edit) (string, error) {
	scratch, err := install(s, binary.Version, edits)
	defer discard(scratch)
	if e, ok := errors.AsType[*confedit.Error](err); ok {
		return fmt.Sprintf("for nginx %s: %s", binary.Version, e.Message), nil
	}
	if err != nil {
		return "", err
	}
	err = binary.Test(ctx, scratch.Dir)
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err == nil:
		return "", nil
	case errors.Is(err, nginx.ErrNoVerdict):
		return "", err
	}
	return fmt.Sprintf("nginx %s refuses: %s", binary.Version, strings.ReplaceAll(err.Error(), scratch.Dir+"/", "")), nil
}
