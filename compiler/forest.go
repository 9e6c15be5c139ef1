package compiler

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// forest builds split trees over boxes. A tree cuts the space of one variable
// at a time until few boxes are left, and tells those apart exactly.
type forest struct {
	vars  []Var
	boxes []box
	then  []ref // by rule: its leaf
	// For an early hook: where none of these boxes is left, it is undecided.
	denies    func(*box) bool
	undecided ref
	out       *store
	region    [][2]uint64 // by variable: the part of the space a tree is looking at
	lists     []left      // boxes of the parts that are yet to be split
	last      elimination // its memory is used again

	firsts, lasts []uint64 // of ends
}

// left is a box that meets the region, with the variables, as a bit set, of the
// sides that do not hold in all of it.
type left struct {
	box   int32
	sides uint64
}

// tree builds the tree of the boxes, sorted by rule. It leads to none where no box
// holds.
func (f *forest) tree(boxes []int32, none ref) ref {
	f.region = make([][2]uint64, len(f.vars))
	for i, v := range f.vars {
		f.region[i] = [2]uint64{0, v.Last()}
	}
	list := make([]left, 0, len(boxes))
	for _, b := range boxes {
		l := left{box: b}
		for _, s := range f.boxes[b].sides {
			l.sides |= 1 << s.v
		}
		list = append(list, l)
		if l.sides == 0 && !f.boxes[b].maybe {
			break
		}
	}
	return f.split(list, none, copies*len(list)+spareCopies)
}

// Found by trying: larger lists or limits make smaller trees of address rules and
// larger ones of rules that overlap in everything.
const (
	small = 12 // boxes that are told apart without a further cut, where that takes few kids
	worst = 3  // a cut's cost for each box, of 2 to 4, beyond which it is not made
)

// relevant are the boxes up to the last that does not lead where none leads.
func (f *forest) relevant(list []left, none ref) []left {
	for len(list) > 0 && f.denies == nil && f.then[f.boxes[list[len(list)-1].box].rule] == none {
		list = list[:len(list)-1]
	}
	return list
}

// settled gives where a list leads if that takes no further test.
func (f *forest) settled(list []left, none ref) (ref, bool) {
	if f.denies != nil && none == f.undecided && !slices.ContainsFunc(list, func(l left) bool { return f.denies(&f.boxes[l.box]) }) {
		return none, true
	}
	first := int32(-1)
	for _, l := range list {
		b := &f.boxes[l.box]
		switch {
		case l.sides != 0:
			return none, false
		case b.maybe && first < 0:
			first = b.rule
		case b.maybe:
		case first >= 0 && f.denies(b):
			return f.then[first], true
		default:
			return f.then[b.rule], true
		}
	}
	return none, true
}

// sides is about how many kids it takes to test the boxes one after the other.
func (f *forest) sides(list []left) int {
	n := 0
	for _, l := range list {
		for _, s := range f.boxes[l.box].sides {
			if l.sides>>s.v&1 != 0 {
				n += 1 + 2*len(s.ranges)
			}
		}
	}
	return n
}

