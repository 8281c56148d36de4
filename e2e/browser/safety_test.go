package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// TestOtherPagesChangeNothing opens web pages of other origins in the browser that also has the page of trivet open. They send what a page
// may send without being asked, and what one whose name was rebound to this machine may. trivet does nothing of it.
func TestOtherPagesChangeNothing(t *testing.T) {
	t.Parallel()
	s := up(t)
	p := live(t, s, laptop)
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, `<!doctype html><title>foreign</title><link rel="icon" href="data:,">
			<form method="post" enctype="text/plain" target="frame" action="%sapi/load"><input name='{"http":100,"grpc":0,"x' value='":0}'></form>
			<iframe name="frame"></iframe><iframe id="whole" src="%s"></iframe>`, s.URL, s.URL)
	}))
	defer foreign.Close()
	evil := open(t, strings.Replace(foreign.URL, "127.0.0.1", "evil.test", 1), laptop)
	evil.expect("Failed to load resource|blocked by CORS|frame-ancestors|Framing|refused to connect")

	post := func(path, headers string) string {
		return fmt.Sprintf(`fetch(%q, {method: "POST", %s, body: JSON.stringify({http: 100, grpc: 0, streams: 0, deadline_ms: 1000, retry: false, action: "kill", process: "whoami-1"})}).then(r => r.type + " " + r.status, e => "refused: " + e.message)`, s.URL+path, headers)
	}
	for _, path := range []string{"api/load", "api/action", "api/nginx", "api/request", "api/experiment"} {
		for _, headers := range []string{
			`mode: "no-cors", headers: {"Content-Type": "text/plain"}`,
			`headers: {"Content-Type": "application/json", "X-Trivet-Token": "guessed"}`,
		} {
			var got string
			evil.eval(post(path, headers), &got)
			if !strings.HasPrefix(got, "opaque") && !strings.HasPrefix(got, "refused") {
				t.Errorf("%s with %s: %s", path, headers, got)
			}
		}
	}
	for _, path := range []string{"", "api/feed", "api/story?trial=0&id=x", "assets/main.js"} {
		var got string
		evil.eval(fmt.Sprintf(`fetch(%q).then(r => r.text()).then(t => "read " + t.slice(0, 40), e => "refused")`, s.URL+path), &got)
		if got != "refused" {
			t.Errorf("a foreign page reads /%s: %s", path, got)
		}
	}
	evil.eval(`document.forms[0].submit()`, nil)
	evil.wait(`(() => { try { return frames[0].location.href && false } catch { return true } })()`) // The response is there, of another origin.
	evil.wait(`(() => { try { return frames[1].document === null } catch { return true } })()`)

	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	rebound := open(t, "http://rebound.test:"+u.Port()+"/", laptop)
	rebound.expect("Failed to load resource|Cross-Origin-Opener-Policy header has been ignored")
	if text := rebound.text("html"); strings.Contains(text, "whoami-1") || strings.Contains(text, "trivet-token") || text == "" {
		t.Errorf("a rebound name gets %q", text)
	}
	var got string
	rebound.eval(`fetch("/api/load", {method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"}).then(r => "" + r.status)`, &got)
	if got != "421" {
		t.Errorf("a rebound name gets %s, want 421", got)
	}

	var state string
	p.eval(`[store.control.load.running, store.control.history, document.querySelectorAll("[data-process-state=running]").length,
		trial.events.filter(e => e.kind === "action" || e.kind === "load" || e.kind === "setting").length].join(" ")`, &state)
	if state != "false 0 3 0" {
		t.Errorf("running, history, instances, events: %s", state)
	}
}

// A cable is between a page and trivet, and can be pulled.
type cable struct {
	*httptest.Server
	pulled atomic.Bool
}

// plug puts a cable to a stack.
func plug(t *testing.T, s *stack) *cable {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.pulled.Load() {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(c.Close)
	return c
}

// TestPageCatchesUp pulls the cable of one page while another goes on. The first says that it is not connected, and has the same once it
// is again.
func TestPageCatchesUp(t *testing.T) {
	t.Parallel()
	s := up(t)
	c := plug(t, s)
	p, away := live(t, s, laptop), live(t, &stack{URL: c.URL}, laptop)
	away.expect("Failed to load resource")
	p.load(100, 100)
	away.equal(3)
	c.pulled.Store(true)
	c.CloseClientConnections()
	away.wait(`/no connection/i.test(document.getElementById("notice").innerText)`)
	p.act("kill", "whoami-1")
	p.wait(`document.getElementById("log").innerText.includes("whoami-1 killed")`)
	p.instance("whoami-1", "data-process-state", "running")
	p.click("[data-do=stop-load]")
	p.wait("store.control?.reconciled?.loads === 1")
	c.pulled.Store(false)
	away.wait(`document.getElementById("log").innerText.includes("whoami-1 killed")`)
	away.wait(`!/no connection/i.test(document.getElementById("notice").innerText)`)
	const sums = `JSON.stringify(trial.info.instances.map(i => [i.name, module.sumInstance(trial, i.name).first, module.sumInstance(trial, i.name).ok]))`
	var want string
	p.eval(sums, &want)
	away.wait(sums + " === " + quote(want))
	p.load(100, 100)
	away.eval(`document.querySelector("[data-panel=outcomes]").scrollIntoView()`, nil)
	away.wait(`/planned\s+[1-9]/.test(document.querySelector("[data-panel=outcomes] .readout").innerText)`) // The charts go on, too.
}

// TestPageFollowsTrivet kills trivet under an open page, and starts another at the same port. The page says that trivet is gone, wherever it is
// scrolled to, and becomes that of the other, which it can change.
func TestPageFollowsTrivet(t *testing.T) {
	t.Parallel()
	s := up(t)
	p := live(t, s, laptop)
	p.expect("Failed to load resource|Failed to fetch")
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.done
	_ = s.cmd.Wait()
	p.eval(`document.querySelector("[data-do=send-http]").scrollIntoView()`, nil)
	p.wait(`(notice => /no connection/i.test(notice?.innerText) && notice.getBoundingClientRect().top >= 0)(document.querySelector("#notice > .bad"))`)
	p.click("[data-do=send-http]")
	p.wait(`/trivet has ended, or cannot be reached/.test(document.getElementById("control").innerText)`)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	other := up(t, "--dashboard", u.Port())
	p.wait("store?.hello?.dir === " + quote(other.Dir))
	p.act("kill", "whoami-1")
	p.wait(`document.getElementById("log").innerText.includes("whoami-1 killed")`)
	if text := p.text("#notice"); strings.Contains(text, "connection") {
		t.Errorf("the page of the other says %q", text)
	}
}
