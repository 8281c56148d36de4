package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"trivet/lab/authority"
)

// containerAccounts are the accounts of the images, by what a certificate is for: they must be able to read it.
const (
	nginxAccount    = 101
	instanceAccount = 65532
)

// newCertificates makes an authority in dir, with certificates for what Compose starts, and says which account of a container reads which.
// Only root can give the files to these accounts.
func newCertificates(w io.Writer, dir string) error {
	a, err := authority.New(dir)
	if err != nil {
		return err
	}
	root := os.Geteuid() == 0
	var commands []string
	for _, group := range []struct {
		account int
		names   []string
	}{
		{nginxAccount, []string{"nginx", "edge"}},
		{instanceAccount, []string{"whoami-1", "whoami-2", "whoami-3", "front-1"}},
		{os.Geteuid(), []string{"client"}},
	} {
		var paths []string
		for _, name := range group.names {
			path, err := a.Issue(name, authority.Standard(name))
			if err == nil && root {
				err = os.Chown(path, group.account, -1)
			}
			if err != nil {
				return err
			}
			paths = append(paths, path)
		}
		fmt.Fprintf(w, "for account %d: %s\n", group.account, strings.Join(paths, ", "))
		if group.account != os.Geteuid() {
			commands = append(commands, fmt.Sprintf("sudo chown %d %s", group.account, strings.Join(paths, " ")))
		}
	}
	fmt.Fprintf(w, "for all: %s\n", a.CA())
	if !root {
		fmt.Fprintf(w, "only root can give files to other accounts; on Linux, run:\n  %s\n", strings.Join(commands, "\n  "))
	}
	return nil
}
