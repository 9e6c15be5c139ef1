package compiler

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/hopgate/hopgate/lang"
)

// CompileOptions says what a diagram is for. The zero value suits a program with
// counters.
type CompileOptions struct {
	// MergeRules lets one rule stand for others of the same verdict that neither
	// log nor audit: right where nobody sees which rule decided.
	MergeRules bool
	// FreeInterfaces takes "is this $interface" as a free yes or no where an
	// interface is unbound; without it that is an error.
	FreeInterfaces bool
	// TableRanges is how many ranges a test may have that becomes comparisons; those
	// with more become lookups in tables. 0 is DefaultTableRanges, less is no limit.
	TableRanges int
	// Room is how many comparisons the target has room for. Trees that are fewer and
	// larger, for shorter paths, keep to it. 0 is SmallRoom, less is KernelRoom. With more
	// than SmallRoom only paths count, as long as there is room.
	Room int
}

// SmallRoom is about half of what eBPF for Windows has room for: a comparison is an
// instruction or two.
const SmallRoom = 30_000

// TableRoom is about a quarter of what form table has room for. Larger trees have shorter
// paths, but take more memory, which the processor's caches have less of.
const TableRoom = 150_000

// KernelRoom is about what Linux has room for: its verifier walks a million instructions,
// two for each comparison.
const KernelRoom = 450_000

func (o *CompileOptions) room() int {
	if o.Room == 0 {
		return SmallRoom
	}
	return o.Room
}

// Compile turns the policy into a diagram. The same policy gives the same diagram.
// The error is a lang.Diagnostics.
func Compile(p *Policy, opts *CompileOptions) (*Diagram, error) {
	if opts == nil {
		opts = &CompileOptions{}
	}
	if !opts.FreeInterfaces {
		if err := unbound(p).Err(); err != nil {
			return nil, err
		}
	}
	switch {
	case opts.TableRanges == 0:
		p = p.WithTables(DefaultTableRanges)
	case opts.TableRanges > 0:
		p = p.WithTables(opts.TableRanges)
	}
	// An audit rule counts only before the rule that decides, so that it matters which does.
	audits := slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.Audit })
	d := &Diagram{Policy: p, merge: opts.MergeRules && !audits}
	var errs [2]error
	var families sync.WaitGroup
	families.Go(func() { d.IPv4, errs[0] = compileGraph(d, opts, false) })
	families.Go(func() { d.IPv6, errs[1] = compileGraph(d, opts, true) })
	families.Wait()
	if err := cmp.Or(errs[0], errs[1]); err != nil {
		return nil, err
	}
	return d, nil
}

// unbound finds the named interfaces without a LUID.
func unbound(p *Policy) (ds lang.Diagnostics) {
	for _, i := range p.Interfaces {
		if !i.Bound {
			ds = append(ds, lang.Diagnostic{
				Span: i.Span, Code: codeUnboundInterface,
				Message: fmt.Sprintf("interface `%s` is not bound to a LUID", i.Name),
				Hint:    fmt.Sprintf("give its LUID with --bind %s=0x...", i.Name),
			})
		}
	}
	return ds
}

// compileGraph builds the trees of one address family: a tree for each group of
// rules, or fewer where shorter paths are worth their size.
func compileGraph(d *Diagram, opts *CompileOptions, ipv6 bool) (Graph, error) {
	p := d.Policy
	g := newGraphBuilder(p, ipv6)
	best, ok := g.bestForest(d.merge, opts.room())
	if !ok {
		return Graph{}, lang.Diagnostics{{
			Code:    codeLimit,
			Message: fmt.Sprintf("policy `%s` needs a diagram of more than %d intervals", p.Name, maxKids),
			Hint:    "split the policy, or use larger prefixes and ranges",
		}}
	}
	plan := Plan{Rules: g.rules, Boxes: len(g.boxes), Chained: len(g.opaque), Groups: best.groups, By: best.by}
	for i := range p.Rules {
		if p.Rules[i].Audit {
			plan.Audited++
		}
	}
	whole := g.graph(best, g.audited(best.store))
	graph := whole.pruned()
	plan.measure(&graph)
	graph.Plan = plan
	return graph, nil
}

