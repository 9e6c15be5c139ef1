package compiler

import "slices"

// audited leads to the first audit rule that matches, or the default: by a tree, or by
// testing one rule after the other where that is not much larger.
func (g *graphBuilder) audited(out *store) ref {
	then := make([]ref, len(g.policy.Rules))
	for i := range then {
		then[i] = leaf(i)
	}
	if r, ok := g.auditTree(out, then, func(*box) {}); ok {
		return r
	}
	rest := leaf(len(g.policy.Rules))
	for i, r := range slices.Backward(g.policy.Rules) {
		if r.Audit {
			rest = g.chain(out, r.Cond, g.policy.matchesUnknown(r.Verdict), leaf(i), rest)
		}
	}
	return rest
}

// auditTree builds the tree of the audit rules' boxes, each of which is opened and leads
// to its rule's ref. It gives false where a rule has too many boxes, or the tree many
// more kids than the rules have bounds.
func (g *graphBuilder) auditTree(out *store, then []ref, open func(*box)) (ref, bool) {
	var boxes []box
	room := len(out.kids) + 64
	for i := range g.policy.Rules {
		if r := &g.policy.Rules[i]; r.Audit {
			of, ok := g.boxesOf(i)
			if !ok {
				return 0, false
			}
			boxes = append(boxes, of...)
			room += 8 * bounds(r.Cond)
		}
	}
	boxes = g.parted(boxes)
	all := make([]int32, len(boxes))
	for i := range boxes {
		open(&boxes[i])
		all[i] = int32(i)
	}
	f := &forest{vars: g.vars, boxes: boxes, then: then, out: out}
	limit, full := out.limit, out.full
	out.limit, out.full = room, false
	r := f.tree(all, leaf(len(g.policy.Rules)))
	fits := !out.full
	out.limit, out.full = limit, full
	return r, fits
}
