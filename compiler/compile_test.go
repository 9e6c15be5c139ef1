package compiler

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/lang"
)

// randomPolicy makes typed rules over every field, out of few constants so that
// requests meet their bounds.
type randomPolicy struct {
	*rand.Rand
	sets       []*Set
	interfaces []*NamedInterface
}

func (g *randomPolicy) value(f Field) Value {
	switch f {
	case RemoteAddress, LocalAddress:
		return AddressValue(g.address())
	case RemotePort, LocalPort:
		return Number([]uint64{0, 22, 53, 443, 445, 8080, 65535}[g.IntN(7)])
	case Protocol:
		return Number([]uint64{0, 1, 6, 17, 255}[g.IntN(5)])
	case Family:
		return Number([]uint64{4, 6}[g.IntN(2)])
	case TunnelType, InterfaceType, SubInterface, Compartment:
		return Number([]uint64{0, 1, 6, 24, 71, math.MaxUint32 - 1, math.MaxUint32}[g.IntN(7)])
	}
	return Number([]uint64{0, 1, 6 << 48, 71 << 48, math.MaxUint64 - 1, math.MaxUint64}[g.IntN(6)])
}

func (g *randomPolicy) address() netip.Addr {
	return netip.MustParseAddr([]string{
		"0.0.0.0", "10.0.0.0", "10.0.0.1", "10.255.255.255", "192.168.1.7", "255.255.255.255",
		"::", "::1", "fd00::", "fd00::1", "fd00:0:0:1::", "fd00::ffff:ffff:ffff:ffff", "2001:db8::5", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	}[g.IntN(14)])
}

func (g *randomPolicy) ranges(f Field) []Range {
	var list []Range
	for range g.IntN(4) {
		a, b := g.value(f), g.value(f)
		if a.Compare(b) > 0 {
			a, b = b, a
		}
		if f == Family || g.IntN(3) == 0 {
			b = a
		}
		if (f == RemoteAddress || f == LocalAddress) && mapped.Contains(a) != mapped.Contains(b) {
			b = a
		}
		r := Range{a, b}
		if !slices.ContainsFunc(list, func(o Range) bool { return o.First.Compare(r.Last) <= 0 && r.First.Compare(o.Last) <= 0 }) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b Range) int { return a.First.Compare(b.First) })
	return list
}

func (g *randomPolicy) cond(depth int) Cond {
	if depth == 0 || g.IntN(3) == 0 {
		f := Field(g.IntN(NumFields))
		switch g.IntN(8) {
		case 0:
			if len(f.NotAvailable()) > 0 {
				return Unknown{f}
			}
		case 1:
			if len(g.sets) > 0 {
				s := g.sets[g.IntN(len(g.sets))]
				return InSet{s.Field, s}
			}
		case 2:
			if len(g.interfaces) > 0 {
				return IsInterface{NextHop, g.interfaces[g.IntN(len(g.interfaces))]}
			}
		}
		return In{f, g.ranges(f)}
	}
	var parts []Cond
	for range 1 + g.IntN(3) {
		parts = append(parts, g.cond(depth-1))
	}
	switch g.IntN(5) {
	case 0, 1, 2:
		return All(parts)
	case 3:
		return Any(parts)
	}
	return Not{g.cond(depth - 1)}
}

func (g *randomPolicy) policy(rules, depth int, audit bool) *Policy {
	p := &Policy{Name: "random", Default: lang.Verdict(g.IntN(3)), FailOpen: g.IntN(2) == 0, AuditMode: audit && g.IntN(4) == 0}
	g.sets, g.interfaces = nil, nil
	for i, f := range []Field{RemoteAddress, RemotePort, NextHop, InterfaceType} {
		g.sets = append(g.sets, &Set{Name: fmt.Sprintf("s%d", i), Field: f, Ranges: g.ranges(f)})
	}
	g.interfaces = []*NamedInterface{
		{Name: "a", Bound: true, LUID: 71 << 48}, {Name: "b", Bound: true}, {Name: "c", LUID: 6 << 48},
	}
	p.Sets, p.Interfaces = g.sets, g.interfaces
	for i := range rules {
		p.Rules = append(p.Rules, Rule{
			ID: fmt.Sprintf("r%d", i), Verdict: lang.Verdict(g.IntN(3)), Log: g.IntN(8) == 0,
			Audit: audit && g.IntN(4) == 0, Cond: All{g.cond(depth), g.cond(depth), g.cond(1), g.cond(1)},
		})
	}
	return p
}

