package nearest

import "testing"

func TestName(t *testing.T) {
	t.Parallel()
	known := []string{"ENVIRONMENT", "BIND", "HTTP_PORT", "GRPC_PORT", "LOG_LEVEL"}
	for name, want := range map[string]string{
		"HTTP_PROT": "HTTP_PORT", "enviroment": "ENVIRONMENT", "LOGLEVEL": "LOG_LEVEL", "PORT": "HTTP_PORT", "bnd": "BIND", "": "BIND",
	} {
		if got := Name(name, known); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	if got := Name("x", nil); got != "" {
		t.Errorf("of none: %q", got)
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
