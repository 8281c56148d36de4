package nginx

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
)

// Version is an nginx version such as 1.22.1.
type Version struct{ Major, Minor, Patch int }

// Oldest is the oldest nginx that the configuration supports.
var Oldest = Version{1, 22, 0}

// First versions of the directives that site files use where available.
var (
	ticketKeysInCache   = Version{1, 23, 2} // TLS session tickets survive a reload: their key is in the shared cache
	http2Directive      = Version{1, 25, 1} // http2 on; instead of listen … http2
	keepaliveMinTimeout = Version{1, 27, 4}
	imageVersion        = Version{1, 27, 4} // the oldest for the image; resolve needs 1.27.3
)

// String returns the version as nginx writes it: 1.22.1.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Compare returns a negative number if v is older than w, 0 if they are equal, and a positive number if v is newer.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch))
}

func (v Version) atLeast(w Version) bool { return v.Compare(w) >= 0 }

// The name is not always nginx: OpenResty prints "nginx version: openresty/1.27.1.2", where the first three numbers are nginx's.
var versionLine = regexp.MustCompile(`(?m)^nginx version: [A-Za-z][A-Za-z-]*/(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:[^\d]|$)`)

// ParseVersion returns the version in the output of `nginx -v` or `nginx -V`.
func ParseVersion(text string) (Version, error) {
	m := versionLine.FindStringSubmatch(text)
	if m == nil {
		return Version{}, fmt.Errorf("no line %q in %q", "nginx version: nginx/…", clip(text))
	}
	var n [3]int
	for i := range n {
		var err error
		if n[i], err = strconv.Atoi(m[i+1]); err != nil {
			return Version{}, fmt.Errorf("nginx version %q: %w", m[0], err)
		}
	}
	return Version{n[0], n[1], n[2]}, nil
}

// clip shortens another program's output for an error.
func clip(text string) string {
	const most = 200
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}
