package nginx

import (
	"strings"
	"testing"
)

func TestParseVersion(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Version
		err        string
	}{
		{"Debian 12 -V", "nginx version: nginx/1.22.1\nbuilt with OpenSSL 3.0.19\nTLS SNI support enabled\nconfigure arguments: --with-http_v2_module\n", Version{1, 22, 1}, ""},
		{"-v", "nginx version: nginx/1.30.6\n", Version{1, 30, 6}, ""},
		{"no newline", "nginx version: nginx/1.31.4", Version{1, 31, 4}, ""},
		{"distribution name after it", "nginx version: nginx/1.24.0 (Ubuntu)\n", Version{1, 24, 0}, ""},
		{"OpenResty", "nginx version: openresty/1.27.1.2\n", Version{1, 27, 1}, ""},
		{"warning first", "nginx: [alert] could not open error log file\nnginx version: nginx/1.26.3\n", Version{1, 26, 3}, ""},
		{"Tengine, nginx's version on second line", "Tengine version: Tengine/3.1.0\nnginx version: nginx/1.24.0\n", Version{1, 24, 0}, ""},
		{"not nginx", "Server version: Apache/2.4.62 (Debian)\n", Version{}, "Apache"},
		{"nothing", "", Version{}, "no line"},
		{"no patch level", "nginx version: nginx/1.22\n", Version{}, "no line"},
		{"inside a line", "this is nginx version: nginx/1.22.1\n", Version{}, "no line"},
		{"number out of range", "nginx version: nginx/1.22.99999999999999999999\n", Version{}, "no line"},
		{"long text is clipped", strings.Repeat("x", 5000), Version{}, "xxx…"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseVersion(c.text)
			if got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error %v, want one with %q", err, c.err)
			}
			if err != nil && len(err.Error()) > 300 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestCompare(t *testing.T) {
	sorted := []Version{{1, 9, 15}, {1, 22, 0}, {1, 22, 1}, {1, 25, 1}, {1, 27, 4}, {2, 0, 0}}
	for i, v := range sorted {
		for j, w := range sorted {
			if got := v.Compare(w); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%v.Compare(%v) is %d", v, w, got)
			}
		}
	}
}

// FuzzParseVersion checks that a parsed version, printed again, parses to the same version.
func FuzzParseVersion(f *testing.F) {
	f.Add("nginx version: nginx/1.22.1\nconfigure arguments: --with-http_v2_module\n")
	f.Add("nginx version: openresty/1.27.1.2\n")
	f.Add("nginx version: nginx/01.022.1 (Ubuntu)")
	f.Add("nginx version: nginx/1.22")
	f.Add("\nnginx version: nginx/999999999.0.0\n")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := ParseVersion(text)
		if err != nil {
			if v != (Version{}) {
				t.Errorf("version %v with error %v", v, err)
			}
			return
		}
		if v.Major < 0 || v.Minor < 0 || v.Patch < 0 {
			t.Errorf("%q gives %v", text, v)
		}
		again, err := ParseVersion("nginx version: nginx/" + v.String() + "\n")
		if err != nil || again != v {
			t.Errorf("%v parses again to %v, %v", v, again, err)
		}
	})
}
