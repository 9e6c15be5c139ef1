package codegen

import (
	"cmp"
	"container/heap"
)

// arrange puts the nodes in order: parents before kids, and page by page those that are
// likely to be looked at after those that stand there, since another page costs another
// lookup or an entry of the processor's.
func (t *tableTrees) arrange(lists *listRoots) {
	a := &arrangement{chance: make([]float64, len(t.nodes)), parents: make([]int, len(t.nodes))}
	for _, list := range lists {
		for _, root := range list {
			if root >= 0 {
				a.chance[root]++
			}
		}
	}
	for i := len(t.nodes) - 1; i >= 0; i-- {
		n := &t.nodes[i]
		for _, k := range n.kids[:n.n] {
			if k >= 0 {
				a.chance[k] += a.chance[i] / float64(n.n)
				a.parents[k]++
			}
		}
	}
	open, near := &likely{arrangement: a}, &likely{arrangement: a}
	for i := range t.nodes {
		if a.parents[i] == 0 {
			heap.Push(open, i)
		}
	}
	t.order = make([]int, len(t.nodes))
	for at := range t.nodes {
		if (tableHeaderSize+at*tableNodeSize)%TablePage == 0 {
			for near.Len() > 0 {
				heap.Push(open, heap.Pop(near))
			}
		}
		from := near
		if near.Len() == 0 {
			from = open
		}
		i := heap.Pop(from).(int)
		t.order[i] = at
		n := &t.nodes[i]
		for _, k := range n.kids[:n.n] {
			if k < 0 {
				continue
			}
			if a.parents[k]--; a.parents[k] == 0 {
				heap.Push(near, int(k))
			}
		}
	}
}

// arrangement is what nodes are put in order by.
type arrangement struct {
	chance  []float64 // by node: that of being looked at, if all kids were alike likely
	parents []int     // by node: those that have no place yet
}

// likely is a heap of nodes, the likeliest first.
type likely struct {
	*arrangement
	nodes []int
}

func (l *likely) Len() int { return len(l.nodes) }

func (l *likely) Less(i, j int) bool {
	x, y := l.nodes[i], l.nodes[j]
	return cmp.Or(cmp.Compare(l.chance[y], l.chance[x]), cmp.Compare(y, x)) < 0
}

func (l *likely) Swap(i, j int) { l.nodes[i], l.nodes[j] = l.nodes[j], l.nodes[i] }

func (l *likely) Push(node any) { l.nodes = append(l.nodes, node.(int)) }

func (l *likely) Pop() any {
	last := l.nodes[len(l.nodes)-1]
	l.nodes = l.nodes[:len(l.nodes)-1]
	return last
}
