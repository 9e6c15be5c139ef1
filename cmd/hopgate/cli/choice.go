package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// choice is the value of a flag that takes one of a few words.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return strings.Join(c.allowed, "|") }

func (c *choice) Set(word string) error {
	if !slices.Contains(c.allowed, word) {
		return fmt.Errorf("want %s", strings.Join(c.allowed, " or "))
	}
	c.value = word
	return nil
}

// choiceFlag adds a flag that takes one of the words; the first is the default, or
// "" for none.
func choiceFlag(cmd *cobra.Command, name, usage string, allowed ...string) *choice {
	c := &choice{value: allowed[0], allowed: allowed}
	if c.value == "" {
		c.allowed = allowed[1:]
	}
	cmd.Flags().Var(c, name, usage)
	err := cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(c.allowed, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag was added above
	}
	return c
}

// proofFlag says how far to prove what is compiled.
func proofFlag(cmd *cobra.Command) *choice {
	return choiceFlag(cmd, "proof", "prove that the object is the policy: within a bound of half a second or so, not, or until it is proved", "auto", "off", "require")
}
