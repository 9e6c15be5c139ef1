package compiler

import (
	"cmp"
	"slices"
)

// box is a conjunction of tests: one of the alternatives under which a rule matches.
// Its sides are sorted by variable.
type box struct {
	rule  int32
	maybe bool // for an early hook: the rule may match, and denies if it does
	sides []side
}

// side says that a variable, by its index in graphBuilder.vars, lies in ranges that
// are sorted and disjoint.
type side struct {
	v      int32
	ranges [][2]uint64
}

func (b *box) side(v int32) [][2]uint64 {
	for i := range b.sides {
		if b.sides[i].v == v {
			return b.sides[i].ranges
		}
	}
	return nil
}

// maxBoxes is how many boxes a rule may become; a rule that needs more is tested
// part by part instead.
const maxBoxes = 64

// maxSides is how many variables the forest has bits for: those of fields and the
// first ones of sets and interfaces.
const maxSides = 64

// boxesOf gives the boxes that make up the condition of "the rule matches", or those of
// its alternatives where there are too many. It gives false when these are too many, too,
// or when they need a variable beyond the first maxSides.
func (g *graphBuilder) boxesOf(rule int) ([]box, bool) {
	if boxes, ok := g.boxesOfCond(rule, g.policy.Rules[rule].Cond); ok {
		return boxes, true
	}
	return g.divided(rule)
}

// divided gives the boxes of the alternatives of a rule's condition.
func (g *graphBuilder) divided(rule int) ([]box, bool) {
	c := g.policy.Rules[rule].Cond
	left := maxBoxes * bounds(c)
	return g.divide(rule, c, &left)
}

// divide gives the boxes of a condition's alternatives, of which so many are left.
func (g *graphBuilder) divide(rule int, c Cond, left *int) ([]box, bool) {
	list := alternatives(c)
	if *left -= len(list); *left < 0 || len(list) == 1 {
		return nil, false
	}
	var all []box
	for _, a := range list {
		boxes, ok := g.boxesOfCond(rule, a)
		if !ok {
			boxes, ok = g.divide(rule, a, left)
		}
		if !ok {
			return nil, false
		}
		all = append(all, boxes...)
	}
	return all, true
}

// scattered is how many ranges a side has at least that may lie anywhere. Any cut has such
// a box on both sides; of many of them no tree can be made.
const scattered = 8

func (b box) isScattered() bool {
	return slices.ContainsFunc(b.sides, func(s side) bool { return len(s.ranges) > scattered })
}

// parted puts boxes of one range in the place of scattered ones, if these are many.
func (g *graphBuilder) parted(boxes []box) []box {
	found := 0
	for i := range boxes {
		if boxes[i].isScattered() {
			found++
		}
	}
	if found <= small {
		return boxes
	}
	var parts []box
	for len(boxes) > 0 {
		n := 1
		for n < len(boxes) && boxes[n].rule == boxes[0].rule {
			n++
		}
		of := boxes[:n]
		boxes = boxes[n:]
		if slices.ContainsFunc(of, box.isScattered) {
			if divided, ok := g.divided(int(of[0].rule)); ok {
				of = divided
			}
		}
		parts = append(parts, of...)
	}
	return parts
}

// alternatives are conditions of which one holds where c does: the parts of its longest
// `or`, or list of ranges, each with all else that must hold.
func alternatives(c Cond) []Cond {
	all, ok := c.(All)
	if !ok {
		all = All{c}
	}
	longest, at := Any(nil), 0
	for i, part := range all {
		if parts := flat(part); len(parts) > len(longest) {
			longest, at = parts, i
		}
	}
	rest := slices.Delete(slices.Clone(all), at, at+1)
	list := make([]Cond, len(longest))
	for i, part := range longest {
		list[i] = append(slices.Clip(rest), part)
	}
	return list
}

// flat lists the parts of an `or` and of those directly in it. A test against no range is
// a part, too: it is unknown where its field is.
func flat(c Cond) Any {
	var list Any
	switch c := c.(type) {
	case Any:
		for _, p := range c {
			list = append(list, flat(p)...)
		}
		return list
	case In:
		for i := range c.Ranges {
			list = append(list, In{c.Field, c.Ranges[i : i+1]})
		}
	}
	if list == nil {
		list = Any{c}
	}
	return list
}

