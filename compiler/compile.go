package compiler

import (
	"cmp"
	"fmt"
	"math"
	"slices"

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
	d := &Diagram{Policy: p}
	d.IPv4 = compileGraph(p, opts, false)
	d.IPv6 = compileGraph(p, opts, true)
	return d, nil
}

// unbound finds the named interfaces without a LUID.
func unbound(p *Policy) (ds lang.Diagnostics) {
	for _, i := range p.Interfaces {
		if !i.Bound {
			ds = append(ds, lang.Diagnostic{
				Span: i.Span, Code: "unbound-interface",
				Message: fmt.Sprintf("interface `%s` is not bound to a LUID", i.Name),
				Hint:    fmt.Sprintf("give its LUID with --bind %s=0x...", i.Name),
			})
		}
	}
	return ds
}

func compileGraph(p *Policy, opts *CompileOptions, ipv6 bool) Graph {
	none := leaf(len(p.Rules))
	merged := map[lang.Verdict]ref{p.Default: none}
	var enforce, audit []int
	then := make([]ref, len(p.Rules))
	for i := range p.Rules {
		r := &p.Rules[i]
		then[i] = leaf(i)
		if r.Audit {
			audit = append(audit, i)
			continue
		}
		enforce = append(enforce, i)
		if opts.MergeRules && !r.Log {
			if _, ok := merged[r.Verdict]; !ok {
				merged[r.Verdict] = leaf(i)
			}
			then[i] = merged[r.Verdict]
		}
	}
	if opts.MergeRules && len(audit) > 0 {
		// Whether an audit rule comes before the deciding one must stay visible.
		for i := range then {
			then[i] = leaf(i)
		}
	}
	g := graphBuilder{policy: p, ipv6: ipv6, then: then, out: newStore()}
	g.vars, g.weight = variables(p, ipv6)
	roots := [2]ref{g.build(enforce, none), g.build(audit, none)}
	return g.graph(roots)
}

// graphBuilder builds the diagram of a policy for one address family.
type graphBuilder struct {
	policy *Policy
	ipv6   bool
	then   []ref // by rule: its leaf
	vars   []Var // what the policy tests; a level of out is an index here
	weight map[Var]weight
	out    *store
}

// cuts is about how many bounds the rules' conditions have.
func (g *graphBuilder) cuts(rules []int) int {
	n := 0
	for _, i := range rules {
		cuts := map[Var]int{}
		countTests(g.policy.Rules[i].Cond, g.ipv6, cuts)
		for _, c := range cuts {
			n += c
		}
	}
	return n
}

// weight is how much a policy has to do with a variable.
type weight struct {
	rules int // rules that test it
	cuts  int // bounds of ranges, over all rules
}

// build makes the diagram of the rules, in order, that leads on to rest where none
// of them matches. An exact diagram can explode where ranges overlap in several
// fields; one that would is made of two halves, the first leading on to the
// second, so that size and time stay near linear in the worst case.
func (g *graphBuilder) build(rules []int, rest ref) ref {
	if len(rules) == 0 {
		return rest
	}
	if r, ok := g.smallest(rules, rest); ok {
		return r
	}
	if len(rules) == 1 {
		rule := &g.policy.Rules[rules[0]]
		return g.chain(rule.Cond, g.policy.matchesUnknown(rule.Verdict), g.then[rules[0]], rest)
	}
	mid := len(rules) / 2
	return g.build(rules[:mid], g.build(rules[mid:], rest))
}

// smallest tries several orders of the variables and keeps the smallest diagram.
func (g *graphBuilder) smallest(rules []int, rest ref) (ref, bool) {
	limit := 24*len(rules) + 2000
	var best []Var
	found := false
	for _, order := range g.orders() {
		scratch := *g
		scratch.out = newStore()
		if _, ok := scratch.merge(rules, rest, order, limit); ok {
			limit, best, found = len(scratch.out.kids)-1, order, true
		}
	}
	if !found {
		return 0, false
	}
	return g.merge(rules, rest, best, math.MaxInt)
}

