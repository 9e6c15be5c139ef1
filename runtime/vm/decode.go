package vm

import (
	"errors"
	"fmt"
)

// Limits of a program.
const (
	maxInstructions = 1 << 20
	maxFrames       = 8
	frameBytes      = 512
	maxTailCalls    = 33
)

// Classes, and other fields of the opcode byte (RFC 9669).
const (
	classLd, classLdx, classSt, classStx           = 0, 1, 2, 3
	classAlu32, classJump, classJump32, classAlu64 = 4, 5, 6, 7
	sourceRegister                                 = 8
	modeMem, modeMemSX, modeAtomic                 = 0x60, 0x80, 0xc0
	codeLoadImm                                    = 0x18
)

// Source fields of the 64-bit load of a constant and of call.
const (
	srcMap      = 5 // map by number
	srcMapValue = 6 // first value of a map by number; the second constant is an offset
	srcLocal    = 1 // call: distance to a function of the program
)

// Constants of an atomic instruction.
const (
	atomicAdd      = 0x00
	atomicOr       = 0x40
	atomicAnd      = 0x50
	atomicXor      = 0xa0
	atomicFetch    = 0x01
	atomicExchange = 0xe1
	atomicCompare  = 0xf1
	atomicLoad     = 0x100
	atomicStore    = 0x110
)

// What the machine leaves out of RFC 9669, as eBPF for Windows does: both are
// conformance groups of their own.
var (
	errPacket = errors.New("legacy load of packet bytes (group packet), which this machine has not")
	errCallX  = errors.New("call through a register (group callx), which this machine has not")
)

var errOpcode = errors.New("no such opcode")

// decode checks the slots and turns them into the form that runs.
func (p *Program) decode(slots []raw, env *Environment) (*Program, error) {
	if len(slots) == 0 {
		return nil, errors.New("no instructions")
	}
	if len(slots) > maxInstructions {
		return nil, fmt.Errorf("%d instructions, more than %d", len(slots), maxInstructions)
	}
	p.code = make([]insn, len(slots))
	for i := 0; i < len(slots); i++ {
		wide, err := p.decodeSlot(slots, i, env)
		if err != nil {
			return nil, fmt.Errorf("instruction %d: %w", i, err)
		}
		if wide {
			i++
		}
	}
	if err := p.checkFlow(); err != nil {
		return nil, err
	}
	return p, nil
}

// decodeSlot decodes slot i; wide says that it takes the next one too.
func (p *Program) decodeSlot(slots []raw, i int, env *Environment) (wide bool, err error) {
	r := slots[i]
	if r.dst > 10 || r.src > 10 {
		return false, fmt.Errorf("no register r%d", max(r.dst, r.src))
	}
	in := insn{dst: r.dst, src: r.src, off: int32(r.off), imm: uint64(int64(r.imm))}
	switch r.code & 7 {
	case classLd:
		if r.code != codeLoadImm {
			return false, loadError(r.code)
		}
		in, err = p.loadImm(slots[i:])
		wide = true
	case classAlu32, classAlu64:
		err = decodeALU(r, &in)
	case classJump, classJump32:
		err = p.decodeJump(r, &in, i, env)
	default:
		err = decodeMemory(r, &in)
	}
	if err != nil {
		return false, err
	}
	if in.op.writes() && in.dst == 10 {
		return false, errors.New("write to r10")
	}
	p.code[i] = in
	return wide, nil
}

func loadError(code uint8) error {
	const modeAbsolute, modeIndirect, doubleWord = 0x20, 0x40, 0x18
	if mode := code & 0xe0; (mode == modeAbsolute || mode == modeIndirect) && code&0x18 != doubleWord {
		return errPacket
	}
	return errOpcode
}

func unused(r raw, dst, src, off, imm bool) error {
	switch {
	case dst && r.dst != 0:
		return errors.New("destination register in an instruction without one")
	case src && r.src != 0:
		return errors.New("source register in an instruction without one")
	case off && r.off != 0:
		return fmt.Errorf("offset %d in an instruction without one", r.off)
	case imm && r.imm != 0:
		return fmt.Errorf("constant %d in an instruction without one", r.imm)
	}
	return nil
}

func (p *Program) loadImm(slots []raw) (insn, error) {
	r := slots[0]
	if len(slots) < 2 {
		return insn{}, errors.New("64-bit constant without its second half")
	}
	second := slots[1]
	if second.code != 0 || second.dst != 0 || second.src != 0 || second.off != 0 || r.off != 0 {
		return insn{}, errors.New("64-bit constant with fields that must be 0")
	}
	in := insn{op: opLoadImm, dst: r.dst, src: zeroRegister}
	switch r.src {
	case 0:
		in.imm = uint64(uint32(second.imm))<<32 | uint64(uint32(r.imm))
		return in, nil
	case srcMap, srcMapValue:
	default:
		return insn{}, fmt.Errorf("64-bit constant of kind %d", r.src)
	}
	number := int(r.imm)
	if number < 0 || number >= len(p.maps) {
		return insn{}, fmt.Errorf("no map number %d", number)
	}
	m := p.maps[number]
	if r.src == srcMap {
		in.imm = handleAddress(number)
		if second.imm != 0 {
			return insn{}, errors.New("64-bit constant with fields that must be 0")
		}
		return in, nil
	}
	if m.values == nil || m.index != nil || m.form.perCPU || m.spec.MaxEntries != 1 {
		return insn{}, fmt.Errorf("map `%s` is not an array of one value", p.names[number])
	}
	if uint32(second.imm) >= m.spec.ValueSize {
		return insn{}, fmt.Errorf("offset %d in the value of %d bytes of map `%s`", uint32(second.imm), m.spec.ValueSize, p.names[number])
	}
	in.imm = valueAddress(number, 0) + uint64(uint32(second.imm))
	return in, nil
}

