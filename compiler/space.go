package compiler

import (
	"fmt"
	"slices"
)

// space is all connections of one address family as the conditions of some rules
// see them: a line of values for each variable they test. Addresses are whole
// variables here; "in this dynamic set" and "is this interface" are variables with
// the values 0 and 1, free of all others. What such a freedom can mean on a real
// connection, witness decides.
type space struct {
	ipv6  bool
	vars  []Var
	index map[Var]int32
	whole region // by variable: all of its values

	sets       map[*Set]*Set                       // stand for another of the same name
	interfaces map[*NamedInterface]*NamedInterface // stand for another that is the same on the host
	textual    bool                                // only interfaces bound in the text are bound
}

// region is a part of a space: for each variable some of its values, as normal
// ranges that are never empty.
type region [][]Range

func newSpace(ipv6 bool) *space {
	return &space{ipv6: ipv6, index: map[Var]int32{}}
}

// variable gives the index of a variable.
func (s *space) variable(v Var) int32 {
	if i, ok := s.index[v]; ok {
		return i
	}
	i := int32(len(s.vars))
	s.index[v] = i
	s.vars = append(s.vars, v)
	s.whole = append(s.whole, s.values(v))
	return i
}

// values are all that a variable can have in connections of the family.
func (s *space) values(v Var) []Range {
	switch {
	case v.Set != nil || v.Interface != nil:
		return []Range{{Last: Number(1)}}
	case v.Field.kind() == RemoteAddress && s.ipv6:
		return v.Field.Domain().without(mapped)
	case v.Field.kind() == RemoteAddress:
		return []Range{mapped}
	case v.Field == Family && s.ipv6:
		return []Range{{Number(6), Number(6)}}
	case v.Field == Family:
		return []Range{{Number(4), Number(4)}}
	}
	return []Range{v.Field.Domain()}
}

// sameInterfaces maps the interfaces of policies to the first of those that are the
// same on the host.
func sameInterfaces(older, newer *Policy) map[*NamedInterface]*NamedInterface {
	same := map[*NamedInterface]*NamedInterface{}
	all := slices.Concat(older.Interfaces, newer.Interfaces)
	for _, n := range all {
		same[n] = all[slices.IndexFunc(all, func(m *NamedInterface) bool { return !m.Bound && m.sameAs(n) || m == n })]
	}
	return same
}

// everything is the region that is the whole space; it is the caller's to change.
func (s *space) everything() region { return slices.Clone(s.whole) }

// formula is a condition over a space that is true or false at each point: a
// literal `variable in ranges`, or all or any of its parts. All of nothing is
// true, any of nothing is false.
type formula struct {
	shape  shape
	v      int32   // of a literal
	ranges []Range // of a literal: neither empty nor all the variable's values
	parts  []formula
}

type shape uint8

const (
	literal shape = iota
	allOf
	anyOf
)

var (
	always = formula{shape: allOf}
	never  = formula{shape: anyOf}
)

// formula is "c is true", or with maybe "c is true or unknown"; with negated the
// opposite of that.
func (s *space) formula(c Cond, maybe, negated bool) formula {
	switch c := c.(type) {
	case All:
		return s.join(allOf, c, maybe, negated)
	case Any:
		return s.join(anyOf, c, maybe, negated)
	case Not:
		return s.formula(c.X, !maybe, !negated)
	case Unknown:
		return s.literal(Var{Field: c.Field}, unknownRanges(c.Field), negated)
	case In:
		return s.in(c, maybe, negated)
	case InSet:
		set := c.Set
		if same, ok := s.sets[set]; ok {
			set = same
		}
		return s.flag(Var{Field: c.Field, Set: set}, maybe, negated)
	case IsInterface:
		if c.Interface.Bound && !(s.textual && c.Interface.Kind != "luid") {
			return s.in(boundInterface(c), maybe, negated)
		}
		named := c.Interface
		if same, ok := s.interfaces[named]; ok {
			named = same
		}
		return s.flag(Var{Field: c.Field, Interface: named}, maybe, negated)
	}
	panic(fmt.Sprintf("compiler: no such condition %T", c))
}

