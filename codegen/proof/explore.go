package proof

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
)

// explorer turns a function into a graph by executing it on symbols, both ways at
// every test. Where paths join, what was found from there before serves again if
// the parts of the state agree that the code goes on to read. A register in which
// joining paths have left different numbers becomes a variable.
type explorer struct {
	machine
	graph   *graph
	effort  *effort
	apart   bool   // joining registers is off
	joinAt  []bool // by slot: two jumps at least lead there
	memo    map[int][]*visited
	joinOf  map[joinKey]int32
	forced  map[joinKey]bool  // where registers were joined in a run before: there no path goes by itself
	kept    map[int]footprint // by slot of a choice: what its alternatives read
	choices []choice
	values  []map[uint64]bool // by join
	copies  map[[2]int32]bool // joins: the first takes the numbers of the second
	steps   int
	scratch []byte
}

type joinKey struct {
	slot     int
	register uint8
}

// visited is what was found from a slot on.
type visited struct {
	found
	byState map[string]found
	without [10]map[string]bool // by register: the states without it, where it was asked for
}

// found is the graph from a slot on.
type found struct {
	node    int32
	read    footprint
	tests   bool // something is tested from there on
	network bool // and that of the network context
}

// choice is where a joined number has to be known, to be gone on with once all its
// numbers are.
type choice struct {
	node  int32
	slot  int
	state state
	join  int32
	done  map[uint64]bool
}

// maxSteps bounds the instructions that are executed to make the graph.
const maxSteps = 20_000_000

// explore gives the graph of a function.
func explore(m machine, limit *effort) (*graph, error) {
	kept := map[int]footprint{}
	var forced map[joinKey]bool
	for apart := false; ; {
		x := &explorer{
			machine: m, effort: limit, graph: &graph{function: m.function, maps: m.maps}, apart: apart,
			memo: map[int][]*visited{}, joinOf: map[joinKey]int32{}, copies: map[[2]int32]bool{}, kept: kept, forced: forced,
		}
		x.known = map[lookup]int32{}
		again, err := x.run()
		var refused *refusal
		if errors.As(err, &refused) && !apart && len(x.values) > 0 {
			// A joined register may seem to hold what it cannot at that place.
			apart = true
			continue
		}
		if err != nil {
			return nil, err
		}
		if x.findsJoins() {
			forced = map[joinKey]bool{}
			for key := range x.joinOf {
				forced[key] = true
			}
			continue
		}
		if !again {
			x.graph.setLookups(x.lookups)
			x.graph.joins = len(x.values)
			for _, numbers := range x.values {
				x.graph.numbers = append(x.graph.numbers, slices.Sorted(maps.Keys(numbers)))
			}
			x.graph.sort()
			return x.graph, nil
		}
	}
}

// findsJoins reports whether registers are joined that are not yet forced to be.
func (x *explorer) findsJoins() bool { return !x.apart && len(x.joinOf) > len(x.forced) }

// run makes the graph; again says that a choice reads more than was kept for it, or,
// before any choice is gone on with, that joins are to be forced first.
func (x *explorer) run() (again bool, err error) {
	if err := x.findJoins(); err != nil {
		return false, err
	}
	root, err := x.from(0, start())
	if err != nil {
		return false, err
	}
	x.graph.root = root.node
	if x.findsJoins() {
		return true, nil
	}
	for more := true; more; {
		more = false
		x.spread()
		for i := 0; i < len(x.choices); i++ {
			for _, n := range slices.Sorted(maps.Keys(x.values[x.choices[i].join])) {
				if x.choices[i].done[n] {
					continue
				}
				more = true
				exceeded, err := x.alternative(i, n)
				if err != nil || exceeded {
					return exceeded, err
				}
			}
		}
	}
	return false, nil
}