// ALU operations by the high half of the opcode byte.
var (
	alu64 = [16]op{opAdd64, opSub64, opMul64, opDiv64, opOr64, opAnd64, opLsh64, opRsh64, opNeg64, opMod64, opXor64, opMov64, opArsh64}
	alu32 = [16]op{opAdd32, opSub32, opMul32, opDiv32, opOr32, opAnd32, opLsh32, opRsh32, opNeg32, opMod32, opXor32, opMov32, opArsh32}
)

func decodeALU(r raw, in *insn) error {
	const neg, swap = 8, 13
	wide, register := r.code&7 == classAlu64, r.code&sourceRegister != 0
	switch r.code >> 4 {
	case swap:
		return decodeSwap(r, in)
	case neg:
		if register {
			return errOpcode
		}
		in.op, in.src = opNeg32, zeroRegister
		if wide {
			in.op = opNeg64
		}
		return unused(r, false, true, true, true)
	}
	in.op = alu32[r.code>>4]
	if wide {
		in.op = alu64[r.code>>4]
	}
	if in.op == opFiller {
		return errOpcode
	}
	if !signed(r, in) && r.off != 0 {
		return fmt.Errorf("offset %d in an instruction without one", r.off)
	}
	in.off = 0
	if register {
		return unused(r, false, false, false, true)
	}
	in.src = zeroRegister
	return unused(r, false, true, false, false)
}

// signed turns an operation into its signed form by the offset field.
func signed(r raw, in *insn) bool {
	type form struct {
		op  op
		off int16
	}
	register := r.code&sourceRegister != 0
	switch f := (form{in.op, r.off}); {
	case f == form{opDiv64, 1}:
		in.op = opSDiv64
	case f == form{opDiv32, 1}:
		in.op = opSDiv32
	case f == form{opMod64, 1}:
		in.op = opSMod64
	case f == form{opMod32, 1}:
		in.op = opSMod32
	case f == form{opMov64, 8} && register:
		in.op = opMovSX8
	case f == form{opMov64, 16} && register:
		in.op = opMovSX16
	case f == form{opMov64, 32} && register:
		in.op = opMovSX32
	case f == form{opMov32, 8} && register:
		in.op = opMovSX8w
	case f == form{opMov32, 16} && register:
		in.op = opMovSX16w
	default:
		return false
	}
	return true
}

func decodeSwap(r raw, in *insn) error {
	swap := r.code&sourceRegister != 0 // to big endian
	if r.code&7 == classAlu64 {
		if swap {
			return errOpcode
		}
		swap = true
	}
	in.src, in.imm = zeroRegister, 0
	switch {
	case r.imm == 16 && swap:
		in.op = opSwap16
	case r.imm == 32 && swap:
		in.op = opSwap32
	case r.imm == 64 && swap:
		in.op = opSwap64
	case r.imm == 16:
		in.op = opTruncate16
	case r.imm == 32:
		in.op, in.src = opMov32, in.dst
	case r.imm == 64:
		in.op = opNothing
	default:
		return fmt.Errorf("byte swap of %d bits", r.imm)
	}
	return unused(r, false, true, true, false)
}

// Conditional jumps by the high half of the opcode byte.
var (
	jump64 = [16]op{1: opEq64, opGt64, opGe64, opSet64, opNe64, opSGt64, opSGe64, 10: opLt64, opLe64, opSLt64, opSLe64}
	jump32 = [16]op{1: opEq32, opGt32, opGe32, opSet32, opNe32, opSGt32, opSGe32, 10: opLt32, opLe32, opSLt32, opSLe32}
)

func (p *Program) decodeJump(r raw, in *insn, i int, env *Environment) error {
	const ja, jaLong, call, callX, exit = 0x05, 0x06, 0x85, 0x8d, 0x95
	distance := int64(r.off)
	switch r.code {
	case ja:
		in.op, in.src, in.imm = opJump, zeroRegister, 0
		if err := unused(r, true, true, false, true); err != nil {
			return err
		}
	case jaLong:
		in.op, in.src, in.imm, distance = opJump, zeroRegister, 0, int64(r.imm)
		if err := unused(r, true, true, true, false); err != nil {
			return err
		}
	case exit:
		in.op, in.src = opExit, zeroRegister
		return unused(r, true, true, true, true)
	case call:
		if err := unused(r, true, false, true, false); err != nil {
			return err
		}
		if r.src != srcLocal {
			return p.decodeHelper(r, in, env)
		}
		in.op, in.src, in.imm, distance = opCall, zeroRegister, 0, int64(r.imm)
	case callX:
		return errCallX
	default:
		if err := decodeCondition(r, in); err != nil {
			return err
		}
	}
	target := int64(i) + 1 + distance
	if target < 0 || target >= int64(len(p.code)) {
		return fmt.Errorf("jump to instruction %d of %d", target, len(p.code))
	}
	in.off = int32(target)
	return nil
}