// boxesOfCond gives disjoint boxes that make up a condition of a rule.
func (g *graphBuilder) boxesOfCond(rule int, c Cond) ([]box, bool) {
	if sides, possible, ok := g.conds.plain(c); ok {
		if !possible {
			return nil, true
		}
		return []box{{rule: int32(rule), sides: sides}}, true
	}
	g.conds.limit = len(g.conds.kids) + 1000 + 8*bounds(c)
	cond := g.conds.cond(c, g.policy.matchesUnknown(g.policy.Rules[rule].Verdict))
	if g.conds.full {
		g.conds.forget()
		return nil, false
	}
	g.conds.limit = 0
	var boxes []box
	var sides []side
	var visit func(r ref) bool
	visit = func(r ref) bool {
		switch r {
		case isFalse:
			return true
		case isTrue:
			boxes = append(boxes, box{rule: int32(rule), sides: slices.Clone(sides)})
			return len(boxes) <= maxBoxes
		}
		v := g.conds.nodes[r].level
		if v >= maxSides {
			return false
		}
		starts, kids := g.conds.node(r)
		for i, k := range kids {
			if k == isFalse || slices.Contains(kids[:i], k) {
				continue
			}
			sides = append(sides, side{v, intervalsTo(k, starts, kids, g.vars[v].Last())})
			if !visit(k) {
				return false
			}
			sides = sides[:len(sides)-1]
		}
		return true
	}
	ok := visit(cond)
	return boxes, ok
}

// plain gives the sides of the box that a condition is, if it takes no diagram to see
// that: tests of several fields that are always known. Possible is false if no
// connection meets it.
func (b *conditions) plain(c Cond) (sides []side, possible, ok bool) {
	parts, ok := c.(All)
	if !ok {
		parts = All{c}
	}
	sides = make([]side, 0, len(parts))
	for _, part := range parts {
		in, ok := part.(In)
		if !ok || !in.Field.alwaysKnown() {
			return nil, false, false
		}
		v, ranges, ok := b.raw(in.Field, in.Ranges)
		if !ok {
			return nil, false, false
		}
		level := b.levels[v]
		at, tested := slices.BinarySearchFunc(sides, level, func(s side, v int32) int { return cmp.Compare(s.v, v) })
		switch {
		case tested:
			return nil, false, false
		case len(ranges) == 0:
			return nil, false, true
		case ranges[0] != [2]uint64{0, v.Last()}:
			sides = slices.Insert(sides, at, side{level, ranges})
		}
	}
	return sides, true, true
}

// intervalsTo lists the intervals of a node that lead to a kid.
func intervalsTo(k ref, starts []uint64, kids []ref, last uint64) [][2]uint64 {
	var in [][2]uint64
	for i := range kids {
		if kids[i] != k {
			continue
		}
		end := last
		if i+1 < len(starts) {
			end = starts[i+1] - 1
		}
		in = append(in, [2]uint64{starts[i], end})
	}
	return in
}

// telling is a variable by which boxes may be divided among trees.
type telling struct {
	v    int32
	wide []bool // by box
}

// mostTelling are the two variables with the most different bounds.
func (g *graphBuilder) mostTelling() []telling {
	cuts := make([][]uint64, len(g.vars))
	for i := range g.boxes {
		for _, s := range g.boxes[i].sides {
			for _, r := range s.ranges {
				cuts[s.v] = append(cuts[s.v], r[0], r[1])
			}
		}
	}
	order := make([]int, len(g.vars))
	for v := range cuts {
		slices.Sort(cuts[v])
		cuts[v] = slices.Compact(cuts[v])
		order[v] = v
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(len(cuts[b]), len(cuts[a])) })
	var most []telling
	for _, v := range order[:min(len(order), 2)] {
		t := telling{int32(v), make([]bool, len(g.boxes))}
		for i := range g.boxes {
			t.wide[i] = isWide(g.boxes[i].side(t.v), cuts[v])
		}
		most = append(most, t)
	}
	return most
}

// groups divides the boxes among trees by which of the most telling variables they
// leave wide: a box that is wide in a variable would stand on both sides of nearly
// every cut of it. It gives these variables, too.
func (g *graphBuilder) groups(most ...telling) (groups [][]int32, by []Var) {
	byWide := make([][]int32, 1<<len(most))
	for i := range g.boxes {
		wide := 0
		for bit, t := range most {
			if t.wide[i] {
				wide |= 1 << bit
			}
		}
		byWide[wide] = append(byWide[wide], int32(i))
	}
	groups = slices.DeleteFunc(byWide, func(g []int32) bool { return len(g) == 0 })
	if len(groups) == 0 {
		return [][]int32{nil}, nil
	}
	slices.SortFunc(groups, func(a, b []int32) int { return cmp.Compare(a[0], b[0]) })
	for _, t := range most {
		by = append(by, g.vars[t.v])
	}
	return groups, by
}

// isWide reports whether ranges reach over more than an eighth of the cuts of their
// variable.
func isWide(ranges [][2]uint64, cuts []uint64) bool {
	if len(ranges) == 0 {
		return true
	}
	from, _ := slices.BinarySearch(cuts, ranges[0][0])
	to, _ := slices.BinarySearch(cuts, ranges[len(ranges)-1][1])
	return 8*(to-from) > len(cuts)
}
