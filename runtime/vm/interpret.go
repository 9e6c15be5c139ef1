package vm

import (
	"encoding/binary"
	"math/bits"
)

// fast executes instructions until one that needs more than registers, stack and
// context, and returns its slot, or until the limit of steps. It calls nothing, to keep what it
// works with in registers.
func (m *Machine) fast(code []insn, pc int, steps, limit uint64) (int, uint64) {
	r := &m.reg
	for ; steps < limit; steps++ {
		in := &code[pc]
		pc++
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
			s := m.plain(b, 1)
			if s == nil {
				return pc - 1, steps
			}
			*dst = uint64(s[0])
		case opLoad16:
			s := m.plain(b, 2)
			if s == nil {
				return pc - 1, steps
			}
			*dst = uint64(binary.LittleEndian.Uint16(s))
		case opLoad32:
			s := m.plain(b, 4)
			if s == nil {
				return pc - 1, steps
			}
			*dst = uint64(binary.LittleEndian.Uint32(s))
		case opLoad64:
			s := m.plain(b, 8)
			if s == nil {
				return pc - 1, steps
			}
			*dst = binary.LittleEndian.Uint64(s)
		case opLoadSX8:
			s := m.plain(b, 1)
			if s == nil {
				return pc - 1, steps
			}
			*dst = uint64(int8(s[0]))
		case opLoadSX16:
			s := m.plain(b, 2)
			if s == nil {
				return pc - 1, steps
			}
			*dst = uint64(int16(binary.LittleEndian.Uint16(s)))
		case opLoadSX32:
			s := m.plain(b, 4)
			if s == nil {
				return pc - 1, steps
			}
			*dst = uint64(int32(binary.LittleEndian.Uint32(s)))
		case opStore8:
			s := m.plainToWrite(*dst+uint64(int64(in.off)), 1)
			if s == nil {
				return pc - 1, steps
			}
			s[0] = byte(b)
		case opStore16:
			s := m.plainToWrite(*dst+uint64(int64(in.off)), 2)
			if s == nil {
				return pc - 1, steps
			}
			binary.LittleEndian.PutUint16(s, uint16(b))
		case opStore32:
			s := m.plainToWrite(*dst+uint64(int64(in.off)), 4)
			if s == nil {
				return pc - 1, steps
			}
			binary.LittleEndian.PutUint32(s, uint32(b))
		case opStore64:
			s := m.plainToWrite(*dst+uint64(int64(in.off)), 8)
			if s == nil {
				return pc - 1, steps
			}
			binary.LittleEndian.PutUint64(s, b)
		default:
			return pc - 1, steps
		}
	}
	return pc, steps
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
