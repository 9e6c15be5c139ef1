package proof

import "math/bits"

// runner follows a box of inputs through a graph, all paths at once: what reaches
// a node is a box that holds at least the inputs that do.
type runner struct {
	graph *graph
	at    [][]set  // by node
	place []int32  // by node: where it is in the order
	open  []uint64 // bits of the places of nodes that a run still has to look at
	seen  []int32  // the nodes of the last run, in order
	arena []set
	used  int
	count int // variables

	origins *origins // of joined numbers; nil while they are learned
}

func newRunner(g *graph, variables int) *runner {
	r := &runner{graph: g, at: make([][]set, len(g.nodes)), count: variables}
	r.place = make([]int32, len(g.nodes))
	for i, id := range g.order {
		r.place[id] = int32(i)
	}
	r.open = make([]uint64, len(g.order)/64+1)
	return r
}

// clone copies a box into memory that is used again after the run.
func (r *runner) clone(b []set) []set {
	if r.used+r.count > len(r.arena) {
		r.arena = make([]set, max(4096*r.count, r.count))
		r.used = 0
	}
	c := r.arena[r.used : r.used+r.count : r.used+r.count]
	r.used += r.count
	copy(c, b)
	return c
}

// run follows a box and calls visit for each node that it reaches, which says whether
// to go on from there.
func (r *runner) run(b []set, visit func(id int32, b []set) bool) int {
	r.used = 0
	r.seen = r.seen[:0]
	r.send(r.graph.root, b)
	for word := 0; word < len(r.open); word++ {
		for r.open[word] != 0 { // kids come after their parents, in this word too
			bit := bits.TrailingZeros64(r.open[word])
			r.open[word] &^= 1 << bit
			id := r.graph.order[64*word+bit]
			here := r.at[id]
			r.at[id] = nil
			r.seen = append(r.seen, id)
			if visit(id, here) && !r.graph.nodes[id].tail {
				r.graph.forward(id, here, r.origins, r.clone, r.send)
			}
		}
	}
	return len(r.seen)
}

// cut divides a box at the test that the last run met most often, more than once at
// least, on its way to the tails.
func (r *runner) cut(tails []int32, b []set) [][]set {
	leads := map[int32]bool{}
	for _, t := range tails {
		leads[t] = true
	}
	type key struct {
		v     variable
		shift uint8
		first uint64
		last  uint64
	}
	count := map[key]int{}
	most, best := 1, (*node)(nil)
	for i := len(r.seen) - 1; i >= 0; i-- {
		id := r.seen[i]
		n := &r.graph.nodes[id]
		for _, kid := range n.kids {
			leads[id] = leads[id] || leads[kid]
		}
		if !leads[id] || n.kind != testNode || n.space == joins {
			continue
		}
		v := r.graph.variable(n)
		part := n.part(b[v], 0)
		rest := n.part(b[v], 1)
		if len(part) == 0 || len(rest) == 0 || part.same(b[v]) || rest.same(b[v]) {
			continue
		}
		if part[0].first == b[v][0].first { // both ways to write a test are one
			part = rest
		}
		k := key{v, n.shift, part[0].first, part[len(part)-1].last}
		if count[k]++; count[k] >= most+1 || best != nil && count[k] == most {
			most, best = count[k], n
		}
	}
	if best == nil {
		return nil
	}
	var halves [][]set
	v := r.graph.variable(best)
	for kid := range best.kids {
		c := append([]set(nil), b...)
		c[v] = best.part(b[v], kid)
		halves = append(halves, c)
	}
	return halves
}

func (r *runner) send(kid int32, b []set) {
	was := r.at[kid]
	if was == nil {
		r.at[kid] = b
		r.open[r.place[kid]/64] |= 1 << (r.place[kid] % 64)
		return
	}
	cloned := false
	for v := range was {
		if union := was[v].or(b[v]); len(union) != len(was[v]) || len(union) > 0 && &union[0] != &was[v][0] {
			if !cloned {
				was, cloned = r.clone(was), true
			}
			was[v] = union
		}
	}
	r.at[kid] = was
}

// forward sends what of a box goes on from a node to each of its kids. Origins may be
// nil.
func (g *graph) forward(id int32, b []set, from *origins, clone func([]set) []set, send func(kid int32, b []set)) {
	n := &g.nodes[id]
	switch n.kind {
	case testNode:
		v := g.variable(n)
		for i, kid := range n.kids {
			part := n.part(b[v], i)
			switch {
			case len(part) == 0:
			case part.same(b[v]):
				send(kid, b)
			default:
				c := clone(b)
				c[v] = part
				send(kid, c)
			}
		}
	case askNode:
		send(n.kids[0], b)
		c := clone(b)
		for v := interfaceType; v <= subInterface; v++ {
			if c[v] = c[v].and(point(v.missing())); len(c[v]) == 0 {
				return
			}
		}
		send(n.kids[1], c)
	case setNode:
		c := clone(b)
		c[g.variable(n)] = point(n.value)
		if n.from >= 0 {
			c[g.variable(n)] = b[g.joinVariable(n.from)]
		}
		send(n.kids[0], c)
	case chooseNode:
		v := g.variable(n)
		for i, value := range n.values {
			if b[v].contains(value) {
				c := clone(b)
				c[v] = point(value)
				if from.narrow(c, v, value) {
					send(n.kids[i], c)
				}
			}
		}
	default:
		for _, kid := range n.kids {
			send(kid, b)
		}
	}
}

// part is what of a variable's values goes on to a kid of a test, or more if the
// tested bits are not at the top of the values.
func (n *node) part(s set, kid int) set {
	in := n.in
	if kid == 1 {
		in = in.not(ones(uint(n.width)))
	}
	top := uint(n.shift) + uint(n.width)
	if n.shift == 0 && (top == 64 || len(s) > 0 && s[len(s)-1].last <= ones(top)) {
		return s.and(in)
	}
	var out set
	for _, a := range s {
		out = out.or(n.partOf(a, in, top))
	}
	if out.same(s) {
		return s
	}
	return out
}

// maxBlocks bounds the pieces into which a span is cut for a test of low bits.
const maxBlocks = 8

func (n *node) partOf(a span, in set, top uint) set {
	first, last := uint64(0), uint64(0)
	if top < 64 {
		first, last = a.first>>top, a.last>>top
	}
	if last-first >= maxBlocks {
		return set{a}
	}
	var out set
	for block := first; ; block++ {
		base := uint64(0)
		if top < 64 {
			base = block << top
		}
		shifted := make(set, 0, len(in))
		for _, q := range in {
			shifted = append(shifted, span{base + q.first<<n.shift, base + (q.last<<n.shift | ones(uint(n.shift)))})
		}
		out = out.or(set{a}.and(shifted))
		if block == last {
			return out
		}
	}
}
