package proof

import (
	"fmt"

	"github.com/hopgate/hopgate/codegen"
)

// kind says what a register holds.
type kind uint8

const (
	nothing    kind = iota // never written, or dead
	number                 // a number, byte by byte
	joined                 // the number of the variable id, from paths that joined here
	difference             // of the constant offset and the joined number of the variable id, either way round
	sign                   // ones if that is negative, else 0
	lower                  // that if it is negative, else 0
	status                 // less than 0: what the network-context helper returns when it fails
	toContext              // the address of the context, plus offset
	toStack                // r10 plus offset
	toMap                  // the map id
	toValue                // the value that lookup id found, plus offset
	toMaybe                // the same or null
)

// value is what a register holds.
type value struct {
	kind   kind
	id     int32
	offset int64
	bytes  [8]symbol // of a number, the least significant first
}

func constant(n uint64) value {
	v := value{kind: number}
	for i := range v.bytes {
		v.bytes[i] = symbol(n >> (8 * i) & 0xff)
	}
	return v
}

// constant is the number, if all of it is known.
func (v *value) constant() (uint64, bool) {
	if v.kind != number {
		return 0, false
	}
	n := uint64(0)
	for i, b := range v.bytes {
		if b > 0xff {
			return 0, false
		}
		n |= uint64(b) << (8 * i)
	}
	return n, true
}

func anything() value {
	v := value{kind: number}
	for i := range v.bytes {
		v.bytes[i] = garbage
	}
	return v
}

const stackSize = 512

// state is what a program has in hand before an instruction.
type state struct {
	registers [11]value
	stack     [stackSize]symbol
	asked     asked
}

// asked says what became of the request for the network context.
type asked uint8

const (
	never asked = iota
	answered
	failed
)

func start() *state {
	s := &state{}
	s.registers[1] = value{kind: toContext}
	s.registers[10] = value{kind: toStack}
	for i := range s.stack {
		s.stack[i] = unset
	}
	return s
}

// refusal is why a program cannot be followed: it does what no program of ours may
// do (wrong), or something that this package does not understand.
type refusal struct {
	function string
	slot     int
	wrong    bool
	reason   string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("instruction %d of %s %s", r.slot, r.function, r.reason)
}

// machine steps through the code of a function.
type machine struct {
	*function
	view    *view
	maps    []mapInfo
	lookups []lookup
	known   map[lookup]int32
	member  func(mapInfo, []symbol) symbol // decides membership; nil leaves it free
	read    *footprint                     // of the stretch being executed
	slot    int                            // being executed
}

// mapInfo is what a program may know of a map.
type mapInfo struct {
	name     string
	key      int // bytes
	entries  uint64
	isSet    bool
	setKey   uint64 // that leads to it in the map of the sets' tables
	counters bool
	events   bool
}

// lookup is a key that a program looks up.
type lookup struct {
	mapID int32
	key   [20]symbol
}

// footprint is the part of a state that code reads before it writes it.
type footprint struct {
	registers, writtenRegisters uint16
	stack, writtenStack         [stackSize / 64]uint64
	asked                       bool // what became of the request for the network context
}

// then adds what code reads that comes after this stretch.
func (f *footprint) then(g *footprint) {
	f.registers |= g.registers &^ f.writtenRegisters
	f.asked = f.asked || g.asked
	for i := range f.stack {
		f.stack[i] |= g.stack[i] &^ f.writtenStack[i]
	}
}

// or adds what an alternative to this code reads.
func (f *footprint) or(g *footprint) {
	f.registers |= g.registers
	f.asked = f.asked || g.asked
	for i := range f.stack {
		f.stack[i] |= g.stack[i]
	}
}

func (f *footprint) covers(g *footprint) bool {
	if g.registers&^f.registers != 0 || g.asked && !f.asked {
		return false
	}
	for i := range f.stack {
		if g.stack[i]&^f.stack[i] != 0 {
			return false
		}
	}
	return true
}

func (m *machine) wrong(format string, args ...any) error {
	return &refusal{m.name(), m.slot, true, fmt.Sprintf(format, args...)}
}

func (m *machine) strange(format string, args ...any) error {
	return &refusal{m.name(), m.slot, false, fmt.Sprintf(format, args...)}
}

// odd is wrong where all numbers are known, else strange.
func (m *machine) odd(what string) error {
	if m.member != nil {
		return m.wrong("%s", what)
	}
	return m.strange("%s", what)
}

func (m *machine) get(s *state, r uint8) (*value, error) {
	if bit := uint16(1) << r; m.read.writtenRegisters&bit == 0 {
		m.read.registers |= bit
	}
	if s.registers[r].kind == nothing {
		return nil, m.wrong("reads r%d, which holds nothing", r)
	}
	return &s.registers[r], nil
}

