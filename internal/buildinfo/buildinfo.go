// Package buildinfo tells what a binary was built from. It is here, and in no command, because both commands and the
// instance's answer say the same thing.
package buildinfo

import (
	"runtime/debug"
	"strings"
)

// Set by `-ldflags -X` where the Go tool cannot see the repository, as in an image build; else empty.
var version, revision string

// String is the module's version, and the VCS revision where the Go tool stamped one, for example
// "v0.1.0 (3f6f7824d012)" or "v0.0.0-20261123220952-3f6f7824d012". A build outside version control is "(devel)".
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return describe(info, version, revision)
}

// describe prefers what was set at link time over what the Go tool stamped.
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
	// Twelve digits name a commit in any repository, and leave the line readable. The version that the Go tool makes of a
	// commit without a tag holds them already.
	if revision == "" || strings.Contains(version, revision[:min(12, len(revision))]) {
		return version
	}
	return version + " (" + revision[:min(12, len(revision))] + dirty + ")"
}
