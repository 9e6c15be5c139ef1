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

// What lint, prove and diff say holds whatever dynamic sets hold and unbound
// interfaces are. Here are many such worlds, with values that conditions know.
func TestAnalysesInEveryWorld(t *testing.T) {
	policies := 100
	if testing.Short() {
		policies = 30
	}
	proved, refuted, differing := 0, 0, 0
	for seed := range uint64(policies) {
		rng := rand.New(rand.NewPCG(seed, 24))
		text := gen.Policy(rng, gen.Options{Rules: 6, Small: true, Dynamic: true, Asserts: true})
		file, err := lang.Parse("random.hop", []byte(text))
		require.NoError(t, err)
		older, err := compiler.Check(file, nil)
		require.NoError(t, err)
		newer := changed(rng, older)

		proofs := compiler.Prove(older)
		difference, err := compiler.Diff(older, newer, nil)
		require.NoError(t, err)
		require.False(t, difference.Undecided)
		gone := goneRules(older, compiler.Lint(older, nil))
		for _, p := range proofs {
			require.False(t, p.Undecided())
			if p.Holds {
				proved++
			} else {
				refuted++ // Prove has asked Eval
			}
		}
		differing += len(difference.Differences)

		both := *older
		both.Rules = slices.Concat(older.Rules, newer.Rules)
		requests := gen.NewRequests(&both)
		for range 40 {
			changeWorld(rng, older, requests)
			for range 50 {
				r := requests.Random(rng)
				for _, p := range proofs {
					require.False(t, p.Holds && violates(older, p.Assert, &r), "seed %d: %s: %+v\n%s", seed, p.Assert, r, text)
				}
				require.Equal(t, effects(older, &r), effects(without(older, func(i int) bool { return gone[i] }), &r), "seed %d: %+v\n%s", seed, r, text)
				got := ""
				for _, d := range difference.Differences {
					for _, where := range d.Where {
						if compiler.EvalCond(where, &r) == compiler.True {
							got = d.Old.Rule + " " + d.New.Rule
						}
					}
				}
				require.Equal(t, pairOf(older, newer, &r, &compiler.DiffOptions{}), got, "seed %d: %+v\n%s", seed, r, text)
			}
		}
	}
	t.Log(proved, refuted, differing)
	require.Greater(t, proved, 5)
	require.Greater(t, refuted, 5)
	require.Greater(t, differing, 5)
}

// goneRules are those that findings say are of no effect.
func goneRules(p *compiler.Policy, found lang.Diagnostics) []bool {
	gone := make([]bool, len(p.Rules))
	for _, d := range found {
		for i := range p.Rules {
			if d.Span != p.Rules[i].Span {
				continue
			}
			switch d.Code {
			case "shadowed-rule", "redundant-rule":
				gone[i] = true
			case "never-true":
				gone[i] = gone[i] || d.Message == fmt.Sprintf("rule `%s` never matches: its condition is never true", p.Rules[i].ID)
			case "after-unconditional":
				for j := i; j < len(p.Rules); j++ {
					gone[j] = true
				}
			}
		}
	}
	return gone
}

// changeWorld gives dynamic sets other contents and interfaces other LUIDs, in place.
func changeWorld(rng *rand.Rand, p *compiler.Policy, requests *gen.Requests) {
	for _, s := range p.Sets {
		s.Ranges = nil
		for range rng.IntN(4) {
			r := requests.Random(rng)
			v := r.Value(s.Field)
			if s.Field.Known(v) && !slices.ContainsFunc(s.Ranges, func(x compiler.Range) bool { return x.Contains(v) }) {
				s.Ranges = append(s.Ranges, compiler.Range{First: v, Last: v})
			}
		}
		slices.SortFunc(s.Ranges, func(a, b compiler.Range) int { return a.First.Compare(b.First) })
	}
	for _, i := range p.Interfaces {
		if i.Bound {
			continue
		}
		i.LUID = 0
		r := requests.Random(rng)
		for _, f := range []compiler.Field{compiler.NextHop, compiler.Interface} {
			if v := r.Value(f); f.Known(v) && rng.IntN(2) == 0 {
				i.LUID = v.Lo
			}
		}
	}
}