// merge builds the exact diagram of the rules with one order of the variables. It
// gives false when that takes more than limit kids, or too long.
func (g *graphBuilder) merge(rules []int, rest ref, order []Var, limit int) (ref, bool) {
	m := &merger{out: g.out, memo: map[uint64][]mergeState{}, limit: limit, budget: math.MaxInt}
	c := &conditions{store: newStore(), ipv6: g.ipv6, levels: make(map[Var]int32, len(order))}
	if limit < math.MaxInt {
		m.budget = 32 * limit
		c.limit = 4*limit + g.cuts(rules)
	}
	for i, v := range order {
		c.levels[v] = int32(i)
		m.order = append(m.order, int32(slices.Index(g.vars, v)))
	}
	m.conds = c.store
	list := make([]clause, 0, len(rules)+1)
	for _, i := range rules {
		cond := c.matches(g.policy, &g.policy.Rules[i])
		if c.full {
			return 0, false
		}
		if cond == isFalse {
			continue
		}
		list = append(list, clause{cond, g.then[i]})
		if cond == isTrue {
			break
		}
	}
	return m.merge(append(list, clause{isTrue, rest}))
}

// chain tests a condition part by part, as written: bigger than a diagram but
// never more than linear in the condition.
func (g *graphBuilder) chain(c Cond, maybe bool, yes, no ref) ref {
	switch c := c.(type) {
	case All:
		for _, x := range slices.Backward(c) {
			yes = g.chain(x, maybe, yes, no)
		}
		return yes
	case Any:
		for _, x := range slices.Backward(c) {
			no = g.chain(x, maybe, yes, no)
		}
		return no
	case Not:
		return g.chain(c.X, !maybe, no, yes)
	}
	test := &conditions{store: newStore(), ipv6: g.ipv6, levels: make(map[Var]int32, len(g.vars))}
	for i, v := range g.vars {
		test.levels[v] = int32(i)
	}
	m := &merger{conds: test.store, out: g.out, memo: map[uint64][]mergeState{}, limit: math.MaxInt, budget: math.MaxInt}
	for i := range g.vars {
		m.order = append(m.order, int32(i))
	}
	r, _ := m.merge([]clause{{test.cond(c, maybe), yes}, {isTrue, no}})
	return r
}

// orders lists the orders of variables worth trying. The halves of an IPv6 address
// stay together.
func (g *graphBuilder) orders() [][]Var {
	by := func(less func(a, b weight) int) []Var {
		order := slices.Clone(g.vars)
		slices.SortStableFunc(order, func(a, b Var) int {
			a.Part, b.Part = min(a.Part, High64), min(b.Part, High64)
			return less(g.weight[a], g.weight[b])
		})
		return order
	}
	rules := func(a, b weight) int { return cmp.Or(cmp.Compare(b.rules, a.rules), cmp.Compare(b.cuts, a.cuts)) }
	cuts := func(a, b weight) int { return cmp.Or(cmp.Compare(b.cuts, a.cuts), cmp.Compare(b.rules, a.rules)) }
	reverse := func(less func(a, b weight) int) func(a, b weight) int {
		return func(a, b weight) int { return less(b, a) }
	}
	var orders [][]Var
	for _, less := range []func(a, b weight) int{rules, reverse(rules), cuts, reverse(cuts)} {
		order := by(less)
		if !slices.ContainsFunc(orders, func(o []Var) bool { return slices.Equal(o, order) }) {
			orders = append(orders, order)
		}
	}
	return orders
}

// graph copies what the roots reach into a Graph, parents before kids.
func (g *graphBuilder) graph(roots [2]ref) Graph {
	id := make([]NodeID, len(g.out.nodes))
	var post []ref
	var visit func(r ref)
	visit = func(r ref) {
		if r.isLeaf() || id[r] != 0 {
			return
		}
		id[r] = 1
		_, kids := g.out.node(r)
		for _, k := range slices.Backward(kids) {
			visit(k)
		}
		post = append(post, r)
	}
	for _, r := range slices.Backward(roots[:]) {
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
	graph := Graph{Enforce: to(roots[0]), Audit: to(roots[1]), Nodes: make([]Node, len(post))}
	for i, r := range post {
		starts, kids := g.out.node(r)
		n := Node{Var: g.vars[g.out.nodes[r].level], Starts: slices.Clone(starts), Kids: make([]NodeID, len(kids))}
		for j, k := range kids {
			n.Kids[j] = to(k)
		}
		graph.Nodes[i] = n
	}
	return graph
}
