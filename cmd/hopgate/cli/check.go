package cli

import (
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

func (c *console) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Find what is wrong with policies",
		Long: `Check parses policies, resolves their names, types and units, and prints what is
wrong. In what is right it looks for what is doubtful: rules that never decide,
conditions that are always true, and the like, each proved for every connection.
It prints nothing when all is well. A comment in the policy silences a finding:

  # hopgate: allow CODE reason`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: policyFiles,
	}
	bind := bindFlag(cmd)
	strict := cmd.Flags().Bool("strict", false, "warnings are errors")
	pedantic := cmd.Flags().Bool("pedantic", false, "also report rules partly shadowed by one of the opposite verdict")
	target := choiceFlag(cmd, "target", "the system the policies are for", "", codegen.Windows.String(), codegen.Linux.String())
	asJSON := cmd.Flags().Bool("json", false, "print the findings as a JSON array")
	asSARIF := cmd.Flags().Bool("sarif", false, "print the findings as SARIF 2.1.0, for code scanning")
	cmd.MarkFlagsMutuallyExclusive("json", "sarif")
	cmd.RunE = run(func(paths []string) error {
		paths, err := policiesOf(paths)
		if err != nil {
			return err
		}
		lint := &compiler.LintOptions{Pedantic: *pedantic, NoHardPermit: target.value == codegen.Linux.String()}
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
				c.report(err)
				failed = true
			default:
				more = append(policy.Warnings, compiler.Lint(policy, lint)...)
				policies = append(policies, policy)
				failed = failed || *strict && slices.ContainsFunc(more, isWarning)
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

func isWarning(d lang.Diagnostic) bool { return d.Severity == lang.Warning }
