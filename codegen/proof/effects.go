package proof

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/lang"
)

// jump decides a comparison, or forks; then done is set.
func (x *explorer) jump(read *footprint, slot *int, s *state) (f found, done bool, err error) {
	at := *slot
	in := &x.code[at]
	wide := in.code&7 == classJump
	op := in.code & 0xf0
	a, err := x.get(s, in.dst)
	if err != nil {
		return found{}, false, err
	}
	b := constant(uint64(in.imm))
	if in.code&sourceRegister != 0 {
		source, err := x.get(s, in.src)
		if err != nil {
			return found{}, false, err
		}
		b = *source
	}
	left := *a
	if _, known := left.constant(); known && b.kind != number || known && !isConstant(&b) {
		left, b, op = b, left, mirrored(op)
	}
	target, _ := in.target(at)
	if v, ok := x.sameDevice(&left, &b); ok && wide && (op == jumpEqual || op == jumpNotEqual) {
		left, b = v, constant(1)
	}
	y, known := b.constant()
	if !known {
		for _, v := range []*value{&left, &b} {
			if v.kind == joined {
				return found{}, false, errJoined(v.id)
			}
		}
		if left.kind != number || b.kind != number {
			return found{}, false, x.strange("compares what is not understood")
		}
		other := *s
		f, err = x.fork(read, node{kind: opaqueNode, value: uint64(at)}, [2]int{target, at + 1}, [2]*state{s, &other})
		f.tests = true
		return f, true, err
	}
	slots := [2]int{target, at + 1}
	if to, ok, err := x.decided(s, &left, op, y, wide, slots); ok || err != nil {
		*slot = to
		return found{}, false, err
	}
	states := [2]*state{s, nil}
	n, err := x.test(&left, op, y, wide)
	if err != nil {
		return found{}, false, err
	}
	other := *s
	states[1] = &other
	if left.kind == toMaybe {
		if op == jumpEqual {
			slots[0], slots[1] = slots[1], slots[0]
		}
		there := left
		there.kind = toValue
		replace(states[0], &left, there)
		replace(states[1], &left, constant(0))
		return x.lookedUp(read, n, slots, states, left.id)
	}
	f, err = x.fork(read, n, slots, states)
	f.tests = f.tests || n.space != joins
	if n.kind == testNode && n.space == fields && variable(n.v).network() || n.space == sets && x.networkKey(n.v) {
		f.network = true
	}
	return f, true, err
}

// decided gives the slot that a comparison leads to where its outcome is known.
func (x *explorer) decided(s *state, left *value, op uint8, y uint64, wide bool, slots [2]int) (to int, ok bool, err error) {
	var jumps bool
	n, known := left.constant()
	equality := op == jumpEqual || op == jumpNotEqual
	switch {
	case known:
		jumps = holds(op, n, y, wide)
	case left.kind == status: // less than 0
		if y != 0 || !equality && op != jumpSignedLess && op != jumpSignedGreaterEqual {
			return 0, false, x.strange("compares the helper's result in a way that is not understood")
		}
		jumps = holds(op, math.MaxUint64, y, wide)
	case left.kind == toContext && y == 0 && wide && equality: // it is never null
		jumps = op == jumpNotEqual
	case left.isMember() && holds(op, 0, y, wide) == holds(op, 1, y, wide):
		if jumps = holds(op, 0, y, wide); jumps != holds(op, noSet, y, wide) {
			others := slots[0]
			if jumps {
				others = slots[1]
			}
			err = x.withoutSet(others, s, left)
		}
	case left.isMember() && left.offset == unasked:
		return 0, false, x.wrong("takes the answer of a lookup before it is known to be one")
	default:
		return 0, false, nil
	}
	if jumps {
		return slots[0], true, err
	}
	return slots[1], true, err
}

func isConstant(v *value) bool {
	_, ok := v.constant()
	return ok
}

