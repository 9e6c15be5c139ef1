package cli

import (
	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/lang"
)

func (c *console) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the YAML syntax, for editors",
		Args:  cobra.NoArgs,
		RunE: run(func([]string) error {
			_, err := c.out.Write(lang.Schema())
			return err
		}),
	}
}