func (m *machine) set(s *state, r uint8, v value) {
	m.read.writtenRegisters |= 1 << r
	s.registers[r] = v
}

// load gives bytes of the memory that an address points into.
func (m *machine) load(s *state, address *value, offset int64, n int) ([]symbol, error) {
	at := address.offset + offset
	switch address.kind {
	case toContext:
		if at < 0 || at+int64(n) > int64(len(m.view.context)) {
			return nil, m.wrong("reads outside of the context")
		}
		return m.view.context[at : at+int64(n)], nil
	case toStack:
		at += stackSize
		if at < 0 || at+int64(n) > stackSize {
			return nil, m.wrong("reads outside of the stack")
		}
		for i := at; i < at+int64(n); i++ {
			if bit := uint64(1) << (i % 64); m.read.writtenStack[i/64]&bit == 0 {
				m.read.stack[i/64] |= bit
			}
			if s.stack[i] == unset {
				return nil, m.wrong("reads a byte of the stack that was never written")
			}
		}
		return s.stack[at : at+int64(n)], nil
	case toValue:
		if m.maps[m.lookups[address.id].mapID].name == codegen.StateMap {
			return stateBytes(at, n), nil
		}
		return nil, m.strange("reads the value of map `%s`", m.maps[m.lookups[address.id].mapID].name)
	}
	return nil, m.wrong("reads memory through what may be no address")
}

func (m *machine) store(s *state, address *value, offset int64, bytes []symbol) error {
	at := address.offset + offset + stackSize
	switch {
	case address.kind == toContext:
		return m.wrong("writes to the context")
	case address.kind != toStack:
		return m.wrong("writes to memory that is not the stack")
	case at < 0 || at+int64(len(bytes)) > stackSize:
		return m.wrong("writes outside of the stack")
	}
	copy(s.stack[at:], bytes)
	for i := at; i < at+int64(len(bytes)); i++ {
		m.read.writtenStack[i/64] |= 1 << (i % 64)
	}
	return nil
}

// Instruction classes and modes of RFC 9669.
const (
	classLoadImmediate = 0
	classLoad          = 1
	classStore         = 2
	classStoreRegister = 3
	classALU32         = 4
	classJump          = 5
	classJump32        = 6
	classALU64         = 7

	modeImmediate = 0x00
	modeMemory    = 0x60
	modeAtomic    = 0xc0

	sourceRegister = 8
)

func accessBytes(code uint8) int { return [...]int{4, 2, 1, 8}[code>>3&3] }

// step executes an instruction that neither jumps nor calls.
func (m *machine) step(s *state, in *instruction) error {
	switch mode := in.code & 0xe0; in.code & 7 {
	case classALU32, classALU64:
		return m.compute(s, in)
	case classLoadImmediate:
		return m.loadConstant(s, in)
	case classLoad:
		if mode != modeMemory {
			return m.strange("is a load of another kind")
		}
		base, err := m.get(s, in.src)
		if err != nil {
			return err
		}
		bytes, err := m.load(s, base, int64(in.offset), accessBytes(in.code))
		if err != nil {
			return err
		}
		v := constant(0)
		copy(v.bytes[:], bytes)
		m.set(s, in.dst, v)
		return nil
	case classStore, classStoreRegister:
		if mode != modeMemory {
			return m.strange("is a store of another kind")
		}
		base, err := m.get(s, in.dst)
		if err != nil {
			return err
		}
		v := constant(uint64(in.imm))
		if in.code&7 == classStoreRegister {
			source, err := m.get(s, in.src)
			if err != nil {
				return err
			}
			if source.kind == joined {
				return errJoined(source.id)
			}
			if source.kind != number {
				return m.odd("stores an address")
			}
			v = *source
		}
		return m.store(s, base, int64(in.offset), v.bytes[:accessBytes(in.code)])
	}
	return m.strange("is not understood")
}

func (m *machine) loadConstant(s *state, in *instruction) error {
	switch {
	case in.code&0xf8 != 0x18 || in.src > 1:
		return m.strange("is a load of another kind")
	case in.mapName == "":
		m.set(s, in.dst, constant(uint64(in.imm)))
		return nil
	}
	for i := range m.maps {
		if m.maps[i].name == in.mapName {
			m.set(s, in.dst, value{kind: toMap, id: int32(i)})
			return nil
		}
	}
	return m.wrong("loads map `%s`, which is not there", in.mapName)
}

// errJoined says that the joined number of a variable has to be known here.
type errJoined int32

func (e errJoined) Error() string { return fmt.Sprintf("needs the number of variable %d", int32(e)) }
