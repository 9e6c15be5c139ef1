package cli

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/runtime/scenario"
)

func (c *console) explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain [CODE]",
		Short: "Say what the code of a message means",
		Long:  "Explain says what the code in brackets at the end of a message means, with an example that\ngets it and one that does not. Without a code it lists them all.",
		Args:  cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
			if len(args) == 0 {
				names = codeNames()
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.RunE = run(func(args []string) error {
		if len(args) == 0 {
			return c.listCodes()
		}
		for _, code := range codes() {
			if code.Name == args[0] {
				return c.explain(code)
			}
		}
		hint := ""
		if near := lang.Suggest(args[0], codeNames()); near != "" {
			hint = fmt.Sprintf(", did you mean `%s`?", near)
		}
		return misuse{fmt.Errorf("there is no code `%s`%s", args[0], hint)}
	})
	return cmd
}

// codes documents every code, by name.
func codes() []lang.Code {
	all := slices.Concat(lang.Codes(), compiler.Codes(), scenario.Codes())
	slices.SortFunc(all, func(a, b lang.Code) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func codeNames() []string {
	var names []string
	for _, code := range codes() {
		names = append(names, code.Name)
	}
	return names
}

func (c *console) listCodes() error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, code := range codes() {
		fmt.Fprintf(w, "%s\t%s\t%s\n", code.Name, code.Severity, code.Title)
	}
	return w.Flush()
}

func (c *console) explain(code lang.Code) error {
	fmt.Fprintf(c.out, "%s (%s): %s\n\n%s\n", code.Name, code.Severity, code.Title, code.Explanation)
	for _, example := range []struct{ title, text string }{{"Wrong", code.Bad}, {"Right", code.Good}} {
		if example.text != "" {
			fmt.Fprintf(c.out, "\n%s:\n\n    %s\n", example.title, strings.ReplaceAll(strings.TrimRight(example.text, "\n"), "\n", "\n    "))
		}
	}
	return nil
}
