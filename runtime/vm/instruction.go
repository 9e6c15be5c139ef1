package vm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf/asm"
)

// raw is one 8-byte instruction slot (RFC 9669, section 3).
type raw struct {
	code     uint8
	dst, src uint8
	off      int16
	imm      int32
}

// rawBytes splits little-endian code into slots.
func rawBytes(code []byte) ([]raw, error) {
	if len(code)%8 != 0 {
		return nil, fmt.Errorf("%d bytes of code are not a multiple of 8", len(code))
	}
	slots := make([]raw, len(code)/8)
	for i := range slots {
		b := code[8*i:]
		slots[i] = raw{
			code: b[0],
			dst:  b[1] & 15,
			src:  b[1] >> 4,
			off:  int16(binary.LittleEndian.Uint16(b[2:])),
			imm:  int32(binary.LittleEndian.Uint32(b[4:])),
		}
	}
	return slots, nil
}

// rawInstructions encodes assembled instructions: symbols become offsets, names
// of maps their numbers in maps.
func rawInstructions(insns asm.Instructions, maps map[string]int) ([]raw, error) {
	symbols := make(map[string]int)
	width := 0
	for i := range insns {
		if name := insns[i].Symbol(); name != "" {
			if _, ok := symbols[name]; ok {
				return nil, fmt.Errorf("instruction %d: symbol `%s` is defined twice", width, name)
			}
			symbols[name] = width
		}
		width += int(insns[i].Width())
	}
	slots := make([]raw, 0, width)
	for i := range insns {
		at := len(slots)
		ins := &insns[i]
		r, err := rawInstruction(ins)
		if err == nil {
			err = refer(ins, &r, at, symbols, maps)
		}
		if err != nil {
			return nil, fmt.Errorf("instruction %d: %w", at, err)
		}
		slots = append(slots, r)
		if ins.Width() == 2 {
			slots = append(slots, raw{imm: int32(ins.Constant >> 32)})
		}
	}
	return slots, nil
}

// rawInstruction encodes all but references. Package asm keeps a part of some
// opcodes, which on the wire is in the offset or the constant, above the byte of
// the opcode.
func rawInstruction(ins *asm.Instruction) (raw, error) {
	r := raw{code: uint8(ins.OpCode), dst: uint8(ins.Dst), src: uint8(ins.Src), off: ins.Offset}
	class, extra := ins.OpCode.Class(), ins.OpCode>>8
	switch constant := ins.Constant; {
	case ins.OpCode.IsDWordLoad():
		r.imm = int32(constant)
	case ins.IsBuiltinCall():
		const platform = 7 << 28 // tag of the platform whose helper it is
		r.imm = int32(constant &^ platform)
	case constant != int64(int32(constant)) && constant != int64(uint32(constant)):
		return raw{}, fmt.Errorf("constant %d does not fit 32 bits", constant)
	default:
		r.imm = int32(constant)
	}
	switch {
	case extra == 0:
		return r, nil
	case class == asm.StXClass && ins.OpCode.Mode() == asm.AtomicMode:
		r.imm = int32(extra)
		return r, nil
	case class.IsALU() && ins.Offset == 0:
		switch ins.OpCode.ALUOp() {
		case asm.SDiv, asm.SMod:
			r.off = 1
			return r, nil
		case asm.MovSX8:
			r.off = 8
			return r, nil
		case asm.MovSX16:
			r.off = 16
			return r, nil
		case asm.MovSX32:
			r.off = 32
			return r, nil
		}
	}
	return raw{}, fmt.Errorf("opcode %#x is not known", uint32(ins.OpCode))
}

// refer resolves the reference of an instruction that stands in slot at.
func refer(ins *asm.Instruction, r *raw, at int, symbols, maps map[string]int) error {
	name := ins.Reference()
	switch {
	case ins.IsLoadFromMap():
		number, ok := maps[name]
		switch {
		case name == "":
			return errors.New("load of a map without its name")
		case !ok:
			return fmt.Errorf("no map `%s`", name)
		}
		r.src = srcMap
		if ins.Src == asm.PseudoMapValue {
			r.src = srcMapValue
		}
		r.imm = int32(number)
		return nil
	case name == "":
		return nil
	}
	target, ok := symbols[name]
	if !ok {
		return fmt.Errorf("no symbol `%s`", name)
	}
	distance := target - at - 1
	switch {
	case ins.IsFunctionCall(), ins.OpCode.Class() == asm.Jump32Class && ins.OpCode.JumpOp() == asm.Ja:
		r.imm = int32(distance)
	case !ins.OpCode.Class().IsJump():
		return fmt.Errorf("`%s` cannot be referred to here", name)
	case distance != int(int16(distance)):
		return fmt.Errorf("`%s` is %d instructions away, too far for a jump", name, distance)
	default:
		r.off = int16(distance)
	}
	return nil
}
