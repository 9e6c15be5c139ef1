package compiler

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/lang"
)

// Rules that deny also match where the field is unknown. That must not keep a tree
// from halving the field's values.
func TestTreesHalveFieldsThatCanBeUnknown(t *testing.T) {
	p := &Policy{Name: "indexes", Default: lang.Allow}
	for i := range 3000 {
		n := Number(uint64(10 + 3*i))
		p.Rules = append(p.Rules, Rule{ID: fmt.Sprint("r", i), Verdict: lang.Deny, Cond: In{SubInterface, []Range{{n, n}}}})
	}
	d, err := Compile(p, nil)
	require.NoError(t, err)
	require.Less(t, d.IPv4.Plan.Depth, 40)
	require.Less(t, d.IPv4.Plan.Tests(), 4*len(p.Rules))
	r := NoContext()
	for _, index := range []uint32{0, 1, 10, 11, 13, 9007, 9008, 1<<32 - 1} {
		r.SubInterface = index
		require.Equal(t, p.Eval(&r), d.Decide(&r), index)
	}
}
