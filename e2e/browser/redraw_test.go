package browser

import "testing"

// moves is how far the lines of the picture have moved.
const moves = `getComputedStyle(document.querySelector("#picture svg")).getPropertyValue("--shift")`

// later resolves to an expression's value a moment later than anything is drawn.
func later(expression string) string {
	return `new Promise(done => setTimeout(() => done(` + expression + `), 1200))`
}

// TestViewRests looks at a run that is over: nothing moves, and what is drawn anew takes the focus from nothing.
func TestViewRests(t *testing.T) {
	t.Parallel()
	p := open(t, view(t, run(t)).URL, laptop)
	p.wait(`document.querySelector("[data-verdict]")?.innerText && document.querySelector("[data-panel=attempts] .readout dd")?.innerText`)
	var before, after string
	p.eval(later(moves), &before)
	if p.eval(later(moves), &after); before != after {
		t.Errorf("lines of a run that is over moved from %s to %s", before, after)
	}
	p.wait(`document.querySelector("#details [data-id]")`)
	var focused string
	p.eval(`(button => { button.focus(); return button.dataset.id })(document.querySelector("#details [data-id]"))`, &focused)
	p.eval(`store.apply({failures: {trial: trial.info.trial, requests: [{id: "1.http.1.999999", at: 0, flow: "http", outcome: "nginx_error", latency_us: 1}]}})`, nil)
	p.wait(`document.querySelector("#details [data-id]").dataset.id === "1.http.1.999999"`)
	p.wait("document.activeElement.dataset.id === " + quote(focused))
	p.wait(`(box => { box.focus(); box.click(); return document.activeElement.type === "checkbox" })(document.querySelector("#replay [type=checkbox]"))`)
	p.wait(`(button => { button.focus(); button.click(); return document.activeElement.getAttribute("aria-pressed") === "true" })(document.querySelector("#replay [aria-pressed=false]"))`)
}

// TestReadingsAreOfTheMoment moves a replay while the charts are out of sight, and selects an instance between two bins: charts and
// numbers are those of that moment.
func TestReadingsAreOfTheMoment(t *testing.T) {
	t.Parallel()
	p := open(t, view(t, run(t)).URL, laptop)
	const readings = `[...document.querySelectorAll("[data-panel=outcomes] .readout")].map(r => r.innerText).join()`
	p.wait(`/planned/.test(` + readings + `)`)
	p.eval(later(`store.setNow(-1)`), nil)
	p.eval(later(`document.querySelector("[data-panel=outcomes]").scrollIntoView()`), nil)
	p.wait(`document.querySelector(".charts-head output").innerText === "now +0.0 s"`)
	var seen, want string
	p.eval(later(readings), &seen)
	if p.eval(`(store.setNow(0), `+readings+`)`, &want); seen != want {
		t.Errorf("the charts say %q, want %q", seen, want)
	}
	p.eval(`(store.setNow(1450), document.querySelector("[data-instance=whoami-1] .name").click())`, nil)
	p.wait(`document.querySelector(".detail tbody tr")?.cells[1].innerText === (await import("/assets/format.js")).rate(module.sumInstance(trial, "whoami-1", "http", 0, 1400).first / 1.4)`)
	// A zoom shows a few bins at least.
	p.eval(`store.setZoom([1000, 1000])`, nil)
	p.wait(`store.zoom[0] === 800 && store.zoom[1] === 1200`)
	// The newest moment is shown although the replay plays.
	p.click("#replay [data-do=play]")
	p.wait("!store.live")
	p.eval(`document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "l", bubbles: true}))`, nil)
	p.wait("store.live")
	p.wait(later("store.live"))
	// So it is when a replay has caught up with a run that goes on.
	p.eval(`(store.reports.clear(), store.setShown([1]), store.setNow(store.newest(1) - 500))`, nil)
	p.click("#replay [data-do=play]")
	p.wait("store.live")
}

// TestNewestFailuresAreListed fills the list of failures of a stack: one more takes the place of the oldest, wherever both are in it.
func TestNewestFailuresAreListed(t *testing.T) {
	t.Parallel()
	p := live(t, up(t), laptop)
	const add = `(n, at) => store.apply({failures: {trial: 0, requests: [{id: "1.http.1." + n, at, flow: "http", outcome: "nginx_error", latency_us: 1}]}})`
	const first = `document.querySelector("#details [data-id]")?.dataset.id`
	p.eval(`(add => { for (let n = 0; n < 200; n++) add(n, n ? 1000 + n : 2000) })(`+add+`)`, nil)
	p.wait(first + ` === "1.http.1.0"`)
	p.eval(`(`+add+`)(200, 1500)`, nil)
	p.wait(first + ` === "1.http.1.200"`)
}
