package compiler

import (
	"slices"
	"sync"

	"github.com/hopgate/hopgate/lang"
)

// Undecided is the rule index of a leaf that leaves the decision to a later hook.
func (p *Policy) Undecided() int { return len(p.Rules) + 1 }

// Without gives the diagram for a hook to which some fields are not yet known. It
// leads to a deny rule only where every completion of the connection is denied: to
// the first of the rules that could be the one. Anything else is Undecided, and
// so is an audit rule that depends on the fields.
//
// A rule that depends on the fields may be the one, or may not. Denying rules of
// which this holds are never taken to cover all completions together.
func (d *Diagram) Without(fields ...Field) *Diagram {
	early := &Diagram{Policy: d.Policy, merge: d.merge}
	var families sync.WaitGroup
	families.Go(func() { early.IPv4 = d.without(fields, false) })
	families.Go(func() { early.IPv6 = d.without(fields, true) })
	families.Wait()
	return early
}

func (d *Diagram) without(fields []Field, ipv6 bool) Graph {
	p := d.Policy
	e := &earlyBuilder{graphBuilder: newGraphBuilder(p, ipv6), fields: fields, merge: d.merge, undecided: leaf(p.Undecided()), out: newStore()}
	e.out.limit = maxKids
	enforced, audited := e.enforced(), e.audited()
	if p.AuditMode || e.out.full {
		enforced, audited = e.undecided, e.undecided
	}
	graph := e.graph(trees{store: e.out, roots: []ref{enforced}}, audited)
	return graph.pruned()
}

// earlyBuilder builds the graph of one address family for a hook that does not know
// some fields.
type earlyBuilder struct {
	*graphBuilder
	fields    []Field
	undecided ref
	merge     bool // of the diagram
	out       *store
}

// open takes the tests of unknown fields out of a box, and reports whether there
// were any.
func (e *earlyBuilder) open(b *box) bool {
	unknown := func(s side) bool { return slices.Contains(e.fields, e.vars[s.v].Field) }
	if !slices.ContainsFunc(b.sides, unknown) {
		return false
	}
	b.sides = slices.DeleteFunc(slices.Clone(b.sides), unknown)
	return true
}

// enforced leads to the first rule that may deny, where one surely does before any
// may allow.
func (e *earlyBuilder) enforced() ref {
	then := append(e.standIns(e.merge, true), leaf(len(e.policy.Rules)))
	boxes := append(slices.Clone(e.boxes), box{rule: int32(len(e.policy.Rules))})
	for i := range boxes {
		b := &boxes[i]
		if len(e.opaque) > 0 && int32(e.opaque[0]) < b.rule {
			boxes = boxes[:i] // that rule may do anything, anywhere
			break
		}
		unknown := e.open(b)
		if e.denies(b) {
			b.maybe = unknown
		} else {
			then[b.rule] = e.undecided
		}
	}
	return e.tree(boxes, then, e.denies, e.undecided)
}

func (e *earlyBuilder) denies(b *box) bool {
	return !b.maybe && e.policy.verdict(int(b.rule)) == lang.Deny
}

// audited leads to the first audit rule, which is undecided if it depends on unknown
// fields.
func (e *earlyBuilder) audited() ref {
	then := make([]ref, len(e.policy.Rules))
	for i, r := range e.policy.Rules {
		then[i] = leaf(i)
		vars := map[Var]bool{}
		addVariables(r.Cond, e.conds.ipv6, vars)
		for v := range vars {
			if slices.Contains(e.fields, v.Field) {
				then[i] = e.undecided
			}
		}
	}
	if r, ok := e.auditTree(e.out, then, func(b *box) { e.open(b) }); ok {
		return r
	}
	rest := leaf(len(e.policy.Rules))
	for i, r := range slices.Backward(e.policy.Rules) {
		switch {
		case !r.Audit:
		case then[i] == e.undecided:
			rest = e.undecided
		default:
			rest = e.chain(e.out, r.Cond, e.policy.matchesUnknown(r.Verdict), leaf(i), rest)
		}
	}
	return rest
}

// tree builds the tree of some boxes, each of which leads to its rule's ref.
func (e *earlyBuilder) tree(boxes []box, then []ref, denies func(*box) bool, none ref) ref {
	f := &forest{vars: e.vars, boxes: boxes, then: then, denies: denies, undecided: e.undecided, out: e.out}
	all := make([]int32, len(boxes))
	for i := range all {
		all[i] = int32(i)
	}
	return f.tree(all, none)
}
