// Command front runs one instance of the front service, which calls whoami through nginx.
package main

import (
	"os"

	"github.com/sethvargo/go-envconfig"

	"trivet/internal/cli"
	"trivet/services/front"
	"trivet/services/instance/command"
)

func main() {
	os.Exit(command.Run(cli.UntilSignal(), front.Service, os.Args[1:], envconfig.OsLookuper(), os.Stdout, os.Stderr))
}