// isMember reports whether the value is 0 or 1, as a number is in a set.
func (v *value) isMember() bool {
	return v.kind == number && v.bytes[0] >= members && v.bytes[1] == 0 && v.bytes[2] == 0 && v.bytes[3] == 0 &&
		v.bytes[4] == 0 && v.bytes[5] == 0 && v.bytes[6] == 0 && v.bytes[7] == 0
}

// noSet is what a lookup answers where there is no table. Until it has been compared with
// that, its answer has the offset unasked.
const (
	noSet   = 2
	unasked = 1
)

// withoutSet sees to it that the program gives up where there is no table, and goes on
// where there is.
func (x *explorer) withoutSet(slot int, s *state, answer *value) error {
	member, other, read := *answer, *s, x.read
	for r := range other.registers {
		if other.registers[r] == member {
			other.registers[r] = constant(noSet)
			s.registers[r].offset = 0
		}
	}
	f, err := x.from(slot, &other)
	if err != nil {
		return err
	}
	x.read = read
	x.read.then(&f.read)
	if !x.givesUp(f.node) {
		return x.wrong("goes on without a set")
	}
	return nil
}

// givesUp reports whether a node is the end of a program, or of a decision, that has
// found something missing.
func (x *explorer) givesUp(id int32) bool {
	n, want := &x.graph.nodes[id], uint64(lang.Deny)
	if x.decision != nil {
		want = codegen.DecisionBroken
	}
	return n.kind == exitNode && n.value == want
}

// replace puts what is known now of a looked-up value wherever it stands.
func replace(s *state, was *value, is value) {
	for r := range s.registers {
		if v := &s.registers[r]; v.kind == was.kind && v.id == was.id {
			*v = is
		}
	}
}

// test is the node of a comparison with a constant.
func (x *explorer) test(v *value, op uint8, y uint64, wide bool) (node, error) {
	width := uint(32)
	if wide {
		width = 64
	}
	in, ok := comparison(op, y, width)
	if !ok {
		return node{}, x.strange("compares in a way that is not understood")
	}
	switch v.kind {
	case joined:
		return node{kind: testNode, space: joins, v: v.id, width: 32, in: in.and(set{{0, ones(32)}})}, nil
	case toMaybe:
		if y != 0 || !wide || (op != jumpEqual && op != jumpNotEqual) || v.offset != 0 {
			return node{}, x.strange("compares an address in a way that is not understood")
		}
		return node{kind: foundNode}, nil
	case number:
		return x.testNumber(v, in, int(width)/8)
	}
	return node{}, x.strange("compares an address")
}

// testNumber is the test of bytes that stand together in an input.
func (x *explorer) testNumber(v *value, in set, bytes int) (node, error) {
	for bytes > 1 && v.bytes[bytes-1] == 0 {
		bytes--
	}
	first := v.bytes[0]
	for i := range bytes {
		if v.bytes[i] == unset || v.bytes[i] == garbage {
			return node{}, x.wrong("tests bytes that may be anything")
		}
		if v.bytes[i] != first+symbol(i) {
			return node{kind: opaqueNode, value: uint64(x.slot)}, nil
		}
	}
	n := node{kind: testNode, width: uint8(8 * bytes)}
	n.in = in.and(set{{0, ones(uint(8 * bytes))}})
	if first >= members {
		if bytes > 1 {
			return node{kind: opaqueNode, value: uint64(x.slot)}, nil
		}
		n.space, n.v = sets, int32(first-members)
		return n, nil
	}
	variable, significance, ok := first.isInput()
	if !ok || significance+bytes > 8 {
		return node{kind: opaqueNode, value: uint64(x.slot)}, nil
	}
	n.v, n.shift = int32(variable), uint8(8*significance)
	return n, nil
}

