package tests

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/tests/gen"
)

// changed is a policy with some rules gone, moved, made anew of parts of others, or
// of another verdict.
func changed(rng *rand.Rand, p *compiler.Policy) *compiler.Policy {
	q := *p
	q.Rules = slices.Clone(p.Rules)
	if len(q.Rules) == 0 {
		q.Default = lang.Verdict(rng.IntN(3))
		return &q
	}
	for range 1 + rng.IntN(3) {
		if len(q.Rules) == 0 {
			break
		}
		i, j := rng.IntN(len(q.Rules)), rng.IntN(len(q.Rules))
		switch rng.IntN(7) {
		case 0:
			q.Rules = slices.Delete(q.Rules, i, i+1)
		case 1:
			q.Rules[i], q.Rules[j] = q.Rules[j], q.Rules[i]
		case 2:
			q.Rules[i].Verdict = lang.Verdict(rng.IntN(3))
		case 3:
			q.Rules[i].Log = !q.Rules[i].Log
		case 4:
			q.Rules[i].Cond = compiler.Any{q.Rules[i].Cond, q.Rules[j].Cond}
		case 5:
			q.Rules = slices.Insert(q.Rules, i, q.Rules[j])
			q.Rules[i].ID, q.Rules[i].Cond = "new", compiler.Not{X: q.Rules[i].Cond}
		case 6:
			q.Default, q.FailOpen = lang.Verdict(rng.IntN(3)), rng.IntN(2) == 0
		}
	}
	return &q
}

// Diff finds every connection that meets another outcome, in the right pair of rules,
// and no other.
func TestDiffAgainstEveryRequest(t *testing.T) {
	same, different := 0, 0
	smallPolicies(t, 23, gen.Options{Rules: 6, Events: true}, func(t *testing.T, rng *rand.Rand, older *compiler.Policy, _ []compiler.Request) {
		newer := changed(rng, older)
		both := *older
		both.Rules = slices.Concat(older.Rules, newer.Rules)
		for _, opts := range []compiler.DiffOptions{{}, {Rules: true}, {OnlyMorePermissive: true}} {
			c, err := compiler.Diff(older, newer, &opts)
			require.NoError(t, err)
			require.False(t, c.Undecided)
			found := map[string]bool{}
			for r := range gen.NewRequests(&both).All() {
				want := pairOf(older, newer, &r, &opts)
				got := ""
				for _, d := range c.Differences {
					require.False(t, d.Partial)
					for _, where := range d.Where {
						if compiler.EvalCond(where, &r) == compiler.True {
							require.True(t, got == "" || got == d.Old.Rule+" "+d.New.Rule, "in two regions")
							got = d.Old.Rule + " " + d.New.Rule
						}
					}
				}
				require.Equal(t, want, got, "%+v", r)
				found[got] = true
			}
			for _, d := range c.Differences {
				require.True(t, found[d.Old.Rule+" "+d.New.Rule])
				require.Equal(t, d.Old.Rule+" "+d.New.Rule, pairOf(older, newer, &d.Witness.Request, &opts))
			}
			if c.Different() {
				different++
			} else {
				same++
			}
		}
	})
	t.Log(same, different)
	require.Greater(t, same, 20)
	require.Greater(t, different, 20)
}

// pairOf names the rules that decide, if the outcomes differ.
func pairOf(older, newer *compiler.Policy, r *compiler.Request, opts *compiler.DiffOptions) string {
	a, b := older.Enforced().Eval(r), newer.Enforced().Eval(r)
	outcome := func(p *compiler.Policy, d compiler.Decision) string {
		s := fmt.Sprint(d.Verdict)
		if d.Rule < len(p.Rules) {
			s += fmt.Sprint(p.Rules[d.Rule].Log, p.Rules[d.Rule].Audit)
		} else {
			s += fmt.Sprint(false, false)
		}
		if opts.Rules {
			s += p.RuleID(d.Rule)
		}
		return s
	}
	differ := outcome(older, a) != outcome(newer, b)
	if opts.OnlyMorePermissive {
		differ = b.Verdict > a.Verdict
	}
	if !differ {
		return ""
	}
	return older.RuleID(a.Rule) + " " + newer.RuleID(b.Rule)
}
