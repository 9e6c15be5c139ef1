package codegen

import (
	"encoding/binary"
	"math"
	"slices"
)

// tableTest is a test of a slot: kid i is where values up to last[i] lead that are above
// those of the kids before. The last number is the highest there is.
type tableTest struct {
	slot tableSlot
	last []uint32
	kids []tableTarget
}

// tableNode is a node of a table. The values of two slots, which may be the same, are each
// compared with three numbers, and cell 4*i+j says which kid is meant if they are above i of
// the first three and j of the others.
type tableNode struct {
	slots [2]tableSlot
	last  [2][tableLasts]uint32
	cells [tableCells]uint8
	n     uint8 // kids in use
	kids  [tableKids]tableTarget
}

// tableRow is how many kids a node has of a single test.
const tableRow = 2*tableLasts + 1

// tableTests holds tests, one of equal ones, and what nodes are made of them.
type tableTests struct {
	tests  []tableTest
	byText map[string]tableTarget
	plans  []tablePlan // by test
}

// tablePlan is a node as it is before there are others: its kids are tests.
type tablePlan struct {
	node  tableNode
	steps float64 // nodes on a way from here, if all that the tests tell apart were alike likely; 0 before there is a plan
}

// test gives the test of a slot, or where that leads for all values.
func (t *tableTests) test(slot tableSlot, last []uint32, kids []tableTarget) tableTarget {
	n := tableTest{slot: slot}
	text := []byte{byte(slot)}
	for i, kid := range kids {
		if i+1 < len(kids) && kids[i+1] == kid {
			continue
		}
		end := last[i]
		if i+1 == len(kids) {
			end = math.MaxUint32
		}
		n.last, n.kids = append(n.last, end), append(n.kids, kid)
		text = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(text, end), uint32(kid))
	}
	if len(n.kids) == 1 {
		return n.kids[0]
	}
	id, ok := t.byText[string(text)]
	if !ok {
		id = tableTarget(len(t.tests))
		t.byText[string(text)] = id
		t.tests, t.plans = append(t.tests, n), append(t.plans, tablePlan{})
	}
	return id
}

// span is a part of what a slot may hold.
type span struct {
	slot        tableSlot
	first, last uint32
}

// within follows tests as far as the spans of two slots tell where they lead. What is left of
// a test that takes more than one node is not worth nodes of its own.
func (t *tableTests) within(spans *[2]span, to tableTarget) tableTarget {
	for {
		if _, leaf := to.leaf(); leaf {
			return to
		}
		n := t.tests[to]
		i := slices.IndexFunc(spans[:], func(s span) bool { return s.slot == n.slot })
		if i < 0 {
			return to
		}
		from, _ := slices.BinarySearch(n.last, spans[i].first)
		end, _ := slices.BinarySearch(n.last, spans[i].last)
		switch {
		case from == end:
			to = n.kids[from]
		case len(n.kids) > tableRow:
			return to
		default:
			return t.test(n.slot, n.last[from:end+1], n.kids[from:end+1])
		}
	}
}

// plan finds the node for a test, with as few steps behind it as can be.
func (t *tableTests) plan(test tableTarget) tablePlan {
	if t.plans[test].steps == 0 {
		n := t.tests[test]
		best := t.row(n)
		if len(n.kids) <= tableLasts+1 {
			for _, second := range t.seconds(n) {
				if p, ok := t.cross(n, second); ok && p.steps < best.steps {
					best = p
				}
			}
		}
		t.plans[test] = best
	}
	return t.plans[test]
}

func (t *tableTests) steps(to tableTarget) float64 {
	if _, leaf := to.leaf(); leaf {
		return 0
	}
	return t.plan(to).steps
}

