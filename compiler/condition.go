package compiler

import (
	"fmt"
	"math"
	"slices"
)

// conditions builds the boolean diagrams of conditions for one address family.
type conditions struct {
	*store
	ipv6   bool
	levels map[Var]int32 // an address's High64 stands directly before its Low64
}

// cond is the diagram of "c is true", or with maybe of "c is true or unknown".
func (b *conditions) cond(c Cond, maybe bool) ref {
	switch c := c.(type) {
	case All:
		return b.balanced(c, maybe, isTrue, b.conjunction)
	case Any:
		return b.balanced(c, maybe, isFalse, b.disjunction)
	case Not:
		return b.negation(b.cond(c.X, !maybe))
	case Unknown:
		return b.unknown(c.Field)
	case In:
		return b.adjust(b.in(c.Field, c.Ranges), c.Field, maybe)
	case InSet:
		return b.adjust(b.flag(Var{Field: c.Field, Set: c.Set}), c.Field, maybe)
	case IsInterface:
		if c.Interface.Bound {
			return b.cond(boundInterface(c), maybe)
		}
		return b.adjust(b.flag(Var{Field: c.Field, Interface: c.Interface}), c.Field, maybe)
	}
	panic(fmt.Sprintf("compiler: no such condition %T", c))
}

// boundInterface is the test against the LUID that the interface is bound to.
func boundInterface(c IsInterface) In {
	if c.Interface.LUID == 0 {
		return In{Field: c.Field}
	}
	luid := Number(c.Interface.LUID)
	return In{c.Field, []Range{{luid, luid}}}
}

// balanced joins the parts pairwise, so that n parts of like size cost n log n.
func (b *conditions) balanced(parts []Cond, maybe bool, none ref, join func(x, y ref) ref) ref {
	switch len(parts) {
	case 0:
		return none
	case 1:
		return b.cond(parts[0], maybe)
	}
	mid := len(parts) / 2
	return join(b.balanced(parts[:mid], maybe, none, join), b.balanced(parts[mid:], maybe, none, join))
}

// adjust makes of a test of the field's raw value the test that is false, or with
// maybe true, when the field is unknown.
func (b *conditions) adjust(test ref, f Field, maybe bool) ref {
	switch {
	case f.alwaysKnown():
		return test
	case maybe:
		return b.disjunction(test, b.unknown(f))
	}
	return b.conjunction(test, b.negation(b.unknown(f)))
}

func (b *conditions) unknown(f Field) ref {
	var in [][2]uint64
	for _, v := range f.NotAvailable() {
		in = append(in, [2]uint64{v.Lo, v.Lo})
	}
	v := Var{Field: f}
	return b.ranges(b.levels[v], v.Last(), in)
}

func (b *conditions) flag(v Var) ref {
	return b.ranges(b.levels[v], 1, [][2]uint64{{1, 1}})
}

// in is the test of the field's raw value against ranges.
func (b *conditions) in(f Field, ranges []Range) ref {
	switch v, raw, ok := b.raw(f, ranges); {
	case ok:
		return b.ranges(b.levels[v], v.Last(), raw)
	case f != Family:
		return b.in6(f, ranges)
	}
	family := Number(4)
	if b.ipv6 {
		family = Number(6)
	}
	if contains(ranges, family) {
		return isTrue
	}
	return isFalse
}

// raw gives the variable that a field is, and the ranges as its values. It gives false
// for the family, which is none, and IPv6 addresses, which are two.
func (b *conditions) raw(f Field, ranges []Range) (Var, [][2]uint64, bool) {
	switch {
	case f == Family:
		return Var{}, nil, false
	case f != RemoteAddress && f != LocalAddress:
		return Var{Field: f}, within(ranges, f.Domain(), math.MaxUint64), true
	case b.ipv6:
		return Var{}, nil, false
	}
	return Var{Field: f, Part: Word32}, within(ranges, mapped, math.MaxUint32), true
}

// within gives the parts of the ranges inside an outer range whose values differ
// only in their low bits, as those bits.
func within(ranges []Range, outer Range, mask uint64) [][2]uint64 {
	first, _ := slices.BinarySearchFunc(ranges, outer.First, func(r Range, v Value) int { return r.Last.Compare(v) })
	in := make([][2]uint64, 0, len(ranges)-first)
	for _, r := range ranges[first:] {
		if r.First.Compare(outer.Last) > 0 {
			break
		}
		lo, hi := maxValue(r.First, outer.First), minValue(r.Last, outer.Last)
		in = append(in, [2]uint64{lo.Lo & mask, hi.Lo & mask})
	}
	return in
}

// in6 tests the two halves of an IPv6 address. IPv4-mapped addresses belong to
// the other family; ranges inside their block are left out.
func (b *conditions) in6(f Field, ranges []Range) ref {
	high, low := b.levels[Var{Field: f, Part: High64}], b.levels[Var{Field: f, Part: Low64}]
	var starts []uint64
	var kids []ref
	next, full := uint64(0), false // the first high half not yet covered, or none is left
	pieces := halves(ranges)
	for len(pieces) > 0 {
		p := pieces[0]
		var lows [][2]uint64
		for len(pieces) > 0 && pieces[0].first == p.first {
			lows = append(lows, pieces[0].low)
			pieces = pieces[1:]
		}
		if p.first > next {
			starts, kids = append(starts, next), append(kids, isFalse)
		}
		starts, kids = append(starts, p.first), append(kids, b.ranges(low, math.MaxUint64, lows))
		next, full = p.last+1, p.last == math.MaxUint64
	}
	if !full {
		starts, kids = append(starts, next), append(kids, isFalse)
	}
	return b.mk(high, starts, kids)
}

// half is part of a range of IPv6 addresses: those whose high half is in [first,
// last] and low half in low. Either first is last or low is everything.
type half struct {
	first, last uint64
	low         [2]uint64
}

func halves(ranges []Range) []half {
	pieces := make([]half, 0, len(ranges))
	for _, r := range ranges {
		a, z := r.First, r.Last
		switch {
		case mapped.Contains(a) && mapped.Contains(z):
			continue
		case a.Hi == z.Hi:
			pieces = append(pieces, half{a.Hi, a.Hi, [2]uint64{a.Lo, z.Lo}})
			continue
		}
		pieces = append(pieces, half{a.Hi, a.Hi, [2]uint64{a.Lo, math.MaxUint64}})
		if z.Hi-a.Hi > 1 {
			pieces = append(pieces, half{a.Hi + 1, z.Hi - 1, [2]uint64{0, math.MaxUint64}})
		}
		pieces = append(pieces, half{z.Hi, z.Hi, [2]uint64{0, z.Lo}})
	}
	return pieces
}
