package nginx_test

import (
	"fmt"
	"os"
	"path/filepath"

	"trivet/nginx"
)

// One instance behind the balancer, on other ports than the shipped ones. What runs it is
// exec.Command(binary.Path, binary.Args(dir)...), with the binary of nginx.Find.
func ExampleSite_Install() {
	dir, err := os.MkdirTemp("", "balancer")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	site := nginx.Site{
		HTTP:    "127.0.0.1:18080",
		GRPC:    "127.0.0.1:19090",
		Admin:   "127.0.0.1:17080",
		Servers: []nginx.Server{{HTTP: "[::1]:8001", GRPC: "[::1]:9001"}},
	}
	if err := site.Install(dir, nginx.Conf(), nginx.Version{Major: 1, Minor: 30, Patch: 6}); err != nil {
		fmt.Println(err)
		return
	}
	text, err := os.ReadFile(filepath.Join(dir, "conf", "site", "grpc-servers.conf"))
	fmt.Printf("%s%v", text, err)
	// Output:
	// # The instances' gRPC endpoints. upstreams.conf says why max_fails=0.
	// server [::1]:9001 max_fails=0;
	// <nil>
}
