package proof

import "github.com/hopgate/hopgate/codegen"

// graph is what a function decides, taken from its instructions: a directed acyclic
// graph of tests of variables that ends in effects and an exit.
type graph struct {
	function *function
	nodes    []node
	root     int32
	order    []int32 // what root reaches, parents before their kids
	lookups  []lookup
	members  []variable // by lookup: whether its key is in its set; 0 for lookups of counters
	sets     int        // how many of these variables there are
	maps     []mapInfo
	joins    int        // joined registers, whose variables come after those of lookups
	numbers  [][]uint64 // by join: what its register can hold, in order
	idle     int        // calls for the network context that nothing after them tests
}

// variables is how many there are. Those of lookups in sets follow the fields, those
// of joined registers follow them.
func (g *graph) variables() int { return int(numFields) + g.sets + g.joins }

// setLookups notes the lookups that were made, and gives variables to those in sets.
func (g *graph) setLookups(list []lookup) {
	g.lookups = list
	for i := range list {
		v := variable(0)
		if g.maps[list[i].mapID].isSet {
			v = numFields + variable(g.sets)
			g.sets++
		}
		g.members = append(g.members, v)
	}
}

func (g *graph) joinVariable(id int32) variable {
	return numFields + variable(g.sets) + variable(id)
}

type nodeKind uint8

const (
	exitNode   nodeKind = iota // r0 is value
	testNode                   // kids[0] if the bits of variable are in set, else kids[1]
	askNode                    // the network context is there: kids[0], or not: kids[1]
	foundNode                  // a counter was found: kids[0], or not: kids[1]
	countNode                  // one is added to counter value
	skipNode                   // counter value could not be found
	eventNode                  // the event is written
	setNode                    // variable becomes value, or that of another variable
	opaqueNode                 // a test that is not followed, by the instruction at value: kids[0] or kids[1]
	chooseNode                 // kids by the value of variable, those of values
)

type node struct {
	kind   nodeKind
	v      int32 // a field, lookup or join, as space says
	space  space
	shift  uint8 // of the tested bits
	width  uint8
	in     set
	value  uint64
	from   int32 // of setNode: the join it is copied from, or -1
	values []uint64
	kids   []int32
	event  string // the symbols of the bytes, two bytes each
	asked  asked
	tail   bool // nothing is tested from here on
}

// hasty is a node that does something before all tests have been made, or nil.
func (g *graph) hasty() *node {
	for _, id := range g.order {
		if n := &g.nodes[id]; !n.tail && (n.kind == countNode || n.kind == eventNode) {
			return n
		}
	}
	return nil
}

// unfollowed is the slot of a test that is not followed, or -1.
func (g *graph) unfollowed() int {
	for _, id := range g.order {
		if n := &g.nodes[id]; n.kind == opaqueNode {
			return int(n.value)
		}
	}
	return -1
}

type space uint8

const (
	fields space = iota
	sets
	joins
)

// variable is what the node tests or sets.
func (g *graph) variable(n *node) variable {
	switch n.space {
	case sets:
		return g.members[n.v]
	case joins:
		return g.joinVariable(n.v)
	}
	return variable(n.v)
}

// past is a node, or the next where that only sets or asks a join that has one number.
func (g *graph) past(id int32) int32 {
	for {
		n := &g.nodes[id]
		if n.space != joins || len(g.numbers[n.v]) != 1 {
			return id
		}
		kid := 0
		if n.kind == testNode && !n.in.contains(g.numbers[n.v][0]) {
			kid = 1
		}
		id = n.kids[kid]
	}
}

// sort orders the nodes, without those of joins that have one number, and marks tails.
func (g *graph) sort() {
	g.root = g.past(g.root)
	g.order = g.order[:0]
	seen := make([]bool, len(g.nodes))
	type visit struct {
		node int32
		kid  int
	}
	stack := []visit{{node: g.root}}
	seen[g.root] = true
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		n := &g.nodes[top.node]
		if n.kind == setNode && n.from >= 0 && len(g.numbers[n.from]) == 1 {
			n.value, n.from = g.numbers[n.from][0], -1
		}
		if top.kid < len(n.kids) {
			kid := g.past(n.kids[top.kid])
			n.kids[top.kid] = kid
			top.kid++
			if !seen[kid] {
				seen[kid] = true
				stack = append(stack, visit{node: kid})
			}
			continue
		}
		n.tail = n.kind != testNode && n.kind != askNode && n.kind != chooseNode && n.kind != setNode && n.kind != opaqueNode
		for _, kid := range n.kids {
			n.tail = n.tail && g.nodes[kid].tail
		}
		g.order = append(g.order, top.node)
		stack = stack[:len(stack)-1]
	}
	for i, j := 0, len(g.order)-1; i < j; i, j = i+1, j-1 {
		g.order[i], g.order[j] = g.order[j], g.order[i]
	}
}

// Helpers of eBPF for Windows that a program of ours calls.
const (
	helperLookup  = 1
	helperRing    = 11
	helperPidTgid = codegen.HelperCurrentPidTgid
	helperNetwork = codegen.HelperNetworkContext
)
