// Command whoami runs one instance of Trivet, which identifies itself over REST and gRPC.
package main

import (
	"os"

	"github.com/sethvargo/go-envconfig"

	"trivet/internal/cli"
)

func main() {
	os.Exit(run(cli.UntilSignal(), os.Args[1:], envconfig.OsLookuper(), os.Stdout, os.Stderr))
}
