package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
)

// packExtension is that of packed policies.
const packExtension = ".hgp"

// policyCommand holds the commands of form table.
func (c *console) policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Pack a policy for an engine of form table, load it into a running one",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return errors.New("which command? pack or load") },
	}
	cmd.AddCommand(c.policyPackCommand(), c.policyLoadCommand())
	return cmd
}

func (c *console) policyPackCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pack FILE",
		Short: "Write a policy as a table for the engine",
		Long: `Pack writes a policy as one file, FILE with the extension .hgp, that an engine of form
table takes: the engine is the same for every policy (compile --form table).`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: policyFiles,
	}
	bind := bindFlag(cmd)
	output := cmd.Flags().StringP("output", "o", "", "write to `FILE`; - is standard output")
	noCounters := cmd.Flags().Bool("no-counters", false, "do not count decisions by rule")
	target := choiceFlag(cmd, "target", "the system the engine runs on", codegen.Windows.String(), codegen.Linux.String())
	proof := proofFlag(cmd)
	cmd.RunE = run(func(args []string) error {
		opts := &codegen.Options{NoCounters: *noCounters}
		if err := opts.Target.UnmarshalText([]byte(target.value)); err != nil {
			return err
		}
		table, err := c.table(args[0], bind, opts, proof.value)
		if err != nil {
			return err
		}
		to := *output
		if to == "" {
			to = withoutExtension(args[0]) + packExtension
		}
		return c.writePack(to, table)
	})
	return cmd
}

// table compiles a policy to a table.
func (c *console) table(path string, bind bindings, opts *codegen.Options, proof string) (*codegen.Table, error) {
	policy, err := load(path, &compiler.Options{Bind: bind})
	if err != nil {
		return nil, err
	}
	if err := bind.check(policy); err != nil {
		return nil, err
	}
	c.print(policy.Warnings)
	return c.trustedTable(path, policy, opts, proof, false)
}

// trustedTable compiles the policy of a file to a table and proves that it is the policy,
// as far as the mode wants that.
func (c *console) trustedTable(path string, policy *compiler.Policy, opts *codegen.Options, proof string, verbose bool) (*codegen.Table, error) {
	table, err := generateTable(policy, opts)
	if err != nil {
		return nil, err
	}
	if err := nameTableSources(table, filepath.Dir(path)); err != nil {
		return nil, err
	}
	return table, c.trustTable(policy, table, proof, verbose)
}

// generateTable makes the table with the shortest paths or, where that has no room for
// its trees, a smaller one.
func generateTable(policy *compiler.Policy, opts *codegen.Options) (*codegen.Table, error) {
	table, err := generateTableIn(compiler.TableRoom, policy, opts)
	if errors.Is(err, codegen.ErrLargeTrees) {
		return generateTableIn(compiler.SmallRoom, policy, opts)
	}
	return table, err
}

func generateTableIn(room int, policy *compiler.Policy, opts *codegen.Options) (*codegen.Table, error) {
	diagram, err := compiler.Compile(policy, &compiler.CompileOptions{
		MergeRules:     opts.NoCounters,
		FreeInterfaces: opts.Target == codegen.Linux, // named devices are looked up where the table is loaded
		Room:           room,
	})
	if err != nil {
		return nil, err
	}
	return codegen.GenerateTable(diagram, opts, codegen.Build{
		Version: version(),
		Options: []string{"form=table", fmt.Sprintf("counters=%t", !opts.NoCounters)},
	})
}

// generateEngine gives the program of form table.
func generateEngine(target codegen.Target) (*codegen.Program, error) {
	engine, err := codegen.GenerateEngine(target)
	if err != nil {
		return nil, err
	}
	engine.Build = codegen.Build{Version: version(), Options: []string{"form=table", fmt.Sprintf("layout=%d", codegen.TableVersion)}}
	return engine, nil
}

// compileTable writes the engine, and the policy beside it; or the engine's listing.
func (c *console) compileTable(path, to string, listing bool, policy *compiler.Policy, opts *codegen.Options, proof string, verbose bool) error {
	table, err := c.trustedTable(path, policy, opts, proof, verbose)
	if err != nil {
		return err
	}
	engine, err := generateEngine(opts.Target)
	if err != nil {
		return err
	}
	if engine.Target == codegen.Windows {
		if _, err := verified(engine); err != nil {
			return err
		}
	}
	switch {
	case listing && (to == "" || to == "-"):
		return engine.WriteASM(c.out)
	case listing:
		return writeFile(to, engine.WriteASM)
	case to == "-":
		return misuse{errors.New("--form table writes two files; give -o a name")}
	case to == "":
		to = withoutExtension(path) + ".o"
	}
	if err := writeFile(to, engine.WriteELF); err != nil {
		return err
	}
	return c.writePack(withoutExtension(to)+packExtension, table)
}

