// Package buildinfo reports the version and revision that a binary was built from, for both commands and the instance's
// responses.
package buildinfo

import (
	"runtime/debug"
	"strings"
)

// Set by `-ldflags -X` where the Go tool cannot see the repository, for example in an image build; otherwise empty.
var version, revision string

// String returns the module's version and, if the Go tool stamped one, the VCS revision, for example
// "v0.1.0 (3f6f7824d012)" or "v0.0.0-20261123220952-3f6f7824d012". For a build outside version control it is "(devel)".
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return describe(info, version, revision)
}

// describe prefers values set at link time to those stamped by the Go tool.
func describe(info *debug.BuildInfo, version, revision string) string {
	if version == "" {
		version = info.Main.Version
	}
	if version == "" {
		version = "(devel)"
	}
	dirty := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && revision == "":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = ", modified"
		}
	}
	// Twelve digits identify a commit in any repository and stay readable. The Go tool's version of an untagged commit
	// contains them already.
	if revision == "" || strings.Contains(version, revision[:min(12, len(revision))]) {
		return version
	}
	return version + " (" + revision[:min(12, len(revision))] + dirty + ")"
}
