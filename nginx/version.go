package nginx

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
)

// Version is an nginx version such as 1.22.1.
type Version struct{ Major, Minor, Patch int }

// Oldest is the oldest nginx that the configuration is made for.
var Oldest = Version{1, 22, 0}

// The first versions of what site files use where they may.
var (
	http2Directive      = Version{1, 25, 1} // http2 on; instead of listen … http2
	keepaliveMinTimeout = Version{1, 27, 4}
)

// String is the version as nginx writes it: 1.22.1.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Compare is negative when v is older than w, 0 when they are the same, and positive when v is newer.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch))
}

func (v Version) atLeast(w Version) bool { return v.Compare(w) >= 0 }

// The name is not always nginx: OpenResty, for one, says "nginx version: openresty/1.27.1.2", and its first three numbers are
// those of the nginx in it.
var versionLine = regexp.MustCompile(`(?m)^nginx version: [A-Za-z][A-Za-z-]*/(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:[^\d]|$)`)

// ParseVersion finds the version in what `nginx -v` or `nginx -V` print. The error says that text is nothing of the kind.
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

// clip shortens what a stranger's program printed to what an error can hold.
func clip(text string) string {
	const most = 200
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}
