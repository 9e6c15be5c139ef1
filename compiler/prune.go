package compiler

import "slices"

// pruned is the graph without the intervals that no path reaches, because tests
// before have told them apart. Verifiers find these too, one path at a time; the
// kernel's then moves all the code behind each.
func (g *Graph) pruned() Graph {
	p := &pruner{graph: g, narrowed: make([]narrowing, len(g.Nodes)), reached: make([]bool, len(g.Nodes)), kept: make([]NodeID, len(g.Nodes))}
	order := g.order()
	for _, root := range g.roots() {
		p.join(root, nil)
	}
	for _, n := range order {
		if p.reached[n] {
			p.descend(n)
		}
	}
	for _, n := range slices.Backward(order) {
		if p.reached[n] {
			p.kept[n] = p.keep(n)
		}
	}
	out := Graph{Nodes: p.out.nodes, Audit: p.to(g.Audit), Plan: g.Plan}
	for _, root := range g.Trees {
		out.Trees = append(out.Trees, p.to(root))
	}
	out.reverse()
	return out
}

// reverse turns the order of the nodes round.
func (g *Graph) reverse() {
	last := NodeID(len(g.Nodes) - 1)
	turn := func(list []NodeID) {
		for i, n := range list {
			if n >= 0 {
				list[i] = last - n
			}
		}
	}
	for i := range g.Nodes {
		turn(g.Nodes[i].Kids)
	}
	audit := []NodeID{g.Audit}
	turn(audit)
	turn(g.Trees)
	g.Audit = audit[0]
	slices.Reverse(g.Nodes)
}

// roots are where walks of the graph start.
func (g *Graph) roots() []NodeID { return append(slices.Clone(g.Trees), g.Audit) }

// order lists the nodes that the roots reach, parents before kids.
func (g *Graph) order() []NodeID {
	seen := make([]bool, len(g.Nodes))
	order := make([]NodeID, 0, len(g.Nodes))
	var visit func(n NodeID)
	visit = func(n NodeID) {
		if n < 0 || seen[n] {
			return
		}
		seen[n] = true
		for _, k := range slices.Backward(g.Nodes[n].Kids) {
			visit(k)
		}
		order = append(order, n)
	}
	for _, root := range slices.Backward(g.roots()) {
		visit(root)
	}
	slices.Reverse(order)
	return order
}

type pruner struct {
	graph    *Graph
	narrowed []narrowing // by node: what holds on every path to it
	reached  []bool
	kept     []NodeID // by node: what it has become
	out      nodeStore
}

// to is where what led to n leads.
func (p *pruner) to(n NodeID) NodeID {
	if n < 0 {
		return n
	}
	return p.kept[n]
}

// narrowing says of some variables which values they have.
type narrowing []narrow

type narrow struct {
	v      Var
	values [][2]uint64 // sorted and disjoint
}

func (r narrowing) of(v Var) [][2]uint64 {
	for i := range r {
		if r[i].v == v {
			return r[i].values
		}
	}
	return [][2]uint64{{0, v.Last()}}
}

// with is the narrowing in which a variable has other values.
func (r narrowing) with(v Var, values [][2]uint64) narrowing {
	out := append(make(narrowing, 0, len(r)+1), r...)
	for i := range out {
		if out[i].v == v {
			out[i].values = values
			return out
		}
	}
	return append(out, narrow{v, values})
}

// descend passes on to a node's kids what holds there.
func (p *pruner) descend(n NodeID) {
	node := &p.graph.Nodes[n]
	node.meeting(p.narrowed[n].of(node.Var), func(i int, values [][2]uint64) {
		if k := node.Kids[i]; k >= 0 {
			p.join(k, p.narrowed[n].with(node.Var, clipped(values, node.Starts[i], node.last(i))))
		}
	})
}

// meeting gives the intervals of a node that hold some of the values, with the ranges
// of values that they meet.
func (n *Node) meeting(values [][2]uint64, give func(i int, values [][2]uint64)) {
	for i := range n.Kids {
		last, met := n.last(i), 0
		for met < len(values) && values[met][0] <= last {
			if met++; values[met-1][1] > last {
				break
			}
		}
		if met == 0 {
			continue
		}
		give(i, values[:met])
		if values[met-1][1] > last {
			met-- // the next interval meets it, too
		}
		values = values[met:]
	}
}

