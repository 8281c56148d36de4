package nearest

import "testing"

func TestHintNamesOnlyNearNames(t *testing.T) {
	t.Parallel()
	known := []string{"ENVIRONMENT", "BIND", "HTTP_PORT", "GRPC_PORT", "LOG_LEVEL"}
	for name, want := range map[string]string{
		"HTTP_PROT": "HTTP_PORT", "environmnt": "ENVIRONMENT", "LOGLEVEL": "LOG_LEVEL", "PORT": "HTTP_PORT", "bnd": "BIND",
		"": "", "x": "", "pi": "", "extra": "", "TIMEOUT": "",
	} {
		if want != "" {
			want = ": did you mean " + want + "?"
		}
		if got := Hint(name, known); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	if got := Hint("x", nil); got != "" {
		t.Errorf("without names: %q", got)
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0}} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("%s to %s: %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
