package proof

import (
	"fmt"
	"math"
	"slices"

	"github.com/hopgate/hopgate/compiler"
)

// tableGraph makes a graph of the trees that a table has for a family: one tree after
// the other, with the lowest leaf so far in a joined number, then those of the audit
// rules in the same way, and an end for each pair of leaves.
type tableGraph struct {
	*checker
	ipv6   bool
	graph  *graph
	tails  map[int32]answer
	trees  []tableTree // those of audit rules last
	audits int         // how many of them are for audit rules
	nodes  map[tablePlace]int32
	copies map[int]int32 // by tree: the node that keeps the leaf found before
	end    int32         // what follows on the last tree; -1 before it is made
}

// tableTree is a tree of a list, with the leaves that it leads to, in order.
type tableTree struct {
	root   uint32
	leaves []uint64
}

// tablePlace is a reference that is met in a tree.
type tablePlace struct {
	tree      int
	reference uint32
}

func (b *tableGraph) build() error {
	b.nodes, b.copies, b.end = map[tablePlace]int32{}, map[int]int32{}, -1
	for i := range b.table.lookups {
		b.graph.members = append(b.graph.members, numFields+variable(i))
	}
	list := uint32(0)
	if b.ipv6 {
		list = 1
	}
	for _, l := range []uint32{list, list + auditLists} {
		trees, err := b.list(l)
		if err != nil {
			return err
		}
		b.trees, b.audits = append(b.trees, trees...), len(trees)
	}
	if len(b.trees) == b.audits {
		return fmt.Errorf("there is no tree, so that the engine denies")
	}
	if b.table.u32(tableFlags)&tableAudits == 0 && b.audits > 0 {
		return fmt.Errorf("there are trees of audit rules that the engine does not look at")
	}
	b.graph.joins = len(b.trees)
	b.graph.numbers = make([][]uint64, len(b.trees))
	for i, t := range b.trees {
		numbers := slices.Clone(t.leaves)
		if i > 0 && i != len(b.trees)-b.audits {
			numbers = append(numbers, b.graph.numbers[i-1]...)
		}
		slices.Sort(numbers)
		b.graph.numbers[i] = slices.Compact(numbers)
	}
	b.graph.root = b.at(0, b.trees[0].root)
	return nil
}

// list reads the trees of a list, and checks what stands beside them: the lowest leaf of
// each tree, or a lower one, in order, since the engine stops by it.
func (b *tableGraph) list(list uint32) (trees []tableTree, err error) {
	if trees, ok := b.table.lists.Load(list); ok {
		return trees.([]tableTree), nil
	}
	before := uint32(tableLeaf)
	for i := range uint32(mostTrees) {
		at := tableLists + 8*(mostTrees*list+i)
		root, lowest := b.table.u32(at), b.table.u32(at+4)
		switch {
		case root == math.MaxUint32 && lowest == math.MaxUint32:
			before = math.MaxUint32
			continue
		case before == math.MaxUint32 || i == mostTrees-1:
			return nil, fmt.Errorf("list %d does not end where its trees do", list)
		}
		leaves := map[uint32]bool{}
		if err := b.leaves(root, 0, leaves, map[uint32]bool{}); err != nil {
			return nil, err
		}
		t := tableTree{root: root}
		for leaf := range leaves {
			t.leaves = append(t.leaves, uint64(leaf))
		}
		slices.Sort(t.leaves)
		if lowest < before || uint64(lowest-tableLeaf) > t.leaves[0] {
			return nil, fmt.Errorf("tree %d of list %d does not say which is its lowest leaf", len(trees), list)
		}
		before = lowest
		trees = append(trees, t)
	}
	b.table.lists.Store(list, trees)
	return trees, nil
}