func decodeCondition(r raw, in *insn) error {
	in.op = jump64[r.code>>4]
	if r.code&7 == classJump32 {
		in.op = jump32[r.code>>4]
	}
	if in.op == opFiller {
		return errOpcode
	}
	if r.code&sourceRegister != 0 {
		return unused(r, false, false, false, true)
	}
	in.src = zeroRegister
	return unused(r, false, true, false, false)
}

func (p *Program) decodeHelper(r raw, in *insn, env *Environment) error {
	if r.src != 0 {
		return fmt.Errorf("call of kind %d", r.src)
	}
	in.src = zeroRegister
	helper, ok := env.Helpers[r.imm]
	if !ok {
		if r.imm == helperTailCall {
			in.op = opTailCall
			return nil
		}
		if helper = general(r.imm); helper == nil {
			return fmt.Errorf("no helper number %d", r.imm)
		}
	}
	in.op, in.imm = opHelper, uint64(len(p.helpers))
	p.helpers = append(p.helpers, helper)
	return nil
}

var sizes = [4]uint64{4, 2, 1, 8} // by the size field: W, H, B, DW

func decodeMemory(r raw, in *insn) error {
	field := r.code >> 3 & 3
	mode := r.code & 0xe0
	switch class := r.code & 7; {
	case class == classLdx && (mode == modeMem || mode == modeMemSX && field != 3):
		in.op = [4]op{opLoad32, opLoad16, opLoad8, opLoad64}[field]
		if mode == modeMemSX {
			in.op = [4]op{opLoadSX32, opLoadSX16, opLoadSX8}[field]
		}
		in.imm = uint64(int64(r.off))
		return unused(r, false, false, false, true)
	case class == classSt && mode == modeMem:
		in.op, in.src = [4]op{opStore32, opStore16, opStore8, opStore64}[field], zeroRegister
		return unused(r, false, true, false, false)
	case class == classStx && mode == modeMem:
		in.op = [4]op{opStore32, opStore16, opStore8, opStore64}[field]
		return unused(r, false, false, false, true)
	case class == classStx && mode == modeAtomic:
		return decodeAtomic(r, in, sizes[field])
	}
	return errOpcode
}

func decodeAtomic(r raw, in *insn, size uint64) error {
	switch r.imm {
	case atomicAdd, atomicOr, atomicAnd, atomicXor:
	case atomicAdd | atomicFetch, atomicOr | atomicFetch, atomicAnd | atomicFetch, atomicXor | atomicFetch, atomicExchange:
		if r.src == 10 {
			return errors.New("write to r10")
		}
	case atomicCompare:
	case atomicLoad:
		// dst = memory at src+off: an aligned load is atomic already.
		in.op = map[uint64]op{1: opLoad8, 2: opLoad16, 4: opLoad32, 8: opLoad64}[size]
		in.imm = uint64(int64(r.off))
		return nil
	case atomicStore:
		in.op = map[uint64]op{1: opStore8, 2: opStore16, 4: opStore32, 8: opStore64}[size]
		in.imm = 0
		return nil
	default:
		return fmt.Errorf("no atomic operation %#x", r.imm)
	}
	switch size {
	case 4:
		in.op = opAtomic32
	case 8:
		in.op = opAtomic64
	default:
		return fmt.Errorf("atomic operation on %d bytes", size)
	}
	return nil
}

// checkFlow checks that jumps stay in their function and land on an instruction,
// and that no function runs off its end. A function starts at 0 and wherever a
// local call leads.
func (p *Program) checkFlow() error {
	starts := make([]bool, len(p.code)+1)
	starts[0], starts[len(p.code)] = true, true
	for i, in := range p.code {
		if !in.op.jumps() && in.op != opCall {
			continue
		}
		if p.code[in.off].op == opFiller {
			return fmt.Errorf("instruction %d: jump into the middle of a 64-bit constant at %d", i, in.off-1)
		}
		if in.op == opCall {
			starts[in.off] = true
		}
	}
	first := 0
	for i := range p.code {
		if !starts[i+1] {
			continue
		}
		if err := p.checkFunction(first, i); err != nil {
			return err
		}
		first = i + 1
	}
	return nil
}

// checkFunction checks the function from the first to the last slot.
func (p *Program) checkFunction(first, last int) error {
	for i := first; i <= last; i++ {
		in := &p.code[i]
		if target := int(in.off); in.op.jumps() && (target < first || target > last) {
			return fmt.Errorf("instruction %d: jump out of its function, to %d", i, target)
		}
	}
	if o := p.code[last].op; o != opExit && o != opJump {
		return fmt.Errorf("instruction %d: the function ends without exit", last)
	}
	return nil
}
