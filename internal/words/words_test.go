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
