package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"trivet/lab/measure"
	"trivet/lab/scenario"
)

// live opens the page of a stack, and waits until it shows its instances.
func live(t *testing.T, s *stack, l look) *tab {
	t.Helper()
	p := open(t, s.URL, l)
	p.wait(`document.querySelectorAll("[data-instance][data-process-state=running]").length >= 3`)
	return p
}

// load starts a load, or changes it.
func (p *tab) load(http, grpc int) {
	p.t.Helper()
	p.set("input[name=http]", fmt.Sprint(http))
	p.set("input[name=grpc]", fmt.Sprint(grpc))
	p.click("[data-do=start-load]")
	p.wait(`document.querySelector("[data-do=stop-load]:not([disabled])")`)
}

// act presses the button of an action. Where there are many instances, the one that is selected has them.
func (p *tab) act(action, process string) {
	p.t.Helper()
	button := fmt.Sprintf("[data-action=%s][data-process=%s]", action, process)
	p.wait(fmt.Sprintf(`(button => {
		if (!button) document.querySelector("[data-instance=%s] .name[aria-pressed=false]")?.click();
		return button;
	})(%s)`, process, seen(button)))
	p.click(button)
}

// instance waits until an instance's card has an attribute with that value.
func (p *tab) instance(name, attribute, value string) {
	p.t.Helper()
	p.wait(fmt.Sprintf("document.querySelector('[data-instance=%s][%s=%s]')", name, attribute, value))
}

// equal waits until both flows' shares of all instances are equal: within 3 points of a hundred.
func (p *tab) equal(instances int) {
	p.t.Helper()
	p.wait(fmt.Sprintf(`["shareHttp", "shareGrpc"].every(flow => {
		const shares = [...document.querySelectorAll("[data-instance]")].map(card => Number((card.dataset[flow] ? card : card.querySelector("[data-" + flow.replace("H", "-h").replace("G", "-g") + "]"))?.dataset[flow] ?? NaN));
		return shares.length === %d && shares.every(s => Math.abs(s - 1 / %d) < 0.03);
	})`, instances, instances))
}

// TestLoadIsBalanced starts a load by the form, and sees both flows' shares of the three instances become equal. A second page sees the same.
func TestLoadIsBalanced(t *testing.T) {
	t.Parallel()
	s := up(t)
	p, other := live(t, s, laptop), live(t, s, phone)
	p.wait(`document.querySelector(".lately a[href='#control']") && document.getElementById("charts").innerText.includes("Nothing yet")`) // Nothing looks broken.
	p.load(200, 200)
	p.equal(3)
	other.equal(3)
	p.wait(`[...document.querySelectorAll('.plot[tabindex="0"]')].filter(e => e.checkVisibility()).length === 1`) // One Tab leads to the charts.
	other.wait(`document.querySelector("input[name=http]").value === "200"`)
	other.noSidewaysScrolling()
	other.load(60, 40)
	p.wait(`document.querySelector("input[name=http]").value === "60" && document.querySelector("input[name=grpc]").value === "40"`)
	p.click("[data-do=stop-load]")
	other.wait(`document.querySelector("[data-do=stop-load][disabled]")`)
}

// TestKillAgreesWithLedger pauses and kills an instance by its buttons, under load. The picture shows it, the log says it, and the page's
// sums over instances and flows are what the reconciled records have.
func TestKillAgreesWithLedger(t *testing.T) {
	t.Parallel()
	s := up(t)
	p := live(t, s, laptop)
	p.load(150, 150)
	p.equal(3)
	p.act("pause", "whoami-2")
	p.instance("whoami-2", "data-process-state", "paused")
	p.wait(`document.querySelector(".client").innerText.includes("failed")`) // Requests that were planned a deadline ago.
	p.act("kill", "whoami-2")
	p.wait(`document.querySelector("[data-event-kind=action]")?.closest("ol, ul")?.innerText.includes("whoami-2 killed")`)
	p.instance("whoami-2", "data-process-state", "running") // trivet starts it again.
	p.equal(3)
	p.click("[data-do=stop-load]")
	p.wait(`store.control?.reconciled?.loads === 1`)

	var reconciled struct {
		Requests, OK, Failed, Discrepancies int
		Problem                             string
	}
	p.eval("store.control.reconciled", &reconciled)
	trial, err := measure.Open(filepath.Join(s.Dir, "loads", "1"))
	if err != nil {
		t.Fatal(err)
	}
	result, err := trial.Close()
	if err != nil {
		t.Fatal(err)
	}
	if result.DiscrepancyCount > 0 || reconciled.Discrepancies > 0 || reconciled.Problem != "" {
		t.Errorf("discrepancies: %v; %+v", result.Discrepancies, reconciled)
	}
	var total measure.Metrics
	for _, flow := range []string{scenario.HTTP, scenario.GRPC} {
		m, ok := result.Metrics(result.Manifest.Scenario.Phases[0].Name, flow)
		if !ok {
			t.Fatalf("the ledger has no %s", flow)
		}
		total.Requests, total.OK, total.Failed = total.Requests+m.Requests, total.OK+m.OK, total.Failed+m.Failed
	}
	if total.Failed == 0 || reconciled.Requests != total.Requests || reconciled.OK != total.OK || reconciled.Failed != total.Failed {
		t.Errorf("the page says %+v, the ledger %d requests, %d OK, %d failed", reconciled, total.Requests, total.OK, total.Failed)
	}
	p.wait(fmt.Sprintf(`["http", "grpc"].reduce((sum, f) => sum + (trial.total[f]?.requests ?? 0), 0) === %d`, total.Requests))
	for _, flow := range []string{scenario.HTTP, scenario.GRPC} {
		compare(t, p, result, flow)
	}
}