// tableEngine asks an engine of form table that has been given the policy.
func tableEngine(policy *compiler.Policy) (engine, error) {
	table, err := generateTable(policy, &codegen.Options{})
	if err != nil {
		return nil, err
	}
	program, err := generateEngine(codegen.Windows)
	if err != nil {
		return nil, err
	}
	instance, err := runtime.Load(program)
	if err != nil {
		return nil, err
	}
	if err := instance.LoadTable(table); err != nil {
		return nil, err
	}
	return func(r *compiler.Request) (answer, error) {
		d, err := instance.Eval(r)
		if err != nil {
			return answer{}, err
		}
		return newAnswer(policy, d), nil
	}, nil
}

func (c *console) writePack(to string, table *codegen.Table) error {
	write := func(w io.Writer) error {
		_, err := w.Write(table.Pack())
		return err
	}
	if to == "-" {
		return write(c.out)
	}
	return writeFile(to, write)
}

func (c *console) policyLoadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "load --pin DIR FILE",
		Short: "Put a policy in force in a running engine",
		Long: `Load puts a packed policy, or a policy file, in force in an engine of form table whose maps
are pinned in a directory. Every connection is judged by the old policy or by the
new one. A damaged file, and one of another version, is refused; the old policy
then stays in force.`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{packExtension[1:], "hop", "yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	bind := bindFlag(cmd)
	pin := cmd.Flags().String("pin", "", "the `DIR` where the engine's maps are pinned")
	cmd.RunE = run(func(args []string) error {
		if *pin == "" {
			return misuse{errors.New("give --pin, where the engine's maps are pinned")}
		}
		data, err := readFile(args[0])
		if err != nil {
			return err
		}
		var table *codegen.Table
		if codegen.IsPack(data) || filepath.Ext(args[0]) == packExtension {
			table, err = codegen.ReadPack(args[0], data)
		} else {
			table, err = c.tableFor(*pin, args[0], bind)
		}
		if err == nil {
			err = runtime.LoadPinnedTable(*pin, table)
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.out, "the policy is in force: %d rules, %d nodes, sha256 %x\n", table.RuleCount(), table.Nodes(), table.PolicyHash)
		return err
	})
	return cmd
}

// tableFor compiles a policy for the engine that is pinned in a directory.
func (c *console) tableFor(pin, path string, bind bindings) (*codegen.Table, error) {
	maps, err := runtime.OpenTables(pin)
	if err != nil {
		return nil, err
	}
	defer maps.Close()
	if err := bindToHost(path, bind); err != nil {
		return nil, err
	}
	return c.table(path, bind, &codegen.Options{Target: maps.Target()}, "auto")
}

// inspectPinned shows the policies of a running engine.
func (c *console) inspectPinned(dir string, asJSON bool) error {
	if _, err := runtime.PinnedStatus(dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // others keep no account
		return err
	}
	maps, err := runtime.OpenTables(dir)
	if err != nil {
		return err
	}
	defer maps.Close()
	found := false
	for _, hook := range []compiler.Hook{compiler.Connect, compiler.Accept} {
		table, counters, err := runtime.ReadTable(maps, hook)
		if errors.Is(err, runtime.ErrNoTable) {
			continue
		}
		if err != nil {
			return fmt.Errorf("hook %s: %w", hook, err)
		}
		found = true
		if err := c.printTable(table, counters, asJSON); err != nil {
			return err
		}
	}
	if !found {
		return runtime.ErrNoTable
	}
	return nil
}

// tableSummary is what inspect --json says of a table.
type tableSummary struct {
	Hook     string         `json:"hook"`
	Target   codegen.Target `json:"target"`
	SHA256   string         `json:"policy_sha256"`
	Nodes    int            `json:"nodes"`
	Counters []uint64       `json:"decisions,omitempty"` // by rule
	*codegen.TableDescription
}

// printTable shows a table as rules. Counters are those of a running engine, or nil.
func (c *console) printTable(t *codegen.Table, counters []uint64, asJSON bool) error {
	about, err := t.Description()
	if err != nil {
		return err
	}
	if asJSON {
		return c.printJSON(&tableSummary{
			Hook: t.Hook.String(), Target: t.Target, SHA256: fmt.Sprintf("%x", t.PolicyHash),
			Nodes: t.Nodes(), Counters: counters, TableDescription: about,
		})
	}
	fmt.Fprintf(c.out, "policy %s, hook %s, target %s, form table\n", about.Policy, t.Hook, t.Target)
	c.printBuild(about.Build)
	fmt.Fprintf(c.out, "%d nodes; at most %d steps for IPv4, %d for IPv6\n\n", t.Nodes(), about.Steps[0], about.Steps[1])
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RULE\tVERDICT\tAUDIT\tDECISIONS\tSOURCE")
	for i, r := range about.Rules {
		audit, decisions := "-", "-"
		if r.Audit {
			audit = "audit"
		}
		if counters != nil {
			decisions = fmt.Sprint(counters[i])
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.ID, r.Verdict, audit, decisions, orDash(r.Source))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if about.Text != "" {
		fmt.Fprintf(c.out, "\n%s", about.Text)
	}
	return nil
}
