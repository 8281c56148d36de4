package browser

import (
	_ "embed"
	"fmt"
	"net/url"
	"testing"

	"github.com/chromedp/chromedp"
)

// axe is testdata/axe/axe.min.js.
//
//go:embed testdata/axe/axe.min.js
var axe string

// accessible fails the test for what axe finds serious or critical.
func (p *tab) accessible() {
	p.t.Helper()
	for _, found := range p.axe() {
		p.t.Errorf("axe: %s", found)
	}
}

// axe returns what axe finds serious or critical.
func (p *tab) axe() (serious []string) {
	p.t.Helper()
	// Evaluated by the DevTools protocol, which no Content-Security-Policy binds.
	if _, err := chromedp.Run(p.ctx, chromedp.Evaluate[chromedp.Void]("window.axe || "+axe+";undefined")); err != nil {
		p.t.Fatal(err)
	}
	var found []struct {
		ID, Impact, Help string
		Nodes            []struct {
			HTML           string
			FailureSummary string
		}
	}
	p.eval(`axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations.map(({id, impact, help, nodes}) => ({id, impact, help, nodes: nodes.map(({html, failureSummary}) => ({html: html.slice(0, 200), failureSummary}))})))`, &found)
	for _, v := range found {
		if v.Impact == "serious" || v.Impact == "critical" {
			for _, n := range v.Nodes[:min(len(v.Nodes), 3)] {
				serious = append(serious, fmt.Sprintf("%s (%s): %s\n%s\n%s", v.ID, v.Impact, v.Help, n.HTML, n.FailureSummary))
			}
		}
	}
	return serious
}

// looks are all sizes in both color schemes.
func looks() (all []look) {
	for _, l := range []look{phone, laptop, projector} {
		all = append(all, l, l.inDark())
	}
	return all
}

// everyLook takes pictures of the page in every look, also of all that one scrolls to, and checks it.
func (p *tab) everyLook(name string) {
	p.t.Helper()
	for n, l := range looks() {
		p.look(l)
		p.settle()
		p.picture(fmt.Sprintf("%s-%v", name, l))
		p.noSidewaysScrolling()
		if n%4 == 0 || n%4 == 3 { // A second for each: so each size once, and both color schemes.
			p.accessible()
		}
		p.whole(l)
		p.settle()
		p.picture(fmt.Sprintf("%s-%v-whole", name, l))
	}
}

// fits fails the test if the picture is wider than its place, or if its columns of states are not below each other, at widths between the looks.
func (p *tab) fits() {
	p.t.Helper()
	for _, width := range []int{768, 900, 1100, 1215} {
		p.look(look{width: width, height: 800})
		p.settle()
		p.noSidewaysScrolling()
		var got struct{ Over, Columns int }
		p.eval(`{
			over: Math.round(document.querySelector(".services").getBoundingClientRect().right - document.getElementById("picture").getBoundingClientRect().right),
			columns: new Set([...document.querySelectorAll(".states")].map(e => [...e.children].map(c => c.offsetLeft).join())).size,
		}`, &got)
		if got.Over > 1 || got.Columns != 1 {
			p.t.Errorf("at %d pixels: the picture is %d too wide, states stand in %d ways", width, got.Over, got.Columns)
		}
	}
}

// settle waits until what was drawn for another size is drawn anew.
func (p *tab) settle() {
	p.t.Helper()
	p.eval(`new Promise(done => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(() => done(true))), 250))`, nil)
}

// TestLiveLooks looks at a stack of three and of twelve instances under load, one of them killed, and at a request's story.
func TestLiveLooks(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, 12} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			s := up(t, "-n", fmt.Sprint(n))
			p := live(t, s, laptop)
			p.load(120, 120)
			p.equal(n)
			p.act("pause", "whoami-3")
			p.act("kill", "whoami-2")
			p.wait(`document.getElementById("log").innerText.includes("whoami-2 killed")`)
			p.instance("whoami-3", "data-health", "no_response")
			p.everyLook(fmt.Sprintf("live-%d", n))
			p.fits()
			if n > 3 {
				return
			}
			p.click("[data-do=send-http]")
			p.wait(`/whoami-[123]/.test(document.querySelector("dialog[data-story][open]")?.innerText)`)
			for _, l := range []look{phone, laptop.inDark(), projector} {
				p.look(l)
				p.settle()
				p.picture(fmt.Sprintf("story-%v", l))
				p.noSidewaysScrolling()
				p.accessible()
			}
		})
	}
}

// TestReportLooks looks at the report of an experiment.
func TestReportLooks(t *testing.T) {
	t.Parallel()
	p := open(t, (&url.URL{Scheme: "file", Path: reportOf(t, run(t))}).String(), laptop)
	p.wait(`document.querySelector("[data-verdict]")?.innerText`)
	p.everyLook("report")
	p.look(laptop)
	p.failedRequest()
	p.settle()
	p.picture("report-story")
	p.accessible()
}

// TestReducedMotion wants no motion where the reader's system asks for none, and some where it does not: otherwise the first says nothing.
func TestReducedMotion(t *testing.T) {
	t.Parallel()
	s := up(t)
	l := laptop
	l.noMotion = true
	still, moving := live(t, s, l), live(t, s, laptop)
	still.load(100, 100)
	still.equal(3)
	moving.equal(3)
	for p, want := range map[*tab]bool{still: false, moving: true} {
		var moved bool
		p.eval(`(async () => {
			const look = () => JSON.stringify([...document.querySelectorAll("#picture svg.edges path")].map(e => [getComputedStyle(e).strokeDashoffset, e.getAttribute("stroke-dashoffset"), e.getAttribute("cx"), e.getAttribute("transform"), getComputedStyle(e).transform]));
			let moved = document.getAnimations().some(a => a.playState === "running");
			const before = look();
			for (let i = 0; i < 20 && !moved; i++) {
				await new Promise(done => setTimeout(done, 100));
				moved = look() !== before;
			}
			return moved;
		})()`, &moved)
		if moved != want {
			t.Errorf("moves %v, want %v", moved, want)
		}
	}
}