// compare compares the page's sums of a flow with the ledger's.
func compare(t *testing.T, p *tab, result measure.Result, flow string) {
	t.Helper()
	want, _ := result.Metrics(result.Manifest.Scenario.Phases[0].Name, flow)
	var sums map[string]int
	p.eval(fmt.Sprintf("trial.total[%q]", flow), &sums)
	for name, n := range map[string]int{
		"requests": want.Requests, "ok": want.OK, "dropped": want.Dropped, "instance_errors": want.InstanceErrors, "nginx_errors": want.NginxErrors, "incomplete": want.Incomplete,
		"client_attempts": want.ClientAttempts, "nginx_attempts": want.NginxAttempts, "failed_attempts": want.FailedAttempts, "in_doubt": want.InDoubt, "local_replies": want.LocalReplies,
	} {
		if sums[name] != n {
			t.Errorf("%s %s: the page has %d, the ledger %d", flow, name, sums[name], n)
		}
	}
	var names []string
	p.eval("trial.info.instances.map(i => i.name)", &names)
	for _, name := range names {
		var part struct{ First, OK int }
		p.eval(fmt.Sprintf("module.sumInstance(trial, %q, %q)", name, flow), &part)
		if part.First != want.FirstAttempts[name] || part.OK != want.OKByInstance[name] {
			t.Errorf("%s %s: the page has %d first attempts and %d OK, the ledger %d and %d", flow, name, part.First, part.OK, want.FirstAttempts[name], want.OKByInstance[name])
		}
	}
}

// TestPauseAndResume pauses an instance and resumes it: its card and its own health follow.
func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	s := up(t)
	p := live(t, s, laptop)
	p.load(100, 100)
	p.act("pause", "whoami-3")
	p.instance("whoami-3", "data-process-state", "paused")
	p.instance("whoami-3", "data-health", "no_response")
	p.act("resume", "whoami-3")
	p.instance("whoami-3", "data-process-state", "running")
	p.instance("whoami-3", "data-health", "serving")
	p.equal(3)
}

// TestKeyboardAlone reaches a kill button with Tab, presses it with Enter, and moves a chart's cursor with the arrows.
func TestKeyboardAlone(t *testing.T) {
	t.Parallel()
	s := up(t)
	p := live(t, s, laptop)
	p.load(100, 100)
	p.eval("document.activeElement.blur()", nil)
	p.tabTo("[data-action=kill][data-process=whoami-1]")
	p.visibleFocus()
	p.keys(kb.Enter)
	p.wait(`document.getElementById("log").innerText.includes("whoami-1 killed")`)
	p.tabTo("#charts [tabindex='0'], #charts canvas, #charts svg[tabindex]")
	p.visibleFocus()
	p.keys(kb.ArrowLeft, kb.ArrowLeft)
	p.tabTo("#charts canvas.histogram")
	p.visibleFocus()
	p.wait(`document.activeElement.ariaValueText?.includes("p50")`)
	p.keys(kb.ArrowRight) // The fastest of all: at least one request.
	p.wait(`(text => / to .*: [1-9]\d* OK/.test(text) && document.activeElement.closest(".cell").innerText.includes(text))(document.activeElement.ariaValueText)`)
	p.keys(kb.Escape)
	p.wait(`document.activeElement.ariaValueText.includes("p50")`)
	p.keys("?")
	p.wait(`document.getElementById("help").open`)
	p.keys(kb.Escape)
	p.wait(`!document.getElementById("help").open`)
}

// tabTo presses Tab until an element has the focus.
func (p *tab) tabTo(selector string) {
	p.t.Helper()
	var seen []string
	for range 300 {
		p.keys(kb.Tab)
		var at string
		p.eval(fmt.Sprintf(`(e => e.matches(%s) ? "" : e.outerHTML.slice(0, 60))(document.activeElement)`, quote(selector)), &at)
		if at == "" {
			return
		}
		seen = append(seen, at)
	}
	p.t.Fatalf("Tab does not reach %s, but\n%s", selector, strings.Join(slices.Compact(seen), "\n"))
}

