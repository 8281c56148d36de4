package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// timeout is how long anything on a page may take: far longer than it does on a busy machine.
const timeout = 90 * time.Second

// A look is how a person sees a page.
type look struct {
	width, height  int
	dark, noMotion bool
}

var (
	phone     = look{width: 360, height: 780}
	laptop    = look{width: 1280, height: 800}
	projector = look{width: 1920, height: 1080}
)

// inDark is the same in dark.
func (l look) inDark() look {
	l.dark = true
	return l
}

func (l look) String() string {
	if l.dark {
		return fmt.Sprintf("%d-dark", l.width)
	}
	return fmt.Sprintf("%d-light", l.width)
}

// A tab shows a page. Its test fails if the page writes an error to the console, throws one, opens a dialog, or breaks its
// Content-Security-Policy.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	messages []string         // everything on the console
	wrong    []string         // those that are errors
	expected []*regexp.Regexp // errors that the test causes
}

// open shows a URL until the test ends.
func open(t *testing.T, url string, l look) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser(t), chromedp.WithNewBrowserContext())
	p := &tab{t: t, ctx: ctx}
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	console := chromedp.Console(ctx)
	var reading sync.WaitGroup
	reading.Go(func() {
		for m, err := range console {
			if err != nil {
				return
			}
			p.heard(m)
		}
	})
	err := chromedp.Listen(ctx, func(event any) {
		if e, ok := event.(*page.EventJavascriptDialogOpening); ok {
			p.problem("dialog: " + e.Message)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.finish()
		cancel()
		reading.Wait()
	})
	p.look(l)
	p.navigate(url)
	return p
}

func (p *tab) heard(m chromedp.ConsoleMessage) {
	text := fmt.Sprintf("%s: %s (%s:%d)", m.Type, m.Text, m.URL, m.Line+1)
	if m.Exception != nil && m.Exception.Exception != nil {
		text += "\n" + m.Exception.Exception.Description
	}
	p.mu.Lock()
	p.messages = append(p.messages, text)
	p.mu.Unlock()
	if m.Type == chromedp.ConsoleError || m.Type == chromedp.ConsoleException || m.Source == "security" {
		p.problem(text)
	}
}

func (p *tab) problem(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrong = append(p.wrong, text)
}

// expect takes errors on the console that match for what the test causes.
func (p *tab) expect(pattern string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = append(p.expected, regexp.MustCompile(pattern))
}

// finish fails the test for what is wrong with the page, and keeps what shows why.
func (p *tab) finish() {
	p.mu.Lock()
	wrong := slices.DeleteFunc(slices.Clone(p.wrong), func(text string) bool {
		return slices.ContainsFunc(p.expected, func(e *regexp.Regexp) bool { return e.MatchString(text) })
	})
	messages := strings.Join(p.messages, "\n")
	p.mu.Unlock()
	if len(wrong) > 0 {
		p.t.Errorf("the page: %s", strings.Join(wrong, "\n"))
	}
	if !p.t.Failed() {
		return
	}
	name := "failed/" + strings.ReplaceAll(p.t.Name(), "/", "-")
	_ = os.WriteFile(artifacts(p.t, name+".console.txt"), []byte(messages+"\n"), 0o644)
	ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
	defer cancel()
	if picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100)); err == nil {
		_ = os.WriteFile(artifacts(p.t, name+".png"), picture, 0o644)
		p.t.Logf("see %s", artifacts(p.t, name+".png"))
	}
}

// look sets the size and what the reader prefers.
func (p *tab) look(l look) {
	p.t.Helper()
	scheme, motion := "light", "no-preference"
	if l.dark {
		scheme = "dark"
	}
	if l.noMotion {
		motion = "reduce"
	}
	if err := chromedp.Do(p.ctx, chromedp.EmulateViewport(int64(l.width), int64(l.height))); err != nil {
		p.t.Fatal(err)
	}
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: motion},
	}})
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *tab) navigate(url string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, timeout)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		p.t.Fatalf("%s: %v", url, err)
	}
}

// scope is what expressions can use beside the document: the page's state, its trial in focus, and its functions. A page that is a file has
// none of them.
const scope = `const module = window.EventSource && document.querySelector("script[type=module][src]") ? await import("/assets/store.js") : null;
	const store = module ? (await import("/assets/main.js")).pageStore : null;
	const trial = store?.trials.get(store.focus);`