// split builds the tree of the boxes in the region, in which coverCut has room for so
// many boxes. Where no cut helps, it tests one half of the boxes and then the other.
func (f *forest) split(list []left, none ref, room int) ref {
	list = f.relevant(list, none)
	if r, ok := f.settled(list, none); ok || f.out.full {
		return r
	}
	if len(list) <= small {
		if r, ok := f.exact(list, none, f.sides(list)); ok {
			return r
		}
	}
	if len(list) == 1 {
		r, _ := f.exact(list, none, math.MaxInt)
		return r
	}
	v, cut, ok := f.bestCut(list)
	var starts []uint64
	if ok {
		starts = f.parts(list, v, cut)
	} else if v, cut, ok = f.coverCut(list, room); ok {
		starts = []uint64{f.region[v][0], cut}
	}
	if !ok {
		if slices.ContainsFunc(list, func(l left) bool { return f.boxes[l.box].maybe }) {
			return f.undecided
		}
		mid := len(list) / 2
		return f.split(list[:mid], f.split(list[mid:], none, room/2), room/2)
	}
	whole, done := f.region[v], len(f.lists)
	regions, lists := make([][2]uint64, len(starts)), make([][]left, len(starts))
	all := 0
	for i, start := range starts {
		regions[i] = [2]uint64{start, whole[1]}
		if i+1 < len(starts) {
			regions[i][1] = starts[i+1] - 1
		}
		f.region[v] = regions[i]
		lists[i] = f.restrict(list, v)
		all += len(lists[i]) + 1
	}
	kids := make([]ref, len(starts))
	for i := range starts {
		f.region[v] = regions[i]
		kids[i] = f.split(lists[i], none, room*(len(lists[i])+1)/all)
	}
	f.region[v], f.lists = whole, f.lists[:done]
	starts[0] = 0
	return f.out.mk(v, starts, kids)
}

// parts gives where parts of the region begin along a variable, of which a cut in two
// is known to be good: up to Row where few boxes lie in several of them.
func (f *forest) parts(list []left, v int32, cut uint64) []uint64 {
	halves := []uint64{f.region[v][0], cut}
	if e := f.unknownEdges(v); e.low || e.high {
		return halves
	}
	firsts, lasts := f.ends(list, v)
	wide := len(list) - len(firsts)
	n := min(Row, len(list)/8, len(list)/(1+3*wide))
	if n < 3 {
		return halves
	}
	step := len(firsts) / n
	starts := []uint64{f.region[v][0]}
	for i := 1; i < n; i++ {
		start, least := uint64(0), 1+len(firsts)/16 // boxes that begin before and end behind
		for j := range 2 * step / 3 {
			at := i*len(firsts)/n + j/2
			if j%2 != 0 {
				at -= j
			}
			if firsts[at] <= starts[len(starts)-1] {
				continue
			}
			before, _ := slices.BinarySearch(firsts, firsts[at])
			ended, _ := slices.BinarySearch(lasts, firsts[at])
			if before-ended < least {
				start, least = firsts[at], before-ended
			}
		}
		if start != 0 {
			starts = append(starts, start)
		}
	}
	if len(starts) < 3 {
		return halves
	}
	return starts
}

// ends gives the first and the last values of the boxes that have a side in a
// variable, within the region and sorted, until it is asked again.
func (f *forest) ends(list []left, v int32) (firsts, lasts []uint64) {
	firsts, lasts = f.firsts[:0], f.lasts[:0]
	in := f.region[v]
	edges := f.unknownEdges(v)
	for _, l := range list {
		if l.sides>>v&1 == 0 {
			continue
		}
		ranges := edges.without(f.boxes[l.box].side(v))
		firsts = append(firsts, max(ranges[0][0], in[0]))
		lasts = append(lasts, min(ranges[len(ranges)-1][1], in[1]))
	}
	slices.Sort(firsts)
	slices.Sort(lasts)
	f.firsts, f.lasts = firsts, lasts
	return firsts, lasts
}

// restrict keeps the boxes that meet the region, of which variable v has changed,
// up to the first that holds in all of it.
func (f *forest) restrict(list []left, v int32) []left {
	from := len(f.lists)
	for _, l := range list {
		if l.sides>>v&1 != 0 {
			switch meet(f.boxes[l.box].side(v), f.region[v]) {
			case outside:
				continue
			case covers:
				l.sides &^= 1 << v
			}
		}
		f.lists = append(f.lists, l)
		if l.sides == 0 && !f.boxes[l.box].maybe {
			break
		}
	}
	return f.lists[from:len(f.lists):len(f.lists)]
}

type relation uint8

const (
	outside relation = iota
	partly
	covers
)

