package compiler

import (
	"fmt"
	"net/netip"
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

// A test that no value passes is unknown where the field is, so that the rule that denies
// matches there, however many alternatives stand beside it.
func TestTestOfNoValueIsUnknown(t *testing.T) {
	never := In{Field: SubInterface} // sub_interface < 0
	odd := []Range{}
	for i := range uint64(scattered + 1) {
		odd = append(odd, Range{Number(2*i + 1), Number(2*i + 1)})
	}
	pairs := Any{never}
	for i := range uint64(maxBoxes + 1) {
		n := []Range{{Number(i), Number(i)}}
		pairs = append(pairs, All{In{LocalPort, n}, In{RemotePort, n}})
	}
	for name, c := range map[string]Any{"many boxes": pairs, "scattered": {never, In{RemotePort, odd}}} {
		t.Run(name, func(t *testing.T) {
			p := &Policy{Name: "never", Default: lang.Allow}
			for i := range small + 1 {
				n := Number(uint64(i))
				p.Rules = append(p.Rules, Rule{ID: fmt.Sprint("r", i), Verdict: lang.Deny, Cond: All{In{Protocol, []Range{{n, n}}}, c}})
			}
			d, err := Compile(p, nil)
			require.NoError(t, err)
			for _, index := range []uint32{0, 1, 1<<32 - 1} {
				r := NoContext()
				r.Protocol, r.SubInterface = 6, index
				r.Local = netip.AddrPortFrom(netip.IPv4Unspecified(), 1) // no pair, and no odd remote port
				require.Equal(t, p.Eval(&r), d.Decide(&r), index)
			}
		})
	}
}