// maxKids bounds the memory that a diagram takes, and the time to find that no target
// takes it: the largest, Linux, has room for a quarter as many.
const maxKids = 1 << 22

// graphBuilder builds the trees of a policy for one address family.
type graphBuilder struct {
	policy *Policy
	vars   []Var // what the policy tests; levels of diagrams are indices here
	conds  conditions
	boxes  []box // of all enforced rules, in order
	opaque []int // enforced rules that have too many boxes
	rules  int   // enforced rules up to one that always matches

	contradicted []int // by rule, of contradictions; only to merge the leaves of several trees

	chaining sync.Mutex // for conds, while forests are built
}

func newGraphBuilder(p *Policy, ipv6 bool) *graphBuilder {
	g := &graphBuilder{policy: p, vars: variables(p, ipv6)}
	g.conds = conditions{store: newStore(), ipv6: ipv6, levels: make(map[Var]int32, len(g.vars))}
	for i, v := range g.vars {
		g.conds.levels[v] = int32(i)
	}
	for i := range p.Rules {
		if p.Rules[i].Audit {
			continue
		}
		boxes, ok := g.boxesOf(i)
		if !ok {
			g.opaque = append(g.opaque, i)
			continue
		}
		g.boxes = append(g.boxes, boxes...)
		if len(boxes) > 0 {
			g.rules++
		}
		if len(boxes) == 1 && len(boxes[0].sides) == 0 {
			break // no later rule can matter
		}
	}
	g.rules += len(g.opaque)
	g.boxes = g.parted(g.boxes)
	return g
}

// bestForest builds the forest of least cost of those that divide the boxes by both
// of the most telling variables, by one, or not at all.
func (g *graphBuilder) bestForest(merge bool, room int) (trees, bool) {
	most := g.mostTelling()
	finest, by := g.groups(most...)
	if merge && (len(finest) > 1 || len(g.opaque) > 0) {
		g.contradicted = g.contradictions(most)
	}
	best, ok := g.forest(merge, finest, maxKids)
	best.groups, best.by = len(best.roots), by
	if !ok || len(finest) == 1 {
		return best, ok
	}
	coarser := [][]telling{nil, most[:1], most[1:]}
	others := make([]trees, len(coarser))
	var builds sync.WaitGroup
	for i := range coarser {
		groups, by := g.groups(coarser[i]...)
		if len(groups) == len(finest) {
			continue
		}
		limit := 2*len(best.kids) + 64
		switch single := len(groups) == 1 && room > 0; {
		case single && merge:
			limit = 6*len(best.kids)/5 + 64
		case single:
			limit = len(best.kids) + 64
		case room > SmallRoom:
			limit = 3*len(best.kids) + 64
		}
		builds.Go(func() {
			if t, ok := g.forest(merge, groups, limit); ok {
				t.groups, t.by = best.groups, by
				if i == 0 {
					t.by = best.by
				}
				others[i] = t
			}
		})
	}
	builds.Wait()
	for _, t := range others {
		if t.store != nil && t.better(&best, room) {
			best = t
		}
	}
	return best, true
}

// trees are what a forest is made of.
type trees struct {
	*store
	roots  []ref
	groups int   // trees that there might have been
	by     []Var // what parts them, or would
}

// better reports whether a forest is worth more than another: the smaller one where the
// target has no room for both.
func (t *trees) better(than *trees, room int) bool {
	path, size := t.cost()
	otherPath, otherSize := than.cost()
	most := room
	if room < 0 {
		most = KernelRoom
	}
	switch {
	case max(size, otherSize) > most:
		return size < otherSize
	case room > SmallRoom:
		return path < otherPath
	}
	// Half the path is worth four times the size.
	return path*path*float64(size+1) < otherPath*otherPath*float64(otherSize+1)
}