func (g *randomPolicy) request() Request {
	r := Request{
		InterfaceType: uint32(g.value(InterfaceType).Lo), TunnelType: uint32(g.value(TunnelType).Lo),
		NextHop: g.value(NextHop).Lo, SubInterface: uint32(g.value(SubInterface).Lo), Interface: g.value(Interface).Lo,
		Protocol: uint8(g.value(Protocol).Lo), Compartment: uint32(g.value(Compartment).Lo),
	}
	remote, local := g.address(), g.address()
	for remote.Is4() != local.Is4() {
		local = g.address()
	}
	near := func(port uint64) uint16 { return uint16(int(port) + g.IntN(3) - 1) }
	r.Remote = netip.AddrPortFrom(remote, near(g.value(RemotePort).Lo))
	r.Local = netip.AddrPortFrom(local, near(g.value(LocalPort).Lo))
	return r
}

func TestDiagramAgreesWithRules(t *testing.T) {
	for seed := range uint64(60) {
		g := &randomPolicy{Rand: rand.New(rand.NewPCG(seed, 1))}
		rules := []int{0, 1, 2, 5, 20, 200}[seed%6]
		p := g.policy(rules, 1+int(seed%4), seed%3 == 0)
		d, err := Compile(p, &CompileOptions{FreeInterfaces: true})
		require.NoError(t, err)
		merged, err := Compile(p, &CompileOptions{FreeInterfaces: true, MergeRules: true})
		require.NoError(t, err)
		for range 2000 {
			r := g.request()
			want := p.Eval(&r)
			require.Equal(t, want, d.Decide(&r), "seed %d, request %+v", seed, r)
			require.Equal(t, want.Verdict, merged.Decide(&r).Verdict, "seed %d, request %+v", seed, r)
		}
	}
}

func TestDiagramIsDeterministic(t *testing.T) {
	compile := func() *Diagram {
		g := &randomPolicy{Rand: rand.New(rand.NewPCG(7, 7))}
		d, err := Compile(g.policy(100, 3, true), &CompileOptions{FreeInterfaces: true})
		require.NoError(t, err)
		d.Policy = nil
		return d
	}
	require.Equal(t, compile(), compile())
}

func TestCompileNeedsBoundInterfaces(t *testing.T) {
	p := &Policy{Interfaces: []*NamedInterface{{Name: "vpn", Kind: "alias", Value: "Corp VPN"}}}
	_, err := Compile(p, nil)
	var ds lang.Diagnostics
	require.ErrorAs(t, err, &ds)
	require.Contains(t, ds[0].Hint, "--bind vpn=0x")
}

// TestManySets has more sets than a tree has variables: rules that need none of the
// last sets are in trees all the same.
func TestManySets(t *testing.T) {
	const sets, rules = 100, 300
	p := &Policy{Name: "many", Default: lang.Allow}
	for i := range sets {
		p.Sets = append(p.Sets, &Set{Name: fmt.Sprintf("s%d", i), Field: RemotePort, Ranges: []Range{{Number(uint64(100 * i)), Number(uint64(100*i + 10))}}})
	}
	for i := range rules {
		cond := All{In{Field: LocalPort, Ranges: []Range{{Number(uint64(i)), Number(uint64(2 * i))}}}}
		if i%3 == 0 {
			cond = append(cond, InSet{Field: RemotePort, Set: p.Sets[i/3]})
		}
		p.Rules = append(p.Rules, Rule{ID: fmt.Sprintf("r%d", i), Verdict: []lang.Verdict{lang.Deny, lang.Allow}[i%2], Cond: cond})
	}
	d, err := Compile(p, nil)
	require.NoError(t, err)
	require.Equal(t, sets-(maxSides-1), d.IPv4.Plan.Chained) // one variable is the local port
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20000 {
		r := NoContext()
		r.Local = netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(rng.IntN(700)))
		r.Remote = netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(rng.IntN(100*sets+100)))
		require.Equal(t, p.Eval(&r), d.Decide(&r), "%+v", r)
	}
}
