package codegen

import (
	"slices"

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
	case j-i <= fewIntervals:
		if k, ok := l.point(i, j); ok {
			rest := lowering{comparisons: l.comparisons, v: l.v, starts: slices.Delete(slices.Clone(l.starts[i:j]), k-i, k-i+2), kids: slices.Delete(slices.Clone(l.kids[i:j]), k-i, k-i+2)}
			return l.compare(asm.JEq, l.starts[k], toNode(l.kids[k]), rest.tree(0, len(rest.kids)))
		}
	}
	mid := l.middle(i, j)
	return l.compare(asm.JLT, l.starts[mid], l.tree(i, mid), l.tree(mid, j))
}

// fewIntervals is how many intervals are searched for points rather than halved.
const fewIntervals = 7

// point finds one value between two intervals that lead to the same place: to
// compare with it makes one of the three.
func (l *lowering) point(i, j int) (int, bool) {
	for k := i + 1; k < j-1; k++ {
		if l.kids[k-1] == l.kids[k+1] && l.starts[k+1] == l.starts[k]+1 {
			return k, true
		}
	}
	return 0, false
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
