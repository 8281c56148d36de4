// Command whoami runs one instance of Trivet, which identifies itself over REST and gRPC.
package main

import (
	"os"

	"github.com/sethvargo/go-envconfig"

	"trivet/internal/cli"
	"trivet/services/instance/command"
	"trivet/services/whoami"
)

func main() {
	os.Exit(command.Run(cli.UntilSignal(), whoami.Service, os.Args[1:], envconfig.OsLookuper(), os.Stdout, os.Stderr))
}
