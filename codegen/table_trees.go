package codegen

import (
	"math"
	"slices"

	"github.com/hopgate/hopgate/compiler"
)

// tableTarget is where a test or a node leads: the index of another, or a leaf's value when
// negative.
type tableTarget int32

func toLeaf(leaf int32) tableTarget { return tableTarget(^leaf) }

// leaf is the value of a leaf.
func (t tableTarget) leaf() (value int32, ok bool) { return ^int32(t), t < 0 }

// tableTrees makes nodes of a table out of graphs, one of equal ones. Kids stand before
// parents.
type tableTrees struct {
	tableTests
	nodes      []tableNode
	depth      []int // by node: nodes on the longest way from it
	order      []int // by node: how many stand before it in the table
	cons       map[tableNode]tableTarget
	made       map[tableTarget]tableTarget // by test: its node
	sets       []tableSet                  // by number of the answer
	interfaces []*compiler.NamedInterface
}

func newTableTrees() tableTrees {
	return tableTrees{
		tableTests: tableTests{byText: map[string]tableTarget{}},
		cons:       map[tableNode]tableTarget{}, made: map[tableTarget]tableTarget{},
	}
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
		list = append(list, t.node(b.visit(root)))
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
// to another test of the same variable, which is short or which nothing else leads to, what
// that has there.
func (b *graphTrees) gather(s *intervals, id compiler.NodeID, first, last uint64) {
	n := &b.graph.Nodes[id]
	for i, k := range n.Kids {
		from, to := max(first, n.Starts[i]), last
		if i+1 < len(n.Kids) {
			to = min(last, n.Starts[i+1]-1)
		}
		switch {
		case from > to:
		case k >= 0 && b.graph.Nodes[k].Var == n.Var && (b.parents[k] == 1 || len(b.graph.Nodes[k].Kids) <= tableRow):
			b.gather(s, k, from, to)
		default:
			s.add(to, b.visit(k))
		}
	}
}

// tree makes the tests that find a variable's interval.
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

// word makes the test of a slot.
func (t *tableTrees) word(slot tableSlot, s intervals) tableTarget {
	last := make([]uint32, len(s.last))
	for i := range last {
		last[i] = uint32(s.last[i])
	}
	return t.test(slot, last, s.kids)
}

// node makes the nodes of a test.
func (t *tableTrees) node(test tableTarget) tableTarget {
	if _, leaf := test.leaf(); leaf {
		return test
	}
	if to, ok := t.made[test]; ok {
		return to
	}
	n := t.plan(test).node
	deepest := 0
	for i := range n.kids[:n.n] {
		n.kids[i] = t.node(n.kids[i])
		deepest = max(deepest, t.depthOf(n.kids[i]))
	}
	to, ok := t.cons[n]
	if !ok {
		to = tableTarget(len(t.nodes))
		t.nodes, t.depth = append(t.nodes, n), append(t.depth, 1+deepest)
		t.cons[n] = to
	}
	t.made[test] = to
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

// reference is a target as the table has it.
func (t *tableTrees) reference(to tableTarget) uint32 {
	if leaf, ok := to.leaf(); ok {
		return refLeaf | uint32(leaf)
	}
	n := &t.nodes[to]
	return t.place(int(to))<<refPlace | uint32(n.slots[0])<<refFirst | uint32(n.slots[1])<<refSecond
}

func (t *tableTrees) place(node int) uint32 {
	return uint32(tableHeaderSize + t.order[node]*tableNodeSize)
}
