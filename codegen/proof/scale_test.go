package proof_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/codegen/proof"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/tests/classbench"
	"github.com/hopgate/hopgate/tests/gen"
)

// BenchmarkCheck reports the time of the proof beside that of the compile.
func BenchmarkCheck(b *testing.B) {
	for _, rules := range []int{50, 200, 1000} {
		p := check(b, gen.Policy(rand.New(rand.NewPCG(2, 3)), gen.Options{Rules: rules}))
		b.Run(fmt.Sprintf("compile-%d", len(p.Rules)), func(b *testing.B) {
			for b.Loop() {
				object(b, p, true)
			}
		})
		o := object(b, p, true)
		b.Run(fmt.Sprintf("proof-%d", len(p.Rules)), func(b *testing.B) {
			for b.Loop() {
				r, err := proof.Check(p, o, 0)
				if err != nil || r.Status != proof.Proved {
					b.Fatal(r, err)
				}
			}
		})
	}
}

// BenchmarkCheckLinux is the proof of programs for Linux of a thousand rules.
func BenchmarkCheckLinux(b *testing.B) {
	policies := map[string]*compiler.Policy{}
	for _, name := range []string{"acl1_1000", "fw1_1000", "ipc1_1000"} {
		p, err := classbench.Set(name)
		if err != nil {
			b.Fatal(err)
		}
		policies[name] = p
	}
	policies["mixed"] = unbound(b, gen.Mixed(rand.New(rand.NewPCG(1, 1)), 1000))
	for _, name := range slices.Sorted(maps.Keys(policies)) {
		for _, counters := range []bool{true, false} {
			p := policies[name]
			o := linuxObject(b, p, codegen.Options{NoCounters: !counters})
			b.Run(fmt.Sprintf("%s/counters=%t", name, counters), func(b *testing.B) {
				for b.Loop() {
					r, err := proof.Check(p, o, 0)
					if err != nil || r.Status != proof.Proved {
						b.Fatal(r, err)
					}
				}
			})
		}
	}
}

// A forest for Linux is proved tree by tree, too: path by path this one has 304 000 nodes.
func TestLinuxForestsTreeByTree(t *testing.T) {
	p, err := classbench.Set("fw1_1000")
	require.NoError(t, err)
	r, err := proof.Check(p, linuxObject(t, p, codegen.Options{}), 0)
	require.NoError(t, err)
	require.Equal(t, proof.Proved, r.Status, r)
	require.Less(t, r.Nodes, 100_000, r)
}

// A single tree that tests the network context is proved in one section: rule by rule this one
// takes 166 000 steps.
func TestNetworkContextInOneSection(t *testing.T) {
	p, err := gen.MixedPolicy(1000)
	require.NoError(t, err)
	r, err := proof.Check(p, object(t, p, true), 0)
	require.NoError(t, err)
	require.Equal(t, proof.Proved, r.Status, r)
	require.Less(t, r.Steps, 80_000, r)
}

// BenchmarkForests proves the rule sets of docs/verification.md.
func BenchmarkForests(b *testing.B) {
	for _, name := range []string{"acl1_1000", "fw1_1000", "ipc1_1000", "acl1_10000", "fw1_10000"} {
		p, err := classbench.Set(name)
		require.NoError(b, err)
		for _, counters := range []bool{true, false} {
			o := object(b, p, counters)
			b.Run(fmt.Sprintf("%s/counters-%t", name, counters), func(b *testing.B) {
				for b.Loop() {
					r, err := proof.Check(p, o, 0)
					require.NoError(b, err)
					require.Equal(b, proof.Proved, r.Status, r)
				}
			})
		}
	}
}
