// Package nginx holds the balancer's configuration, lays it out for a place to run in, and finds the nginx to run it.
//
// The configuration under conf/ is the product: plain files that a person reads and copies. All that differs from place to
// place is in conf/site/, and those files alone are written by this package ([Site.Install]). It starts no process but for
// questions (-V, -t), and knows nothing of fleets: who runs nginx takes its arguments from [Binary.Args].
package nginx

import (
	"embed"
	"io/fs"
)

//go:embed conf
var conf embed.FS

// Conf is the shipped configuration, rooted so that "nginx.conf" is at the top. Its site/ files are those of three
// instances on this machine (127.0.0.1:8080 and 9090 in front of 8001-8003 and 9001-9003) for nginx 1.22.
func Conf() fs.FS {
	sub, err := fs.Sub(conf, "conf")
	if err != nil {
		panic(err) // "conf" is a valid path, and fs.Sub fails for nothing else
	}
	return sub
}

// ServiceConfig is the gRPC service config (JSON) which a client of whoami.v1.WhoAmIService should use, because nginx cannot
// retry a gRPC call that it has sent: grpc.WithDefaultServiceConfig(nginx.ServiceConfig).
//
// A call that ended UNAVAILABLE is tried up to four times in all, after pauses of about 50, 100 and 200 ms: an instance that
// died is out of the way by then, since nginx asks another one. Both methods have no side effects, so repeating them is safe. A
// stream is retried only until the first header of its answer; after that the program must open it anew.
//
// Retries are throttled for each channel: a failed attempt takes one of 1000 tokens, a success gives a tenth of one back, and with 500
// or fewer nothing is retried. So up to 500 calls that were running on a killed instance are all retried, a fleet that is down gets one
// attempt per call and not four, and retries stop once more than one attempt in eleven keeps failing.
//
//go:embed service_config.json
var ServiceConfig string
