package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/codegen"
)

func (c *console) inspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect OBJECT",
		Short: "Show what an eBPF object contains",
		Args:  cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"o"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = run(func(args []string) error {
		data, err := readFile(args[0])
		if err != nil {
			return err
		}
		program, err := codegen.ReadObject(args[0], data)
		if err != nil {
			return err
		}
		contents := contentsOf(program)
		if *asJSON {
			return c.printJSON(contents)
		}
		return c.printContents(contents)
	})
	return cmd
}

// objectContents is what an object contains.
type objectContents struct {
	Target    codegen.Target   `json:"target"`
	Policy    string           `json:"policy,omitempty"` // in hopgate's own objects
	Build     codegen.Build    `json:"build"`
	Functions []objectFunction `json:"functions"`
	Maps      []objectMap      `json:"maps"`
	Rules     []codegen.Rule   `json:"rules,omitempty"`
}

type objectFunction struct {
	Name         string `json:"name"`
	Section      string `json:"section"`
	Instructions int    `json:"instructions"` // of 8 bytes
}

type objectMap struct {
	Name       string `json:"name"`
	Type       string `json:"type"`
	KeySize    uint32 `json:"key_size"`   // bytes
	ValueSize  uint32 `json:"value_size"` // bytes
	MaxEntries uint32 `json:"max_entries"`
	Contents   int    `json:"contents"` // entries it starts with
}

func contentsOf(p *codegen.Program) objectContents {
	o := objectContents{Target: p.Target, Policy: p.Policy, Build: p.Build, Functions: []objectFunction{}, Maps: []objectMap{}, Rules: p.Rules}
	for _, f := range p.Functions {
		o.Functions = append(o.Functions, objectFunction{f.Name, f.Section, int(f.Instructions.Size() / 8)})
	}
	for _, m := range p.Maps {
		o.Maps = append(o.Maps, objectMap{m.Name, m.Type.String(), m.KeySize, m.ValueSize, m.MaxEntries, len(m.Contents)})
	}
	return o
}

func (c *console) printContents(o objectContents) error {
	if o.Policy != "" {
		fmt.Fprintf(c.out, "policy %s, ", o.Policy)
	}
	fmt.Fprintf(c.out, "target %s\n", o.Target)
	if o.Build.PolicySHA256 != "" {
		fmt.Fprintf(c.out, "policy sha256 %s\n", o.Build.PolicySHA256)
	}
	if len(o.Build.Options) > 0 {
		fmt.Fprintf(c.out, "built with %s\n", strings.Join(o.Build.Options, " "))
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nFUNCTION\tSECTION\tINSTRUCTIONS")
	for _, f := range o.Functions {
		fmt.Fprintf(w, "%s\t%s\t%d\n", f.Name, f.Section, f.Instructions)
	}
	if len(o.Maps) > 0 {
		fmt.Fprintln(w, "\nMAP\tTYPE\tKEY\tVALUE\tENTRIES\tCONTENTS")
	}
	for _, m := range o.Maps {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\n", m.Name, m.Type, m.KeySize, m.ValueSize, m.MaxEntries, m.Contents)
	}
	if len(o.Rules) > 0 {
		fmt.Fprintln(w, "\nRULE\tVERDICT\tAUDIT\tSOURCE")
	}
	for _, r := range o.Rules {
		audit := "-"
		if r.Audit {
			audit = "audit"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.ID, r.Verdict, audit, orDash(r.Source))
	}
	return w.Flush()
}
