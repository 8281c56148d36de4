package browser

import (
	"context"
	"net/http"
	"sync"
	"testing"
)

// TestPictureIsExact sees in the picture what is slow to be known, or is no load's: requests that wait for a paused instance are not left out
// of the rates, requests of others and calls between instances are there, and what is true of one protocol is not said of both.
func TestPictureIsExact(t *testing.T) {
	t.Parallel()
	s := up(t)
	p := live(t, s, laptop)
	var address string
	p.eval("trial.info.http", &address)
	ctx, cancel := context.WithCancel(t.Context())
	var others sync.WaitGroup
	others.Go(func() {
		for ctx.Err() == nil {
			if response, err := http.Get("http://" + address + "/?hops=grpc"); err == nil {
				response.Body.Close()
			}
		}
	})
	p.wait(`/others: HTTP [1-9]/.test(document.querySelector(".client").innerText) && /Calls others [1-9]/.test(document.querySelector(".services").innerText)`)
	cancel()
	others.Wait()
	p.load(60, 60)
	p.equal(3)
	p.act("pause", "whoami-2")
	p.wait(`(box => /HTTP\s+(5\d|6\d)\/s\s+✕/.test(box) && !box.includes("no failures"))(document.querySelector(".client").innerText)`)
	p.act("resume", "whoami-2")
	p.set("select[name=balancing]", "hash_client")
	p.click("[data-do=apply-nginx]")
	p.wait(`[...document.querySelectorAll("[data-instance]")].every(card => {
		const [http, grpc] = ["http", "grpc"].map(f => card.querySelector("[data-share-" + f + "]").dataset["share" + f[0].toUpperCase() + f.slice(1)] === "1");
		const words = card.innerText.replace(/\s+/g, " ");
		return http === grpc ? words.includes(http ? "inferred serving" : "inferred not chosen HTTP") : words.includes("over " + (http ? "gRPC" : "HTTP") + " not chosen");
	})`)
}
