package cli

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/runtime"
)

func (c *console) unpinCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unpin --pin DIR",
		Short: "End a pinned policy",
		Long: `Unpin takes off what run --pin has left in force. A policy that a running hopgate
holds stays in force until that ends.`,
		Args: cobra.NoArgs,
	}
	pin := cmd.Flags().String("pin", "", "the `DIR` that run --pin was given")
	cmd.RunE = run(func([]string) error {
		if *pin == "" {
			return misuse{errors.New("which policy? --pin DIR")}
		}
		err := runtime.Unpin(*pin)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("no policy is pinned in %s", *pin)
		}
		return err
	})
	return cmd
}
