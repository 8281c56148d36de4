package experiment

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"trivet/lab/authority"
	"trivet/lab/evidence"
	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/nginx"
	"trivet/nginx/confedit"
)

// ErrMachine is in every error that is not one of the file: the configuration could not be installed here, to try files and edits.
var ErrMachine = errors.New("cannot try the edits of nginx's configuration")

// versions are those of which the shipped files differ most.
var versions = []nginx.Version{newest, nginx.Oldest}

// newest stands for every nginx that is newer than all versions that the shipped files distinguish.
var newest = nginx.Version{Major: 1, Minor: 1_000_000}

// checkConfigurations installs each variant's configuration in a directory of its own, and adds what cannot be added or edited.
func (f *File) checkConfigurations() error {
	for i := range f.Scenarios {
		s := &f.Scenarios[i]
		if len(s.Edits) == 0 && len(s.Files) == 0 {
			continue
		}
		var refused []error
		fits := false // The shipped files differ with nginx's version: what can be edited in some of them is for Test to judge.
		for _, version := range versions {
			found, err := losses(s, version, s.Edits)
			switch {
			case ofFile(err):
				refused = err.(interface{ Unwrap() []error }).Unwrap() // confedit joins them.
				continue
			case err == nil:
				err = f.addLosses(i, version, found)
			}
			if err != nil {
				return err
			}
			fits = true
		}
		if f.uneditable[i] = !fits; fits {
			continue
		}
		for _, err := range refused {
			f.addRefused(i, err)
		}
	}
	return nil
}

// addLosses adds what a variant's configuration takes from the lab, in its file or at the edit since which the lab lacks it. Edits may
// complete each other, so only what all of them have made counts.
func (f *File) addLosses(variant int, version nginx.Version, left []evidence.Loss) error {
	s := &f.Scenarios[variant]
	var err error
	for n := len(s.Edits) - 1; n >= 0 && err == nil && len(left) > 0; n-- {
		var before, earlier []evidence.Loss
		before, err = losses(s, version, s.Edits[:n])
		for _, loss := range left {
			if slices.ContainsFunc(before, func(b evidence.Loss) bool { return placeless(b) == placeless(loss) }) {
				earlier = append(earlier, loss)
				continue
			}
			at := f.doc.position(f.editAt(variant, n))
			if loss.At != nil && s.Files[loss.At.File] != "" {
				at = f.inFile(variant, loss.At.File, loss.At.Line)
			}
			f.doc.add(at, "%s", loss.Message)
		}
		left = earlier
	}
	for _, loss := range left { // The shipped files by themselves.
		f.doc.add(position{1, 1}, "%s", loss.Message)
	}
	return err
}

// placeless is what a loss says without the lines, which further edits change.
func placeless(l evidence.Loss) string { return anyLine.ReplaceAllString(l.Message, "") }

var anyLine = regexp.MustCompile(`:\d+`)

// losses are what a scenario's configuration with some edits takes from the lab; the error is as install's.
func losses(s *scenario.Scenario, version nginx.Version, edits []confedit.Edit) ([]evidence.Loss, error) {
	scratch, site, err := install(s, version, edits)
	defer discard(scratch)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(filepath.Join(scratch.Dir, "conf"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMachine, err)
	}
	defer root.Close()
	conf, err := confedit.Read(root.FS())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMachine, err) // Apply has read it.
	}
	return evidence.Losses(conf, site), nil
}

// editAt is the pointer of what an edit does.
func (f *File) editAt(variant, edit int) string {
	at := fmt.Sprintf("%s/edits/%d", f.nginxAt[variant], edit)
	for _, key := range []string{"directive", "add", "parameter", "remove"} {
		if f.doc.has(child(at, key)) {
			return child(at, key)
		}
	}
	return at
}

// addRefused adds a *confedit.Error or *confedit.FileError of a variant.
func (f *File) addRefused(variant int, err error) {
	switch e := err.(type) {
	case *confedit.FileError:
		at := child(f.nginxAt[variant]+"/files", e.Name)
		f.doc.add(where(f.doc.keys[at]), "%s", e.Error())
	case *confedit.Error:
		if e.Field == "" || e.Field == "Context" && e.Edit.Context == "" {
			return // The schema has refused it.
		}
		at := f.doc.position(fmt.Sprintf("%s/edits/%d/%s", f.nginxAt[variant], e.Index, strings.ToLower(e.Field)))
		if name, line := syntaxError(e.Message); f.Scenarios[variant].Files[name] != "" {
			at = f.inFile(variant, name, line)
		}
		f.doc.add(at, "%s", e.Message)
	}
}

// syntaxError splits off the place with which confedit begins the message of a file that is no configuration: NAME:LINE, or NAME.
func syntaxError(message string) (name string, line int) {
	place, _, _ := strings.Cut(message, ": ")
	name, number, _ := strings.Cut(place, ":")
	line, _ = strconv.Atoi(number)
	return name, max(1, line)
}

