package main

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"trivet/internal/words"
	"trivet/lab/authority"
)

// certificateList is what trivet certs --json prints.
type certificateList struct {
	Run          string             `json:"run"`
	CA           string             `json:"ca"` // file of the trusted authorities
	Authorities  []authorityEntry   `json:"authorities"`
	Certificates []certificateEntry `json:"certificates"`
}

// authorityEntry is one trusted authority.
type authorityEntry struct {
	Number   int       `json:"number"`
	NotAfter time.Time `json:"not_after"`
}

// certificateEntry is one certificate.
type certificateEntry struct {
	Name      string    `json:"name"`
	Path      string    `json:"path"`
	Identity  string    `json:"identity,omitempty"` // a SPIFFE ID
	Names     []string  `json:"names"`              // DNS names and addresses
	Client    bool      `json:"client"`             // whether it may be shown to a server
	Server    bool      `json:"server"`             // whether it may be shown to clients
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Expired   bool      `json:"expired"`
	Authority int       `json:"authority,omitempty"` // the trusted one that signed it; missing: none of them did
	Serial    string    `json:"serial"`
}

func newCertificateEntry(l authority.Issued, now time.Time) certificateEntry {
	c := l.Certificate
	e := certificateEntry{
		Name: l.Name, Path: l.Path, Identity: l.Identity(), Names: append([]string{}, c.DNSNames...), NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		Client: slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth), Server: slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth),
		Expired: now.After(c.NotAfter), Authority: l.Authority, Serial: c.SerialNumber.Text(16),
	}
	for _, ip := range l.IPs() {
		e.Names = append(e.Names, ip.String())
	}
	return e
}

// state is when a certificate ends, for people.
func (e certificateEntry) state(now time.Time) string {
	switch {
	case e.Expired:
		return "expired " + span(now.Sub(e.NotAfter)) + " ago"
	case now.Before(e.NotBefore):
		return "valid only in " + span(e.NotBefore.Sub(now))
	}
	return "in " + span(e.NotAfter.Sub(now))
}

// signer is which authority signed, for people.
func (e certificateEntry) signer() string {
	if e.Authority == 0 {
		return "none that is trusted"
	}
	return strconv.Itoa(e.Authority)
}

// span is a time in the largest unit that it has two of.
func span(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if n := int((d + unit.of/2) / unit.of); n >= 2 {
			return words.Count(n, unit.name)
		}
	}
	return words.Count(int(d/time.Second), "second")
}

func listCertificates(w io.Writer, a *authority.Authority, dir string, asJSON bool) error {
	trusted, leaves, err := a.List()
	if err != nil {
		return err
	}
	now := time.Now()
	list := certificateList{Run: dir, CA: a.CA(), Authorities: []authorityEntry{}, Certificates: []certificateEntry{}}
	for _, t := range trusted {
		list.Authorities = append(list.Authorities, authorityEntry{t.Number, t.Certificate.NotAfter})
	}
	for _, l := range leaves {
		list.Certificates = append(list.Certificates, newCertificateEntry(l, now))
	}
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(list)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "NAME\tIDENTITY\tNAMES\tEXPIRES\tAUTHORITY\n")
	for _, e := range list.Certificates {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", e.Name, dash(e.Identity), dash(strings.Join(e.Names, " ")), e.state(now), e.signer())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, t := range list.Authorities {
		fmt.Fprintf(w, "authority %d expires in %s\n", t.Number, span(t.NotAfter.Sub(now)))
	}
	_, err = fmt.Fprintf(w, "all in %s; --cacert %s\n", filepath.Dir(list.CA), list.CA)
	return err
}

// dash stands for nothing in a table.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// issueClient issues a client's certificate, and prints how to use it.
func issueClient(w io.Writer, a *authority.Authority, dir, name string) error {
	path, err := a.Issue(name, authority.Standard(name))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, `%s

It has the certificate and its key, and proves the identity %s. Use it:

  curl --cacert %s --cert %s https://localhost:%s/
`, path, authority.Standard(name).URI, a.CA(), path, tlsPort(dir))
	return err
}

var tlsListen = regexp.MustCompile(`(?m)^\s*listen\s+(?:\S*:)?([0-9]+)\s[^;#]*\bssl\b`)

// tlsPort is nginx's port for TLS, from the configuration in a run directory.
func tlsPort(dir string) string {
	files, _ := filepath.Glob(filepath.Join(dir, "conf", "site", "*.conf"))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		if m := tlsListen.FindSubmatch(text); m != nil {
			return string(m[1])
		}
	}
	return "8443"
}
