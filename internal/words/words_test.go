package words

import "testing"

func TestCountAddsPluralS(t *testing.T) {
	t.Parallel()
	for want, n := range map[string]int{"0 lines": 0, "1 line": 1, "2 lines": 2} {
		if got := Count(n, "line"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestPluralOfEntryIsEntries(t *testing.T) {
	t.Parallel()
	if one, two := Count(1, "log entry"), Count(2, "log entry"); one != "1 log entry" || two != "2 log entries" {
		t.Errorf("%q, %q", one, two)
	}
}

func TestClipKeepsWholeCharacters(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"12345678": "12345678", "123456789": "12345…", "1234ü6789": "1234…"} {
		if got := Clip(text, 8); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestPrintableHasNoControlCharacters(t *testing.T) {
	t.Parallel()
	if got := Printable("a\x1b[2J\tb\r\nü\u0085"); got != "a [2J b  ü " {
		t.Errorf("%q", got)
	}
}

func TestSentencesOfAKindDifferInNumbersAndNames(t *testing.T) {
	t.Parallel()
	for one, other := range map[string]string{
		"the client made 1 attempt, and the log has 0":    "the client made 2 attempts, and the log has 1",
		"whoami-1 (HTTP) recorded 1 arrival":              "whoami-12 (gRPC) recorded 30 arrivals",
		"it took 1.5ms":                                   "it took 800µs",
		"nginx-worker-1 waited for a CPU 27 % of 1.5s":    "whoami-3 waited for a CPU 9 % of 400ms",
		"trial 1: phase during: used 1.1 of 2 CPUs; stop": "trial 3: phase during: used 0.9 of 2 CPUs; stop",
	} {
		if Kind(one) != Kind(other) {
			t.Errorf("%s: %s\n%s: %s", one, Kind(one), other, Kind(other))
		}
	}
	for one, other := range map[string]string{
		"the log has 0": "the log has 0 entries", "phase before: used 1 CPU": "phase during: used 1 CPU", "": "1",
	} {
		if Kind(one) == Kind(other) {
			t.Errorf("%q and %q are both %q", one, other, Kind(one))
		}
	}
}