// spread copies numbers from join to join until nothing changes.
func (x *explorer) spread() {
	for changed := true; changed; {
		changed = false
		for c := range x.copies {
			for n := range x.values[c[1]] {
				if !x.values[c[0]][n] {
					x.values[c[0]][n], changed = true, true
				}
			}
		}
	}
}

// alternative goes on from a choice with one of the numbers.
func (x *explorer) alternative(i int, n uint64) (exceeded bool, err error) {
	c := &x.choices[i]
	c.done[n] = true
	slot, at, join, s := c.slot, c.node, c.join, c.state
	for r := range s.registers {
		if s.registers[r].kind == joined && s.registers[r].id == join {
			s.registers[r] = constant(n)
		}
	}
	f, err := x.stretch(slot, &s)
	if err != nil {
		return false, err
	}
	g := &x.graph.nodes[at]
	g.values = append(g.values, n)
	g.kids = append(g.kids, f.node)
	kept := x.kept[slot]
	if kept.covers(&f.read) {
		return false, nil
	}
	kept.or(&f.read)
	x.kept[slot] = kept
	return true, nil
}

func (x *explorer) add(n node) int32 {
	x.graph.nodes = append(x.graph.nodes, n)
	return int32(len(x.graph.nodes) - 1)
}

// findJoins checks that jumps go forward and stay inside, and finds where they meet.
func (x *explorer) findJoins() error {
	arrivals := make([]uint8, len(x.code)+1)
	for i := range x.code {
		in := &x.code[i]
		x.slot = i
		target, jumps := in.target(i)
		if !jumps {
			continue
		}
		if target <= i {
			return x.strange("jumps backwards")
		}
		if target >= len(x.code) {
			return x.wrong("jumps out of the function")
		}
		if target > 0 && x.code[target-1].code == loadConstant {
			return x.wrong("jumps into a constant")
		}
		arrivals[target] = min(arrivals[target]+1, 2)
		if in.code&0xf0 != jumpAlways {
			arrivals[i+1]++
		}
	}
	x.joinAt = make([]bool, len(x.code))
	for i := range x.joinAt {
		x.joinAt[i] = arrivals[i] > 0
	}
	return nil
}

// target is where a jump leads from a slot.
func (in *instruction) target(slot int) (int, bool) {
	class := in.code & 7
	if class != classJump && class != classJump32 {
		return 0, false
	}
	switch op := in.code & 0xf0; {
	case op == opCall || op == opExit:
		return 0, false
	case op == jumpAlways && class == classJump32:
		return slot + 1 + int(in.imm), true
	}
	return slot + 1 + int(in.offset), true
}

// from gives the graph from a slot on. It may change the state.
func (x *explorer) from(slot int, s *state) (found, error) {
	if slot >= len(x.code) {
		x.slot = slot
		return found{}, x.wrong("runs past the end")
	}
	if !x.joinAt[slot] {
		return x.stretch(slot, s)
	}
	for _, v := range x.memo[slot] {
		if f, ok := v.byState[string(x.project(s, &v.read))]; ok {
			return f, nil
		}
	}
	if f, ok, err := x.join(slot, s); ok || err != nil {
		return f, err
	}
	entry := *s
	f, err := x.stretch(slot, s)
	if err != nil {
		return found{}, err
	}
	x.remember(slot, &entry, f)
	return f, nil
}

func (x *explorer) remember(slot int, entry *state, f found) {
	f.read.writtenRegisters, f.read.writtenStack = 0, [stackSize / 64]uint64{}
	i := slices.IndexFunc(x.memo[slot], func(v *visited) bool { return v.read == f.read })
	if i < 0 {
		i = len(x.memo[slot])
		x.memo[slot] = append(x.memo[slot], &visited{found: f, byState: map[string]found{}})
	}
	v := x.memo[slot][i]
	key := string(x.project(entry, &v.read))
	v.byState[key] = f
	for r, states := range v.without {
		if states != nil {
			states[withoutRegister(key, &v.read, uint8(r))] = true
		}
	}
}