// row is the node of a single test; of more kids than a node has, each stands for several,
// so that all nodes are full but one.
func (t *tableTests) row(n tableTest) tablePlan {
	p := newPlan(n.slot, n.slot)
	all := len(n.kids)
	more := max(0, (all-2)/(tableRow-1)) // nodes below this one
	missing := more*(tableRow-1) + tableRow - all
	for k, from := 0, 0; from < all; k++ {
		below := more / tableRow
		if k < more%tableRow {
			below++
		}
		to := from + 1 + below*(tableRow-1)
		if k == 0 && below > 0 {
			to -= missing
		}
		at := k * (tableLasts + 1)
		if k > tableLasts {
			at = tableLasts*(tableLasts+1) + k - tableLasts
		}
		p.lead(at, t.test(n.slot, n.last[from:to], n.kids[from:to]), float64(to-from)/float64(all), t)
		for j := 1; j <= tableLasts && k < tableLasts; j++ { // which no value has
			p.node.cells[at+j] = p.node.cells[at]
		}
		if to < all {
			p.node.last[k/tableLasts][k%tableLasts] = n.last[to-1]
		}
		from = to
	}
	return p
}

// tableSecond is a slot that is worth looking at together with another, and where to part
// its values.
type tableSecond struct {
	slot tableSlot
	last []uint32 // that of the last part is the highest there is
}

// seconds lists, of the tests that a test leads to, those that may be made at once with it.
func (t *tableTests) seconds(n tableTest) (list []tableSecond) {
	bySlot := map[tableSlot][]uint32{}
	for _, kid := range n.kids {
		if _, leaf := kid.leaf(); leaf || t.tests[kid].slot == n.slot || len(t.tests[kid].kids) > tableLasts+1 {
			continue
		}
		s := t.tests[kid].slot
		list = append(list, tableSecond{s, t.tests[kid].last})
		bySlot[s] = append(bySlot[s], t.tests[kid].last...)
	}
	for i, s := range list {
		all := slices.Sorted(slices.Values(bySlot[s.slot]))
		if all = slices.Compact(all); len(all) <= tableLasts+1 {
			list[i].last = all
		}
	}
	return list
}

// cross is the node that makes a test and part of those behind it at once. It gives false
// if that leads to more kids than a node has.
func (t *tableTests) cross(n tableTest, second tableSecond) (p tablePlan, ok bool) {
	p = newPlan(n.slot, second.slot)
	share := 1 / float64(len(n.kids)*len(second.last))
	one, two := span{slot: n.slot}, span{slot: second.slot}
	for i, kid := range n.kids {
		one.last, two.first = n.last[i], 0
		for j := range second.last {
			two.last = second.last[j]
			if !p.lead(i*(tableLasts+1)+j, t.within(&[2]span{one, two}, kid), share, t) {
				return p, false
			}
			two.first = two.last + 1
		}
		one.first = one.last + 1
	}
	copy(p.node.last[0][:], n.last[:len(n.last)-1])
	copy(p.node.last[1][:], second.last[:len(second.last)-1])
	return p, true
}

func newPlan(first, second tableSlot) tablePlan {
	p := tablePlan{steps: 1, node: tableNode{slots: [2]tableSlot{first, second}}}
	for i := range p.node.last {
		for j := range p.node.last[i] {
			p.node.last[i][j] = math.MaxUint32
		}
	}
	return p
}

// lead makes a cell lead somewhere; share is its part of all that the node tells apart. It
// gives false if there is no room for one more kid.
func (p *tablePlan) lead(cell int, to tableTarget, share float64, t *tableTests) bool {
	n := &p.node
	i := slices.Index(n.kids[:n.n], to)
	if i < 0 {
		if n.n == tableKids {
			return false
		}
		i = int(n.n)
		n.kids[i] = to
		n.n++
	}
	n.cells[cell] = uint8(i)
	p.steps += share * t.steps(to)
	return true
}

// put writes the node.
func (n *tableNode) put(at []byte, reference func(tableTarget) uint32) {
	for i, last := range slices.Concat(n.last[0][:], n.last[1][:]) {
		binary.LittleEndian.PutUint32(at[4*i:], last)
	}
	cells := uint64(0)
	for i, kid := range n.cells {
		cells |= uint64(kid) << (4 * i)
	}
	binary.LittleEndian.PutUint64(at[nodeCells:], cells)
	for i, kid := range n.kids[:n.n] {
		binary.LittleEndian.PutUint32(at[nodeKids+4*i:], reference(kid))
	}
}
