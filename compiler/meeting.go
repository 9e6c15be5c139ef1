package compiler

import (
	"iter"
	"math/bits"
	"slices"
)

// ruleFormulas are, for each rule, the formula under which it matches, and an index
// of where on each variable's line that can be: a policy of thousands of rules has few
// that meet one region.
type ruleFormulas struct {
	list  []*formula
	lines []bucketLine
}

// bucketLine is the line of a variable, cut into buckets, each with the rules that
// match at some value of it.
type bucketLine struct {
	v       int32
	starts  []Value // the first value of each bucket
	buckets []bitmap
}

// maxBuckets is how many buckets a variable's line has at most, and maxCuts of about how
// many places where values begin and end they are chosen.
const (
	maxBuckets = 64
	maxCuts    = 8192
)

func (s *space) ruleFormulas(p *Policy) ruleFormulas {
	rules := ruleFormulas{list: make([]*formula, len(p.Rules))}
	for i := range p.Rules {
		r := &p.Rules[i]
		f := s.formula(r.Cond, p.matchesUnknown(r.Verdict), false)
		rules.list[i] = &f
	}
	for v := range s.vars {
		rules.index(int32(v), s.whole[v])
	}
	return rules
}

// index cuts the line of a variable where the values of rules begin and end.
func (f *ruleFormulas) index(v int32, whole []Range) {
	values := make([][]Range, len(f.list))
	total := 0
	for i := range f.list {
		values[i] = f.list[i].values(v, whole)
		total += len(values[i])
	}
	var cuts []Value
	every := 2*total/maxCuts + 1
	for i := range values {
		for k := 0; k < len(values[i]); k += every {
			r := values[i][k]
			cuts = append(cuts, r.First)
			if r.Last != whole[len(whole)-1].Last {
				cuts = append(cuts, r.Last.next())
			}
		}
	}
	slices.SortFunc(cuts, Value.Compare)
	cuts = slices.Compact(cuts)
	line := bucketLine{v: v, starts: []Value{{}}}
	for i := 1; i < min(len(cuts), maxBuckets); i++ {
		line.starts = append(line.starts, cuts[i*len(cuts)/min(len(cuts), maxBuckets)])
	}
	if len(line.starts) == 1 {
		return // it tells no rules apart
	}
	for range line.starts {
		line.buckets = append(line.buckets, newBitmap(len(f.list)))
	}
	for i := range values {
		for _, r := range values[i] {
			first, last := line.touched(r)
			for b := first; b <= last; b++ {
				line.buckets[b].add(i)
			}
		}
	}
	f.lines = append(f.lines, line)
}

// values are the values of a variable outside of which the formula is false.
func (f *formula) values(v int32, whole []Range) []Range {
	switch {
	case f.shape == literal && f.v == v:
		return f.ranges
	case f.shape == literal:
		return whole
	case f.shape == allOf:
		values := whole
		for i := range f.parts {
			values = intersect(values, f.parts[i].values(v, whole))
		}
		return values
	}
	var values []Range
	for i := range f.parts {
		values = append(values, f.parts[i].values(v, whole)...)
	}
	return normalize(values)
}

// touched are the first and the last bucket that a range has values of.
func (l *bucketLine) touched(r Range) (first, last int) {
	bucketOf := func(v Value) int {
		i, found := slices.BinarySearchFunc(l.starts, v, Value.Compare)
		if !found {
			i--
		}
		return i
	}
	return bucketOf(r.First), bucketOf(r.Last)
}

// meeting gives, in order, the rules that the index can't tell to lie outside of a
// region.
func (s *search) meeting(rules *ruleFormulas, r region) iter.Seq[int] {
	var met bitmap
	for i := range rules.lines {
		line := &rules.lines[i]
		if slices.Equal(r[line.v], s.space.whole[line.v]) {
			continue
		}
		here := newBitmap(len(rules.list))
		next := 0 // a bucket that two ranges touch is taken once
		for _, values := range r[line.v] {
			first, last := line.touched(values)
			for next = max(next, first); next <= last; next++ {
				here.unite(line.buckets[next])
			}
		}
		s.steps -= len(here)
		if met == nil {
			met = here
		} else {
			met.intersect(here)
		}
	}
	if met == nil {
		return func(yield func(int) bool) {
			for i := range rules.list {
				if !yield(i) {
					return
				}
			}
		}
	}
	return met.all
}

// bitmap is a set of small numbers.
type bitmap []uint64

func newBitmap(n int) bitmap { return make(bitmap, (n+63)/64) }

func (b bitmap) add(i int) { b[i/64] |= 1 << (i % 64) }

func (b bitmap) unite(c bitmap) {
	for i := range b {
		b[i] |= c[i]
	}
}

func (b bitmap) intersect(c bitmap) {
	for i := range b {
		b[i] &= c[i]
	}
}

func (b bitmap) all(yield func(int) bool) {
	for i, word := range b {
		for ; word != 0; word &= word - 1 {
			if !yield(i*64 + bits.TrailingZeros64(word)) {
				return
			}
		}
	}
}
