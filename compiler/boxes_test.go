package compiler

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/lang"
)

// Many prefixes in one rule, a few in each of many, and many audit rules make a tree of
// short paths and not one test after the other.
func TestListsAreTrees(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	prefix := func() Range {
		a, host := rng.Uint64N(1<<32), uint64(1)<<rng.IntN(12)-1
		return Range{Value{Lo: 0xffff<<32 | a&^host}, Value{Lo: 0xffff<<32 | a | host}}
	}
	ports := func() Cond {
		a, b := rng.Uint64N(1<<16), rng.Uint64N(1<<16)
		return In{RemotePort, []Range{{Number(min(a, b)), Number(max(a, b))}}}
	}
	pairs := Any{}
	for range 1000 {
		pairs = append(pairs, All{In{RemoteAddress, []Range{prefix()}}, ports()})
	}
	tcp := In{Protocol, []Range{{Number(6), Number(6)}}}
	either := Any{In{LocalPort, []Range{{Number(1), Number(100)}}}, In{Protocol, []Range{{Number(17), Number(17)}}}}
	lists := []Cond{}
	for range 200 {
		var prefixes []Range
		for range 20 {
			prefixes = append(prefixes, prefix())
		}
		lists = append(lists, All{In{RemoteAddress, normalize(prefixes)}, ports()})
	}
	policies := map[string][]Cond{"or": {pairs}, "or and others": {All{tcp, pairs, either}}, "or in or": {Any{tcp, Any{pairs[:500], pairs[500:]}}}, "lists": lists, "audit": pairs}
	for name, conds := range policies {
		t.Run(name, func(t *testing.T) {
			p := &Policy{Name: "lists", Default: lang.Allow}
			if name == "audit" {
				p.Default = lang.Deny // which an early hook decides, with the audit rule
			}
			for i, c := range conds {
				p.Rules = append(p.Rules, Rule{ID: fmt.Sprint(i), Verdict: []lang.Verdict{lang.Deny, lang.Allow}[i%2], Audit: name == "audit", Cond: c})
			}
			d, err := Compile(p, nil)
			require.NoError(t, err)
			require.Zero(t, d.IPv4.Plan.Chained)
			require.Less(t, d.IPv4.Plan.Depth, 100, "%s", d.IPv4.Plan)
			early := d.Without(LocalAddress, LocalPort)
			for range 3000 {
				r := NoContext()
				at := pairs[rng.IntN(len(pairs))].(All)[0].(In).Ranges[0]
				if list, ok := conds[rng.IntN(len(conds))].(All); ok && name == "lists" {
					ranges := list[0].(In).Ranges
					at = ranges[rng.IntN(len(ranges))]
				}
				at.First.Lo += rng.Uint64N(3) - 1
				r.Protocol = []uint8{6, 17}[rng.IntN(2)]
				r.Remote = netip.AddrPortFrom(at.First.Address(), uint16(rng.IntN(1<<16)))
				r.Local = netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(rng.IntN(200)))
				want := p.Eval(&r)
				require.Equal(t, want, d.Decide(&r), "%+v", r)
				if got := early.Decide(&r); name == "audit" {
					require.Equal(t, want, got, "early, %+v", r)
				} else if got.Rule != p.Undecided() {
					require.Equal(t, lang.Deny, want.Verdict, "early, %+v", r)
				}
			}
		})
	}
}
