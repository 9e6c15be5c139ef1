package vm

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// Machine runs programs, one at a time; use one in each goroutine. A run
// allocates no memory. Machines that run at the same time should have different
// CPUs, or programs that count in per-CPU maps without atomic instructions lose
// counts.
type Machine struct {
	CPU uint // modulo CPUs: the value of per-CPU maps that programs see

	reg      [16]uint64
	stack    [maxFrames * frameSpace]byte
	frames   [maxFrames]frame // what calls return to
	depth    int              // frames in use, but for the first
	tail     int              // tail calls so far
	steps    uint64           // instructions left
	maps     []*Map           // of the program that runs
	readOnly bool
	context  []byte
	state    any
	key      [maxKeySize]byte
	scratch  []byte
	inner    []*Map // maps that this run found in maps of maps
}

// frame is a suspended function.
type frame struct {
	program *Program
	pc      int
	saved   [4]uint64 // r6 to r9
}

// NewMachine makes a machine of CPU 0.
func NewMachine() *Machine { return new(Machine) }

// State is what the caller gave Run, for helpers.
func (m *Machine) State() any { return m.state }

// Context is the context of the run.
func (m *Machine) Context() []byte { return m.context }

// IsContext says whether an address is that of the context.
func (m *Machine) IsContext(address uint64) bool { return address == contextAddress() }

// Steps is how many instructions the last run executed.
func (m *Machine) Steps() uint64 { return m.steps }

// Run runs a program and returns its r0. At the start r1 points to the context,
// r10 to the end of a stack frame of 512 bytes, all of them 0, and every other
// register is 0. State is for helpers. An error is a *Fault.
func (m *Machine) Run(p *Program, context []byte, state any) (uint64, error) {
	m.CPU %= CPUs
	m.context, m.state = context, state
	m.depth, m.tail = 0, 0
	m.inner = m.inner[:0]
	r0, steps, fault := m.run(p)
	m.steps = steps
	m.context, m.state, m.maps = nil, nil, nil
	if fault != nil {
		return 0, fault
	}
	return r0, nil
}

// enter makes a program the one that runs, in the current frame.
func (m *Machine) enter(p *Program) {
	m.maps, m.readOnly = p.maps, p.readOnly
	m.reg = [16]uint64{1: contextAddress(), 10: frameAddress(m.depth)}
	m.clearFrame()
}

func (m *Machine) clearFrame() {
	at := m.depth * frameSpace
	clear(m.stack[at : at+frameBytes])
}

func (m *Machine) fault(p *Program, pc int, err error) *Fault {
	return &Fault{Program: p.name, Index: pc - 1, Err: err}
}

var errDepth = errors.New("call of a ninth function deep")

