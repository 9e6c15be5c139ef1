package compiler

import (
	"fmt"
	"strings"
)

// Plan says how a graph was built and what it costs, for whoever wonders about a
// policy's size.
type Plan struct {
	Rules   int // enforced rules that can matter
	Boxes   int // conjunctions of ranges that they became
	Chained int // rules tested part by part, having too many boxes
	Trees   []PlanTree
	Audited int // audit rules
	Audit   PlanTree
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
	n := p.Audit.Tests
	for _, t := range p.Trees {
		n += t.Tests
	}
	return n
}

// String explains the choice in some lines.
func (p Plan) String() string {
	var b strings.Builder
	if p.Rules == 0 {
		b.WriteString("no enforced rule can matter, so that the default decides\n")
	} else {
		p.describe(&b)
	}
	if p.Audited > 0 {
		fmt.Fprintf(&b, "  beside them %s, of which the first that matches is found by %s, %d at most on a path\n",
			counted(p.Audited, "audit rule"), counted(p.Audit.Tests, "comparison"), p.Audit.Depth)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// describe says what enforced rules became.
func (p Plan) describe(b *strings.Builder) {
	fmt.Fprintf(b, "%s that can matter, as boxes of ranges: %d\n", counted(p.Rules, "rule"), p.Boxes)
	fmt.Fprintf(b, "  %s of %s; a connection takes %d at most, %.0f if all outcomes were alike likely\n",
		counted(len(p.Trees), "tree"), counted(p.Tests()-p.Audit.Tests, "comparison"), p.Depth, p.Mean)
	if len(p.Trees) > 1 {
		for _, t := range p.Trees {
			fmt.Fprintf(b, "    one of %s, %d at most on a path\n", counted(t.Tests, "comparison"), t.Depth)
		}
	}
	var by []string
	for _, v := range p.By {
		by = append(by, v.String())
	}
	switch wide := strings.Join(by, " or "); {
	case p.Groups > 1 && len(p.Trees) > 1:
		fmt.Fprintf(b, "  why: rules that leave %s wide have trees of their own, of which the lowest rule wins; fewer would be too large for what they save\n", wide)
	case p.Groups > 1:
		fmt.Fprintf(b, "  why: %d trees, for rules that leave %s wide, would make longer paths\n", p.Groups, wide)
	case len(p.Trees) == 1:
		b.WriteString("  why: the rules leave the same fields wide\n")
	}
	if p.Chained > 0 {
		fmt.Fprintf(b, "  too tangled for boxes, and so tested one after the other: %s\n", counted(p.Chained, "rule"))
	}
}

// Row is how many intervals of a variable are told apart by comparisons one after the
// other; more are first told apart as at most so many runs. A comparison that the
// processor foretells takes a cycle, one that it does not some fifteen: a row goes
// wrong once, halves go wrong half of the time at each.
const Row = 12

// finding is what it takes to find one of n intervals that are alike likely: the most
// comparisons, how many on average, and how many of them are not foretold.
func finding(n int) (most int, mean, unforetold float64) {
	run := 1
	for n > Row*run {
		run *= Row
	}
	if run > 1 {
		most, mean, unforetold = finding(run)
	}
	runs := (n + run - 1) / run
	r := float64(runs)
	return most + runs - 1, mean + (r-1)*(r+2)/(2*r), unforetold + 1 - 1/r
}

// measure counts comparisons. Finding one of n intervals takes n-1 of them in all.
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
		most, onAverage, _ := finding(len(kids))
		depth[i] += most
		mean[i] += onAverage
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
		if i < len(g.Trees) {
			p.Trees = append(p.Trees, t)
		} else {
			p.Audit = t
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
