package codegen

import (
	"github.com/cilium/ebpf/asm"

	"github.com/hopgate/hopgate/compiler"
)

// comparison is one two-way test of a variable that stands in a register.
type comparison struct {
	op      asm.JumpOp // JEq or JLT
	value   uint64
	yes, no target
}

// target is where a comparison leads: the index of another of the same variable,
// or, when negative, a node or leaf of the graph.
type target int

func toNode(n compiler.NodeID) target          { return target(int(n) - 1<<40) }
func (t target) node() (compiler.NodeID, bool) { return compiler.NodeID(int(t) + 1<<40), t < 0 }

// comparisons turns the intervals of graph nodes into trees of comparisons, equal
// trees into one.
type comparisons struct {
	list []comparison
	vars []compiler.Var // of each comparison
	cons map[consKey]target
}

type consKey struct {
	v compiler.Var
	c comparison
}

// lower gives the tree that finds the interval of a node's variable.
func (cs *comparisons) lower(n *compiler.Node) target {
	l := lowering{comparisons: cs, v: n.Var, starts: n.Starts, kids: n.Kids}
	return l.tree(0, len(n.Kids))
}

type lowering struct {
	*comparisons
	v      compiler.Var
	starts []uint64
	kids   []compiler.NodeID
}

func (l *lowering) compare(op asm.JumpOp, value uint64, yes, no target) target {
	if yes == no {
		return yes
	}
	c := comparison{op, value, yes, no}
	key := consKey{l.v, c}
	if t, ok := l.cons[key]; ok {
		return t
	}
	t := target(len(l.list))
	l.list = append(l.list, c)
	l.vars = append(l.vars, l.v)
	l.cons[key] = t
	return t
}

// tree tests the intervals from i up to j.
func (l *lowering) tree(i, j int) target {
	switch {
	case j-i == 1:
		return toNode(l.kids[i])
	case l.point(i, j):
		return l.compare(asm.JEq, l.starts[i+1], toNode(l.kids[i+1]), toNode(l.kids[i]))
	}
	mid := l.middle(i, j)
	return l.compare(asm.JLT, l.starts[mid], l.tree(i, mid), l.tree(mid, j))
}

// point reports whether the intervals are one value between two intervals that
// lead to the same place.
func (l *lowering) point(i, j int) bool {
	return j-i == 3 && l.kids[i] == l.kids[i+2] && l.starts[i+2] == l.starts[i+1]+1
}

// middle chooses where to cut more than one interval. Trees of three save a
// comparison where the middle one is a point, so lengths of 4k+3 are best.
func (l *lowering) middle(i, j int) int {
	n := j - i
	if n <= 3 {
		return i + n/2
	}
	left := n/2 - (n/2+1)%4
	if left < 1 || n-left > 2*n/3+1 {
		left = n / 2
		if left%2 == 0 {
			left--
		}
	}
	return i + left
}
