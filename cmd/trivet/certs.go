package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trivet/internal/cli"
	"trivet/internal/nearest"
	"trivet/internal/words"
	"trivet/lab/authority"
	"trivet/lab/fleet"
	"trivet/lab/record"
)

// What trivet certs does instead of listing.
const (
	renewWord  = "renew"
	rotateWord = "rotate-authority"
	clientWord = "client"
	newWord    = "new"
)

func certsCommand() (*cobra.Command, action) {
	c := &cobra.Command{
		Use:   "certs [flags] [renew [NAME...] | rotate-authority | client NAME | new DIR]",
		Short: "list, renew and issue the certificates of a running trivet up",
		Long: `List the certificates of the newest running trivet up that has some, with what
each proves, until when, and which authority signed it.

  renew [NAME...]   issue new ones, for the same keys: those named, or all. Then
                    reload nginx, unless only instances and clients have new
                    ones: instances read theirs at their next handshake
  rotate-authority  replace the authority without losing a request: trust a
                    second one, renew everything, end the trust in the first.
                    Between these steps it waits for nginx's old workers, which
                    know only what they read when they were started
  client NAME       issue a certificate for a client of that name, and print its
                    file and a curl line that uses it
  new DIR           no running trivet up is needed: make an authority in DIR,
                    with certificates for nginx, the TLS edge, instances and a
                    client in containers (docker-compose.mtls.yml). As root, it
                    gives the files to the accounts of the images

Certificates and keys are files in RUN_DIR/tls, of mode 0600. A browser or curl
that is to trust nginx needs ca.pem there, and after rotate-authority again.`,
		Annotations: map[string]string{exitCodes: `0 done; 1 failed, or no running trivet up has certificates; 2 usage
error, no such certificate.`},
		Example: `  trivet certs
  trivet certs renew whoami-2
  trivet certs rotate-authority
  trivet certs client alice
  trivet certs new tls
  trivet certs --json | jq -r '.certificates[] | select(.expired) | .name'`,
	}
	var call certsCall
	c.Flags().StringVar(&call.dir, "run", "", "the run `DIR` that trivet up printed (default: the newest that runs)")
	c.Flags().BoolVar(&call.json, "json", false, "print the list as one JSON document")
	_ = c.MarkFlagDirname("run") // It fails only where there is no such flag.
	c.ValidArgsFunction = call.complete
	return c, call.run
}

// certsCall is the command line of trivet certs.
type certsCall struct {
	dir  string
	json bool
}

func (call *certsCall) complete(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	switch {
	case len(args) == 1 && args[0] == newWord:
		return nil, cobra.ShellCompDirectiveFilterDirs
	case len(args) == 0:
		return []cobra.Completion{renewWord, rotateWord, clientWord, newWord}, cobra.ShellCompDirectiveNoFileComp
	case args[0] == renewWord:
		if a, _, err := call.open(); err == nil {
			names, _ := certificateNames(a)
			return names, cobra.ShellCompDirectiveNoFileComp
		}
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func (call *certsCall) run(ctx context.Context, in invocation) int {
	word, names := "", in.args
	if len(in.args) > 0 {
		word, names = in.args[0], in.args[1:]
	}
	if in.isWrong(call.check(word, names)) {
		return exitUsage
	}
	if word == newWord {
		return in.done(newCertificates(in.stdout, names[0]))
	}
	a, dir, err := call.open()
	if err != nil {
		return in.done(err)
	}
	switch word {
	case "":
		return in.done(listCertificates(in.stdout, a, dir, call.json))
	case clientWord:
		return in.done(issueClient(in.stdout, a, dir, names[0]))
	}
	known, err := certificateNames(a)
	if err != nil {
		return in.done(err)
	}
	var unknown []error
	for _, name := range names {
		if !slices.Contains(known, name) {
			unknown = append(unknown, fmt.Errorf("no certificate %q in %s%s (there are: %s)", name, dir, nearest.Hint(name, known), strings.Join(known, ", ")))
		}
	}
	if in.isWrong(unknown...) {
		return exitUsage
	}
	balancer, err := fleet.FindNginx(dir)
	if err != nil {
		return in.done(err)
	}
	r := renewal{a, balancer, func(text string, args ...any) { fmt.Fprintf(in.stdout, text+"\n", args...) }}
	if word == renewWord {
		if len(names) == 0 {
			names = known
		}
		return in.done(r.renew(ctx, names))
	}
	return in.done(r.rotate(ctx))
}

// check returns what is wrong with the words of a command line.
func (call *certsCall) check(word string, names []string) error {
	words := []string{renewWord, rotateWord, clientWord, newWord}
	switch {
	case word != "" && !slices.Contains(words, word):
		return fmt.Errorf("unexpected argument %q%s; want one of %s, or none", word, nearest.Hint(word, words), strings.Join(words, ", "))
	case word != "" && call.json:
		return errors.New("--json is for the list")
	case word == rotateWord:
		return cli.Unexpected(names, 0)
	case word == newWord && call.dir != "":
		return errors.New("--run is for certificates of a run; new makes others")
	case word == newWord && len(names) == 0:
		return errors.New("new: which directory? As in: trivet certs new tls")
	case word == newWord:
		return cli.Unexpected(names, 1)
	case word == clientWord && len(names) == 0:
		return errors.New("client: which name? As in: trivet certs client alice")
	case word == clientWord && !authority.IsClient(names[0]):
		return errors.Join(fmt.Errorf("client %q: want a name of letters, digits, dots, hyphens and underscores, that is not nginx's, the edge's, an authority's or an instance's", names[0]), cli.Unexpected(names, 1))
	case word == clientWord:
		return cli.Unexpected(names, 1)
	}
	return nil
}

// open is the authority of the run that is meant, and the run's directory.
func (call *certsCall) open() (*authority.Authority, string, error) {
	if call.dir != "" {
		dir, err := filepath.Abs(call.dir)
		if err != nil {
			return nil, "", err
		}
		a, err := authority.Open(filepath.Join(dir, record.TLSDir))
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s has no certificates: want the directory of a run of trivet up --tls or --mtls", dir)
		}
		return a, dir, err
	}
	runs, err := record.Runs(record.Base())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", err
	}
	running := 0
	for _, dir := range runs {
		if !record.Running(dir) {
			continue
		}
		running++
		if a, err := authority.Open(filepath.Join(dir, record.TLSDir)); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return a, dir, err
		}
	}
	if running > 0 {
		return nil, "", errors.New("the running trivet up has no certificates; start it with them: trivet up --tls --mtls")
	}
	return nil, "", errors.New("no trivet up runs; start one with certificates: trivet up --tls --mtls")
}

