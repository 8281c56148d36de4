package main

import (
	"context"

	"github.com/spf13/cobra"

	"trivet/internal/cli"
	"trivet/lab/experiment"
)

func schemaCommand() (*cobra.Command, action) {
	c := &cobra.Command{
		Use:   "schema",
		Short: "print the JSON Schema of experiment files",
		Long: `Print the JSON Schema of experiment files. Editors complete keys with it and show
what each means; those with a YAML language server find it by a first line of

    # yaml-language-server: $schema=experiment.schema.json`,
		Example: "  trivet schema > experiment.schema.json",
	}
	return c, func(_ context.Context, in invocation) int {
		if in.isWrong(cli.Unexpected(in.args, 0)) {
			return exitUsage
		}
		_, err := in.stdout.Write(experiment.Schema())
		return in.done(err)
	}
}
