package codegen

import (
	"math"
	"slices"

	"github.com/hopgate/hopgate/compiler"
)

// tableNode is a node of a table.
type tableNode struct {
	slot      tableSlot
	cut       uint64
	low, high tableTarget
}

// tableTarget is where a node leads: the index of a node, or a leaf's value when
// negative.
type tableTarget int32

func toLeaf(leaf int32) tableTarget { return tableTarget(^leaf) }

// leaf is the value of a leaf.
func (t tableTarget) leaf() (value int32, ok bool) { return ^int32(t), t < 0 }

// tableTrees cuts the many-way nodes of graphs into nodes of two ways, equal ones
// into one. Kids stand before parents.
type tableTrees struct {
	nodes []tableNode
	depth []int // by node: nodes on the longest way from it
	cons  map[tableNode]tableTarget
	sets  []tableSet
}

// tableSet is a pair of a set and a field that is looked up in it.
type tableSet struct {
	set   *compiler.Set
	field compiler.Field
}

// slot gives the variable's slot, and what a table's values have more than the
// variable's.
func (t *tableTrees) slot(v compiler.Var) (slot tableSlot, more uint64) {
	switch {
	case v.Set != nil:
		s := tableSet{v.Set, v.Field}
		i := slices.Index(t.sets, s)
		if i < 0 {
			i = len(t.sets)
			t.sets = append(t.sets, s)
		}
		return slotSets + tableSlot(i), 0
	case v.Part == compiler.Word32:
		return slotOf(v), mappedLow
	}
	return slotOf(v), 0
}

// add adds the trees of a graph that roots names; leaves are given values by leaf.
func (t *tableTrees) add(g *compiler.Graph, roots []compiler.NodeID, leaf func(rule int) int32) []tableTarget {
	done := map[compiler.NodeID]tableTarget{}
	var visit func(id compiler.NodeID) tableTarget
	visit = func(id compiler.NodeID) tableTarget {
		if rule, ok := id.Rule(); ok {
			return toLeaf(leaf(rule))
		}
		if to, ok := done[id]; ok {
			return to
		}
		n := &g.Nodes[id]
		c := &tableCuts{tableTrees: t, starts: n.Starts}
		for _, k := range n.Kids {
			c.kids = append(c.kids, visit(k))
		}
		c.slot, c.more = t.slot(n.Var)
		done[id] = c.tree()
		return done[id]
	}
	var list []tableTarget
	for _, root := range roots {
		list = append(list, visit(root))
	}
	return list
}

func (t *tableTrees) depthOf(to tableTarget) int {
	if _, leaf := to.leaf(); leaf {
		return 0
	}
	return t.depth[to]
}

func (t *tableTrees) node(n tableNode) tableTarget {
	if n.low == n.high {
		return n.low
	}
	if to, ok := t.cons[n]; ok {
		return to
	}
	to := tableTarget(len(t.nodes))
	t.nodes = append(t.nodes, n)
	t.depth = append(t.depth, 1+max(t.depthOf(n.low), t.depthOf(n.high)))
	t.cons[n] = to
	return to
}

// tableCuts finds the interval of one many-way node.
type tableCuts struct {
	*tableTrees
	slot   tableSlot
	more   uint64
	starts []uint64
	kids   []tableTarget
	weight []float64 // of the kids before each
}

// tree cuts where both sides weigh alike. A kid weighs as many leaves as a tree of
// its depth may have, so that no way gets much longer than it must be.
func (c *tableCuts) tree() tableTarget {
	deepest := 0
	for _, k := range c.kids {
		deepest = max(deepest, c.depthOf(k))
	}
	c.weight = make([]float64, len(c.kids)+1)
	for i, k := range c.kids {
		c.weight[i+1] = c.weight[i] + math.Exp2(float64(max(c.depthOf(k)-deepest, -40)))
	}
	return c.cut(0, len(c.kids))
}

func (c *tableCuts) cut(i, j int) tableTarget {
	if j-i == 1 {
		return c.kids[i]
	}
	half := (c.weight[i] + c.weight[j]) / 2
	mid, _ := slices.BinarySearch(c.weight[:j+1], half)
	if mid > i+1 && half-c.weight[mid-1] < c.weight[min(mid, j)]-half {
		mid--
	}
	mid = min(max(mid, i+1), j-1)
	return c.node(tableNode{c.slot, c.starts[mid] + c.more, c.cut(i, mid), c.cut(mid, j)})
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
		by[i] = min(of(n.low), of(n.high))
	}
	return of
}

// reference is a target as the table has it: the last node comes first, parents
// before kids.
func (t *tableTrees) reference(to tableTarget) uint32 {
	if leaf, ok := to.leaf(); ok {
		return refLeaf | uint32(leaf)
	}
	number := tableFirstNode + len(t.nodes) - 1 - int(to)
	return uint32(number)<<refShift | uint32(t.nodes[to].slot)<<3
}
