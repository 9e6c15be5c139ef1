package cli

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/codegen"
)

func (c *console) inspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect (FILE | --pin DIR)",
		Short: "Show what an eBPF object, a packed policy or a running engine contains",
		Args:  cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"o", packExtension[1:]}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	pin := cmd.Flags().String("pin", "", "the `DIR` where the maps of an engine of form table are pinned")
	cmd.RunE = run(func(args []string) error {
		if (*pin == "") == (len(args) == 0) {
			return misuse{errors.New("give a file or --pin")}
		}
		if *pin != "" {
			return c.inspectPinned(*pin, *asJSON)
		}
		data, err := readFile(args[0])
		if err != nil {
			return err
		}
		if codegen.IsPack(data) {
			table, err := codegen.ReadPack(args[0], data)
			if err != nil {
				return err
			}
			return c.printTable(table, nil, *asJSON)
		}
		program, err := codegen.ReadObject(args[0], data)
		if err != nil {
			return err
		}
		if *asJSON {
			return c.printJSON(program.Describe())
		}
		return c.printDescription(program.Describe())
	})
	return cmd
}

// printBuild says how an object or a packed policy was made.
func (c *console) printBuild(b codegen.Build) {
	if b.Version != "" {
		fmt.Fprintf(c.out, "hopgate %s, %s, policy sha256 %s\n", b.Version, strings.Join(b.Options, " "), b.PolicySHA256)
	}
	if b.Proof != "" {
		fmt.Fprintf(c.out, "proof %s\n", b.Proof)
	}
}

func (c *console) printDescription(d *codegen.Description) error {
	if d.Policy != "" {
		fmt.Fprintf(c.out, "policy %s, ", d.Policy)
	}
	fmt.Fprintf(c.out, "target %s\n", d.Target)
	c.printBuild(d.Build)
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nFUNCTION\tSECTION\tINSTRUCTIONS")
	for _, f := range d.Functions {
		fmt.Fprintf(w, "%s\t%s\t%d\n", f.Name, f.Section, f.Instructions)
	}
	if len(d.Maps) > 0 {
		fmt.Fprintln(w, "\nMAP\tTYPE\tKEY\tVALUE\tENTRIES\tCONTENTS")
	}
	for _, m := range d.Maps {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\n", m.Name, m.Type, m.KeySize, m.ValueSize, m.MaxEntries, m.Contents)
	}
	if len(d.Rules) > 0 {
		fmt.Fprintln(w, "\nRULE\tVERDICT\tAUDIT\tSOURCE")
	}
	for _, r := range d.Rules {
		audit := "-"
		if r.Audit {
			audit = "audit"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.ID, r.Verdict, audit, orDash(r.Source))
	}
	return w.Flush()
}
