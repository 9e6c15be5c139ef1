package compiler

import (
	"fmt"
	"math/bits"
)

// Plan says how a graph was built and what it costs, for whoever wonders about a
// policy's size.
type Plan struct {
	Rules   int // enforced rules that can matter
	Boxes   int // conjunctions of ranges that they became
	Chained int // rules tested part by part, having too many boxes
	Trees   int
	Tests   int // comparisons with a bound, in all
	Depth   int // the most on one path through all trees
	Groups  int // trees that the boxes fell into by which fields they leave wide; one tree is preferred where it is hardly larger
}

// String explains the choice in a sentence.
func (p Plan) String() string {
	trees := "one tree"
	if p.Trees > 1 {
		trees = fmt.Sprintf("%d trees", p.Trees)
	}
	s := fmt.Sprintf("%d rules that can matter, %d boxes: %s of %d comparisons, at most %d on a path", p.Rules, p.Boxes, trees, p.Tests, p.Depth)
	switch {
	case p.Trees > 1:
		s += "; one tree for all would be a quarter larger or more"
	case p.Groups > 1:
		s += fmt.Sprintf("; %d trees would not be a fifth smaller", p.Groups)
	}
	if p.Chained > 0 {
		s += fmt.Sprintf("; %d rules are too tangled for boxes and tested part by part", p.Chained)
	}
	return s
}

// measure counts comparisons. Finding one of n intervals takes n-1 of them in all
// and log2 n on a path.
func (p *Plan) measure(g *Graph) {
	depth := make([]int, len(g.Nodes))
	of := func(n NodeID) int {
		if n < 0 {
			return 0
		}
		return depth[n]
	}
	p.Tests = 0
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		n := &g.Nodes[i]
		p.Tests += len(n.Kids) - 1
		for _, k := range n.Kids {
			depth[i] = max(depth[i], of(k))
		}
		depth[i] += bits.Len(uint(len(n.Kids) - 1))
	}
	p.Trees, p.Depth = len(g.Trees), of(g.Audit)
	for _, root := range g.Trees {
		p.Depth += of(root)
	}
}
