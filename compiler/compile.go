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
				Span: i.Span, Code: codeUnboundInterface,
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
	vars, weight := variables(p, ipv6)
	g.vars = vars
	g.chooseOrders(weight)
	return g.graph([]ref{g.build(enforce, none)}, g.build(audit, none))
}

// graphBuilder builds the diagram of a policy for one address family.
type graphBuilder struct {
	policy *Policy
	ipv6   bool
	then   []ref // by rule: its leaf
	vars   []Var // what the policy tests; a level of out is an index here
	orders []*order
	out    *store
}

// weight is how much a policy has to do with a variable.
type weight struct {
	rules int // rules that test it
	cuts  int // bounds of ranges, over all rules
}

// build makes the diagram of the rules, in order, that leads on to rest where none
// of them matches. An exact diagram can explode where ranges overlap in several
// fields. Such a policy becomes a sequence of exact diagrams of a few rules each,
// every one leading on to the next, so that size and time stay linear.
func (g *graphBuilder) build(rules []int, rest ref) ref {
	if r, ok := g.fitting(rules, rest); ok {
		return r
	}
	for size := 4; len(rules) > 0; {
		size = min(size, len(rules))
		r, ok := g.fitting(rules[len(rules)-size:], rest)
		for !ok && size > 1 {
			size = (size + 1) / 2
			r, ok = g.fitting(rules[len(rules)-size:], rest)
		}
		for ok && size < len(rules) {
			larger := min(2*size, len(rules))
			merged, fits := g.fitting(rules[len(rules)-larger:], rest)
			if !fits {
				break
			}
			r, size = merged, larger
		}
		if !ok {
			rule := &g.policy.Rules[rules[len(rules)-1]]
			r = g.chain(rule.Cond, g.policy.matchesUnknown(rule.Verdict), g.then[rules[len(rules)-1]], rest)
		}
		rules, rest = rules[:len(rules)-size], r
	}
	return rest
}

// fitting builds the diagram of the rules with the order of variables that served
// last, or else the first that gives less than some 16 kids a rule.
func (g *graphBuilder) fitting(rules []int, rest ref) (ref, bool) {
	limit := 16*len(rules) + 64
	for i, o := range g.orders {
		scratch := newStore()
		if _, ok := g.merge(rules, rest, o, scratch, limit); ok {
			copy(g.orders[1:i+1], g.orders[:i])
			g.orders[0] = o
			return g.merge(rules, rest, o, g.out, math.MaxInt)
		}
	}
	return 0, false
}

// merge builds the exact diagram of the rules with one order of the variables. It
// gives false when that takes more than limit kids, or too long.
func (g *graphBuilder) merge(rules []int, rest ref, o *order, out *store, limit int) (ref, bool) {
	m := &merger{conds: o.conds.store, order: o.vars, out: out, memo: map[uint64][]mergeState{}, limit: limit, budget: math.MaxInt}
	if limit < math.MaxInt {
		m.budget = 8 * limit
	}
	list := make([]clause, 0, len(rules)+1)
	for _, i := range rules {
		cond, ok := o.matches(g.policy, i)
		if !ok {
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

// order is an order of the variables, with the rules' conditions in that order.
type order struct {
	vars  []int32 // indices into graphBuilder.vars
	conds conditions
	rules []ref // by rule; 0 where not yet made
}

func newOrder(all []Var, by []Var, ipv6 bool, rules int) *order {
	o := &order{conds: conditions{store: newStore(), ipv6: ipv6, levels: make(map[Var]int32, len(by))}, rules: make([]ref, rules)}
	// Node 0, so that 0 can stand for a condition not yet made.
	o.conds.mk(math.MaxInt32-1, []uint64{0, 1}, []ref{isFalse, isTrue})
	for i, v := range by {
		o.conds.levels[v] = int32(i)
		o.vars = append(o.vars, int32(slices.Index(all, v)))
	}
	return o
}

// matches is the diagram of "the rule matches", unless that is too large.
func (o *order) matches(p *Policy, rule int) (ref, bool) {
	if o.rules[rule] == 0 {
		cuts := map[Var]int{}
		countTests(p.Rules[rule].Cond, o.conds.ipv6, cuts)
		limit := 1000
		for _, n := range cuts {
			limit += 8 * n
		}
		o.conds.limit = len(o.conds.kids) + limit
		r := o.conds.cond(p.Rules[rule].Cond, p.matchesUnknown(p.Rules[rule].Verdict))
		if o.conds.full {
			o.conds.full = false
			clear(o.conds.and)
			clear(o.conds.not)
			r = tooLarge
		}
		o.rules[rule] = r
	}
	return o.rules[rule], o.rules[rule] != tooLarge
}

// tooLarge stands for a condition whose diagram would be too large.
const tooLarge ref = math.MinInt32

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
	o := newOrder(g.vars, g.vars, g.ipv6, 0)
	cond := o.conds.cond(c, maybe)
	if cond == isFalse {
		return no
	}
	m := &merger{conds: o.conds.store, order: o.vars, out: g.out, memo: map[uint64][]mergeState{}, limit: math.MaxInt, budget: math.MaxInt}
	r, _ := m.merge([]clause{{cond, yes}, {isTrue, no}})
	return r
}

// chooseOrders picks the orders of variables worth trying. The halves of an IPv6
// address stay together.
func (g *graphBuilder) chooseOrders(weight map[Var]weight) {
	rules := func(a, b Var) int {
		return cmp.Or(cmp.Compare(weight[b].rules, weight[a].rules), cmp.Compare(weight[b].cuts, weight[a].cuts))
	}
	cuts := func(a, b Var) int {
		return cmp.Or(cmp.Compare(weight[b].cuts, weight[a].cuts), cmp.Compare(weight[b].rules, weight[a].rules))
	}
	reverse := func(compare func(a, b Var) int) func(a, b Var) int {
		return func(a, b Var) int { return compare(b, a) }
	}
	var seen [][]Var
	for _, compare := range []func(a, b Var) int{rules, reverse(rules), cuts, reverse(cuts)} {
		by := slices.Clone(g.vars)
		slices.SortStableFunc(by, func(a, b Var) int {
			a.Part, b.Part = min(a.Part, High64), min(b.Part, High64)
			return compare(a, b)
		})
		if !slices.ContainsFunc(seen, func(o []Var) bool { return slices.Equal(o, by) }) {
			seen = append(seen, by)
			g.orders = append(g.orders, newOrder(g.vars, by, g.ipv6, len(g.policy.Rules)))
		}
	}
}

// graph copies what the roots reach into a Graph, parents before kids.
func (g *graphBuilder) graph(trees []ref, audit ref) Graph {
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
	visit(audit)
	for _, r := range slices.Backward(trees) {
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
	for _, r := range trees {
		graph.Trees = append(graph.Trees, to(r))
	}
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
