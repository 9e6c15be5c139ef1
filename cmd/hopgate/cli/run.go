package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/compiler"
)

func (c *console) runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run FILE",
		Short: "Put a policy in force",
		Long: `Run attaches a policy to the authorization hook. With --hook inprocess that is a
hook in this process, which answers request lines from standard input: one JSON
object a line, as for eval --requests. It must be named: run never falls back to it.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: policyFiles,
	}
	bind := bindFlag(cmd)
	hook := choiceFlag(cmd, "hook", "where the policy is attached; auto is this host's own hook", "auto", "inprocess")
	cmd.RunE = run(func(args []string) error {
		policy, err := load(args[0], &compiler.Options{Bind: bind, BindAll: hook.value == "inprocess"})
		if err != nil {
			return err
		}
		if err := bind.check(policy); err != nil {
			return err
		}
		c.print(policy.Warnings)
		if hook.value == "auto" {
			return errors.New("this build of hopgate has no hook for this host; --hook inprocess answers requests in this process")
		}
		decide, err := hookEngine(policy)
		if err != nil {
			return err
		}
		return c.answerLines(c.in, policy, decide)
	})
	return cmd
}