// visibleFocus fails the test if one does not see which element has the focus.
func (p *tab) visibleFocus() {
	p.t.Helper()
	var style string
	p.eval(`(s => s.outlineStyle + " " + s.outlineWidth + " " + s.boxShadow)(getComputedStyle(document.activeElement))`, &style)
	if strings.HasPrefix(style, "none ") && strings.HasSuffix(style, " none") || strings.Contains(style, " 0px none") {
		p.t.Errorf("the focus is invisible: %s", style)
	}
}

// TestRefusedSettingChangesNothing applies a setting that nginx's own configuration does not allow: the page shows nginx's message, and
// nginx keeps what it has.
func TestRefusedSettingChangesNothing(t *testing.T) {
	t.Parallel()
	s := up(t, "--nginx-conf", unfittable(t))
	p := live(t, s, laptop)
	p.expect("422")
	p.load(50, 50)
	var before string
	p.eval("JSON.stringify(store.control.nginx.settings)", &before)
	p.set("select[name=balancing]", "random_two")
	p.click("[data-do=apply-nginx]")
	p.wait(`document.getElementById("control").innerText.includes('[emerg] balancing method does not support parameter "backup"')`)
	var after string
	p.eval("JSON.stringify(store.control.nginx.settings)", &after)
	if before != after {
		t.Errorf("settings were\n%s\nand are\n%s", before, after)
	}
	p.set("select[name=balancing]", "round_robin")
	p.equal(3)
}

// TestSettingIsApplied applies a setting that fits.
func TestSettingIsApplied(t *testing.T) {
	t.Parallel()
	s := up(t)
	p := live(t, s, laptop)
	p.set("select[name=balancing]", "least_conn")
	p.click("[data-do=apply-nginx]")
	p.wait(`store.control.nginx.settings.find(s => s.name === "balancing").value === "least_conn"`)
	p.wait(`document.querySelector("[data-do=apply-nginx]").disabled`)
	p.act("reload", "nginx")
	p.wait(`/nginx.*reloaded/i.test(document.getElementById("log").innerText)`)
}

// TestSavedExperimentIsValid saves what was done as a file, and trivet check accepts it.
func TestSavedExperimentIsValid(t *testing.T) {
	t.Parallel()
	s := up(t)
	path := filepath.Join(t.TempDir(), "saved.yaml")
	if err := os.WriteFile(path, []byte(saved(t, s)), 0o644); err != nil {
		t.Fatal(err)
	}
	if output, err := command(t, s.tmp, "check", path).CombinedOutput(); err != nil {
		t.Errorf("trivet check: %v\n%s", err, output)
	}
}

// saved does something to a stack, and returns the experiment's file that the page makes of it.
func saved(t *testing.T, s *stack) string {
	t.Helper()
	p := live(t, s, laptop)
	p.load(100, 50)
	p.equal(3)
	p.act("kill", "whoami-2")
	p.wait(`document.getElementById("log").innerText.includes("whoami-2 killed")`)
	p.instance("whoami-2", "data-process-state", "running")
	p.click("[data-do=stop-load]")
	p.wait(`document.querySelector("[data-do=stop-load][disabled]")`)
	p.click("[data-do=save]")
	p.wait(`document.querySelector("pre.yaml")?.textContent.includes("kill")`)
	var yaml string
	p.eval(`document.querySelector("pre.yaml").textContent`, &yaml)
	// A page that is not from localhost has no clipboard.
	p.eval(`Object.defineProperty(navigator, "clipboard", { value: undefined }), [...document.querySelectorAll(".saved button")].find((b) => b.textContent === "Copy").click()`, nil)
	p.wait(`document.querySelector(".saved [role=status]").textContent === "The text is selected." && getSelection().toString().includes("question:")`)
	p.wait(`/^saved-[0-9]{8}-[0-9]{6}[.]yaml$/.test(document.querySelector(".saved a[download]").download)`)
	return yaml
}

// TestOneRequestIsShown sends a request over each protocol, and reads its story.
func TestOneRequestIsShown(t *testing.T) {
	t.Parallel()
	s := up(t)
	p := live(t, s, laptop)
	for _, protocol := range []string{"http", "grpc"} {
		p.click("[data-do=send-" + protocol + "]")
		p.wait(`document.querySelector("dialog[data-story]")?.open`)
		p.wait(`/whoami-[123]/.test(document.querySelector("dialog[data-story]").innerText)`)
		p.keys(kb.Escape)
		p.wait(`!document.getElementById("story").open`)
	}
}

// TestEndIsSaid ends trivet: each page says so, and offers nothing to do.
func TestEndIsSaid(t *testing.T) {
	t.Parallel()
	s := up(t)
	p := live(t, s, laptop)
	p.load(50, 50)
	p.equal(3)
	s.stop()
	p.wait(`/trivet up has ended/i.test(document.getElementById("notice").innerText)`)
	p.wait(`document.getElementById("control").hidden && !document.querySelector("[data-action]")?.getClientRects().length`)
}
