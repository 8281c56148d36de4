// Command coredns is CoreDNS with the plugins that a cluster's DNS needs and no others, because all of them take minutes to compile.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() {
	// The order of a query's way through the plugins, as in CoreDNS's own plugin.cfg.
	dnsserver.Directives = []string{"health", "ready", "errors", "log", "cache", "loadbalance", "kubernetes"}
	coremain.Run()
}
