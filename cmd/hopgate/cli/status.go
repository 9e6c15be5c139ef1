package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/runtime"
)

func (c *console) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status --pin DIR",
		Short: "Show a pinned policy: where it is attached and what it has decided",
		Args:  cobra.NoArgs,
	}
	pin := cmd.Flags().String("pin", "", "the `DIR` that run --pin was given")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = run(func([]string) error {
		if *pin == "" {
			return misuse{errors.New("which policy? --pin DIR")}
		}
		s, err := runtime.PinnedStatus(*pin)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("no policy is pinned in %s", *pin)
		}
		if err != nil {
			return err
		}
		if *asJSON {
			return c.printJSONLine(s)
		}
		fmt.Fprintf(c.out, "policy %s, generation %d\n", s.Policy, s.Generation)
		table := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
		for _, stage := range s.Stages {
			switch {
			case !stage.Attached:
				fmt.Fprintf(table, "%s\tnot attached\t\n", stage.Section)
			case stage.Cgroup == 0: // Windows
				fmt.Fprintf(table, "%s\tprogram %d\t\n", stage.Section, stage.Program)
			default:
				fmt.Fprintf(table, "%s\tprogram %d\tcgroup %d\n", stage.Section, stage.Program, stage.Cgroup)
			}
		}
		for _, r := range s.Rules {
			fmt.Fprintf(table, "%s\t%s\t%d\n", r.ID, r.Verdict, r.Decisions)
		}
		return table.Flush()
	})
	return cmd
}
