package compiler

import (
	"fmt"
	"math"
	"slices"
)

// Diagram is a policy as decision diagrams, one for each address family. It is
// the form that code generation walks.
type Diagram struct {
	Policy *Policy
	IPv4   Graph
	IPv6   Graph // for connections of which the remote address is not IPv4-mapped

	merge bool // rules may stand for others
}

// Graph is a directed acyclic graph of tests whose leaves are rules. A graph with
// several trees is a forest: each tree leads to the first of some of the rules
// that matches, or to the default, and the lowest index of all decides.
type Graph struct {
	Nodes []Node
	Trees []NodeID // roots of the trees that lead to the rule that decides; one at least
	Audit NodeID   // leads to the first audit rule that matches, or the default's leaf for none
	Plan  Plan
}

// NodeID names a node by its index in Graph.Nodes, or a rule when negative.
type NodeID int32

// RuleLeaf is the leaf of a rule's index; len(Rules) is the default.
func RuleLeaf(rule int) NodeID { return NodeID(^rule) }

// Rule is the rule's index when n is a leaf.
func (n NodeID) Rule() (index int, ok bool) { return int(^n), n < 0 }

// Node tests one variable. Kids[i] is where values from Starts[i] up to the next
// start lead; Starts[0] is 0, and neighbouring kids differ.
type Node struct {
	Var    Var
	Starts []uint64
	Kids   []NodeID
}

// Next is where the value leads.
func (n *Node) Next(v uint64) NodeID {
	i, found := slices.BinarySearch(n.Starts, v)
	if !found {
		i--
	}
	return n.Kids[i]
}

// Part says which bits of a field a variable holds.
type Part uint8

const (
	Whole  Part = iota // a field of up to 64 bits
	Word32             // an IPv4 address
	High64             // the first half of an IPv6 address
	Low64              // the second half of an IPv6 address
)

// Var is what a node tests: a field's bits as an unsigned number, not-available
// values included; or, with Set or Interface, 1 if the field's value is in the
// set or is the interface's LUID, else 0.
type Var struct {
	Field     Field
	Part      Part
	Set       *Set
	Interface *NamedInterface
}

func (v Var) String() string {
	switch {
	case v.Set != nil:
		return fmt.Sprintf("%s in $%s", v.Field, v.Set.Name)
	case v.Interface != nil:
		return fmt.Sprintf("%s == $%s", v.Field, v.Interface.Name)
	case v.Part == High64:
		return v.Field.String() + ".high"
	case v.Part == Low64:
		return v.Field.String() + ".low"
	}
	return v.Field.String()
}

// Last is the largest value of the variable.
func (v Var) Last() uint64 {
	switch {
	case v.Set != nil || v.Interface != nil:
		return 1
	case v.Part == Word32:
		return math.MaxUint32
	}
	return v.Field.Domain().Last.Lo
}

// Value is the variable's value in a request.
func (v Var) Value(r *Request) uint64 {
	value := r.Value(v.Field)
	switch {
	case v.Set != nil:
		return bit(contains(v.Set.Ranges, value))
	case v.Interface != nil:
		return bit(v.Interface.LUID != 0 && value.Lo == v.Interface.LUID)
	case v.Part == Word32:
		return value.Lo & math.MaxUint32
	case v.Part == High64:
		return value.Hi
	}
	return value.Lo
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// Decide answers a request by walking the diagram; Policy.Eval says the same.
func (d *Diagram) Decide(r *Request) Decision {
	g := &d.IPv4
	if r.Family() == 6 {
		g = &d.IPv6
	}
	rule := g.walk(g.Trees[0], r)
	for _, root := range g.Trees[1:] {
		rule = min(rule, g.walk(root, r))
	}
	return d.Policy.decision(rule, g.walk(g.Audit, r))
}

func (g *Graph) walk(n NodeID, r *Request) int {
	for {
		if rule, ok := n.Rule(); ok {
			return rule
		}
		node := &g.Nodes[n]
		n = node.Next(node.Var.Value(r))
	}
}
