// Package nginx holds the nginx configuration, installs it for a [Site], and finds an nginx binary that can run it.
//
// The configuration under conf/ is the product: plain files that people read and copy. Everything that differs from place to place
// is in conf/site/, and this package generates only those files ([Site.Install]). It runs nginx only to query it (-V, -t); a
// program that starts it takes the arguments from [Binary.Args].
package nginx

import (
	"embed"
	"io/fs"
)

//go:embed conf
var conf embed.FS

// Conf returns the shipped configuration, with nginx.conf at its root. Its site/ files are for nginx 1.22 with three instances on
// this machine: 127.0.0.1:8080 and 9090 in front of 8001-8003 and 9001-9003.
func Conf() fs.FS {
	sub, err := fs.Sub(conf, "conf")
	if err != nil {
		panic(err) // fs.Sub fails only on an invalid path.
	}
	return sub
}

// ServiceConfig is the gRPC service config (JSON) for clients of whoami.v1.WhoAmIService, because nginx cannot retry a gRPC call that it
// has sent: grpc.WithDefaultServiceConfig(nginx.ServiceConfig).
//
// A call that ended UNAVAILABLE gets up to four attempts in all, after pauses of about 50, 100 and 200 ms: nginx sends it to another
// instance. Both methods have no side effects, so repeating them is safe. A stream is retried only until the first header of its
// response; after that, the program must open a new one.
//
// Retries are throttled per channel: a failed attempt costs one of 1000 tokens, a success returns a tenth of one, and at 500 or fewer
// nothing is retried. So up to 500 calls on a killed instance are all retried, a fleet that is down gets one attempt per call instead of
// four, and retries stop once more than one attempt in eleven keeps failing.
//
//go:embed service_config.json
var ServiceConfig string
