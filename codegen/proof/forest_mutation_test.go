package proof_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen/proof"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/tests/classbench"
)

// forestMutant changes an instruction that puts the trees of a forest together: r9 holds
// the best leaf so far, r1 that of another tree. It returns what it did; nothing if it is
// another instruction.
func forestMutant(rng *rand.Rand, b []byte, leaves [][]byte) string {
	next := []byte{0x05, 0, 0, 0} // goto the next instruction
	always := func() { b[0], b[1] = 0x05, 0 }
	leaf := leaves[rng.IntN(len(leaves))]
	switch [2]byte(b[:2]) {
	case [2]byte{0xb4, 9}, [2]byte{0xb4, 1}: // w9 = leaf, w1 = leaf
		copy(b[4:], leaf)
		return "another rule's leaf"
	case [2]byte{0xbc, 0x19}: // w9 = w1
		copy(b, next)
		return "keeps the first tree's"
	case [2]byte{0xae, 0x19}: // if w9 < w1 goto
		switch rng.IntN(3) {
		case 0:
			copy(b, next)
			return "takes the last tree's"
		case 1:
			always()
			return "keeps the first tree's"
		}
		b[0] = 0x3e
		return "takes the higher"
	case [2]byte{0xa6, 9}: // if w9 < leaf goto
		if rng.IntN(3) == 0 {
			always()
			return "skips a tree"
		}
		copy(b[4:], leaf)
		return "skips a tree by another leaf"
	}
	return ""
}

// isLeaf reports whether an instruction sets r9 or r1 to a leaf.
func isLeaf(b []byte) bool {
	return b[0] == 0xb4 && (b[1] == 9 || b[1] == 1 && binary.LittleEndian.Uint32(b[4:]) > 1)
}

// TestForestMutants changes what puts the trees of a forest together: which rule a leaf
// is for, which of two the lower is, and when a tree is passed over. None that decides in
// another way may be proved.
func TestForestMutants(t *testing.T) {
	const mutants = 40
	var total tally
	forests := 0
	for seed := range uint64(2) {
		for i, f := range classbench.Families() {
			p, err := f.Policy(seed, 150)
			require.NoError(t, err)
			for _, counters := range []bool{true, false} {
				d, err := compiler.Compile(p, &compiler.CompileOptions{MergeRules: !counters})
				require.NoError(t, err)
				if len(d.IPv4.Trees) < 2 {
					continue
				}
				forests++
				t.Run(fmt.Sprint(seed, i, counters), func(t *testing.T) {
					t.Parallel()
					mutateForest(t, p, counters, seed, mutants, &total)
				})
			}
		}
	}
	require.Greater(t, forests, 4)
	t.Cleanup(func() {
		t.Logf("%d forests, %d mutants, of which %d behave in another way %v; refused %d; proved equal %d",
			forests, total.mutants, total.changed, total.kinds, total.verifier+total.proof, total.equal)
		require.GreaterOrEqual(t, float64(total.verifier+total.proof), 0.99*float64(total.changed))
	})
}

func mutateForest(t *testing.T, p *compiler.Policy, counters bool, seed uint64, mutants int, total *tally) {
	rng := rand.New(rand.NewPCG(seed, 31))
	original := object(t, p, counters)
	before, err := proof.Check(p, original, 0)
	require.NoError(t, err)
	require.Equal(t, proof.Proved, before.Status, before)
	var at []int
	var leaves [][]byte
	for _, i := range instructions(t, original) {
		if isLeaf(original[i:]) {
			leaves = append(leaves, original[i+4:i+8])
		}
	}
	for _, i := range instructions(t, original) {
		if what := forestMutant(rng, bytes.Clone(original[i:i+8]), leaves); what != "" && (original[i+1] != 1 || isLeaf(original[i:])) {
			at = append(at, i)
		}
	}
	b := newBehaviour(t, p, original, rng, 300)
	for range mutants {
		m := bytes.Clone(original)
		i := at[rng.IntN(len(at))]
		if rng.IntN(2) == 0 { // what is not a leaf is rare
			for try := 0; try < 20 && isLeaf(m[i:]); try++ {
				i = at[rng.IntN(len(at))]
			}
		}
		what := forestMutant(rng, m[i:i+8], leaves)
		refusedBy, result := refuse(p, m)
		changed := !bytes.Equal(m, original) && b.differs(t, m)
		total.note(what, refusedBy, changed, refusedBy == "" && result.Status == proof.Proved)
		if changed && refusedBy == "" {
			t.Logf("survives, %s: %s", what, result)
			require.NotEqual(t, proof.Proved, result.Status, "proved, and yet it behaves in another way: %s", b.difference(t, original, m))
		}
	}
}