// cost is the path of a connection for which all intervals of a node are alike, in cycles,
// and the size in comparisons. The larger a program, the more often a node is not in the
// processor's caches: of 35 000 comparisons and of 70 000 that took 11 and 23 cycles a node.
func (t *trees) cost() (path float64, size int) {
	chance := make([]float64, len(t.nodes))
	for _, r := range t.roots {
		if !r.isLeaf() {
			chance[r]++
		}
	}
	path = 8
	visited := 0.0
	for i := len(t.nodes) - 1; i >= 0; i-- { // parents stand behind their kids
		if chance[i] == 0 {
			continue
		}
		_, kids := t.node(ref(i))
		_, mean, unforetold := finding(len(kids))
		path += chance[i] * (mean + 14*unforetold)
		visited += chance[i]
		size += len(kids) - 1
		for _, k := range kids {
			if !k.isLeaf() {
				chance[k] += chance[i] / float64(len(kids))
			}
		}
	}
	path += visited * min(float64(size)/3000, 40)
	return path, size
}

// forest builds one tree for each group of boxes. Opaque rules get one of their
// own, which tests them one after the other. It gives false if that takes more
// than limit kids.
func (g *graphBuilder) forest(merge bool, groups [][]int32, limit int) (trees, bool) {
	if len(g.opaque) > 0 {
		groups = slices.DeleteFunc(groups, func(boxes []int32) bool { return len(boxes) == 0 })
	}
	single := len(groups) <= 1 && len(g.opaque) == 0
	then := g.standIns(merge, single)
	none := leaf(len(g.policy.Rules))
	f := &forest{vars: g.vars, boxes: g.boxes, then: then, out: newStore()}
	f.out.limit = limit
	t := trees{store: f.out}
	for _, boxes := range groups {
		t.roots = append(t.roots, f.tree(boxes, none))
	}
	if len(g.opaque) > 0 {
		g.chaining.Lock()
		defer g.chaining.Unlock()
		rest := none
		for _, i := range slices.Backward(g.opaque) {
			r := &g.policy.Rules[i]
			rest = g.chain(f.out, r.Cond, g.policy.matchesUnknown(r.Verdict), then[i], rest)
		}
		t.roots = append(t.roots, rest)
	}
	return t, !f.out.full
}

// chain tests a condition part by part, as written, and leads to yes or no: larger
// than a tree, but never more than linear in the condition.
func (g *graphBuilder) chain(out *store, c Cond, maybe bool, yes, no ref) ref {
	switch c := c.(type) {
	case All:
		for _, x := range slices.Backward(c) {
			yes = g.chain(out, x, maybe, yes, no)
		}
		return yes
	case Any:
		for _, x := range slices.Backward(c) {
			no = g.chain(out, x, maybe, yes, no)
		}
		return no
	case Not:
		return g.chain(out, c.X, !maybe, no, yes)
	}
	var graft func(r ref) ref
	graft = func(r ref) ref {
		switch r {
		case isFalse:
			return no
		case isTrue:
			return yes
		}
		starts, kids := g.conds.node(r)
		starts, kids = slices.Clone(starts), slices.Clone(kids)
		for i := range kids {
			kids[i] = graft(kids[i])
		}
		return out.mk(g.conds.nodes[r].level, starts, kids)
	}
	return graft(g.conds.cond(c, maybe))
}

// graph copies what the roots reach into a Graph, parents before kids.
func (g *graphBuilder) graph(t trees, audit ref) Graph {
	id := make([]NodeID, len(t.nodes))
	var post []ref
	var visit func(r ref)
	visit = func(r ref) {
		if r.isLeaf() || id[r] != 0 {
			return
		}
		id[r] = 1
		_, kids := t.node(r)
		for _, k := range slices.Backward(kids) {
			visit(k)
		}
		post = append(post, r)
	}
	visit(audit)
	for _, r := range slices.Backward(t.roots) {
		visit(r)
	}
	slices.Reverse(post)
	for i, r := range post {
		id[r] = NodeID(i)
	}
	to := func(r ref) NodeID {
		if r.isLeaf() {
			return NodeID(r)
		}
		return id[r]
	}
	graph := Graph{Audit: to(audit), Nodes: make([]Node, len(post))}
	for _, r := range t.roots {
		graph.Trees = append(graph.Trees, to(r))
	}
	for i, r := range post {
		starts, kids := t.node(r)
		n := Node{Var: g.vars[t.nodes[r].level], Starts: slices.Clone(starts), Kids: make([]NodeID, len(kids))}
		for j, k := range kids {
			n.Kids[j] = to(k)
		}
		graph.Nodes[i] = n
	}
	return graph
}
