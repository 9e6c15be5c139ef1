package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/compiler"
)

func (c *console) diffCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Say for which connections two policies differ",
		Long: `Diff compares what two policies do, not how they are written: verdict, log and
audit. It prints the connections that meet something else under the new policy, as
conditions, with the rules that decide and an example that eval confirms. When it
prints nothing, that is a proof that they do the same, whatever dynamic sets hold
and whatever unbound interfaces are. It exits 1 when they differ.`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: policyFiles,
	}
	bind := bindFlag(cmd)
	rules := cmd.Flags().Bool("rules", false, "another rule that decides is a difference too")
	permissive := cmd.Flags().Bool("only-more-permissive", false, "report only what the new policy allows more of")
	asJSON := cmd.Flags().Bool("json", false, "print the differences as JSON")
	cmd.MarkFlagsMutuallyExclusive("rules", "only-more-permissive")
	cmd.RunE = run(func(paths []string) error {
		var policies []*compiler.Policy
		for _, path := range paths {
			policy, err := load(path, &compiler.Options{Bind: bind})
			if err != nil {
				c.report(err)
				continue
			}
			c.noteEnforced(path, policy)
			policies = append(policies, policy)
		}
		if len(policies) < 2 {
			return errSaid
		}
		if err := bind.check(policies...); err != nil {
			return err
		}
		compared, err := compiler.Diff(policies[0], policies[1], &compiler.DiffOptions{Rules: *rules, OnlyMorePermissive: *permissive})
		if err != nil {
			return err
		}
		result := newDiffResult(policies[1], compared)
		if *asJSON {
			err = c.printJSON(result)
		} else {
			_, err = c.out.WriteString(result.text())
		}
		if err == nil && (compared.Different() || compared.Undecided) {
			err = errSaid
		}
		return err
	})
	return cmd
}

// diffResult is what differs, as it is printed.
type diffResult struct {
	Different   bool                `json:"different"`
	Undecided   bool                `json:"undecided"` // there may be more
	Settings    []settingDifference `json:"settings"`
	Differences []policyDifference  `json:"differences"`
}

type settingDifference struct {
	What string `json:"what"`
	Old  string `json:"old"`
	New  string `json:"new"`
}

type policyDifference struct {
	Old     outcome  `json:"old"`
	New     outcome  `json:"new"`
	Where   []string `json:"where"`   // conditions, each true of some of the connections
	Partial bool     `json:"partial"` // there are more such connections
	Example *example `json:"example"` // with the new policy's answer
}

// outcome is what a policy does with a connection.
type outcome struct {
	Verdict string `json:"verdict"`
	Rule    string `json:"rule"`
	Log     bool   `json:"log"`
	Audit   bool   `json:"audit"`
}

func newDiffResult(newer *compiler.Policy, compared *compiler.Comparison) *diffResult {
	r := &diffResult{
		Different: compared.Different(), Undecided: compared.Undecided,
		Settings: []settingDifference{}, Differences: []policyDifference{},
	}
	for _, s := range compared.Settings {
		r.Settings = append(r.Settings, settingDifference(s))
	}
	for i := range compared.Differences {
		d := &compared.Differences[i]
		decision := d.Witness.Under(newer).Enforced().Eval(&d.Witness.Request)
		p := policyDifference{
			Old: newOutcome(d.Old), New: newOutcome(d.New), Partial: d.Partial,
			Example: newExample(newer, &d.Witness, decision),
		}
		for _, where := range d.Where {
			p.Where = append(p.Where, where.String())
		}
		r.Differences = append(r.Differences, p)
	}
	return r
}

func newOutcome(o compiler.Outcome) outcome {
	return outcome{o.Verdict.String(), o.Rule, o.Log, o.Audit}
}

// text is the outcome for a person.
func (o outcome) text() string {
	s := o.Verdict
	if o.Log {
		s += " log"
	}
	if o.Audit {
		s += " audit"
	}
	return s + " by " + o.Rule
}

// How much of a difference a person is shown; --json has the rest.
const (
	maxWhere     = 8
	maxWhereText = 300
)

// text is the comparison for a person.
func (r *diffResult) text() string {
	var b strings.Builder
	for _, s := range r.Settings {
		fmt.Fprintf(&b, "%s: %s -> %s\n", s.What, s.Old, s.New)
	}
	for _, d := range r.Differences {
		fmt.Fprintf(&b, "%s -> %s\n", d.Old.text(), d.New.text())
		for i, where := range d.Where {
			if i == maxWhere {
				fmt.Fprintf(&b, "    or %d more conditions\n", len(d.Where)-i)
				break
			}
			if len(where) > maxWhereText {
				where = strings.ToValidUTF8(where[:maxWhereText], "") + "…"
			}
			if where != "" {
				fmt.Fprintf(&b, "    %s %s\n", map[bool]string{true: "if", false: "or"}[i == 0], where)
			}
		}
		if d.Partial {
			fmt.Fprintln(&b, "    and elsewhere")
		}
		fmt.Fprintf(&b, "    for example: %s\n", d.Example.Given)
		for _, need := range d.Example.While {
			fmt.Fprintf(&b, "        while: %s\n", need)
		}
	}
	if r.Undecided {
		fmt.Fprintln(&b, "the comparison was too large to finish: there may be more differences")
	}
	return b.String()
}