// meet says how sorted ranges lie to an interval.
func meet(ranges [][2]uint64, in [2]uint64) relation {
	i := 0
	if len(ranges) > 8 {
		i, _ = slices.BinarySearchFunc(ranges, in[0], func(r [2]uint64, v uint64) int { return cmp.Compare(r[1], v) })
	} else {
		for i < len(ranges) && ranges[i][1] < in[0] {
			i++
		}
	}
	switch {
	case i == len(ranges) || ranges[i][0] > in[1]:
		return outside
	case ranges[i][0] <= in[0] && in[1] <= ranges[i][1]:
		return covers
	}
	return partly
}

// bestCut finds the variable and the value at which a cut leaves the fewest boxes
// on both sides, above all on the larger one. It gives false where no cut helps.
func (f *forest) bestCut(list []left) (v int32, cut uint64, ok bool) {
	best := worst * len(list)
	for u := range int32(len(f.vars)) {
		in := f.region[u]
		firsts, lasts := f.ends(list, u)
		if len(firsts) == 0 {
			continue
		}
		wide := len(list) - len(firsts)
		try := func(c uint64) {
			below, _ := slices.BinarySearch(firsts, c)
			above, _ := slices.BinarySearch(lasts, c)
			below, above = wide+below, len(list)-above
			if cost := 2*max(below, above) + below + above; cost < best {
				best, v, cut, ok = cost, u, c, true
			}
		}
		step := 1 + len(firsts)/256
		for i := 0; i < len(firsts); i += step {
			if firsts[i] > in[0] {
				try(firsts[i])
			}
			if lasts[i] < in[1] {
				try(lasts[i] + 1)
			}
		}
	}
	if edge, there := f.unknownEdges(v).cut(f.region[v]); ok && there {
		cut = edge
	}
	return v, cut, ok
}

// edges are the values at the ends of a variable's line that mean "unknown". A rule
// that matches there, as denying rules do, seems to reach over the whole line; with
// the edges cut off it does not.
type edges struct {
	low, high bool
	last      uint64
}

func (f *forest) unknownEdges(v int32) edges {
	e := edges{last: f.vars[v].Last()}
	if x := f.vars[v]; x.Set != nil || x.Interface != nil {
		return e
	}
	for _, n := range f.vars[v].Field.NotAvailable() {
		e.low = e.low || n.Lo == 0
		e.high = e.high || n.Lo == e.last
	}
	return e
}

// without leaves the edges out of ranges, unless there is nothing else.
func (e edges) without(ranges [][2]uint64) [][2]uint64 {
	if e.low && len(ranges) > 1 && ranges[0] == [2]uint64{0, 0} {
		ranges = ranges[1:]
	}
	if n := len(ranges); e.high && n > 1 && ranges[n-1] == [2]uint64{e.last, e.last} {
		ranges = ranges[:n-1]
	}
	return ranges
}

// cut is where to cut an edge off a region that is more than the edge.
func (e edges) cut(region [2]uint64) (uint64, bool) {
	switch {
	case region[0] == region[1]:
		return 0, false
	case e.low && region[0] == 0:
		return 1, true
	case e.high && region[1] == e.last:
		return e.last, true
	}
	return 0, false
}

// exact tells the boxes apart by eliminating one variable after another, at each
// step the one that leaves the least. It gives false when that takes more than
// limit kids.
func (f *forest) exact(list []left, none ref, limit int) (ref, bool) {
	e := &f.last
	e.forest, e.none, e.left = f, none, limit
	e.memo, e.lists, e.cuts, e.kids = e.memo[:0], e.lists[:0], e.cuts[:0], e.kids[:0]
	made := len(f.out.nodes)
	r := e.build(list)
	if e.left < 0 && !f.out.full {
		f.out.takeBack(made)
	}
	return r, e.left >= 0
}

type elimination struct {
	*forest
	none ref
	left int // kids there may still be
	memo []eliminated

	// What is made on the way; it is used again for the next boxes.
	lists []left
	cuts  []uint64
	kids  []ref

	best, next []uint64 // of choose
}

