package calltree

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/grpc/codes"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/words"
)

// A Painter shows a text in a color: red for a failure, else green.
type Painter func(failed bool, text string) string

// row is a call as it is drawn.
type row struct {
	call, instance, code, attempts, took string
	failed                               bool
}

// Draw draws the tree: a row for the request and one for each call, with the hop, the instance that responded, the code, how often it was
// sent and how long it took. Below is what a request that failed says of it.
func (t Tree) Draw(w io.Writer, paint Painter) {
	root := row{
		call: t.Request.Protocol + ":" + t.Request.Service, instance: instanceOf(t.Response), code: codeName(t.Status.Code()),
		attempts: "1", took: brief(t.Took), failed: t.Status.Code() != codes.OK,
	}
	rows := append([]row{{call: "CALL", instance: "INSTANCE", code: "CODE", attempts: "ATTEMPTS", took: "DURATION"}, root}, below(t.Response.GetCalls(), "")...)
	widest := row{}
	for _, r := range rows {
		widest.call, widest.instance, widest.code = wider(widest.call, r.call), wider(widest.instance, r.instance), wider(widest.code, r.code)
		widest.took = wider(widest.took, r.took)
	}
	for i, r := range rows {
		code := fill(r.code, widest.code)
		if i > 0 {
			code = paint(r.failed, code)
		}
		fmt.Fprintf(w, "%s  %s  %s  %8s  %s%s\n", fill(r.call, widest.call), fill(r.instance, widest.instance), code, r.attempts,
			strings.Repeat(" ", utf8.RuneCountInString(widest.took)-utf8.RuneCountInString(r.took)), r.took)
	}
	if root.failed {
		fmt.Fprintf(w, "\n%s: %s\n", root.code, words.Printable(t.Status.Message()))
	}
	fmt.Fprintf(w, "\nRequest ID: %s\n", t.Request.ID)
}

// below are the rows of calls; before is what stands before each.
func below(calls []*whoamiv1.Call, before string) (rows []row) {
	for i, c := range calls {
		branch, deeper := "├ ", "│ "
		if i == len(calls)-1 {
			branch, deeper = "└ ", "  "
		}
		rows = append(rows, row{
			call: before + branch + words.Printable(c.GetHop()), instance: instanceOf(c.GetResponse()), code: words.Printable(c.GetCode()),
			attempts: fmt.Sprint(c.GetAttempts()), took: brief(c.GetDuration().AsDuration()), failed: c.GetCode() != "OK",
		})
		rows = append(rows, below(c.GetResponse().GetCalls(), before+deeper)...)
	}
	return rows
}

// instanceOf is the name of the instance that responded; - if that is not known.
func instanceOf(r *whoamiv1.WhoAmIResponse) string {
	return words.Printable(cmp.Or(r.GetInstance(), "-"))
}

// fill is text with spaces up to the width of the widest.
func fill(text, widest string) string {
	return text + strings.Repeat(" ", max(0, utf8.RuneCountInString(widest)-utf8.RuneCountInString(text)))
}

func wider(a, b string) string {
	if utf8.RuneCountInString(b) > utf8.RuneCountInString(a) {
		return b
	}
	return a
}

// brief is a duration in milliseconds, to a tenth.
func brief(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// codeName is a code's name as gRPC documents it, like DEADLINE_EXCEEDED.
func codeName(c codes.Code) string {
	if c == codes.OK {
		return "OK"
	}
	var name strings.Builder
	for i, r := range c.String() {
		if i > 0 && unicode.IsUpper(r) {
			name.WriteByte('_')
		}
		name.WriteRune(unicode.ToUpper(r))
	}
	return name.String()
}
