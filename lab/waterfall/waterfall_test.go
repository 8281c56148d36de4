package waterfall

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"trivet/lab/trace"
)

var begin = time.Date(2026, 11, 26, 15, 10, 0, 0, time.UTC)

func span(kind trace.Kind, process, name string, from, to float64, result trace.Result, note string, children ...*trace.Span) *trace.Span {
	at := func(ms float64) time.Time { return begin.Add(time.Duration(ms * float64(time.Millisecond))) }
	return &trace.Span{Kind: kind, Process: process, Name: name, Begin: at(from), End: at(to), Result: result, Note: note, Children: children}
}

// example has each kind of span, and each result.
func example() *trace.Trace {
	client := span(trace.Client, "client", "/whoami.v1.WhoAmIService/WhoAmI", 0, 80, trace.OK, "OK",
		span(trace.Nginx, "nginx", "POST /whoami.v1.WhoAmIService/WhoAmI", 1, 79, trace.OK, "OK",
			span(trace.Attempt, "nginx", "attempt 1: whoami-2", 1, 1, trace.Failed, "refused"),
			span(trace.Attempt, "nginx", "attempt 2: whoami-3", 1, 41, trace.InDoubt, "in doubt 502"),
			span(trace.Attempt, "nginx", "attempt 3: whoami-1", 41, 79, trace.OK, "200",
				span(trace.Instance, "whoami-1", "/whoami.v1.WhoAmIService/WhoAmI", 50, 75, trace.OK, "OK",
					span(trace.Hop, "whoami-1", "GET /<&>\x1b[31m", 60, 70, trace.OK, "200")))))
	client.Attributes = []trace.Attribute{{Key: "trivet.late_us", Value: int64(2500)}}
	return &trace.Trace{ID: strings.Repeat("ab", 16), Request: "5.grpc.1.618", Roots: []*trace.Span{client}}
}

func TestTextOf80Columns(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	Text{Writer: &got, Width: 80}.Draw(example())
	want := `
5.grpc.1.618  /whoami.v1.WhoAmIService/WhoAmI  OK, 80.0 ms
                            0          40.0 ms    80.0 ms
client WhoAmI               █████████████████████████████  80.0 ms  OK
└ nginx WhoAmI              █████████████████████████████    78 ms  OK
  ├ attempt 1: whoami-2     ▓                                 0 ms  refused
  ├ attempt 2: whoami-3     ░░░░░░░░░░░░░░░                  40 ms  in doubt 502
  └ attempt 3: whoami-1                   ▐██████████████    38 ms  200
    └ whoami-1 WhoAmI                         █████████▌   25.0 ms  OK
      └ call GET /<&> [31m                       ▐███▌     10.0 ms  200

Began 2026-11-26 15:10:00.000 UTC; trace ID abababababababababababababababab.
Sent 2.50 ms after its planned start.
refused: nginx got no connection, and sent nothing.
in doubt: nginx sent the request and got no header, so it may have been
executed.
`
	if text := "\n" + got.String(); text != want {
		t.Errorf("got%s\nwant%s", text, want)
	}
}

var escapes = regexp.MustCompile("\x1b\\[[0-9]*m")

func TestTextFitsTerminal(t *testing.T) {
	t.Parallel()
	for width := leastWidth; width <= mostWidth+10; width++ {
		var plain, color bytes.Buffer
		Text{Writer: &plain, Width: width}.Draw(example())
		Text{Writer: &color, Width: width, Color: true}.Draw(example())
		if escapes.ReplaceAllString(color.String(), "") != plain.String() || !escapes.MatchString(color.String()) {
			t.Fatalf("width %d: color changes more than the color", width)
		}
		if strings.Contains(plain.String(), "\x1b") {
			t.Fatalf("width %d: escape sequences", width)
		}
		for line := range strings.Lines(plain.String()) {
			if n := length(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("width %d: a line of %d characters: %s", width, n, line)
			}
		}
	}
}

// A trace whose spans have one instant, and one without spans, can be drawn.
func TestTextOfNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []*trace.Trace{
		{Request: "1"},
		{Request: "1", Roots: []*trace.Span{span(trace.Nginx, "nginx", "GET /", 0, 0, trace.OK, "200")}},
	} {
		var got bytes.Buffer
		Text{Writer: &got}.Draw(c)
		if err := SVG(&got, c); err != nil || !strings.HasPrefix(got.String(), "1") {
			t.Errorf("%v: %s", err, got.String())
		}
	}
}

// The file is whole by itself: a viewer fetches nothing, and nothing in it runs.
func TestSVGIsWellFormedAndSelfContained(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	if err := SVG(&file, example()); err != nil {
		t.Fatal(err)
	}
	rects, text := 0, ""
	for decoder := xml.NewDecoder(&file); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "rect" {
				rects++
			}
			for _, a := range token.Attr {
				if a.Name.Local == "href" || a.Name.Local == "src" || strings.HasPrefix(a.Name.Local, "on") {
					t.Errorf("%s has %s", token.Name.Local, a.Name.Local)
				}
			}
			if token.Name.Local == "script" || token.Name.Local == "image" {
				t.Errorf("a %s", token.Name.Local)
			}
		case xml.CharData:
			text += string(token)
		}
	}
	if rects != 8 || !strings.Contains(text, "call GET /<&> [31m") || !strings.Contains(text, "prefers-color-scheme:dark") || strings.Contains(text, "url(") || strings.Contains(text, "@import") {
		t.Errorf("%d rectangles; %s", rects, text)
	}
}

func TestFailingWriterIsReported(t *testing.T) {
	t.Parallel()
	reader, writer := io.Pipe()
	reader.Close()
	if err := SVG(writer, example()); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%v", err)
	}
}