// inFile is the place of a line of one of a variant's files, as long as the document writes the text line by line; else its start.
func (f *File) inFile(variant int, name string, line int) position {
	n := target(f.doc.nodes[child(f.nginxAt[variant]+"/files", name)])
	at := where(n)
	if n.Style&yaml.LiteralStyle == 0 || at.line+line > len(f.doc.lines) {
		return at
	}
	text := f.doc.lines[at.line+line-1]
	return position{at.line + line, 1 + len(text) - len(strings.TrimLeft(text, " \t"))}
}

// ofFile reports whether an error of install is about files and edits, and not the machine.
func ofFile(err error) bool {
	_, edit := errors.AsType[*confedit.Error](err)
	_, file := errors.AsType[*confedit.FileError](err)
	return edit || file
}

// install makes a directory with a scenario's configuration, which the caller discards; nil if there is none. The error is ErrMachine, or
// those of all files that cannot be added, or of all edits that cannot be made.
func install(s *scenario.Scenario, version nginx.Version, edits []confedit.Edit) (scratch *record.Scratch, site nginx.Site, err error) {
	defer func() {
		if err != nil && !ofFile(err) {
			err = fmt.Errorf("%w: %w; set TMPDIR to a writable directory with free space", ErrMachine, err)
		}
	}()
	scratch, err = record.NewScratch(record.Base())
	if err != nil {
		return nil, site, err
	}
	site = nginx.Site{Workers: s.Workers, Diagnostics: true} // As in a trial, whose ENVIRONMENT is dev.
	if os.Getuid() == 0 {
		site.User = "root" // nginx -t looks up its user; no worker is ever started here.
	}
	addresses := []*string{&site.HTTP, &site.GRPC, &site.Admin}
	if err := certify(s, &site, filepath.Join(scratch.Dir, record.TLSDir)); err != nil {
		return scratch, site, err
	}
	if site.TLS != nil {
		addresses = append(addresses, &site.TLS.Listen)
	}
	for _, address := range addresses { // nginx -t binds them for a moment.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return scratch, site, err
		}
		defer l.Close() // Held until all are found: otherwise two might be the same.
		*address = l.Addr().String()
	}
	for n := range s.Instances {
		site.Servers = append(site.Servers, nginx.Server{HTTP: fmt.Sprintf("127.0.0.1:%d", 8001+n), GRPC: fmt.Sprintf("127.0.0.1:%d", 9001+n)})
	}
	for n := range s.Front {
		site.Front = append(site.Front, nginx.Server{HTTP: fmt.Sprintf("127.0.0.1:%d", 8101+n), GRPC: fmt.Sprintf("127.0.0.1:%d", 9101+n)})
	}
	if err := site.Install(scratch.Dir, nginx.Conf(), version); err != nil {
		return scratch, site, err
	}
	conf := filepath.Join(scratch.Dir, "conf")
	if err := confedit.AddFiles(conf, s.Files); err != nil {
		return scratch, site, err
	}
	return scratch, site, confedit.Apply(conf, edits, site.Endpoints(s.ServiceNames()))
}

// certify gives a site the certificates of a scenario: nginx -t reads them.
func certify(s *scenario.Scenario, site *nginx.Site, dir string) error {
	if !s.TLS && !s.MTLS {
		return nil
	}
	a, err := authority.New(dir)
	if err != nil {
		return err
	}
	issue := func(name string) (path string) {
		if err == nil {
			path, err = a.Issue(name, authority.Standard(name))
		}
		return path
	}
	if s.TLS {
		path := issue(scenario.Edge)
		site.TLS = &nginx.EdgeTLS{Certificate: path, Key: path, ClientCA: a.CA()}
	}
	if s.MTLS {
		path := issue(scenario.Nginx)
		site.Mesh = &nginx.MeshTLS{Certificate: path, Key: path, CA: a.CA()}
	}
	return err
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
		place := f.doc.position(f.editAt(variant, i))
		if name, line := f.nginxPlace(variant, said); name != "" {
			place = f.inFile(variant, name, line)
		}
		all.add(place, "%s", said)
	}
	return nil
}

// nginxLine matches the place with which nginx ends its lines.
var nginxLine = regexp.MustCompile(` in conf/([^ ]+):(\d+)(?:\n|$)`)

// nginxPlace is the place that nginx's lines name, if that is in one of a variant's files.
func (f *File) nginxPlace(variant int, said string) (name string, line int) {
	for _, parts := range nginxLine.FindAllStringSubmatch(said, -1) {
		if _, ours := f.Scenarios[variant].Files[parts[1]]; ours {
			line, _ := strconv.Atoi(parts[2])
			return parts[1], line
		}
	}
	return "", 0
}

// refusal is why an nginx refuses a scenario's configuration with some edits; "" if it accepts it.
func refusal(ctx context.Context, binary nginx.Binary, s *scenario.Scenario, edits []confedit.Edit) (string, error) {
	scratch, _, err := install(s, binary.Version, edits)
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
