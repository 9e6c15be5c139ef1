package compiler

import (
	"math"
	"slices"
)

// ref names a node of a store, or a leaf when negative: ^n is leaf n. In boolean
// diagrams leaf 0 is false and leaf 1 is true.
type ref int32

const (
	isFalse ref = ^0
	isTrue  ref = ^1
)

func leaf(n int) ref { return ref(^n) }

func (r ref) isLeaf() bool { return r < 0 }

// store holds multi-valued decision diagrams: ordered (levels grow along every
// path) and hash-consed (equal diagrams have equal refs). A node has one kid for
// each interval of its variable's values; kid i covers the values from starts[i]
// up to the next start.
type store struct {
	nodes  []mddNode
	starts []uint64
	kids   []ref
	cons   map[uint64]ref // by hash: the last node that has it
	and    map[[2]ref]ref // memo of conjunction
	not    map[ref]ref
	limit  int  // kids there may be; 0 is no limit
	full   bool // the limit was reached: what was built since is wrong
}

type mddNode struct {
	level  int32
	off, n int32 // into starts and kids
	hash   uint64
	older  ref // another node of the same hash, or a leaf
}

func newStore() *store {
	return &store{cons: map[uint64]ref{}, and: map[[2]ref]ref{}, not: map[ref]ref{}}
}

// level of a leaf is below all others.
func (s *store) level(r ref) int32 {
	if r.isLeaf() {
		return math.MaxInt32
	}
	return s.nodes[r].level
}

// node gives the intervals of a node. The slices are the store's own.
func (s *store) node(r ref) (starts []uint64, kids []ref) {
	n := s.nodes[r]
	return s.starts[n.off : n.off+n.n], s.kids[n.off : n.off+n.n]
}

// mk makes a node of intervals; starts[0] is 0. It joins equal neighbours and
// keeps no reference to its arguments, which it may change.
func (s *store) mk(level int32, starts []uint64, kids []ref) ref {
	n := 1
	for i := 1; i < len(kids); i++ {
		if kids[i] != kids[n-1] {
			starts[n], kids[n] = starts[i], kids[i]
			n++
		}
	}
	if n == 1 {
		return kids[0]
	}
	starts, kids = starts[:n], kids[:n]
	h := uint64(level)
	for i := range kids {
		h = mix(h^starts[i]) + uint64(uint32(kids[i]))
	}
	h = mix(h)
	older, ok := s.cons[h]
	if !ok {
		older = isFalse
	}
	for r := older; !r.isLeaf(); r = s.nodes[r].older {
		if s.nodes[r].level != level {
			continue
		}
		if t, k := s.node(r); slices.Equal(k, kids) && slices.Equal(t, starts) {
			return r
		}
	}
	r := ref(len(s.nodes))
	s.nodes = append(s.nodes, mddNode{level, int32(len(s.kids)), int32(n), h, older})
	s.starts = append(s.starts, starts...)
	s.kids = append(s.kids, kids...)
	s.full = s.limit > 0 && len(s.kids) > s.limit
	s.cons[h] = r
	return r
}

// takeBack forgets the nodes from one on.
func (s *store) takeBack(from int) {
	for i := len(s.nodes) - 1; i >= from; i-- {
		n := &s.nodes[i]
		if s.cons[n.hash] = n.older; n.older.isLeaf() {
			delete(s.cons, n.hash)
		}
		s.starts, s.kids = s.starts[:n.off], s.kids[:n.off]
	}
	s.nodes = s.nodes[:from]
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// ranges is the boolean diagram of `variable in ranges`, which are sorted,
// disjoint, and lie within [0, last].
func (s *store) ranges(level int32, last uint64, in [][2]uint64) ref {
	starts := make([]uint64, 0, 2*len(in)+1)
	kids := make([]ref, 0, 2*len(in)+1)
	if len(in) == 0 || in[0][0] != 0 {
		starts, kids = append(starts, 0), append(kids, isFalse)
	}
	for i, r := range in {
		starts, kids = append(starts, r[0]), append(kids, isTrue)
		if r[1] < last && (i+1 == len(in) || in[i+1][0] > r[1]+1) {
			starts, kids = append(starts, r[1]+1), append(kids, isFalse)
		}
	}
	return s.mk(level, starts, kids)
}

// conjunction is a and b, of boolean diagrams.
func (s *store) conjunction(a, b ref) ref {
	switch {
	case s.full:
		return isFalse
	case a == isFalse || b == isFalse:
		return isFalse
	case a == isTrue || a == b:
		return b
	case b == isTrue:
		return a
	}
	if a > b {
		a, b = b, a
	}
	key := [2]ref{a, b}
	if r, ok := s.and[key]; ok {
		return r
	}
	level := min(s.level(a), s.level(b))
	sa, ka := s.split(a, level)
	sb, kb := s.split(b, level)
	starts := make([]uint64, 0, len(sa)+len(sb))
	kids := make([]ref, 0, len(sa)+len(sb))
	for i, j := 0, 0; ; {
		starts = append(starts, max(sa[i], sb[j]))
		kids = append(kids, s.conjunction(ka[i], kb[j]))
		if i+1 == len(sa) && j+1 == len(sb) {
			break
		}
		switch {
		case j+1 == len(sb) || i+1 < len(sa) && sa[i+1] < sb[j+1]:
			i++
		case i+1 == len(sa) || sb[j+1] < sa[i+1]:
			j++
		default:
			i, j = i+1, j+1
		}
	}
	r := s.mk(level, starts, kids)
	s.and[key] = r
	return r
}

var wholeLine = []uint64{0}

// split gives the intervals of r at a level; a diagram that does not test the
// level is one interval.
func (s *store) split(r ref, level int32) ([]uint64, []ref) {
	if s.level(r) == level {
		return s.node(r)
	}
	return wholeLine, []ref{r}
}

// negation is not a, of a boolean diagram.
func (s *store) negation(a ref) ref {
	if a.isLeaf() {
		return isTrue + isFalse - a
	}
	if r, ok := s.not[a]; ok {
		return r
	}
	starts, kids := s.node(a)
	starts, kids = slices.Clone(starts), slices.Clone(kids)
	for i := range kids {
		kids[i] = s.negation(kids[i])
	}
	r := s.mk(s.nodes[a].level, starts, kids)
	s.not[a] = r
	return r
}

// disjunction is a or b.
func (s *store) disjunction(a, b ref) ref {
	return s.negation(s.conjunction(s.negation(a), s.negation(b)))
}

// forget goes on after the limit was reached: nothing built so far is relied on.
func (s *store) forget() {
	s.full, s.limit = false, 0
	clear(s.and)
	clear(s.not)
}
