package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

func (c *console) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Find what is wrong with policies",
		Long: `Check parses policies, resolves their names, types and units, and prints what is
wrong or doubtful. It prints nothing when all is well.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: policyFiles,
	}
	bind := bindFlag(cmd)
	strict := cmd.Flags().Bool("strict", false, "warnings are errors")
	asJSON := cmd.Flags().Bool("json", false, "print the findings as a JSON array")
	asSARIF := cmd.Flags().Bool("sarif", false, "print the findings as SARIF 2.1.0, for code scanning")
	cmd.MarkFlagsMutuallyExclusive("json", "sarif")
	cmd.RunE = run(func(paths []string) error {
		paths, err := policiesOf(paths)
		if err != nil {
			return err
		}
		found := lang.Diagnostics{}
		var policies []*compiler.Policy
		failed := false
		for _, path := range paths {
			policy, err := loadWithTests(path, &compiler.Options{Bind: bind})
			var more lang.Diagnostics
			switch {
			case errors.As(err, &more):
				failed = true
			case err != nil:
				return err
			default:
				more = policy.Warnings
				policies = append(policies, policy)
				failed = failed || *strict && len(more) > 0
			}
			found = append(found, more...)
		}
		found = found.Sort()
		switch {
		case *asJSON:
			err = c.printJSON(found)
		case *asSARIF:
			err = c.printJSON(newSARIF(found))
		default:
			c.print(found)
		}
		if err != nil {
			return err
		}
		if failed {
			return errSaid
		}
		return bind.check(policies...)
	})
	return cmd
}
