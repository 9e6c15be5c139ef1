package proof

import (
	"math"
	"slices"
)

// A forest of trees keeps the best rule so far in a register, which paths join in. Two
// things known of such numbers make its proof one of tree after tree: for which
// inputs a number was set (origins), and which rules it can lead to at last (bounds).

// origins has, for each number of each joined variable, a box that holds the inputs for
// which it was set.
type origins struct {
	graph *graph
	set   map[joinedNumber][]set // by an instruction of the program
	from  map[variable][]variable
	whole map[joinedNumber][]set // or copied from another variable
}

type joinedNumber struct {
	v      variable
	number uint64
}

// learn follows a box through the graph and notes what it sets.
func (r *runner) learn(b []set) int {
	o := &origins{
		graph: r.graph, set: map[joinedNumber][]set{}, from: map[variable][]variable{},
		whole: map[joinedNumber][]set{},
	}
	r.origins = nil
	steps := r.run(b, func(id int32, here []set) bool {
		n := &r.graph.nodes[id]
		if n.kind != setNode {
			return true
		}
		v := r.graph.variable(n)
		if n.from >= 0 {
			if w := r.graph.joinVariable(n.from); !slices.Contains(o.from[v], w) {
				o.from[v] = append(o.from[v], w)
			}
			return true
		}
		key := joinedNumber{v, n.value}
		if was, ok := o.set[key]; ok {
			unite(was, here)
		} else {
			o.set[key] = slices.Clone(here)
		}
		return true
	})
	r.origins = o
	return steps
}

// unite makes a box larger so that it holds another.
func unite(b, c []set) {
	for v := range b {
		b[v] = b[v].or(c[v])
	}
}

// of is the box of inputs for which a variable has a number, nil if there are none.
func (o *origins) of(v variable, number uint64) []set {
	key := joinedNumber{v, number}
	if b, ok := o.whole[key]; ok {
		return b
	}
	b := slices.Clone(o.set[key])
	for _, w := range o.from[v] {
		switch c := o.of(w, number); {
		case b == nil:
			b = slices.Clone(c)
		case c != nil:
			unite(b, c)
		}
	}
	o.whole[key] = b
	return b
}

// narrow cuts a box, in which the variable has the number, down to where it may come
// from; false if nothing is left. Numbers of joined variables are of the moment.
func (o *origins) narrow(b []set, v variable, number uint64) bool {
	if o == nil {
		return true
	}
	from := o.of(v, number)
	if from == nil {
		return false
	}
	first := int(o.graph.joinVariable(0))
	for w := range b {
		if w >= first && w < first+o.graph.joins {
			continue
		}
		if b[w] = b[w].and(from[w]); len(b[w]) == 0 {
			return false
		}
	}
	return true
}

// bound is the latest rule that can be counted from a node on: a constant, or one
// that depends on the number that a joined variable has there.
type bound struct {
	v    int32 // the join, or -1
	last int32 // where there is none
	by   *limits
}

// limits are by number of a join, in order. They are shared.
type limits struct {
	last   []int32
	rising bool // none is below the one before
}

// bounds are computed from the tails up. Measure is what a tail counts.
type bounds struct {
	graph  *graph
	of     []bound
	copied map[copyKey]*limits
}

type copyKey struct {
	from int32
	by   *limits
}

const noBound = math.MaxInt32

func newBounds(g *graph, measure func(tail int32) int) *bounds {
	s := &bounds{graph: g, of: make([]bound, len(g.nodes)), copied: map[copyKey]*limits{}}
	for _, id := range slices.Backward(g.order) {
		n := &g.nodes[id]
		switch {
		case n.tail:
			s.of[id] = bound{v: -1, last: int32(measure(id))}
		case n.kind == setNode:
			s.of[id] = s.assigned(n)
		default:
			s.of[id] = s.joinedBy(n)
		}
	}
	return s
}

// assigned is the bound before a variable is set.
func (s *bounds) assigned(n *node) bound {
	b := s.of[n.kids[0]]
	if b.v != n.v {
		return b
	}
	numbers := s.graph.numbers[n.v]
	if n.from < 0 {
		if i, ok := slices.BinarySearch(numbers, n.value); ok {
			return bound{v: -1, last: b.by.last[i]}
		}
		return bound{v: -1, last: noBound}
	}
	key := copyKey{n.from, b.by}
	by, ok := s.copied[key]
	if !ok {
		list := make([]int32, len(s.graph.numbers[n.from]))
		for k, x := range s.graph.numbers[n.from] {
			list[k] = noBound
			if i, ok := slices.BinarySearch(numbers, x); ok {
				list[k] = b.by.last[i]
			}
		}
		by = newLimits(list)
		s.copied[key] = by
	}
	return bound{v: n.from, by: by}
}

func newLimits(last []int32) *limits { return &limits{last, slices.IsSorted(last)} }

// joinedBy is the bound of a node with several kids.
func (s *bounds) joinedBy(n *node) bound {
	first := s.of[n.kids[0]]
	same, carrier, last := true, int32(-1), int32(-1)
	for _, kid := range n.kids {
		b := s.of[kid]
		same = same && b == first
		last = max(last, b.last)
		if b.v >= 0 && carrier < 0 {
			carrier = b.v
		}
	}
	decides := n.space == joins && (n.kind == testNode || n.kind == chooseNode)
	switch {
	case same:
		return first
	case carrier < 0 && !decides:
		return bound{v: -1, last: last}
	case carrier < 0:
		carrier = n.v
	}
	list := make([]int32, len(s.graph.numbers[carrier]))
	for i := range list {
		list[i] = s.at(n, carrier, i)
	}
	for _, kid := range n.kids { // nearly always it is that of a kid
		if b := s.of[kid]; b.v == carrier && slices.Equal(b.by.last, list) {
			return b
		}
	}
	return bound{v: carrier, by: newLimits(list)}
}

// at is the bound of a node where a join has its i-th number.
func (s *bounds) at(n *node, join int32, i int) int32 {
	number := s.graph.numbers[join][i]
	last := int32(-1)
	for k, kid := range n.kids {
		if n.space == joins && n.v == join {
			if n.kind == testNode && n.in.contains(number) != (k == 0) || n.kind == chooseNode && n.values[k] != number {
				continue
			}
		}
		switch b := s.of[kid]; {
		case b.v < 0:
			last = max(last, b.last)
		case b.v == join:
			last = max(last, b.by.last[i])
		default:
			last = noBound
		}
	}
	if last < 0 && n.kind == chooseNode {
		return noBound
	}
	return last
}

// within reports whether all that reaches a node counts no rule after the given one.
func (s *bounds) within(id int32, here []set, rule int) bool {
	b := &s.of[id]
	if b.v < 0 {
		return int(b.last) <= rule
	}
	in := here[s.graph.joinVariable(b.v)]
	if !b.by.rising || len(in) == 0 {
		return false
	}
	i, ok := slices.BinarySearch(s.graph.numbers[b.v], in[len(in)-1].last)
	return ok && int(b.by.last[i]) <= rule
}