// evaluate returns the JSON of an expression; of a promise what it resolves to.
func (p *tab) evaluate(expression string) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(p.ctx, timeout)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[*string]("(async () => {"+scope+"return JSON.stringify(await ("+expression+"))})()", chromedp.EvalAwaitPromise))
	if err != nil || value == nil {
		return nil, err
	}
	return json.RawMessage(*value), nil
}

// eval evaluates an expression into a value.
func (p *tab) eval(expression string, into any) {
	p.t.Helper()
	value, err := p.evaluate(expression)
	if err == nil && value == nil {
		value = json.RawMessage("null")
	}
	if err == nil && into != nil {
		err = json.Unmarshal(value, into)
	}
	if err != nil {
		p.t.Fatalf("%s: %v: %s", expression, err, value)
	}
}

// wait waits until an expression is true. It may fail until then.
func (p *tab) wait(expression string) {
	p.t.Helper()
	p.waitFor(expression, timeout)
}

func (p *tab) waitFor(expression string, limit time.Duration) {
	p.t.Helper()
	deadline, tick := time.After(limit), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for {
		value, err := p.evaluate("!!(" + expression + ")")
		if err == nil && bytes.Equal(value, []byte("true")) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			p.t.Fatalf("not within %v: %s (%s, %v)", limit, expression, value, err)
		case <-p.ctx.Done():
			p.t.Fatalf("the browser has ended: %v", context.Cause(p.ctx))
		}
	}
}

// seen is the first element that matches and is on the screen.
func seen(selector string) string {
	return "[...document.querySelectorAll(" + quote(selector) + ")].find(e => e.getClientRects().length)"
}

// click clicks the first element that matches, as soon as it is on the screen and enabled.
func (p *tab) click(selector string) {
	p.t.Helper()
	p.wait("(e => e && !e.disabled)(" + seen(selector) + ")")
	ctx, cancel := context.WithTimeout(p.ctx, timeout)
	defer cancel()
	// By script, because a view that is drawn anew has other elements by the time that a mouse gets there.
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[chromedp.Void](seen(selector)+".click()")); err != nil {
		p.t.Fatalf("click %s: %v", selector, err)
	}
}

// set gives an input or a select a value, as a person would.
func (p *tab) set(selector, value string) {
	p.t.Helper()
	p.wait("document.querySelector(" + quote(selector) + ")")
	p.eval(`(e => {
		if (e.type === "checkbox") { if (e.checked !== (`+quote(value)+` === "true")) e.click(); return }
		e.focus(); e.value = `+quote(value)+`;
		e.dispatchEvent(new Event("input", {bubbles: true})); e.dispatchEvent(new Event("change", {bubbles: true}));
	})(document.querySelector(`+quote(selector)+`))`, nil)
}

// keys presses keys, one after the other.
func (p *tab) keys(keys ...string) {
	p.t.Helper()
	for _, k := range keys {
		if err := chromedp.Do(p.ctx, chromedp.KeyEvent(k)); err != nil {
			p.t.Fatal(err)
		}
	}
}

// text returns the text of the first element that matches, as it is on the screen.
func (p *tab) text(selector string) (text string) {
	p.t.Helper()
	p.eval("document.querySelector("+quote(selector)+")?.innerText ?? ''", &text)
	return text
}

// picture writes a screenshot of what is in view to an artifact.
func (p *tab) picture(name string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, timeout)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Fatalf("screenshot: %v", err)
	}
	path := artifacts(p.t, name+".png")
	if err := os.WriteFile(path, picture, 0o644); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// whole makes the window as high as the page, so that bars that stay at its edges cover nothing in a picture.
func (p *tab) whole(l look) {
	p.t.Helper()
	p.eval("document.documentElement.scrollHeight", &l.height)
	p.look(l)
}

// noSidewaysScrolling fails the test if the page is wider than the window, and names what sticks out.
func (p *tab) noSidewaysScrolling() {
	p.t.Helper()
	var wide []string
	p.eval(`(root => root.scrollWidth <= root.clientWidth ? [] :
		[root.scrollWidth + " > " + root.clientWidth, ...[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > root.clientWidth + 1)
			.slice(0, 5).map(e => e.tagName + "#" + e.id + "." + (e.className.baseVal ?? e.className))])(document.documentElement)`, &wide)
	if len(wide) > 0 {
		p.t.Errorf("the page scrolls sideways: %q", wide)
	}
}

func quote(text string) string {
	quoted, _ := json.Marshal(text)
	return string(quoted)
}
