package cli

import (
	"bytes"
	"debug/elf"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/runtime/scenario"
)

func (c *console) simulateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "simulate --scenario FILE (POLICY|OBJECT)...",
		Short: "Play a scenario on the in-process hook",
		Long: `Simulate compiles policies, attaches them to the authorization hook in this process
and plays a scenario: the host moves between networks, and opens and closes
connections. Every decision is printed on a line; the exit code is 1 if one is not
what the scenario expects.`,
		Args: cobra.MinimumNArgs(1),
	}
	bind := bindFlag(cmd)
	path := cmd.Flags().String("scenario", "", "the scenario `FILE`")
	asJSON := cmd.Flags().Bool("json", false, "print the decisions as JSON, one a line")
	cmd.RunE = run(func(args []string) error {
		if *path == "" {
			return misuse{fmt.Errorf("which --scenario?")}
		}
		text, err := readFile(*path)
		if err != nil {
			return err
		}
		story, err := scenario.Parse(*path, text)
		if err != nil {
			return err
		}
		cast, err := loadCast(args, bind)
		if err != nil {
			return err
		}
		report, err := scenario.Run(story, cast.programs, &scenario.Options{Request: cast.request})
		if err != nil {
			return err
		}
		if *asJSON {
			err = c.printDecisionLines(report.Decisions)
		} else {
			err = c.printDecisions(report.Decisions)
		}
		if err != nil {
			return err
		}
		return report.Mismatches.Err()
	})
	return cmd
}

// cast is who plays in a scenario.
type cast struct {
	programs []*codegen.Program
	names    *compiler.Policy // has the interfaces of all policies
}

// loadCast reads policies and objects. An interface name means the same in all
// policies, whether it is bound or gets a LUID of its own.
func loadCast(paths []string, bind bindings) (*cast, error) {
	files := make([][]byte, len(paths))
	var policies []string
	for i, path := range paths {
		data, err := readFile(path)
		if err != nil {
			return nil, err
		}
		if files[i] = data; !isObject(data) {
			policies = append(policies, path)
		}
	}
	bind, err := bindAll(policies, bind)
	if err != nil {
		return nil, err
	}
	c := &cast{names: &compiler.Policy{}}
	for i, path := range paths {
		var program *codegen.Program
		if isObject(files[i]) {
			program, err = codegen.ReadObject(path, files[i])
		} else {
			program, err = loadProgram(path, bind)
		}
		if err != nil {
			return nil, err
		}
		c.programs = append(c.programs, program)
	}
	for _, name := range slices.Sorted(maps.Keys(bind)) {
		c.names.Interfaces = append(c.names.Interfaces, &compiler.NamedInterface{Name: name, Bound: true, LUID: bind[name]})
	}
	return c, nil
}

func isObject(data []byte) bool { return bytes.HasPrefix(data, []byte(elf.ELFMAG)) }

// bindAll adds to the bindings a LUID for each interface that has none, the same
// for the same name.
func bindAll(paths []string, given bindings) (bindings, error) {
	all := maps.Clone(given)
	for _, path := range paths {
		policy, err := load(path, &compiler.Options{Bind: given})
		if err != nil {
			return nil, err
		}
		for _, i := range policy.Interfaces {
			switch _, known := all[i.Name]; {
			case known:
			case i.Bound:
				all[i.Name] = i.LUID
			default:
				// No real interface has this type.
				luid, err := compiler.ParseLUID(fmt.Sprintf("iftype65534_%d", len(all)+1))
				if err != nil {
					return nil, err
				}
				all[i.Name] = luid
			}
		}
	}
	return all, nil
}

func loadProgram(path string, bind bindings) (*codegen.Program, error) {
	policy, err := load(path, &compiler.Options{Bind: bind})
	if err != nil {
		return nil, err
	}
	program, _, err := generate(policy, &codegen.Options{})
	return program, err
}

// request gives the field values of a scenario their meaning.
func (c *cast) request(given []lang.Given) (compiler.Request, error) {
	words := make([]compiler.Given, len(given))
	for i, g := range given {
		words[i] = compiler.Given{Field: g.Field.Text, Literal: g.Value.String()}
	}
	return c.names.ParseRequest(words)
}

// printDecisions prints a table.
func (c *console) printDecisions(decisions []scenario.Decision) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STEP\tNETWORK\tEVENT\tFLOW\tREMOTE\tVERDICT\tPOLICY\tRULE\tSTATE")
	for i := range decisions {
		d := lineOf(&decisions[i])
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.Step, orDash(d.Network), d.Event, d.Flow, d.Remote, d.Verdict, orDash(d.Policy), orDash(d.Rule), d.State)
	}
	return w.Flush()
}

// decisionLine is a decision of a scenario, as --json prints it.
type decisionLine struct {
	Step    int    `json:"step"` // from 1
	Network string `json:"network,omitempty"`
	Event   string `json:"event"` // connect, accept or reauthorize
	Flow    string `json:"flow"`
	Remote  string `json:"remote"`
	Verdict string `json:"verdict"`
	Policy  string `json:"policy,omitempty"` // that decided
	Rule    string `json:"rule,omitempty"`   // that decided
	State   string `json:"state"`            // live, blocked or dropped
}

func lineOf(d *scenario.Decision) decisionLine {
	return decisionLine{
		Step: d.Step, Network: d.Network, Event: d.Stage.String(), Flow: d.Flow, Remote: d.Remote.String(),
		Verdict: d.Verdict.String(), Policy: d.Policy, Rule: d.Rule, State: string(d.State),
	}
}

func (c *console) printDecisionLines(decisions []scenario.Decision) error {
	for i := range decisions {
		if err := c.printJSONLine(lineOf(&decisions[i])); err != nil {
			return err
		}
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
