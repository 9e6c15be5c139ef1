package compiler

import (
	"cmp"
	"math"
	"slices"
)

// contradictions gives for each rule a later one before which no rule decides otherwise
// on a connection that both match; one more than the default if none does at all.
func (g *graphBuilder) contradictions(most []telling) []int {
	p := g.policy
	ends := make([]int, len(p.Rules))
	for i := range ends {
		ends[i] = len(p.Rules)
		if p.Rules[i].Verdict == p.Default {
			ends[i]++
		}
	}
	boxes := slices.Clone(g.boxes)
	for _, i := range g.opaque {
		boxes = append(boxes, box{rule: int32(i)}) // it may match anything
	}
	slices.SortStableFunc(boxes, func(a, b box) int { return cmp.Compare(a.rule, b.rule) })
	x := newBoxIndex(boxes, most)
	for i := len(boxes) - 1; i >= 0; i-- {
		rule := boxes[i].rule
		answer := logged
		if r := &p.Rules[rule]; !r.Log {
			answer = int(r.Verdict)
			ends[rule] = x.firstOther(i, answer, ends[rule])
		}
		x.add(i, answer)
	}
	return ends
}

// boxIndex finds the first of later boxes that meet one, without a look at most of
// them: a binary tree over boxes of which neighbours lie near each other.
type boxIndex struct {
	boxes  []box
	by     []int32          // variables in which they lie near
	leaves int              // the number of the first leaf; the kids of node n are 2n and 2n+1
	at     []int            // by box: its leaf
	box    []int32          // by leaf
	hulls  [][2][2]uint64   // by node: where its boxes lie, in each of these variables
	firsts [][answers]int32 // by node, by answer: the first rule whose boxes have been added
}

// What rules answer: their verdict, or that they log, which differs from all others.
const (
	logged = 3 + iota
	answers
)

// looks bounds the nodes that are looked at for one box.
const looks = 2000

func newBoxIndex(boxes []box, most []telling) *boxIndex {
	x := &boxIndex{boxes: boxes, leaves: 1, at: make([]int, len(boxes)), box: make([]int32, len(boxes))}
	for _, t := range most {
		x.by = append(x.by, t.v)
	}
	for x.leaves < len(boxes) {
		x.leaves *= 2
	}
	x.hulls, x.firsts = make([][2][2]uint64, 2*x.leaves), make([][answers]int32, 2*x.leaves)
	for i := range x.firsts {
		x.firsts[i] = [answers]int32{math.MaxInt32, math.MaxInt32, math.MaxInt32, math.MaxInt32}
	}
	hulls := make([][2][2]uint64, len(boxes))
	for i := range boxes {
		x.box[i] = int32(i)
		hulls[i] = x.hull(&boxes[i])
	}
	along := func(list []int32, k int) {
		slices.SortFunc(list, func(a, b int32) int {
			return cmp.Or(cmp.Compare(hulls[a][k][0], hulls[b][k][0]), cmp.Compare(hulls[a][k][1], hulls[b][k][1]), cmp.Compare(a, b))
		})
	}
	along(x.box, 0)
	for slab := range slices.Chunk(x.box, 1+int(math.Sqrt(float64(len(boxes))))) {
		along(slab, 1)
	}
	for k, i := range x.box {
		x.at[i] = x.leaves + k
		x.hulls[x.leaves+k] = hulls[i]
	}
	for n := x.leaves - 1; n > 0; n-- {
		a, b := &x.hulls[2*n], &x.hulls[2*n+1]
		for k := range a {
			x.hulls[n][k] = [2]uint64{min(a[k][0], b[k][0]), max(a[k][1], b[k][1])}
		}
	}
	return x
}

// hull is between which values a box lies.
func (x *boxIndex) hull(b *box) [2][2]uint64 {
	h := [2][2]uint64{{0, math.MaxUint64}, {0, math.MaxUint64}}
	for k, v := range x.by {
		if ranges := b.side(v); ranges != nil {
			h[k] = [2]uint64{ranges[0][0], ranges[len(ranges)-1][1]}
		}
	}
	return h
}

// add adds a box, of a rule no later than those before.
func (x *boxIndex) add(i, answer int) {
	for n := x.at[i]; n > 0; n /= 2 {
		x.firsts[n][answer] = x.boxes[i].rule
	}
}

// firstOther is a rule up to which no box was added that meets one and has another
// answer, at most the given one.
func (x *boxIndex) firstOther(i, answer, most int) int {
	b, left := &x.boxes[i], looks
	hull := x.hulls[x.at[i]]
	var visit func(n int)
	visit = func(n int) {
		first := x.other(n, answer)
		if first >= most {
			return
		}
		if left--; left < 0 {
			most = min(most, int(b.rule)+1)
			return
		}
		for k, in := range x.hulls[n] {
			if in[1] < hull[k][0] || hull[k][1] < in[0] {
				return
			}
		}
		if n >= x.leaves {
			if b.meets(&x.boxes[x.box[n-x.leaves]]) {
				most = first
			}
			return
		}
		near, far := 2*n, 2*n+1
		if x.other(far, answer) < x.other(near, answer) {
			near, far = far, near
		}
		visit(near)
		visit(far)
	}
	visit(1)
	return most
}

// other is the first rule of a node that has another answer.
func (x *boxIndex) other(n, answer int) int {
	first := int32(math.MaxInt32)
	for a, rule := range x.firsts[n] {
		if a != answer {
			first = min(first, rule)
		}
	}
	return int(first)
}

// meets reports whether there is a point in both boxes.
func (b *box) meets(c *box) bool {
	i := 0
	for _, s := range b.sides {
		for i < len(c.sides) && c.sides[i].v < s.v {
			i++
		}
		if i < len(c.sides) && c.sides[i].v == s.v && !overlap(s.ranges, c.sides[i].ranges) {
			return false
		}
	}
	return true
}

// overlap reports whether there is a value in both of two sorted lists of ranges.
func overlap(a, b [][2]uint64) bool {
	for len(a) > 0 && len(b) > 0 {
		if max(a[0][0], b[0][0]) <= min(a[0][1], b[0][1]) {
			return true
		}
		if a[0][1] < b[0][1] {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return false
}
