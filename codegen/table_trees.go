package codegen

import (
	"math"
	"slices"

	"github.com/hopgate/hopgate/compiler"
)

// tableNode is a node of a table: kid i is where values up to last[i] lead, and the
// last of n kids where the others do.
type tableNode struct {
	slot tableSlot
	n    uint8
	last [tableKids - 1]uint32
	kids [tableKids]tableTarget
}

// tableTarget is where a node leads: the index of a node, or a leaf's value when
// negative.
type tableTarget int32

func toLeaf(leaf int32) tableTarget { return tableTarget(^leaf) }

// leaf is the value of a leaf.
func (t tableTarget) leaf() (value int32, ok bool) { return ^int32(t), t < 0 }

// tableTrees makes nodes of a table out of graphs, one of equal ones. Kids stand before
// parents.
type tableTrees struct {
	nodes      []tableNode
	depth      []int // by node: nodes on the longest way from it
	cons       map[tableNode]tableTarget
	sets       []tableSet // by number of the answer
	interfaces []*compiler.NamedInterface
}

// tableSet is a pair of a set and a field that is looked up in it.
type tableSet struct {
	set   *compiler.Set
	field compiler.Field
}

// answers is how many slots the sets and interfaces take.
func (t *tableTrees) answers() int { return len(t.sets) + len(t.interfaces) }

// number gives the index of an item, which it may have to add.
func number[T tableSet | *compiler.NamedInterface](list *[]T, item T) tableSlot {
	i := slices.Index(*list, item)
	if i < 0 {
		i = len(*list)
		*list = append(*list, item)
	}
	return tableSlot(i)
}

// graphTrees adds the trees of one graph.
type graphTrees struct {
	*tableTrees
	graph   *compiler.Graph
	parents []int // by node
	leaf    func(rule int) int32
	done    map[compiler.NodeID]tableTarget
}

// add adds the trees of a graph that roots names; leaves are given values by leaf.
func (t *tableTrees) add(g *compiler.Graph, roots []compiler.NodeID, leaf func(rule int) int32) []tableTarget {
	b := &graphTrees{tableTrees: t, graph: g, parents: make([]int, len(g.Nodes)), leaf: leaf, done: map[compiler.NodeID]tableTarget{}}
	for i := range g.Nodes {
		for _, k := range g.Nodes[i].Kids {
			if k >= 0 {
				b.parents[k]++
			}
		}
	}
	var list []tableTarget
	for _, root := range roots {
		list = append(list, b.visit(root))
	}
	return list
}

func (b *graphTrees) visit(id compiler.NodeID) tableTarget {
	if rule, ok := id.Rule(); ok {
		return toLeaf(b.leaf(rule))
	}
	if to, ok := b.done[id]; ok {
		return to
	}
	var s intervals
	v := b.graph.Nodes[id].Var
	b.gather(&s, id, 0, math.MaxUint64)
	b.done[id] = b.tree(v, s)
	return b.done[id]
}

// intervals are sorted ranges of numbers, up to last, and where they lead.
type intervals struct {
	last []uint64
	kids []tableTarget
}

func (s *intervals) add(last uint64, kid tableTarget) {
	if n := len(s.kids); n > 0 && s.kids[n-1] == kid {
		s.last[n-1] = last
		return
	}
	s.last, s.kids = append(s.last, last), append(s.kids, kid)
}

// gather adds the intervals of a node within bounds, and instead of those that lead
// to another test of the same variable, which nothing else leads to, what that has there.
func (b *graphTrees) gather(s *intervals, id compiler.NodeID, first, last uint64) {
	n := &b.graph.Nodes[id]
	for i, k := range n.Kids {
		from, to := max(first, n.Starts[i]), last
		if i+1 < len(n.Kids) {
			to = min(last, n.Starts[i+1]-1)
		}
		switch {
		case from > to:
		case k >= 0 && b.graph.Nodes[k].Var == n.Var && b.parents[k] == 1:
			b.gather(s, k, from, to)
		default:
			s.add(to, b.visit(k))
		}
	}
}