// lookedUp forks on whether a counter was found.
func (x *explorer) lookedUp(read *footprint, n node, slots [2]int, states [2]*state, id int32) (found, bool, error) {
	l := &x.lookups[id]
	info := x.maps[l.mapID]
	// Counting is not worth a verdict: a counter that is missing changes nothing else.
	key := uint64(0)
	for i := info.key - 1; i >= 0; i-- {
		key = key<<8 | uint64(l.key[i])
	}
	missing, err := x.from(slots[1], states[1])
	if err != nil {
		return found{}, true, err
	}
	if info.name == codegen.StateMap {
		return x.withState(read, slots, states, &missing)
	}
	missing.node = x.add(node{kind: skipNode, value: key, kids: []int32{missing.node}})
	there, err := x.from(slots[0], states[0])
	if err != nil {
		return found{}, true, err
	}
	n.kids = []int32{there.node, missing.node}
	f := found{node: x.add(n), tests: there.tests || missing.tests, network: there.network || missing.network}
	total := *read
	total.then(&there.read)
	total.then(&missing.read)
	f.read = total
	return f, true, nil
}

// withState goes on where the state of a program for Linux is there. Where it is not, the
// decision must end at once.
func (x *explorer) withState(read *footprint, slots [2]int, states [2]*state, missing *found) (found, bool, error) {
	if !x.givesUp(missing.node) {
		return found{}, true, x.wrong("goes on without the state")
	}
	there, err := x.from(slots[0], states[0])
	if err != nil {
		return found{}, true, err
	}
	total := *read
	total.then(&there.read)
	total.then(&missing.read)
	there.read = total
	return there, true, nil
}

// minimum forks where the lower of a constant and a joined number is computed without a
// jump: in a - b, its sign, both of these together, the sum with b.
func (x *explorer) minimum(read *footprint, slot int, s *state) (f found, done bool, err error) {
	in := &x.code[slot]
	wide := in.code == classALU64|opAdd|sourceRegister
	if !wide && in.code != classALU32|opAdd|sourceRegister || s.registers[in.dst].kind != lower {
		return found{}, false, nil
	}
	a, err := x.get(s, in.dst)
	if err != nil {
		return found{}, true, err
	}
	b, err := x.get(s, in.src)
	if err != nil {
		return found{}, true, err
	}
	taken := b.kind == joined && b.id == a.id && a.bytes == anything().bytes || b.kind == number && b.bytes == a.bytes
	if !taken || !wide && a.offset > math.MaxUint32 {
		return found{}, true, x.strange("computes in a way that is not understood")
	}
	n, id := uint64(a.offset), a.id
	other := *s
	x.set(s, in.dst, constant(n))
	other.registers[in.dst] = value{kind: joined, id: id}
	above := node{kind: testNode, space: joins, v: id, width: 64, in: set{{n + 1, n + 1<<63}}}
	f, err = x.fork(read, above, [2]int{slot + 1, slot + 1}, [2]*state{s, &other})
	return f, true, err
}

// atomic recognizes the addition to a counter.
func (x *explorer) atomic(read *footprint, slot int, s *state) (found, bool, error) {
	in := &x.code[slot]
	if in.code&7 != classStoreRegister || in.code&0xe0 != modeAtomic {
		return found{}, false, nil
	}
	base, err := x.get(s, in.dst)
	if err != nil {
		return found{}, true, err
	}
	added, err := x.get(s, in.src)
	if err != nil {
		return found{}, true, err
	}
	one, known := added.constant()
	if base.kind != toValue || base.offset != 0 || in.offset != 0 || !x.maps[x.lookups[base.id].mapID].counters {
		return found{}, true, x.wrong("adds to something that is not a counter")
	}
	if in.imm != 0 || accessBytes(in.code) != 8 || !known || one != 1 {
		return found{}, true, x.wrong("does not add one to a counter of 64 bits")
	}
	l := &x.lookups[base.id]
	key := uint64(0)
	for i := range 4 {
		key |= uint64(l.key[i]) << (8 * i)
	}
	f, err := x.effect(read, node{kind: countNode, value: key}, slot+1, s)
	return f, true, err
}

