package gen

import (
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/hopgate/hopgate/compiler"
)

// Prefixes makes distinct random prefixes of the lengths from least to most inside a
// prefix.
func Prefixes(rng *rand.Rand, within netip.Prefix, n, least, most int) []netip.Prefix {
	seen := make(map[netip.Prefix]bool, n)
	list := make([]netip.Prefix, 0, n)
	for len(list) < n {
		p, err := Address(rng, within).Prefix(least + rng.IntN(most-least+1))
		if err == nil && !seen[p] {
			seen[p] = true
			list = append(list, p)
		}
	}
	return list
}

// Address makes a random address inside a prefix.
func Address(rng *rand.Rand, within netip.Prefix) netip.Addr {
	b := within.Addr().AsSlice()
	for i := range b {
		free := byte(0xff)
		switch fixed := within.Bits() - 8*i; {
		case fixed >= 8:
			continue
		case fixed > 0:
			free = 0xff >> fixed
		}
		b[i] = b[i]&^free | byte(rng.Uint32())&free
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Ranges gives what prefixes hold, sorted, disjoint and not touching.
func Ranges(prefixes []netip.Prefix) []compiler.Range {
	list := make([]compiler.Range, 0, len(prefixes))
	for _, p := range prefixes {
		list = append(list, compiler.Range{First: compiler.AddressValue(p.Addr()), Last: lastValue(p)})
	}
	slices.SortFunc(list, func(a, b compiler.Range) int { return a.First.Compare(b.First) })
	out := list[:0]
	for _, r := range list {
		if n := len(out); n > 0 && r.First.Compare(Next(out[n-1].Last)) <= 0 {
			if r.Last.Compare(out[n-1].Last) > 0 {
				out[n-1].Last = r.Last
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

// Last is the last address of a prefix.
func Last(p netip.Prefix) netip.Addr { return lastValue(p).Address() }

func lastValue(p netip.Prefix) compiler.Value {
	last := compiler.AddressValue(p.Addr())
	free := p.Addr().BitLen() - p.Bits()
	last.Lo |= 1<<free - 1 // all ones from 64 bits on
	if free > 64 {
		last.Hi |= 1<<(free-64) - 1
	}
	return last
}

// Next is the value after v.
func Next(v compiler.Value) compiler.Value { return add(v, 1) }
