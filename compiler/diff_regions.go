package compiler

import "slices"

// where gives conditions for the regions of a pair: few, and each short.
func (c *comparer) where(p *pairRegions) []Cond {
	var areas []area
	for i := range c.families {
		f := &c.families[i]
		find := &search{space: f.space, steps: min(c.tidying, simplifySteps)}
		budget := find.steps
		for _, r := range find.simplify(p.regions[i]) {
			areas = append(areas, f.area(r))
		}
		c.tidying -= budget - max(0, find.steps)
	}
	var conds []Cond
	for _, a := range joinFamilies(areas) {
		conds = append(conds, a.cond())
	}
	return conds
}

// Steps that it may take to make regions simple: those of a pair, and all.
const (
	simplifySteps    = 1 << 17
	simplifyAllSteps = 1 << 23
)

// simplify covers the same with fewer and wider regions. Short of steps, it leaves
// them as they are.
func (s *search) simplify(regions []region) []region {
	regions = mergeRegions(regions)
	products := make([]*obstacle, len(regions))
	for i, r := range regions {
		products[i] = s.space.product(r)
	}
	meaningless := s.space.meaningless()
	for i := range regions {
		others := slices.Concat(meaningless, products[:i], products[i+1:])
		s.widen(regions[i], others)
		products[i] = s.space.product(regions[i])
	}
	for i := len(regions) - 1; i >= 0; i-- {
		others := slices.Delete(slices.Clone(products), i, i+1)
		if s.covered(regions[i], slices.Concat(meaningless, others)) {
			regions, products = slices.Delete(regions, i, i+1), others
		}
	}
	return mergeRegions(regions)
}

// mergeRegions joins regions that differ in one variable only.
func mergeRegions(regions []region) []region {
	for joined := true; joined; {
		joined = false
		for i := 0; i < len(regions); i++ {
			for j := i + 1; j < len(regions); j++ {
				if v, ok := onlyDifference(regions[i], regions[j]); ok {
					regions[i] = slices.Clone(regions[i])
					regions[i][v] = unite(regions[i][v], regions[j][v])
					regions = slices.Delete(regions, j, j+1)
					j--
					joined = true
				}
			}
		}
	}
	return regions
}

func onlyDifference(a, b region) (v int, ok bool) {
	v = -1
	for i := range a {
		if !slices.Equal(a[i], b[i]) {
			if v >= 0 {
				return 0, false
			}
			v = i
		}
	}
	return max(v, 0), true
}

// widen lets a region have all values of a variable where the others hold what it
// lacks.
func (s *search) widen(r region, others []*obstacle) {
	for v, values := range r {
		lacks := subtract(s.space.whole[v], values)
		if len(lacks) == 0 {
			continue
		}
		r[v] = lacks
		if s.covered(r, others) {
			r[v] = s.space.whole[v]
		} else {
			r[v] = values
		}
	}
}

// covered reports whether obstacles together hold all of a region; when it takes too
// many steps it says no.
func (s *search) covered(r region, obstacles []*obstacle) bool {
	return !s.uncovered(r, obstacles, func() bool { return true }) && !s.gaveUp()
}

// meaningless are the parts of a space in which a field is unknown and yet in a set or
// an interface. They say the same as those in which it is not, and conditions leave
// them out.
func (s *space) meaningless() []*obstacle {
	var list []*obstacle
	for v, flag := range s.vars {
		i, ok := s.index[Var{Field: flag.Field}]
		if flag.Set == nil && flag.Interface == nil || !ok || flag.Field.NotAvailable() == nil {
			continue
		}
		list = append(list, &obstacle{formula: &formula{shape: allOf, parts: []formula{
			{shape: literal, v: int32(v), ranges: []Range{{Number(1), Number(1)}}},
			{shape: literal, v: i, ranges: unknownRanges(flag.Field)},
		}}})
	}
	return list
}

// product is a region as an obstacle to others.
func (s *space) product(r region) *obstacle {
	f := formula{shape: allOf}
	for v, values := range r {
		if !slices.Equal(values, s.whole[v]) {
			f.parts = append(f.parts, formula{shape: literal, v: int32(v), ranges: values})
		}
	}
	if len(f.parts) == 1 {
		return &obstacle{formula: &f.parts[0]}
	}
	return &obstacle{formula: &f}
}

// area is a region of one or both families: the variables that do not have all
// values there.
type area struct {
	family [2]bool // IPv4, IPv6
	sides  []areaSide
}

type areaSide struct {
	v      Var
	values []Range
}

func (s *space) area(r region) area {
	a := area{family: [2]bool{!s.ipv6, s.ipv6}}
	for v, values := range r {
		if !slices.Equal(values, s.whole[v]) {
			a.sides = append(a.sides, areaSide{s.vars[v], values})
		}
	}
	return a
}