// unknownRanges are the not-available values of a field.
func unknownRanges(f Field) []Range {
	var ranges []Range
	for _, v := range f.NotAvailable() {
		ranges = append(ranges, Range{v, v})
	}
	return ranges
}

func (s *space) in(c In, maybe, negated bool) formula {
	ranges := c.Ranges
	if unknown := unknownRanges(c.Field); unknown != nil {
		ranges = clip(ranges, c.Field.known())
		if maybe {
			ranges = normalize(slices.Concat(ranges, unknown))
		}
	}
	return s.literal(Var{Field: c.Field}, ranges, negated)
}

// flag is the test of a variable with the values 0 and 1, which says nothing while
// its field is unknown.
func (s *space) flag(v Var, maybe, negated bool) formula {
	test := s.literal(v, []Range{{Number(1), Number(1)}}, negated)
	unknown := unknownRanges(v.Field)
	if unknown == nil {
		return test
	}
	field := s.literal(Var{Field: v.Field}, unknown, maybe == negated)
	if maybe != negated {
		return s.combine(anyOf, []formula{test, field})
	}
	return s.combine(allOf, []formula{test, field})
}

func (s *space) literal(v Var, ranges []Range, negated bool) formula {
	i := s.variable(v)
	if negated {
		ranges = subtract(s.whole[i], ranges)
	} else {
		ranges = intersect(s.whole[i], ranges)
	}
	switch {
	case len(ranges) == 0:
		return never
	case slices.Equal(ranges, s.whole[i]):
		return always
	}
	return formula{shape: literal, v: i, ranges: ranges}
}

func (s *space) join(op shape, parts []Cond, maybe, negated bool) formula {
	if negated {
		op = allOf + anyOf - op
	}
	list := make([]formula, 0, len(parts))
	for _, c := range parts {
		list = append(list, s.formula(c, maybe, negated))
	}
	return s.combine(op, list)
}

// combine joins parts by an operator: parts with the same operator are opened,
// literals of one variable become one.
func (s *space) combine(op shape, parts []formula) formula {
	var flat []formula
	for _, p := range parts {
		if p.shape == op {
			flat = append(flat, p.parts...)
		} else {
			flat = append(flat, p)
		}
	}
	list := flat[:0]
	at := map[int32]int{} // where a variable's literal stands in the list
	var shared map[int32][]Range
	for _, p := range flat {
		switch i, ok := at[p.v]; {
		case p.shape != literal:
			if len(p.parts) == 0 {
				return p // the other operator's neutral element decides
			}
			list = append(list, p)
		case !ok:
			at[p.v] = len(list)
			list = append(list, p)
		case op == allOf:
			if list[i].ranges = intersect(list[i].ranges, p.ranges); len(list[i].ranges) == 0 {
				return never
			}
		default:
			if shared == nil {
				shared = map[int32][]Range{}
			}
			if shared[p.v] == nil {
				shared[p.v] = slices.Clone(list[i].ranges)
			}
			shared[p.v] = append(shared[p.v], p.ranges...)
		}
	}
	for v, ranges := range shared {
		ranges = normalize(ranges)
		if slices.Equal(ranges, s.whole[v]) {
			return always
		}
		list[at[v]].ranges = ranges
	}
	if len(list) == 1 {
		return list[0]
	}
	return formula{shape: op, parts: list}
}

// look says how the formula stands in a region; where that is `partly`, also how
// many literals that is up to, and one of them. It takes a step for each literal.
func (f *formula) look(r region, steps *int) (rel relation, n int, undecided *formula) {
	decides := covers // the relation of a part that settles it; rel is outside if none does
	switch f.shape {
	case literal:
		*steps--
		if rel = relate(f.ranges, r[f.v]); rel == partly {
			return partly, 1, f
		}
		return rel, 0, nil
	case allOf:
		decides, rel = outside, covers
	}
	for i := range f.parts {
		part, m, u := f.parts[i].look(r, steps)
		if part == decides {
			return decides, 0, nil
		}
		if part == partly {
			rel, n = partly, n+m
			if undecided == nil {
				undecided = u
			}
		}
	}
	return rel, n, undecided
}