// project writes down the part of a state that a footprint covers.
func (x *explorer) project(s *state, f *footprint) []byte {
	b := append(x.scratch[:0], 0)
	if f.asked {
		b[0] = byte(s.asked)
	}
	for r := range s.registers {
		if f.registers>>r&1 == 0 {
			continue
		}
		v := &s.registers[r]
		b = append(b, byte(v.kind))
		b = binary.LittleEndian.AppendUint32(b, uint32(v.id))
		b = binary.LittleEndian.AppendUint64(b, uint64(v.offset))
		for _, c := range v.bytes {
			b = binary.LittleEndian.AppendUint16(b, uint16(c))
		}
	}
	for i, word := range f.stack {
		for j := 0; word != 0; j, word = j+1, word>>1 {
			if word&1 != 0 {
				b = binary.LittleEndian.AppendUint16(b, uint16(s.stack[64*i+j]))
			}
		}
	}
	x.scratch = b
	return b
}

// join lets a path join others that differ from it only in the constants of
// registers, if there is still something to be tested.
func (x *explorer) join(slot int, s *state) (found, bool, error) {
	if x.apart {
		return found{}, false, nil
	}
	for r := uint8(6); r < 10; r++ { // those that live through calls
		key := joinKey{slot, r}
		n, isConstant := s.registers[r].constant()
		id, known := x.joinOf[key]
		isJoined := s.registers[r].kind == joined
		if !isJoined && !isConstant || isJoined && known && s.registers[r].id == id {
			continue
		}
		if !x.forced[key] && (isJoined && !known || !x.meets(slot, s, r, known)) {
			continue
		}
		if !known {
			id = int32(len(x.values))
			x.joinOf[key] = id
			x.values = append(x.values, map[uint64]bool{})
		}
		assign := node{kind: setNode, space: joins, v: id, value: n, from: -1}
		if isConstant {
			x.values[id][n] = true
		} else {
			assign.from = s.registers[r].id
			x.copies[[2]int32{id, assign.from}] = true
		}
		s.registers[r] = value{kind: joined, id: id}
		f, err := x.from(slot, s)
		if err != nil {
			return found{}, false, err
		}
		assign.kids = []int32{f.node}
		f.node = x.add(assign)
		f.read.registers |= 1 << r
		return f, true, nil
	}
	return found{}, false, nil
}

// meets reports whether a register should be joined at a slot: paths that came there
// before read it, and, unless it is joined there already, one of them had all the same
// but for a constant in it.
func (x *explorer) meets(slot int, s *state, r uint8, known bool) bool {
	return slices.ContainsFunc(x.memo[slot], func(v *visited) bool {
		return v.tests && v.read.registers>>r&1 != 0 && (known || x.differsIn(s, v, r))
	})
}

// differsIn reports whether a path that came before had all the same but for a
// constant in the register.
func (x *explorer) differsIn(s *state, v *visited, r uint8) bool {
	if v.without[r] == nil {
		v.without[r] = map[string]bool{}
		for key := range v.byState {
			v.without[r][withoutRegister(key, &v.read, r)] = true
		}
	}
	rest := v.read
	rest.registers &^= 1 << r
	return v.without[r][string(x.project(s, &rest))]
}

// registerBytes is the length of a register in a projection.
const registerBytes = 1 + 4 + 8 + 16

// withoutRegister cuts a register out of a projection.
func withoutRegister(key string, f *footprint, r uint8) string {
	at := 1
	for q := uint8(0); q < r; q++ {
		if f.registers>>q&1 != 0 {
			at += registerBytes
		}
	}
	if key[at] != byte(number) {
		return "" // an address, or joined already
	}
	return key[:at] + key[at+registerBytes:]
}

