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
	keys map[compiler.Var]int
}

type consKey struct {
	v int // in keys
	c comparison
}

// newComparisons has room for those of a graph.
func newComparisons(g *compiler.Graph) comparisons {
	n := 0
	for i := range g.Nodes {
		n += len(g.Nodes[i].Kids) - 1
	}
	return comparisons{make([]comparison, 0, n), make([]compiler.Var, 0, n), make(map[consKey]target, n), map[compiler.Var]int{}}
}

// lower gives the tree that finds the interval of a node's variable.
func (cs *comparisons) lower(n *compiler.Node) target {
	if _, ok := cs.keys[n.Var]; !ok {
		cs.keys[n.Var] = len(cs.keys)
	}
	l := lowering{comparisons: cs, v: n.Var, key: cs.keys[n.Var], starts: n.Starts, kids: n.Kids}
	return l.tree(0, len(n.Kids))
}

type lowering struct {
	*comparisons
	v      compiler.Var
	key    int
	starts []uint64
	kids   []compiler.NodeID
}

func (l *lowering) compare(op asm.JumpOp, value uint64, yes, no target) target {
	if yes == no {
		return yes
	}
	c := comparison{op, value, yes, no}
	key := consKey{l.key, c}
	if t, ok := l.cons[key]; ok {
		return t
	}
	t := target(len(l.list))
	l.list = append(l.list, c)
	l.vars = append(l.vars, l.v)
	l.cons[key] = t
	return t
}

// tree tests the intervals from i up to j, in rows of comparisons; a point that may
// leave its row counts for two of them.
func (l *lowering) tree(i, j int) target {
	if j-i == 1 {
		return toNode(l.kids[i])
	}
	if k, ok := l.point(i, j); ok && j-i <= 2*compiler.Row {
		rest := lowering{comparisons: l.comparisons, v: l.v, key: l.key, starts: slices.Delete(slices.Clone(l.starts[i:j]), k-i, k-i+2), kids: slices.Delete(slices.Clone(l.kids[i:j]), k-i, k-i+2)}
		return l.compare(asm.JEq, l.starts[k], toNode(l.kids[k]), rest.tree(0, len(rest.kids)))
	}
	run := 1
	for j-i > compiler.Row*run {
		run *= compiler.Row
	}
	return l.compare(asm.JLT, l.starts[i+run], l.tree(i, i+run), l.tree(i+run, j))
}

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