// call executes a helper.
func (x *explorer) call(read *footprint, slot int, s *state) (f found, done bool, err error) {
	in := &x.code[slot]
	if in.callee != "" && in.src == 1 {
		return found{}, false, x.callMembership(s, in)
	}
	if in.src != 0 || in.code&7 != classJump || in.code&sourceRegister != 0 {
		return found{}, false, x.strange("calls a function of its own")
	}
	switch in.imm {
	case helperLookup:
		err = x.callLookup(s)
	case helperPidTgid:
		v := value{kind: number, bytes: x.view.process}
		x.clobber(s, v)
	case helperNetwork:
		f, err = x.callNetwork(read, slot, s)
		return f, true, err
	case helperRing:
		n, err := x.callRing(s)
		if err != nil {
			return found{}, false, err
		}
		f, err = x.effect(read, n, slot+1, s)
		return f, true, err
	default:
		err = x.strange("calls helper %d", in.imm)
	}
	return found{}, false, err
}

// clobber sets r0 and forgets r1 to r5.
func (x *explorer) clobber(s *state, r0 value) {
	x.set(s, 0, r0)
	for r := uint8(1); r <= 5; r++ {
		x.set(s, r, value{})
	}
}

func (x *explorer) mapArgument(s *state) (int32, error) {
	v, err := x.get(s, 1)
	if err == nil && v.kind != toMap {
		err = x.wrong("passes no map to a helper")
	}
	return v0(v).id, err
}

func v0(v *value) *value {
	if v == nil {
		return &value{}
	}
	return v
}

func (x *explorer) callLookup(s *state) error {
	id, err := x.mapArgument(s)
	if err != nil {
		return err
	}
	address, err := x.get(s, 2)
	if err != nil {
		return err
	}
	info := &x.maps[id]
	if address.kind != toStack || info.key > len(lookup{}.key) {
		return x.strange("looks up a key that is not on the stack")
	}
	key, err := x.load(s, address, 0, info.key)
	if err != nil {
		return err
	}
	l := lookup{mapID: id}
	copy(l.key[:], key)
	switch {
	case info.counters:
		n := uint64(0)
		for i, b := range key {
			if b > 0xff {
				return x.strange("counts by what is not a constant")
			}
			n |= uint64(b) << (8 * i)
		}
		if n >= info.entries {
			return x.wrong("counts rule %d, which is not there", n)
		}
	case info.name == codegen.StateMap:
		if !slices.Equal(key, []symbol{0, 0, 0, 0}) {
			return x.wrong("looks up no state")
		}
	default:
		return x.strange("looks something up in map `%s`", info.name)
	}
	x.clobber(s, value{kind: toMaybe, id: x.lookup(l)})
	return nil
}

// lookup numbers a lookup; the same ones alike.
func (m *machine) lookup(l lookup) int32 {
	number, ok := m.known[l]
	if !ok {
		number = int32(len(m.lookups))
		m.known[l] = number
		m.lookups = append(m.lookups, l)
	}
	return number
}

// callMembership executes a call of a function that looks sets up: r0 becomes 1 if
// the number is in the set, else 0.
func (m *machine) callMembership(s *state, in *instruction) error {
	wide := in.callee == "hopgate_in_wide_set"
	registers := []uint8{2}
	if wide {
		registers = []uint8{2, 3}
	}
	which, err := m.get(s, 1)
	if err != nil {
		return err
	}
	key, known := which.constant()
	id := slices.IndexFunc(m.maps, func(i mapInfo) bool { return i.isSet && i.key > 0 && i.setKey == key })
	if !known || id < 0 || (m.maps[id].key == 20) != wide {
		return m.wrong("looks a number up in no set")
	}
	var data []symbol
	for _, r := range registers {
		v, err := m.get(s, r)
		if err != nil {
			return err
		}
		if v.kind != number {
			return m.strange("looks up what is no number")
		}
		for i := 7; i >= 0; i-- {
			data = append(data, v.bytes[i])
		}
	}
	size := m.maps[id].key - 4
	for _, b := range data[:len(data)-size] {
		if b != 0 {
			return m.wrong("looks up a number that is too large")
		}
	}
	l := lookup{mapID: int32(id)}
	l.key[0] = symbol(8 * size)
	copy(l.key[4:], data[len(data)-size:])
	if slices.ContainsFunc(l.key[:], func(b symbol) bool { return b == garbage || b == unset || b == opaque }) {
		return m.wrong("looks up bytes that may be anything")
	}
	member := constant(0)
	member.bytes[0] = members + symbol(m.lookup(l))
	member.offset = unasked
	if m.member != nil {
		member = constant(uint64(m.member(m.maps[id], l.key[:m.maps[id].key])))
	}
	m.set(s, 0, member)
	for r := uint8(1); r <= 5; r++ {
		m.set(s, r, value{})
	}
	return nil
}

