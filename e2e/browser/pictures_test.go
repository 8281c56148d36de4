//go:build pictures

package browser

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"trivet/lab/labtest"
)

// mostBytes is the largest picture of the README.
const mostBytes = 300_000

// TestPictures makes the pictures of the README, for make page-pictures: a stack under load, one instance of it killed, and the report of
// experiments/kill-one.yaml. It wants an idle machine: on a busy one the report is invalid, and it fails.
func TestPictures(t *testing.T) {
	t.Run("live", picturesLive) // Its stack and its page end before the run, which they would disturb.
	t.Run("report", picturesReport)
}

func picturesLive(t *testing.T) {
	s := up(t)
	p := live(t, s, look{width: 1280, height: 800})
	p.load(300, 300)
	p.equal(3)
	p.wait("trial.end - store.control.load.since > 20000") // The charts have something to show.
	p.act("kill", "whoami-2")
	// trivet starts it again at once, so the page looks back at the moment before.
	const back = `trial.states.get("whoami-2")?.find((s, i, all) => i > 0 && all[i - 1].process === "gone")`
	p.wait(back)
	p.eval("store.setNow("+back+".at - 1)", nil)
	p.instance("whoami-2", "data-process-state", "gone")
	publish(t, p, "page-live")
}

func picturesReport(t *testing.T) {
	tmp := t.TempDir()
	for _, dir := range []string{tmp, filepath.Dir(tmp)} { // nginx's workers are another user.
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	output, err := command(t, tmp, "run", "--nginx", labtest.Nginx(t).Path, filepath.Join(root(), "experiments", "kill-one.yaml")).CombinedOutput()
	if err != nil {
		t.Fatalf("trivet run: %v\n%s", err, output)
	}
	html, err := command(t, tmp, "report", "--format", "html").Output()
	if err != nil {
		t.Fatalf("trivet report: %v", err)
	}
	path := filepath.Join(tmp, "report.html")
	if err := os.WriteFile(path, html, 0o644); err != nil {
		t.Fatal(err)
	}
	p := open(t, (&url.URL{Scheme: "file", Path: path}).String(), look{width: 1280, height: 1020}) // The bar below covers nothing of the picture.
	p.wait(`document.querySelector("[data-verdict=passed]")`)
	p.set("#replay input[type=range]", "3500") // whoami-2 is gone since 2.7 s.
	p.instance("whoami-2", "data-process-state", "gone")
	publish(t, p, "page-report")
}

// publish puts a picture into docs.
func publish(t *testing.T, p *tab, name string) {
	t.Helper()
	p.eval("document.activeElement.blur(), scrollTo(0, 0)", nil)
	p.settle()
	picture, err := os.ReadFile(p.picture(name))
	if err != nil {
		t.Fatal(err)
	}
	if len(picture) > mostBytes {
		t.Errorf("%s has %d bytes, more than %d", name, len(picture), mostBytes)
	}
	if err := os.WriteFile(filepath.Join(root(), "docs", name+".png"), picture, 0o644); err != nil {
		t.Fatal(err)
	}
	fmt.Println("docs/" + name + ".png")
}