func (a *area) side(v Var) []Range {
	for _, s := range a.sides {
		if s.v == v {
			return s.values
		}
	}
	return nil
}

// joinFamilies makes one area of an IPv4 and an IPv6 one that differ only in one of
// the addresses.
func joinFamilies(areas []area) []area {
	for i := 0; i < len(areas); i++ {
		for j := i + 1; j < len(areas); j++ {
			if joined, ok := joinFamily(areas[i], areas[j]); ok {
				areas[i] = joined
				areas = slices.Delete(areas, j, j+1)
				break
			}
		}
	}
	return areas
}

func joinFamily(a, b area) (area, bool) {
	if a.family != [2]bool{true, false} || b.family != [2]bool{false, true} {
		return area{}, false
	}
	joined := area{family: [2]bool{true, true}}
	addresses := 0
	for _, f := range []Field{RemoteAddress, LocalAddress} {
		v := Var{Field: f}
		x, y := a.side(v), b.side(v)
		if x == nil && y == nil {
			continue
		}
		if x == nil {
			x = []Range{mapped}
		}
		if y == nil {
			y = f.Domain().without(mapped)
		}
		joined.sides = append(joined.sides, areaSide{v, unite(x, y)})
		addresses++
	}
	if addresses > 1 {
		return area{}, false
	}
	plain := func(a area) (list []areaSide) {
		for _, s := range a.sides {
			if s.v.Field.kind() != RemoteAddress || s.v.Set != nil {
				list = append(list, s)
			}
		}
		return list
	}
	x, y := plain(a), plain(b)
	for _, s := range x {
		if !slices.Equal(b.side(s.v), s.values) {
			return area{}, false
		}
	}
	if len(x) != len(y) {
		return area{}, false
	}
	joined.sides = append(joined.sides, x...)
	return joined, true
}

// cond is a condition that is true in the area, and only there.
func (a area) cond() Cond {
	var parts All
	for f := range Field(NumFields) {
		parts = append(parts, a.tests(f)...)
	}
	if a.family != [2]bool{true, true} && !a.impliesFamily() {
		family := Number(4)
		if a.family[1] {
			family = Number(6)
		}
		parts = append(parts, In{Family, []Range{{family, family}}})
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return parts
}

// impliesFamily reports whether the addresses say of which family the area is.
func (a area) impliesFamily() bool {
	for _, f := range []Field{RemoteAddress, LocalAddress} {
		if values := a.side(Var{Field: f}); values != nil && !isNegated(a.in(f, values)) {
			return true
		}
	}
	return false
}

func isNegated(c Cond) bool {
	_, ok := c.(Not)
	return ok
}

// in is `f in values`, or if that is shorter `f not in` the others.
func (a area) in(f Field, values []Range) Cond {
	all := []Range{f.known()}
	if f.kind() == RemoteAddress && !a.family[0] {
		all = f.Domain().without(mapped)
	} else if f.kind() == RemoteAddress && !a.family[1] {
		all = []Range{mapped}
	}
	others := subtract(all, values)
	if len(others) < len(values) || isOne(others) && !isOne(values) {
		return Not{In{f, others}}
	}
	return In{f, values}
}

// isNamed reports whether the field is in a dynamic set or an interface, so that it
// is not unknown.
func (a area) isNamed(f Field) bool {
	return slices.ContainsFunc(a.sides, func(s areaSide) bool {
		return s.v.Field == f && (s.v.Set != nil || s.v.Interface != nil) && s.values[0].First == Number(1)
	})
}

func isOne(ranges []Range) bool { return len(ranges) == 1 && ranges[0].First == ranges[0].Last }

// tests are the conditions on a field: its values, then sets and interfaces.
func (a area) tests(f Field) (tests []Cond) {
	values := a.side(Var{Field: f})
	withUnknown := f.NotAvailable() != nil && (values == nil || contains(values, f.NotAvailable()[0])) && !a.isNamed(f)
	or := func(c Cond) Cond {
		if withUnknown {
			return Any{c, Unknown{f}}
		}
		return c
	}
	for _, s := range a.sides {
		if s.v.Field != f || s.v.Set == nil && s.v.Interface == nil {
			continue
		}
		var c Cond = InSet{f, s.v.Set}
		if s.v.Interface != nil {
			c = IsInterface{f, s.v.Interface}
		}
		if s.values[0].First == Number(0) {
			c = Not{c}
		}
		tests = append(tests, or(c))
	}
	if values == nil {
		return tests
	}
	known := clip(values, f.known())
	switch {
	case len(known) == 0:
		return []Cond{Unknown{f}} // and then in no set
	case f.NotAvailable() != nil && slices.Equal(known, []Range{f.known()}):
		if len(tests) > 0 {
			return tests // they are not true of an unknown value
		}
		return []Cond{Not{Unknown{f}}}
	}
	return append([]Cond{or(a.in(f, known))}, tests...)
}