// last is the last value of an interval.
func (n *Node) last(i int) uint64 {
	if i+1 < len(n.Starts) {
		return n.Starts[i+1] - 1
	}
	return n.Var.Last()
}

// clipped gives the parts of ranges, all of which meet an interval, inside it.
func clipped(values [][2]uint64, first, last uint64) [][2]uint64 {
	values = slices.Clone(values)
	values[0][0] = max(values[0][0], first)
	values[len(values)-1][1] = min(values[len(values)-1][1], last)
	return values
}

// join widens what holds at a node to include another path's narrowing.
func (p *pruner) join(n NodeID, r narrowing) {
	if n < 0 {
		return
	}
	if !p.reached[n] {
		p.reached[n], p.narrowed[n] = true, r
		return
	}
	var all narrowing
	for _, k := range p.narrowed[n] {
		values := unitedValues(k.values, r.of(k.v))
		if values[0] != [2]uint64{0, k.v.Last()} {
			all = append(all, narrow{k.v, values})
		}
	}
	p.narrowed[n] = all
}

// maxPieces is how many ranges are told apart; beyond, they are taken for one.
const maxPieces = 16

// unitedValues are the values in one or the other of two lists.
func unitedValues(a, b [][2]uint64) [][2]uint64 {
	var all [][2]uint64
	for len(a)+len(b) > 0 {
		if len(a) == 0 || len(b) > 0 && b[0][0] < a[0][0] {
			a, b = b, a
		}
		r := a[0]
		a = a[1:]
		if n := len(all); n > 0 && (all[n-1][1] >= r[0] || all[n-1][1]+1 == r[0]) {
			all[n-1][1] = max(all[n-1][1], r[1])
		} else {
			all = append(all, r)
		}
	}
	if n := len(all); n > maxPieces {
		return [][2]uint64{{all[0][0], all[n-1][1]}}
	}
	return all
}

// keep adds a node without what is not reached, or finds an equal one.
func (p *pruner) keep(n NodeID) NodeID {
	node := &p.graph.Nodes[n]
	out := Node{Var: node.Var, Starts: make([]uint64, 0, len(node.Kids)), Kids: make([]NodeID, 0, len(node.Kids))}
	node.meeting(p.narrowed[n].of(node.Var), func(i int, _ [][2]uint64) {
		k := p.to(node.Kids[i])
		if j := len(out.Kids); j == 0 || out.Kids[j-1] != k {
			out.Starts, out.Kids = append(out.Starts, node.Starts[i]), append(out.Kids, k)
		}
	})
	out.Starts[0] = 0
	return p.out.add(out)
}

// nodeStore gives equal nodes one id. Kids stand before their parents.
type nodeStore struct {
	nodes []Node
	older []NodeID          // by node: another of the same hash, or a leaf
	cons  map[uint64]NodeID // by hash: the last node that has it
}

// add gives the node's id, or its kid's if there is but one.
func (s *nodeStore) add(n Node) NodeID {
	if len(n.Kids) == 1 {
		return n.Kids[0]
	}
	if s.cons == nil {
		s.cons = map[uint64]NodeID{}
	}
	h := uint64(n.Var.Field)
	for i := range n.Kids {
		h = mix(h^n.Starts[i]) + uint64(uint32(n.Kids[i]))
	}
	older, ok := s.cons[h]
	if !ok {
		older = RuleLeaf(0)
	}
	for id := older; id >= 0; id = s.older[id] {
		if m := &s.nodes[id]; m.Var == n.Var && slices.Equal(m.Kids, n.Kids) && slices.Equal(m.Starts, n.Starts) {
			return id
		}
	}
	id := NodeID(len(s.nodes))
	s.nodes, s.older = append(s.nodes, n), append(s.older, older)
	s.cons[h] = id
	return id
}