// callNetwork forks on whether the network context is there. Where it is not, the
// buffer has bytes that may be anything.
func (x *explorer) callNetwork(read *footprint, slot int, s *state) (found, error) {
	context, err := x.get(s, 1)
	if err != nil {
		return found{}, err
	}
	buffer, err := x.get(s, 2)
	if err != nil {
		return found{}, err
	}
	length, err := x.get(s, 3)
	if err != nil {
		return found{}, err
	}
	size, known := length.constant()
	at := buffer.offset + stackSize
	switch {
	case context.kind != toContext || context.offset != 0:
		return found{}, x.wrong("passes no context to the helper")
	case !known || size == 0 || size > uint64(len(x.view.network)):
		return found{}, x.wrong("asks for a network context of another size")
	case buffer.kind != toStack || at < 0 || at+int64(size) > stackSize:
		return found{}, x.wrong("asks for the network context outside of its stack")
	case s.asked != never:
		return found{}, x.wrong("asks for the network context twice")
	}
	x.read.asked = true
	address := *buffer
	states := [2]*state{s, new(state)}
	*states[1] = *s
	var unknown [len(x.view.network)]symbol
	for i := range unknown {
		unknown[i] = garbage
	}
	for i, bytes := range [][]symbol{x.view.network[:size], unknown[:size]} {
		if err := x.store(states[i], &address, 0, bytes); err != nil {
			return found{}, err
		}
		states[i].asked = [2]asked{answered, failed}[i]
		x.clobber(states[i], [2]value{constant(0), {kind: status}}[i])
	}
	f, err := x.fork(read, node{kind: askNode}, [2]int{slot + 1, slot + 1}, states)
	if err == nil && !f.network {
		x.graph.idle++
	}
	f.tests = true
	return f, err
}

// callRing is the node of an event.
func (x *explorer) callRing(s *state) (node, error) {
	id, err := x.mapArgument(s)
	if err != nil {
		return node{}, err
	}
	data, err := x.get(s, 2)
	if err != nil {
		return node{}, err
	}
	address := *data
	size, err := x.get(s, 3)
	if err != nil {
		return node{}, err
	}
	length, lengthKnown := size.constant()
	flags, err := x.get(s, 4)
	if err != nil {
		return node{}, err
	}
	zero, flagsKnown := flags.constant()
	if !x.maps[id].events || !lengthKnown || length > stackSize || !flagsKnown || zero != 0 || address.kind != toStack {
		return node{}, x.wrong("writes no event")
	}
	bytes, err := x.load(s, &address, 0, int(length))
	if err != nil {
		return node{}, err
	}
	n := node{kind: eventNode, asked: s.asked}
	x.read.asked = true
	var text []byte
	for _, b := range bytes {
		text = binary.LittleEndian.AppendUint16(text, uint16(b))
	}
	n.event = string(text)
	x.clobber(s, anything())
	return n, nil
}

// networkKey reports whether the key of a lookup comes from the network context.
func (x *explorer) networkKey(id int32) bool {
	for _, b := range x.lookups[id].key {
		if v, _, ok := b.isInput(); ok && v.network() {
			return true
		}
	}
	return false
}
