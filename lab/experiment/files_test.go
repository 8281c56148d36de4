package experiment

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"trivet/lab/labtest"
)

// withNginx is small with a key nginx in lines 2 and following.
func withNginx(text string) string {
	return strings.Replace(small, "load:\n", "nginx:\n"+text+"load:\n", 1)
}

// diagnosed returns the diagnostics of a text, without its path and with N in the place of lines of the shipped files; those of nginx -t
// if Read has none.
func diagnosed(t *testing.T, text string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Read(path)
	if err == nil {
		err = f.Test(t.Context(), labtest.Nginx(t))
	}
	var all []string
	for _, one := range unjoin(err) {
		all = append(all, strings.TrimPrefix(one.Error(), path+":"))
	}
	return all
}

// shippedLine matches line numbers of shipped files.
var shippedLine = regexp.MustCompile(`(upstreams|nginx)\.conf:\d+`)

func TestEditsOfOneServerAndAddedFilesAreAccepted(t *testing.T) {
	t.Parallel()
	got := diagnosed(t, withNginx(`  files:
    extra/users.conf: |
      map $arg_user $user { default $arg_user; }
      limit_req_zone $user zone=users:1m rate=10r/s;
    teapot.conf: "location = /teapot { return 418; }"
  edits:
    - {context: upstream whoami_http server whoami-2, parameter: weight=2}
    - {context: upstream whoami_http server whoami-3, parameter: backup}
    - {context: upstream whoami_grpc server whoami-3, remove: max_fails}
    - {context: upstream whoami_grpc, remove: server whoami-1}
    - {context: http, add: include extra/*.conf}
    - {context: http-listener.conf server, add: include teapot.conf}
    - {context: http-listener.conf server, add: limit_req zone=users}
    - {context: http-listener.conf server, add: limit_req zone=requests}
    - {context: main, add: worker_priority 1}
`))
	if len(got) > 0 {
		t.Errorf("%q", got)
	}
}

func TestFilesAndEditsThatCannotBeAreReportedInPlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want []string
	}{
		{"  edits: [{context: upstream whoami_http server whoami-4, parameter: backup}]\n", []string{
			`3:21: context "upstream whoami_http server whoami-4" ends in no directive: no server of upstream whoami_http (upstreams.conf:N) begins with whoami-4; there are whoami-1, whoami-2, whoami-3`,
		}},
		{"  files: {nginx.conf: a, ../b: c, /etc/d: e, g.conf: h}\n", []string{
			`3:11: file "nginx.conf": is in the configuration already: choose another name, or edit the file that is there`,
			`3:26: file "../b": is no name of a file: want a name below conf/, like "policies/limit.conf", of letters, digits, "_", "." and "-"`,
			`3:35: file "/etc/d": is absolute: want a name below conf/, like "policies/limit.conf", of letters, digits, "_", "." and "-"`,
		}},
		{"  files: {a.conf: 3, b.conf: ''}\n", []string{`3:19: a.conf is 3: want text; put it in quotes if it is meant so`, `3:30: b.conf is "": want text`}},
		{"  files:\n    a.conf: |\n      gzip on;\n        map $a {\n  edits: [{context: http, add: include a.conf}]\n", []string{`5:7: a.conf: unexpected end, expecting ";" or "}"`}},
		{"  files:\n    a.conf: |\n      gzip on;\n        }\n  edits: [{context: http, add: include a.conf}]\n", []string{`6:9: a.conf:2: unexpected "}"`}},
		{"  files: {a.conf: 'gzip on;}'}\n  edits: [{context: http, add: include a.conf}]\n", []string{`3:19: a.conf:1: unexpected "}"`}},
		{"  files:\n    a/b.conf: |\n      gzip on;\n      banana on;\n  edits: [{context: http, add: include a/*.conf}]\n", []string{
			`6:7: nginx VERSION refuses: nginx: [emerg] unknown directive "banana" in conf/a/b.conf:2`,
		}},
		{"  files: {a.conf: banana on;}\n  edits: [{context: http, add: include a.conf}]\n", []string{
			`3:19: nginx VERSION refuses: nginx: [emerg] unknown directive "banana" in conf/a.conf:1`,
		}},
		{"  edits: [{context: http, add: banana on}]\n", []string{`3:32: nginx VERSION refuses: nginx: [emerg] unknown directive "banana" in conf/nginx.conf:N`}},
	} {
		var got []string
		for _, one := range diagnosed(t, withNginx(c.text)) {
			got = append(got, shippedLine.ReplaceAllString(one, "$1.conf:N"))
		}
		var want []string
		for _, one := range c.want {
			want = append(want, strings.ReplaceAll(one, "VERSION", labtest.Nginx(t).Version.String()))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s\ngot  %q\nwant %q", c.text, got, want)
		}
	}
}

func TestVariantReplacesFilesAndEdits(t *testing.T) {
	t.Parallel()
	f := experimentOf(t, "-", `nginx: {files: {a.conf: gzip on;}, edits: [{context: http, add: include a.conf}]}
variants:
  plain: {}
  another: {nginx: {files: {b.conf: gzip off;}}}`, "during.http.failed == 0")
	got := fmt.Sprint(f.Scenarios[0].Files, len(f.Scenarios[0].Edits), f.Scenarios[1].Files, len(f.Scenarios[1].Edits))
	if want := "map[a.conf:gzip on;] 1 map[b.conf:gzip off;] 0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
