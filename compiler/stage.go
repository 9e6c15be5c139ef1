package compiler

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/hopgate/hopgate/lang"
)

// Undecided is the rule index of a leaf that leaves the decision to a later hook.
func (p *Policy) Undecided() int { return len(p.Rules) + 1 }

// Without gives the diagram for a hook to which some fields are not yet known. It
// leads to a deny rule only where every completion of the connection is denied: to
// the first of the rules that could be the one. Anything else is Undecided, and
// so is an audit rule that depends on the fields.
//
// A variable that the diagram tests twice on one path is taken for two, which can
// make more connections Undecided, never fewer.
func (d *Diagram) Without(fields ...Field) *Diagram {
	hidden := func(v Var) bool { return slices.Contains(fields, v.Field) }
	return &Diagram{Policy: d.Policy, IPv4: d.Policy.quantify(&d.IPv4, hidden), IPv6: d.Policy.quantify(&d.IPv6, hidden)}
}

func (p *Policy) quantify(g *Graph, hidden func(Var) bool) Graph {
	q := &quantifier{
		policy: p, graph: g, hidden: hidden,
		states: map[string]NodeID{},
		budget: 64*len(g.Nodes) + 1<<12,
	}
	q.join, q.finish = q.joinRule, q.enforce
	enforce := q.tree(g.Trees, found{upper: noRule, allow: noRule, first: noRule})
	clear(q.states)
	q.join, q.finish = joinAudit, func(all found) int { return all.first }
	audit := q.tree([]NodeID{g.Audit}, found{upper: noRule, first: noRule})
	early := Graph{Nodes: q.out.nodes, Trees: []NodeID{enforce}, Audit: audit}
	return early.pruned()
}

// noRule is greater than any rule's index.
const noRule = math.MaxInt32

// quantifier follows all the paths through a graph that differ in hidden variables
// at once, one tree after the other.
type quantifier struct {
	policy *Policy
	graph  *Graph
	hidden func(Var) bool
	join   func(all found, rule int) (found, bool) // false: it is undecided
	finish func(all found) int                     // the rule, or Undecided
	states map[string]NodeID
	budget int // intervals that may still be looked at; then all is undecided
	out    nodeStore
}

// found sums up the leaves that some completion leads to.
type found struct {
	highest int // of the tree at hand
	upper   int // the lowest of the highest, over the finished trees: every completion is decided by this rule or an earlier one
	allow   int // the lowest that does not deny
	first   int // the lowest of all
}

func (q *quantifier) joinRule(all found, rule int) (found, bool) {
	if rule > all.upper {
		all.highest = max(all.highest, all.upper)
		return all, true
	}
	verdict := q.policy.Default
	if rule < len(q.policy.Rules) {
		verdict = q.policy.Rules[rule].Verdict
	}
	if verdict != lang.Deny {
		all.allow = min(all.allow, rule)
	}
	all.highest, all.first = max(all.highest, rule), min(all.first, rule)
	return all, len(q.graph.Trees) > 1 || verdict == lang.Deny
}

func (q *quantifier) enforce(all found) int {
	if all.allow <= all.upper || q.policy.AuditMode {
		return q.policy.Undecided()
	}
	return all.first
}

func joinAudit(all found, rule int) (found, bool) {
	ok := all.first == noRule || all.first == rule
	all.first = rule
	return all, ok
}

// tree gives the node for standing at the first of the trees.
func (q *quantifier) tree(trees []NodeID, all found) NodeID {
	if len(trees) == 0 {
		return RuleLeaf(q.finish(all))
	}
	all.highest = 0
	return q.node(trees, trees[:1], all)
}

// node gives the node for standing at all of the nodes of the first tree, with the
// leaves already found.
func (q *quantifier) node(trees, at []NodeID, all found) NodeID {
	at, all, ok := q.open(at, all)
	if !ok {
		return RuleLeaf(q.policy.Undecided())
	}
	if len(at) == 0 {
		all.upper = min(all.upper, all.highest)
		return q.tree(trees[1:], all)
	}
	key := fmt.Appendln(nil, len(trees), all)
	for _, n := range at {
		key = binary.LittleEndian.AppendUint32(key, uint32(n))
	}
	if n, ok := q.states[string(key)]; ok {
		return n
	}
	v := q.graph.Nodes[at[0]].Var
	var starts []uint64
	for _, n := range at {
		if node := &q.graph.Nodes[n]; node.Var == v {
			starts = append(starts, node.Starts...)
		}
	}
	slices.Sort(starts)
	starts = slices.Compact(starts)
	if q.budget -= len(starts) * len(at); q.budget < 0 {
		return RuleLeaf(q.policy.Undecided())
	}
	node := Node{Var: v}
	for _, start := range starts {
		next := make([]NodeID, 0, len(at))
		for _, n := range at {
			if node := &q.graph.Nodes[n]; node.Var == v {
				n = node.Next(start)
			}
			next = append(next, n)
		}
		kid := q.node(trees, next, all)
		if n := len(node.Kids); n == 0 || node.Kids[n-1] != kid {
			node.Starts, node.Kids = append(node.Starts, start), append(node.Kids, kid)
		}
	}
	n := q.out.add(node)
	q.states[string(key)] = n
	return n
}

// open replaces nodes that test hidden variables by all that they lead to, and
// joins leaves to those found. The nodes are sorted and distinct.
func (q *quantifier) open(at []NodeID, all found) ([]NodeID, found, bool) {
	var open []NodeID
	seen := map[NodeID]bool{}
	for work := slices.Clone(at); len(work) > 0; {
		n := work[len(work)-1]
		work = work[:len(work)-1]
		if seen[n] {
			continue
		}
		seen[n] = true
		rule, leaf := n.Rule()
		switch {
		case leaf:
			ok := false
			if all, ok = q.join(all, rule); !ok {
				return nil, all, false
			}
		case q.hidden(q.graph.Nodes[n].Var):
			work = append(work, q.graph.Nodes[n].Kids...)
		default:
			open = append(open, n)
		}
	}
	slices.Sort(open)
	return open, all, true
}
