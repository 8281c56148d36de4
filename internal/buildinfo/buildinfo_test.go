package buildinfo

import (
	"runtime/debug"
	"testing"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	stamped := &debug.BuildInfo{
		Main:     debug.Module{Version: "v0.1.0"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "3f6f7824d0123456789a"}, {Key: "vcs.modified", Value: "true"}},
	}
	for _, test := range []struct {
		name, version, revision string
		info                    *debug.BuildInfo
		want                    string
	}{
		{"outside version control", "", "", &debug.BuildInfo{}, "(devel)"},
		{"stamped by the Go tool", "", "", stamped, "v0.1.0 (3f6f7824d012, modified)"},
		{"a commit without a tag", "v0.0.0-20261123220952-3f6f7824d012+dirty", "", stamped, "v0.0.0-20261123220952-3f6f7824d012+dirty"},
		{"set at link time", "v9", "abc", &debug.BuildInfo{}, "v9 (abc)"},
		{"link time wins", "v9", "abc", stamped, "v9 (abc, modified)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := describe(test.info, test.version, test.revision); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
