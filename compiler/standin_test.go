package compiler_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/tests/classbench"
	"github.com/hopgate/hopgate/tests/gen"
)

// Where nobody sees which rule decides, rules of several trees stand for each other, too.
// Verdicts stay, and a rule that logs is told from all others.
func TestStandIns(t *testing.T) {
	forests := 0
	for _, f := range classbench.Families() {
		for seed := range uint64(4) {
			p, err := f.Policy(seed, 400)
			require.NoError(t, err)
			for i := range p.Rules {
				p.Rules[i].Log = seed%2 == 1 && i%7 == 0
			}
			t.Run(fmt.Sprint(f.Name, seed), func(t *testing.T) {
				merged, err := compiler.Compile(p, &compiler.CompileOptions{MergeRules: true})
				require.NoError(t, err)
				if len(merged.IPv4.Trees) > 1 {
					forests++
					apart, err := compiler.Compile(p, nil)
					require.NoError(t, err)
					require.Less(t, 3*leavesOf(&merged.IPv4), 2*leavesOf(&apart.IPv4))
				}
				for _, r := range gen.Traffic(seed, p, 5000) {
					want, got := p.Eval(&r), merged.Decide(&r)
					if want.Verdict != got.Verdict || logs(p, want) != logs(p, got) || logs(p, want) && want != got {
						require.Equal(t, want, got, r)
					}
				}
			})
		}
	}
	require.Greater(t, forests, 4)
}

func logs(p *compiler.Policy, d compiler.Decision) bool {
	return d.Rule < len(p.Rules) && p.Rules[d.Rule].Log
}

// leavesOf counts the rules that a graph names.
func leavesOf(g *compiler.Graph) int {
	rules := map[int]bool{}
	for _, n := range g.Nodes {
		for _, k := range n.Kids {
			if rule, ok := k.Rule(); ok {
				rules[rule] = true
			}
		}
	}
	return len(rules)
}