// run is the interpreter: it returns r0 and the number of instructions executed.
func (m *Machine) run(p *Program) (uint64, uint64, *Fault) {
	m.enter(p)
	r := &m.reg
	code, pc := p.code, 0
	limit := p.maxSteps
	for steps := uint64(1); ; steps++ {
		in := &code[pc]
		pc++
		if steps > limit {
			return 0, steps - 1, m.fault(p, pc, ErrSteps)
		}
		dst := &r[in.dst&15]
		b := r[in.src&15] + in.imm
		switch in.op {
		case opAdd64:
			*dst += b
		case opSub64:
			*dst -= b
		case opMul64:
			*dst *= b
		case opDiv64:
			*dst = divide(*dst, b)
		case opSDiv64:
			*dst = uint64(divide(int64(*dst), int64(b)))
		case opMod64:
			*dst = modulo(*dst, b)
		case opSMod64:
			*dst = uint64(modulo(int64(*dst), int64(b)))
		case opOr64:
			*dst |= b
		case opAnd64:
			*dst &= b
		case opXor64:
			*dst ^= b
		case opLsh64:
			*dst <<= b & 63
		case opRsh64:
			*dst >>= b & 63
		case opArsh64:
			*dst = uint64(int64(*dst) >> (b & 63))
		case opMov64:
			*dst = b
		case opMovSX8:
			*dst = uint64(int8(b))
		case opMovSX16:
			*dst = uint64(int16(b))
		case opMovSX32:
			*dst = uint64(int32(b))
		case opNeg64:
			*dst = -*dst
		case opLoadImm:
			*dst = b
			pc++
		case opAdd32:
			*dst = uint64(uint32(*dst) + uint32(b))
		case opSub32:
			*dst = uint64(uint32(*dst) - uint32(b))
		case opMul32:
			*dst = uint64(uint32(*dst) * uint32(b))
		case opDiv32:
			*dst = uint64(divide(uint32(*dst), uint32(b)))
		case opSDiv32:
			*dst = uint64(uint32(divide(int32(*dst), int32(b))))
		case opMod32:
			*dst = uint64(modulo(uint32(*dst), uint32(b)))
		case opSMod32:
			*dst = uint64(uint32(modulo(int32(*dst), int32(b))))
		case opOr32:
			*dst = uint64(uint32(*dst) | uint32(b))
		case opAnd32:
			*dst = uint64(uint32(*dst) & uint32(b))
		case opXor32:
			*dst = uint64(uint32(*dst) ^ uint32(b))
		case opLsh32:
			*dst = uint64(uint32(*dst) << (b & 31))
		case opRsh32:
			*dst = uint64(uint32(*dst) >> (b & 31))
		case opArsh32:
			*dst = uint64(uint32(int32(*dst) >> (b & 31)))
		case opMov32:
			*dst = uint64(uint32(b))
		case opMovSX8w:
			*dst = uint64(uint32(int8(b)))
		case opMovSX16w:
			*dst = uint64(uint32(int16(b)))
		case opNeg32:
			*dst = uint64(-uint32(*dst))
		case opTruncate16:
			*dst = uint64(uint16(*dst))
		case opNothing:
		case opSwap16:
			*dst = uint64(bits.ReverseBytes16(uint16(*dst)))
		case opSwap32:
			*dst = uint64(bits.ReverseBytes32(uint32(*dst)))
		case opSwap64:
			*dst = bits.ReverseBytes64(*dst)

		case opJump:
			pc = int(in.off)
		case opEq64:
			if *dst == b {
				pc = int(in.off)
			}
		case opNe64:
			if *dst != b {
				pc = int(in.off)
			}
		case opGt64:
			if *dst > b {
				pc = int(in.off)
			}
		case opGe64:
			if *dst >= b {
				pc = int(in.off)
			}
		case opLt64:
			if *dst < b {
				pc = int(in.off)
			}
		case opLe64:
			if *dst <= b {
				pc = int(in.off)
			}
		case opSet64:
			if *dst&b != 0 {
				pc = int(in.off)
			}
		case opSGt64:
			if int64(*dst) > int64(b) {
				pc = int(in.off)
			}
		case opSGe64:
			if int64(*dst) >= int64(b) {
				pc = int(in.off)
			}
		case opSLt64:
			if int64(*dst) < int64(b) {
				pc = int(in.off)
			}
		case opSLe64:
			if int64(*dst) <= int64(b) {
				pc = int(in.off)
			}
		case opEq32:
			if uint32(*dst) == uint32(b) {
				pc = int(in.off)
			}
		case opNe32:
			if uint32(*dst) != uint32(b) {
				pc = int(in.off)
			}
		case opGt32:
			if uint32(*dst) > uint32(b) {
				pc = int(in.off)
			}
		case opGe32:
			if uint32(*dst) >= uint32(b) {
				pc = int(in.off)
			}
		case opLt32:
			if uint32(*dst) < uint32(b) {
				pc = int(in.off)
			}
		case opLe32:
			if uint32(*dst) <= uint32(b) {
				pc = int(in.off)
			}
		case opSet32:
			if uint32(*dst)&uint32(b) != 0 {
				pc = int(in.off)
			}
		case opSGt32:
			if int32(*dst) > int32(b) {
				pc = int(in.off)
			}
		case opSGe32:
			if int32(*dst) >= int32(b) {
				pc = int(in.off)
			}
		case opSLt32:
			if int32(*dst) < int32(b) {
				pc = int(in.off)
			}
		case opSLe32:
			if int32(*dst) <= int32(b) {
				pc = int(in.off)
			}

		case opLoad8:
			v, ok := m.load(b, 1)
			if !ok {
				return 0, steps, m.fault(p, pc, m.outside("load of", b, 1))
			}
			*dst = v
		case opLoad16:
			v, ok := m.load(b, 2)
			if !ok {
				return 0, steps, m.fault(p, pc, m.outside("load of", b, 2))
			}
			*dst = v
		case opLoad32:
			if s := m.plain(b, 4); s != nil {
				*dst = uint64(binary.LittleEndian.Uint32(s))
				continue
			}
			v, ok := m.load(b, 4)
			if !ok {
				return 0, steps, m.fault(p, pc, m.outside("load of", b, 4))
			}
			*dst = v
		case opLoad64:
			if s := m.plain(b, 8); s != nil {
				*dst = binary.LittleEndian.Uint64(s)
				continue
			}
			v, ok := m.load(b, 8)
			if !ok {
				return 0, steps, m.fault(p, pc, m.outside("load of", b, 8))
			}
			*dst = v
		case opLoadSX8:
			v, ok := m.load(b, 1)
			if !ok {
				return 0, steps, m.fault(p, pc, m.outside("load of", b, 1))
			}
			*dst = uint64(int8(v))
		case opLoadSX16:
			v, ok := m.load(b, 2)
			if !ok {
				return 0, steps, m.fault(p, pc, m.outside("load of", b, 2))
			}
			*dst = uint64(int16(v))
		case opLoadSX32:
			v, ok := m.load(b, 4)
			if !ok {
				return 0, steps, m.fault(p, pc, m.outside("load of", b, 4))
			}
			*dst = uint64(int32(v))
		case opStore8, opStore16, opStore32, opStore64:
			size := uint64(1) << (in.op - opStore8)
			address := *dst + uint64(int64(in.off))
			if !m.store(address, size, b) {
				return 0, steps, m.fault(p, pc, m.outside("store of", address, size))
			}
		case opAtomic32:
			if err := m.atomic(in, 4); err != nil {
				return 0, steps, m.fault(p, pc, err)
			}
		case opAtomic64:
			if err := m.atomic(in, 8); err != nil {
				return 0, steps, m.fault(p, pc, err)
			}

		case opCall:
			if m.depth == maxFrames-1 {
				return 0, steps, m.fault(p, pc, errDepth)
			}
			m.frames[m.depth] = frame{p, pc, [4]uint64(r[6:10])}
			m.depth++
			m.clearFrame()
			r[10] = frameAddress(m.depth)
			pc = int(in.off)
		case opExit:
			if m.depth == 0 {
				return r[0], steps, nil
			}
			m.depth--
			f := &m.frames[m.depth]
			if f.program != p {
				p, code = f.program, f.program.code
				m.maps, m.readOnly = p.maps, p.readOnly
			}
			pc = f.pc
			copy(r[6:10], f.saved[:])
			r[10] = frameAddress(m.depth)
		case opHelper:
			v, err := p.helpers[in.imm](m, r[1], r[2], r[3], r[4], r[5])
			if err != nil {
				return 0, steps, m.fault(p, pc, err)
			}
			r[0] = v
		case opTailCall:
			target, err := m.tailCall(r[1], r[2], r[3])
			if err != nil {
				return 0, steps, m.fault(p, pc, err)
			}
			if target == nil {
				r[0] = ENOENT.result()
				continue
			}
			p, code, pc = target, target.code, 0
			m.enter(p)
		}
	}
}

// divide is the quotient; 0 for division by 0 (RFC 9669). The least number by -1
// is itself.
func divide[T uint32 | uint64 | int32 | int64](a, b T) T {
	if b == 0 {
		return 0
	}
	return a / b
}

// modulo is the remainder; a for division by 0 (RFC 9669).
func modulo[T uint32 | uint64 | int32 | int64](a, b T) T {
	if b == 0 {
		return a
	}
	return a % b
}