type eliminated struct {
	hash   uint64
	list   []left
	result ref
}

func (e *elimination) build(list []left) ref {
	list = e.relevant(list, e.none)
	if r, ok := e.settled(list, e.none); ok || e.left < 0 {
		return r
	}
	h := uint64(len(list))
	for _, l := range list {
		h = mix(h ^ uint64(l.box)<<32 ^ l.sides)
	}
	for _, m := range e.memo {
		if m.hash == h && slices.Equal(m.list, list) {
			return m.result
		}
	}
	v, starts := e.choose(list)
	from := len(e.kids)
	e.kids = append(e.kids, make([]ref, len(starts))...)
	kids := e.kids[from:]
	e.left -= len(starts)
	for i, start := range starts {
		last := e.region[v][1]
		if i+1 < len(starts) {
			last = starts[i+1] - 1
		}
		kids[i] = e.build(e.within(list, v, [2]uint64{start, last}))
	}
	starts[0] = 0
	r := e.out.mk(v, starts, kids)
	e.memo = append(e.memo, eliminated{h, list, r})
	return r
}

// choose picks the variable whose intervals have the fewest boxes in all, and
// gives the starts of the intervals within the region.
func (e *elimination) choose(list []left) (int32, []uint64) {
	var all uint64
	for _, l := range list {
		all |= l.sides
	}
	best, bestVar := 0, int32(-1)
	for ; all != 0; all &= all - 1 {
		v := int32(bits.TrailingZeros64(all))
		e.next = e.starts(list, v, e.next[:0])
		starts := e.next
		cost := 0
		for _, l := range list {
			if l.sides>>v&1 == 0 {
				cost += len(starts)
			} else {
				cost += lyingIn(e.boxes[l.box].side(v), starts)
			}
		}
		cost = 4*cost + len(starts)
		if bestVar < 0 || cost < best {
			best, bestVar = cost, v
			e.best, e.next = e.next, e.best
		}
	}
	from := len(e.cuts)
	e.cuts = append(e.cuts, e.best...)
	return bestVar, e.cuts[from:len(e.cuts):len(e.cuts)]
}

// lyingIn counts the values that lie in ranges, both of them sorted.
func lyingIn(ranges [][2]uint64, values []uint64) int {
	n, i := 0, 0
	for _, r := range ranges {
		for i < len(values) && values[i] < r[0] {
			i++
		}
		from := i
		for i < len(values) && values[i] <= r[1] {
			i++
		}
		n += i - from
		if i == len(values) {
			break
		}
	}
	return n
}

// starts lists where the boxes' ranges of a variable begin and end in the region. It
// appends to a slice that it is given.
func (f *forest) starts(list []left, v int32, starts []uint64) []uint64 {
	in := f.region[v]
	starts = append(starts, in[0])
	for _, l := range list {
		if l.sides>>v&1 == 0 {
			continue
		}
		for _, r := range f.boxes[l.box].side(v) {
			if in[0] < r[0] && r[0] <= in[1] {
				starts = append(starts, r[0])
			}
			if in[0] <= r[1] && r[1] < in[1] {
				starts = append(starts, r[1]+1)
			}
		}
	}
	slices.Sort(starts)
	return slices.Compact(starts)
}

// within keeps the boxes that hold in an interval of v between their bounds.
func (e *elimination) within(list []left, v int32, in [2]uint64) []left {
	from := len(e.lists)
	for _, l := range list {
		if l.sides>>v&1 != 0 {
			if meet(e.boxes[l.box].side(v), in) == outside {
				continue
			}
			l.sides &^= 1 << v
		}
		e.lists = append(e.lists, l)
		if l.sides == 0 && !e.boxes[l.box].maybe {
			break
		}
	}
	return e.lists[from:len(e.lists):len(e.lists)]
}