// stretch executes from a slot to the next fork, effect or join.
func (x *explorer) stretch(slot int, s *state) (found, error) {
	read := &footprint{}
	x.read = read
	for first := true; ; first = false {
		if x.steps++; x.steps > maxSteps {
			return found{}, errEffort
		}
		if err := x.effort.spend(perInstruction); err != nil {
			return found{}, err
		}
		if slot >= len(x.code) {
			x.slot = slot
			return found{}, x.wrong("runs past the end")
		}
		if !first && x.joinAt[slot] {
			return x.after(read, slot, s)
		}
		x.slot = slot
		in := &x.code[slot]
		var err error
		switch class := in.code & 7; {
		case class != classJump && class != classJump32:
			var f found
			var done bool
			if f, done, err = x.atomic(read, slot, s); done {
				return f, err
			}
			if f, done, err = x.minimum(read, slot, s); done {
				return f, err
			}
			if err == nil {
				err = x.step(s, in)
			}
			if in.code&7 == classLoadImmediate {
				slot++
			}
			slot++
		case in.code&0xf0 == jumpAlways:
			slot, _ = in.target(slot)
		case in.code&0xf0 == opExit:
			var f found
			if f, err = x.exit(s); err == nil {
				f.read = *read
				return f, nil
			}
		case in.code&0xf0 == opCall:
			var f found
			var done bool
			if f, done, err = x.call(read, slot, s); done {
				return f, err
			}
			slot++
		default:
			var f found
			var done bool
			if f, done, err = x.jump(read, &slot, s); done {
				return f, err
			}
		}
		var join errJoined
		if errors.As(err, &join) {
			return x.choose(read, x.slot, s, int32(join))
		}
		if err != nil {
			return found{}, err
		}
	}
}

// after goes on at a slot and adds what was read before it.
func (x *explorer) after(read *footprint, slot int, s *state) (found, error) {
	f, err := x.from(slot, s)
	if err != nil {
		return found{}, err
	}
	total := *read
	total.then(&f.read)
	f.read = total
	return f, nil
}

// fork goes on both ways and adds a node over them.
func (x *explorer) fork(read *footprint, n node, slots [2]int, states [2]*state) (found, error) {
	a, err := x.from(slots[0], states[0])
	if err != nil {
		return found{}, err
	}
	b, err := x.from(slots[1], states[1])
	if err != nil {
		return found{}, err
	}
	f := found{tests: a.tests || b.tests, network: a.network || b.network}
	total := *read
	total.then(&a.read)
	total.then(&b.read)
	f.read = total
	if a.node == b.node {
		f.node = a.node
		return f, nil
	}
	n.kids = []int32{a.node, b.node}
	f.node = x.add(n)
	return f, nil
}

// effect adds a node for something done, and goes on.
func (x *explorer) effect(read *footprint, n node, slot int, s *state) (found, error) {
	f, err := x.after(read, slot, s)
	if err != nil {
		return found{}, err
	}
	n.kids = []int32{f.node}
	f.node = x.add(n)
	return f, nil
}

func (x *explorer) exit(s *state) (found, error) {
	v, err := x.get(s, 0)
	if err != nil {
		return found{}, err
	}
	if v.kind == joined {
		return found{}, errJoined(v.id)
	}
	n, known := v.constant()
	if !known {
		return found{}, x.strange("returns what is not a constant")
	}
	return found{node: x.add(node{kind: exitNode, value: n})}, nil
}

// choose puts off what needs a joined number until all its numbers are known. One
// of them shows now what the code goes on to read.
func (x *explorer) choose(read *footprint, slot int, s *state, join int32) (found, error) {
	n := x.add(node{kind: chooseNode, space: joins, v: join})
	if _, known := x.kept[slot]; !known {
		x.kept[slot] = footprint{registers: 0x3c0, asked: true}
	}
	x.choices = append(x.choices, choice{node: n, slot: slot, state: *s, join: join, done: map[uint64]bool{}})
	total, kept := *read, x.kept[slot]
	total.then(&kept)
	return found{node: n, read: total}, nil
}
