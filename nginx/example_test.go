package nginx_test

import (
	"fmt"
	"os"
	"path/filepath"

	"trivet/nginx"
)

// This example puts one instance behind nginx, on other ports than the shipped ones. To start nginx, run
// exec.Command(binary.Path, binary.Args(dir)...) with the binary of nginx.Find.
func ExampleSite_Install() {
	dir, err := os.MkdirTemp("", "nginx")
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
	// # gRPC endpoints of the instances. Why max_fails=0: upstreams.conf.
	// server [::1]:9001 max_fails=0;
	// <nil>
}
