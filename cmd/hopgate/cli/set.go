package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
)

func (c *console) setCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Change a dynamic set of a pinned policy while it runs",
		Long: `Set changes the values of a dynamic set: every decision sees the set of before or
that of after. Values are written as in a policy. With --file they are read from a
file, one a line, as for a set's own file; - is standard input.`,
		Args: unknownCommand,
		RunE: func(*cobra.Command, []string) error { return errors.New("replace, add or remove?") },
	}
	cmd.AddCommand(
		c.changeSetCommand("replace", "Give a set other values", compiler.ReplaceSet),
		c.changeSetCommand("add", "Add values to a set", compiler.AddToSet),
		c.changeSetCommand("remove", "Remove values from a set", compiler.RemoveFromSet))
	return cmd
}

func (c *console) changeSetCommand(name, short string, change compiler.SetChange) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name + " --pin DIR NAME [VALUE...]",
		Short: short,
		Args:  cobra.MinimumNArgs(1),
	}
	pin := cmd.Flags().String("pin", "", "the `DIR` that run --pin was given")
	file := cmd.Flags().String("file", "", "read values from `FILE`, one a line; - is standard input")
	cmd.RunE = run(func(args []string) error {
		if *pin == "" {
			return misuse{errors.New("which policy? --pin DIR")}
		}
		values := args[1:]
		if *file != "" {
			more, err := c.readValues(*file)
			if err != nil {
				return err
			}
			values = append(values, more...)
		}
		if change != compiler.ReplaceSet && len(values) == 0 {
			return misuse{fmt.Errorf("no values to %s", name)}
		}
		err := runtime.ChangePinnedSet(*pin, strings.TrimPrefix(args[0], "$"), change, values)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("no policy is pinned in %s", *pin)
		}
		return err
	})
	return cmd
}

// readValues reads literals, one a line; # begins a comment.
func (c *console) readValues(path string) ([]string, error) {
	in := c.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	if err == nil && len(text) > maxInput {
		err = fmt.Errorf("%s: a set's file has %d bytes at most", path, maxInput)
	}
	var values []string
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			values = append(values, line)
		}
	}
	return values, err
}