// leaves collects the leaves below a reference, and checks all that leads to them.
func (b *tableGraph) leaves(reference, from uint32, leaves, seen map[uint32]bool) error {
	if reference >= tableLeaf {
		leaves[reference&^tableLeaf] = true
		return nil
	}
	place := placeOf(reference)
	switch {
	case place <= from || place < tableFirst || place >= tableFirst+tableNode*b.table.u32(tableNodes) || reference&3 != 0:
		return fmt.Errorf("reference %#x leads nowhere", reference)
	case seen[reference]:
		return nil
	}
	seen[reference] = true
	for half, slot := range slotsOf(reference) {
		v, _, isField := slotVariable(slot)
		switch {
		case !isField && slot != 9 && (slot < tableAnswers || int(slot-tableAnswers) >= len(b.table.lookups)):
			return fmt.Errorf("the node at %#x looks at slot %d, which holds nothing", place, slot)
		case isField && v.network() && b.table.u32(tableFlags)&tableReadsContext == 0:
			return fmt.Errorf("the node at %#x looks at the network context, which the engine is not told to ask for", place)
		}
		for i := range uint32(2) {
			if at := place + tableLast*uint32(half) + 4*i; b.table.u32(at) > b.table.u32(at+4) {
				return fmt.Errorf("the node at %#x has numbers out of order", place)
			}
		}
	}
	for _, row := range b.cells(place) {
		for _, kid := range row {
			if err := b.leaves(kid, place, leaves, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

// placeOf is where a reference leads, and slotsOf what the node there looks at.
func placeOf(reference uint32) uint32 { return reference >> 12 * tableNode }

func slotsOf(reference uint32) [2]uint32 { return [2]uint32{reference >> 7 & 31, reference >> 2 & 31} }

// lasts are the numbers that a slot is compared with, the last of them for all other values.
func (b *tableGraph) lasts(place uint32, half int) (list []uint32) {
	for i := range uint32(3) {
		last := b.table.u32(place + tableLast*uint32(half) + 4*i)
		if last == math.MaxUint32 {
			break
		}
		list = append(list, last)
	}
	return append(list, math.MaxUint32)
}

// cells are the references of a node: by what the first slot holds, and by the second.
func (b *tableGraph) cells(place uint32) (rows [][]uint32) {
	for i := range b.lasts(place, 0) {
		var row []uint32
		for j := range b.lasts(place, 1) {
			kid := b.table.value[int(place)+tableCells+2*i+j/2] >> (j % 2 * 4) & 7
			row = append(row, b.table.u32(place+tableKids+4*uint32(kid)))
		}
		rows = append(rows, row)
	}
	return rows
}

// at is the node for a reference in a tree.
func (b *tableGraph) at(tree int, reference uint32) int32 {
	key := tablePlace{tree, reference}
	if id, ok := b.nodes[key]; ok {
		return id
	}
	var id int32
	if reference >= tableLeaf {
		id = b.leaf(tree, uint64(reference&^tableLeaf))
	} else {
		id = b.test(tree, reference)
	}
	b.nodes[key] = id
	return id
}

// test makes the tests of a node: those of the first slot, and for each outcome those of the
// second.
func (b *tableGraph) test(tree int, reference uint32) int32 {
	place, slots := placeOf(reference), slotsOf(reference)
	var rows []int32
	for _, row := range b.cells(place) {
		var kids []int32
		for _, kid := range row {
			kids = append(kids, b.at(tree, kid))
		}
		rows = append(rows, b.compare(slots[1], b.lasts(place, 1), kids))
	}
	return b.compare(slots[0], b.lasts(place, 0), rows)
}

// compare makes the tests of one slot, one for each kid but the last.
func (b *tableGraph) compare(slot uint32, lasts []uint32, kids []int32) int32 {
	n := node{kind: testNode, width: 32}
	v, shift, isField := slotVariable(slot)
	switch {
	case !isField && slot >= tableAnswers:
		n.space, n.v = sets, int32(slot-tableAnswers)
	case !isField || !b.ipv6 && v <= localLow && slot%4 != 3: // slot 9, or the upper words of an IPv4 address: 0
		return kids[0]
	default:
		n.v, n.shift = int32(v), shift
	}
	id := kids[len(kids)-1]
	for i, kid := range slices.Backward(kids[:len(kids)-1]) {
		if kid != id {
			n.in, n.kids = set{{0, uint64(lasts[i])}}, []int32{kid, id}
			id = b.add(n)
		}
	}
	return id
}

func (b *tableGraph) add(n node) int32 {
	b.graph.nodes = append(b.graph.nodes, n)
	return int32(len(b.graph.nodes) - 1)
}

// leaf keeps the lower of the leaf that the trees before have led to, and this one.
func (b *tableGraph) leaf(tree int, leaf uint64) int32 {
	if len(b.trees) == 1 {
		return b.tail(leaf, tableNone)
	}
	next := b.next(tree)
	found := b.add(node{kind: setNode, space: joins, v: int32(tree), value: leaf, from: -1, kids: []int32{next}})
	if tree == 0 || tree == len(b.trees)-b.audits || leaf == 0 {
		return found
	}
	keep, ok := b.copies[tree]
	if !ok {
		keep = b.add(node{kind: setNode, space: joins, v: int32(tree), from: int32(tree - 1), kids: []int32{next}})
		b.copies[tree] = keep
	}
	return b.add(node{kind: testNode, space: joins, v: int32(tree - 1), width: 32, in: set{{0, leaf - 1}}, kids: []int32{keep, found}})
}

// next is what follows on a tree.
func (b *tableGraph) next(tree int) int32 {
	if tree+1 < len(b.trees) {
		return b.at(tree+1, b.trees[tree+1].root)
	}
	if b.end >= 0 {
		return b.end
	}
	choose := func(tree int, kid func(leaf uint64) int32) int32 {
		n := node{kind: chooseNode, space: joins, v: int32(tree)}
		for _, leaf := range b.graph.numbers[tree] {
			n.values, n.kids = append(n.values, leaf), append(n.kids, kid(leaf))
		}
		return b.add(n)
	}
	b.end = choose(len(b.trees)-b.audits-1, func(leaf uint64) int32 {
		if b.audits == 0 {
			return b.tail(leaf, tableNone)
		}
		return choose(len(b.trees)-1, func(audit uint64) int32 { return b.tail(leaf, audit) })
	})
	return b.end
}

// tail is the end with a leaf of the rules and one of the audit rules.
func (b *tableGraph) tail(leaf, audit uint64) int32 {
	id := b.add(node{kind: exitNode, value: leaf & verdictBit})
	a, err := b.answerOfLeaves(leaf, audit)
	if err != nil {
		a = answer{rule: -1, audit: -1, flaw: err.Error()}
	}
	b.tails[id] = a
	return id
}

// answerOfLeaves is what the engine does with the lowest leaf of the rules, and that of the
// audit rules.
func (c *checker) answerOfLeaves(leaf, audit uint64) (answer, error) {
	rule, before := int(leaf>>ruleShift), -1
	if audit < leaf {
		before = int(audit >> ruleShift)
	}
	if err := c.checkRules(rule, before); err != nil {
		return answer{}, err
	}
	for _, l := range []uint64{leaf, audit} {
		want := compiler.Rule{Verdict: c.policy.Default}
		switch i := int(l >> ruleShift); {
		case l == audit && before < 0:
			continue
		case i < len(c.policy.Rules):
			want = c.policy.Rules[i]
		}
		if verdict(l&verdictBit) != want.Verdict || l&loggedBit != 0 != want.Log {
			return answer{}, fmt.Errorf("a leaf of rule `%s` with another verdict or log", c.policy.RuleID(int(l>>ruleShift)))
		}
	}
	return c.expected(rule, before), nil
}

// lookUp judges a connection by a table.
func (c *checker) lookUp(_ *function, r *compiler.Request, contents map[*compiler.Set][]compiler.Range, failed bool) (answer, error) {
	remote := r.Value(compiler.RemoteAddress)
	b := &tableGraph{checker: c, ipv6: !compiler.IsMapped(compiler.Range{First: remote, Last: remote})}
	values := inputsOf(r)
	for v := interfaceType; failed && v <= subInterface; v++ {
		values[v] = v.missing()
	}
	list := uint32(0)
	if b.ipv6 {
		list = 1
	}
	var lowest [2]uint64
	for i := range lowest {
		trees, err := b.list(list + auditLists*uint32(i))
		if err != nil {
			return answer{}, err
		}
		lowest[i] = tableNone
		for _, t := range trees {
			reference := t.root
			for reference < tableLeaf {
				place := placeOf(reference)
				var cell [2]int
				for half, slot := range slotsOf(reference) {
					value := b.slot(slot, &values, r, contents)
					cell[half] = slices.IndexFunc(b.lasts(place, half), func(last uint32) bool { return value <= last })
				}
				reference = b.cells(place)[cell[0]][cell[1]]
			}
			lowest[i] = min(lowest[i], uint64(reference&^tableLeaf))
		}
	}
	return c.answerOfLeaves(lowest[0], lowest[1])
}

// slot is the value of a slot.
func (b *tableGraph) slot(slot uint32, values *[numFields]uint64, r *compiler.Request, contents map[*compiler.Set][]compiler.Range) uint32 {
	v, shift, isField := slotVariable(slot)
	switch {
	case isField && (b.ipv6 || v > localLow || slot%4 == 3):
		return uint32(values[v] >> shift)
	case slot < tableAnswers:
		return 0
	}
	l := b.table.lookups[slot-tableAnswers]
	if slices.ContainsFunc(contents[l.set], func(g compiler.Range) bool { return g.Contains(r.Value(l.field)) }) {
		return 1
	}
	return 0
}
