package compiler

import (
	"fmt"
	"math"
	"math/bits"
	"strings"
)

// Plan says how a graph was built and what it costs, for whoever wonders about a
// policy's size.
type Plan struct {
	Rules   int // enforced rules that can matter
	Boxes   int // conjunctions of ranges that they became
	Chained int // rules tested part by part, having too many boxes
	Trees   []PlanTree
	Depth   int     // the most comparisons on one path through all trees
	Mean    float64 // those on a path, if all intervals were alike likely
	Groups  int     // trees that the boxes fell into by which fields they leave wide; fewer are preferred where shorter paths are worth their size
	By      []Var   // those fields
}

// PlanTree is the size of one tree.
type PlanTree struct {
	Tests int // comparisons with a bound
	Depth int // the most on one path
}

// Tests are the comparisons of all trees.
func (p Plan) Tests() int {
	n := 0
	for _, t := range p.Trees {
		n += t.Tests
	}
	return n
}

// String explains the choice in some lines.
func (p Plan) String() string {
	if p.Rules == 0 {
		return "no rule can matter, so that the default decides"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s that can matter, as boxes of ranges: %d\n", counted(p.Rules, "rule"), p.Boxes)
	fmt.Fprintf(&b, "  %s of %s; a connection takes %d at most, %.0f if all outcomes were alike likely\n",
		counted(len(p.Trees), "tree"), counted(p.Tests(), "comparison"), p.Depth, p.Mean)
	if len(p.Trees) > 1 {
		for _, t := range p.Trees {
			fmt.Fprintf(&b, "    one of %s, %d at most on a path\n", counted(t.Tests, "comparison"), t.Depth)
		}
	}
	var by []string
	for _, v := range p.By {
		by = append(by, v.String())
	}
	switch wide := strings.Join(by, " or "); {
	case p.Groups > 1 && len(p.Trees) > 1:
		fmt.Fprintf(&b, "  why: rules that leave %s wide have trees of their own, of which the lowest rule wins; fewer would be too large for what they save\n", wide)
	case p.Groups > 1:
		fmt.Fprintf(&b, "  why: %d trees, for rules that leave %s wide, would make longer paths\n", p.Groups, wide)
	case len(p.Trees) == 1:
		b.WriteString("  why: the rules leave the same fields wide\n")
	}
	if p.Chained > 0 {
		fmt.Fprintf(&b, "  too tangled for boxes, and so tested one after the other: %s\n", counted(p.Chained, "rule"))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// measure counts comparisons. Finding one of n intervals takes n-1 of them in all
// and log2 n on a path.
func (p *Plan) measure(g *Graph) {
	depth, mean := make([]int, len(g.Nodes)), make([]float64, len(g.Nodes))
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		kids := g.Nodes[i].Kids
		for _, k := range kids {
			if k >= 0 {
				depth[i] = max(depth[i], depth[k])
				mean[i] += mean[k] / float64(len(kids))
			}
		}
		depth[i] += bits.Len(uint(len(kids) - 1))
		mean[i] += math.Log2(float64(len(kids)))
	}
	p.Trees, p.Depth, p.Mean = nil, 0, 0
	seen := make([]bool, len(g.Nodes)) // by an earlier tree
	for i, root := range g.roots() {
		t := PlanTree{Tests: g.tests(root, seen)}
		if root >= 0 {
			t.Depth = depth[root]
			p.Mean += mean[root]
		}
		p.Depth += t.Depth
		if i < len(g.Trees) || t.Tests > 0 {
			p.Trees = append(p.Trees, t)
		}
	}
}

// tests counts the comparisons below a node that are not seen yet.
func (g *Graph) tests(n NodeID, seen []bool) int {
	if n < 0 || seen[n] {
		return 0
	}
	seen[n] = true
	sum := len(g.Nodes[n].Kids) - 1
	for _, k := range g.Nodes[n].Kids {
		sum += g.tests(k, seen)
	}
	return sum
}