func certificateNames(a *authority.Authority) (names []string, _ error) {
	_, leaves, err := a.List()
	for _, l := range leaves {
		names = append(names, l.Name)
	}
	return names, err
}

// renewal renews the certificates of a running fleet.
type renewal struct {
	*authority.Authority
	nginx fleet.Beside
	say   func(text string, args ...any)
}

// issue renews certificates without a reload, and reports whether nginx has one of them. What a certificate holds stays: names that
// trivet up added to the standard ones are in it.
func (r renewal) issue(names []string) (nginxHasOne bool, _ error) {
	_, leaves, err := r.List()
	if err != nil {
		return false, err
	}
	for _, l := range leaves {
		if !slices.Contains(names, l.Name) {
			continue
		}
		if _, err := r.Issue(l.Name, renewed(l)); err != nil {
			return false, err
		}
		nginxHasOne = nginxHasOne || l.Name == "nginx" || l.Name == "edge"
	}
	return nginxHasOne, nil
}

// renewed is what a new certificate in the place of another holds: the standard, and of the TLS edge the names and addresses that it had.
func renewed(l authority.Issued) authority.Leaf {
	leaf := authority.Standard(l.Name)
	if l.Name == "edge" {
		leaf.DNS, leaf.IPs = l.Certificate.DNSNames, l.IPs()
	}
	return leaf
}

// renew issues certificates anew and makes nginx read them.
func (r renewal) renew(ctx context.Context, names []string) error {
	nginxHasOne, err := r.issue(names)
	if err != nil {
		return err
	}
	r.say("renewed: %s", strings.Join(names, ", "))
	if !nginxHasOne {
		r.say("instances use theirs from their next handshake; nginx has no new one and was not reloaded")
		return nil
	}
	if err := r.nginx.Reload(ctx); err != nil {
		return err
	}
	r.say("nginx was reloaded, and uses its own from now on")
	return nil
}

// rotate replaces the authority. Interrupted between two steps, it leaves everything trusted, and goes on when it is called again.
func (r renewal) rotate(ctx context.Context) error {
	trusted, _, err := r.List()
	if err != nil {
		return err
	}
	newest := trusted[len(trusted)-1].Number
	if len(trusted) == 1 {
		if err := r.Add(); err != nil {
			return err
		}
		newest++
		r.say("1 of 3: authority %d is trusted, too", newest)
	} else {
		r.say("1 of 3: authority %d is trusted already: going on with a rotation that did not end", newest)
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	names, err := certificateNames(r.Authority)
	if err != nil {
		return err
	}
	if _, err := r.issue(names); err != nil {
		return err
	}
	r.say("2 of 3: authority %d signed anew: %s", newest, strings.Join(names, ", "))
	if err := r.settle(ctx); err != nil {
		return err
	}
	for trusted, _, err = r.List(); len(trusted) > 1; trusted, _, err = r.List() { // Several, if rotations did not end.
		if err := r.Retire(); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	r.say("3 of 3: authority %d alone is trusted", newest)
	if err := r.nginx.Reload(ctx); err != nil {
		return err
	}
	r.say("done; clients that keep a copy of the authority need the new one: %s", r.CA())
	return nil
}

// lookAgain is how long an instance or a client may go on with a file that has changed.
const lookAgain = time.Second

// settle makes nginx read its files, and returns when no process uses the former ones any more.
func (r renewal) settle(ctx context.Context) error {
	if err := r.nginx.Reload(ctx); err != nil {
		return err
	}
	r.say("        nginx was reloaded; waiting for its old workers")
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for ticks := 1; ; ticks++ {
		select {
		case <-ctx.Done():
			return fmt.Errorf("stopped between two steps, so all authorities are trusted; to go on: trivet certs %s", rotateWord)
		case <-tick.C:
		}
		n := r.nginx.Leaving()
		if n == 0 {
			return nil
		}
		if ticks%5 == 0 {
			r.say("        %s with open requests, until worker_shutdown_timeout", words.Count(n, "old worker"))
		}
	}
}