// tree makes the nodes that find a variable's interval.
func (t *tableTrees) tree(v compiler.Var, s intervals) tableTarget {
	switch {
	case v.Set != nil:
		return t.word(slotAnswers+number(&t.sets, tableSet{v.Set, v.Field}), s)
	case v.Interface != nil:
		return t.word(tableSlots-1-number(&t.interfaces, v.Interface), s)
	}
	low, high := words(v)
	if high == slotZero {
		return t.word(low, s)
	}
	return t.word(high, t.upper(low, s))
}

// upper gives the intervals of the upper word; where one value of that is not enough
// to tell, the kid looks at the lower word.
func (t *tableTrees) upper(low tableSlot, s intervals) intervals {
	var up intervals
	next := uint64(0) // the first word that is not done
	for i := 0; i < len(s.kids); {
		word := s.last[i] >> 32
		if s.last[i] == word<<32|math.MaxUint32 {
			up.add(word, s.kids[i])
			next = word + 1
			i++
			continue
		}
		if word > next {
			up.add(word-1, s.kids[i])
		}
		var down intervals
		for ; s.last[i]>>32 == word && uint32(s.last[i]) < math.MaxUint32; i++ {
			down.add(s.last[i]&math.MaxUint32, s.kids[i])
		}
		down.add(math.MaxUint32, s.kids[i])
		up.add(word, t.word(low, down))
		if next = word + 1; s.last[i]>>32 == word {
			i++
		}
	}
	return up
}

// word makes the nodes that find an interval of a slot's values. As few as can be:
// all are full but one.
func (t *tableTrees) word(slot tableSlot, s intervals) tableTarget {
	n := len(s.kids)
	if n == 1 {
		return s.kids[0]
	}
	node := tableNode{slot: slot, n: uint8(min(n, tableKids))}
	more := (n - 2) / (tableKids - 1) // nodes below this one
	missing := more*(tableKids-1) + tableKids - n
	for k, from := 0, 0; from < n; k++ {
		below := more / tableKids
		if k < more%tableKids {
			below++
		}
		to := from + 1 + below*(tableKids-1)
		if k == 0 && below > 0 {
			to -= missing
		}
		node.kids[k] = t.word(slot, intervals{s.last[from:to], s.kids[from:to]})
		if to < n {
			node.last[k] = uint32(s.last[to-1])
		}
		from = to
	}
	return t.node(node)
}

func (t *tableTrees) node(n tableNode) tableTarget {
	if to, ok := t.cons[n]; ok {
		return to
	}
	to := tableTarget(len(t.nodes))
	deepest := 0
	for _, k := range n.kids[:n.n] {
		deepest = max(deepest, t.depthOf(k))
	}
	t.nodes = append(t.nodes, n)
	t.depth = append(t.depth, 1+deepest)
	t.cons[n] = to
	return to
}

func (t *tableTrees) depthOf(to tableTarget) int {
	if _, leaf := to.leaf(); leaf {
		return 0
	}
	return t.depth[to]
}

// steps is what the longest way through the trees takes, an entry of the list
// counted as one.
func (t *tableTrees) steps(list []tableTarget) int {
	n := 0
	for _, root := range list {
		n += 1 + t.depthOf(root)
	}
	return n
}

// lowest gives for each node the lowest leaf that it leads to.
func (t *tableTrees) lowest() func(to tableTarget) int32 {
	by := make([]int32, len(t.nodes))
	of := func(to tableTarget) int32 {
		if leaf, ok := to.leaf(); ok {
			return leaf
		}
		return by[to]
	}
	for i, n := range t.nodes {
		by[i] = noLeaf
		for _, k := range n.kids[:n.n] {
			by[i] = min(by[i], of(k))
		}
	}
	return of
}

// reference is a target as the table has it: the last node comes first, parents
// before kids.
func (t *tableTrees) reference(to tableTarget) uint32 {
	if leaf, ok := to.leaf(); ok {
		return refLeaf | uint32(leaf)
	}
	return t.place(int(to)) | uint32(t.nodes[to].slot)
}

func (t *tableTrees) place(node int) uint32 {
	return uint32(tableHeaderSize + (len(t.nodes)-1-node)*tableNodeSize)
}
