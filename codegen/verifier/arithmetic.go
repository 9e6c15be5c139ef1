package verifier

import (
	"math"

	"github.com/cilium/ebpf/asm"
)

// maxOffset bounds the distance of an address from where its memory starts.
const maxOffset = 1 << 29

// compute follows an arithmetic instruction.
func (v *verification) compute(slot int, s *state, ins *asm.Instruction) error {
	wide := ins.OpCode.Class() == asm.ALU64Class
	width := 32
	if wide {
		width = 64
	}
	op := ins.OpCode.ALUOp()
	b := numberOf(exactly(uint64(ins.Constant)))
	if ins.OpCode.Source() == asm.RegSource && op != asm.Swap && op != asm.Neg {
		x, err := v.read(slot, s, ins.Src)
		if err != nil {
			return err
		}
		b = *x
	}
	switch op {
	case asm.Mov:
		return v.move(slot, s, ins, b, wide, 0)
	case asm.MovSX8:
		return v.move(slot, s, ins, b, wide, 8)
	case asm.MovSX16:
		return v.move(slot, s, ins, b, wide, 16)
	case asm.MovSX32:
		return v.move(slot, s, ins, b, wide, 32)
	}
	a, err := v.read(slot, s, ins.Dst)
	if err != nil {
		return err
	}
	if a.kind != scalar || b.kind != scalar {
		return v.moveAddress(slot, s, ins, *a, b, wide)
	}
	n, ok := arithmetic(ins, a.n, b.n, width)
	if !ok {
		return v.problem(slot, s, "there is no such arithmetic instruction")
	}
	return v.write(slot, s, ins.Dst, numberOf(n))
}

// move follows a move, with extend one that extends the sign of so many low bits.
func (v *verification) move(slot int, s *state, ins *asm.Instruction, b value, wide bool, extend int) error {
	if extend == 0 && wide {
		return v.write(slot, s, ins.Dst, b)
	}
	if b.kind != scalar {
		return v.problem(slot, s, "moves part of %s", b.kind)
	}
	n := b.n
	if extend > 0 {
		n = signExtend(n.low(extend), extend)
	}
	if !wide {
		n = n.low(32)
	}
	return v.write(slot, s, ins.Dst, numberOf(n))
}

// moveAddress follows arithmetic with an address: plus or minus a number, or the
// distance of two in the same memory.
func (v *verification) moveAddress(slot int, s *state, ins *asm.Instruction, a, b value, wide bool) error {
	op := ins.OpCode.ALUOp()
	if !wide || op != asm.Add && op != asm.Sub {
		return v.problem(slot, s, "computes with %s", pick(a.kind != scalar, a.kind, b.kind))
	}
	if a.kind == scalar && op == asm.Add {
		a, b = b, a
	}
	switch {
	case a.kind == handle || b.kind == handle:
		return v.problem(slot, s, "computes with a map")
	case a.kind != scalar && b.kind != scalar:
		if op == asm.Sub && a.kind == b.kind && a.id == b.id {
			return v.write(slot, s, ins.Dst, numberOf(anyNumber))
		}
		return v.problem(slot, s, "computes with two addresses")
	case a.kind == scalar:
		return v.problem(slot, s, "takes an address from a number")
	case a.null != notNull:
		return v.problem(slot, s, "computes with an address that may be null")
	}
	low, high, ok := signed(b.n)
	if op == asm.Sub {
		low, high = -high, -low
	}
	if !ok {
		return v.problem(slot, s, "adds a number without bounds to an address: %s", b.n)
	}
	a.from, a.to = a.from+low, a.to+high
	if a.from < -maxOffset || a.to > maxOffset {
		return v.problem(slot, s, "moves an address too far")
	}
	return v.write(slot, s, ins.Dst, a)
}

func pick[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

// signed gives the bounds of a number that is small, read as signed.
func signed(n number) (low, high int64, ok bool) {
	low, high = int64(n.min), int64(n.max)
	return low, high, low <= high && low > -maxOffset && high < maxOffset
}

// arithmetic computes with numbers.
func arithmetic(ins *asm.Instruction, a, b number, width int) (number, bool) {
	a, b = a.low(width), b.low(width)
	op := ins.OpCode.ALUOp()
	var n number
	switch op {
	case asm.Add:
		n = a.add(b)
	case asm.Sub:
		n = a.sub(b)
	case asm.Mul:
		n = a.multiply(b)
	case asm.And:
		n = a.and(b)
	case asm.Or:
		n = a.or(b)
	case asm.Xor:
		n = a.xor(b)
	case asm.Div:
		n = a.divide(b)
	case asm.Mod:
		n = a.modulo(b)
	case asm.SDiv, asm.SMod:
		n = anyNumber
	case asm.Neg:
		n = exactly(0).sub(a)
	case asm.LSh, asm.RSh, asm.ArSh:
		count, known := b.constant()
		count &= uint64(width - 1)
		switch {
		case !known && op == asm.RSh:
			n = between(0, a.max)
		case !known:
			n = anyNumber
		case op == asm.LSh:
			n = a.shiftLeft(count)
		case op == asm.RSh || a.max < 1<<(width-1):
			n = a.shiftRight(count)
		default:
			n = anyNumber
		}
	case asm.Swap:
		if ins.Constant != 16 && ins.Constant != 32 && ins.Constant != 64 {
			return number{}, false
		}
		return swap(a, int(ins.Constant)), true
	default:
		return number{}, false
	}
	return n.low(width), true
}

// swap is a byte swap of the low bits, in either direction or none.
func swap(a number, width int) number {
	last := uint64(math.MaxUint64) >> (64 - width)
	if n, known := a.constant(); known && n == 0 {
		return exactly(0)
	}
	return upTo(last)
}

var operators = map[asm.JumpOp]int{
	asm.JEq: equal, asm.JNE: notEqual, asm.JLT: less, asm.JLE: lessEqual, asm.JGT: greater, asm.JGE: greaterEqual,
	asm.JSLT: signedLess, asm.JSLE: signedLessEqual, asm.JSGT: signedGreater, asm.JSGE: signedGreaterEqual, asm.JSet: someBits,
}

// branch follows a conditional jump both ways, as far as they are possible.
func (v *verification) branch(at place, s *state, ins *asm.Instruction) error {
	slot := at.slot()
	op, known := operators[ins.OpCode.JumpOp()]
	if !known {
		return v.problem(slot, s, "there is no such jump")
	}
	a, err := v.read(slot, s, ins.Dst)
	if err != nil {
		return err
	}
	b := numberOf(exactly(uint64(ins.Constant)))
	other := asm.Register(asm.R10)
	if ins.OpCode.Source() == asm.RegSource {
		x, err := v.read(slot, s, ins.Src)
		if err != nil {
			return err
		}
		b, other = *x, ins.Src
	}
	target, _ := jumpTarget(ins, slot)
	wide := ins.OpCode.Class() == asm.JumpClass
	taken, passed := s.clone(), s
	if a.kind != scalar || b.kind != scalar {
		address := ins.Dst
		if a.kind == scalar {
			address = other
		}
		goes, stays, err := v.compareAddress(slot, taken, passed, op, address, a, &b, wide)
		if err != nil {
			return err
		}
		return v.both(at, taken, passed, goes, stays, target)
	}
	x, y := a.n, b.n
	goes := restrict(taken, ins.Dst, other, op, x, y, wide)
	stays := restrict(passed, ins.Dst, other, opposite[op], x, y, wide)
	return v.both(at, taken, passed, goes, stays, target)
}

func (v *verification) both(at place, taken, passed *state, goes, stays bool, target int) error {
	if goes {
		if err := v.goOn(at, taken, target); err != nil {
			return err
		}
	}
	if stays {
		return v.goOn(at, passed, at.slot()+1)
	}
	return nil
}

// restrict notes what a comparison says of both registers; false if it cannot be.
func restrict(s *state, a, b asm.Register, op int, x, y number, wide bool) bool {
	width := 64
	if !wide {
		width = 32
	}
	low, lowY := x.low(width), y.low(width)
	left, ok := low.where(op, lowY, width)
	if !ok {
		return false
	}
	right, ok := lowY.where(mirrored[op], low, width)
	if !ok {
		return false
	}
	if wide || x.max <= math.MaxUint32 {
		s.registers[a].n = left
	}
	if b != asm.R10 && (wide || y.max <= math.MaxUint32) {
		s.registers[b].n = right
	}
	return true
}

// compareAddress follows a comparison of the address in r: with null, or with another
// in the same memory.
func (v *verification) compareAddress(slot int, taken, passed *state, op int, r asm.Register, a, b *value, wide bool) (goes, stays bool, err error) {
	if a.kind == scalar {
		a, b = b, a
	}
	zero, isNumber := b.n.constant()
	switch {
	case b.kind == scalar && isNumber && zero == 0 && wide && (op == equal || op == notEqual):
		goes, stays = true, true
		if a.kind >= mapped && a.null == maybeNull {
			ifNull, ifNot := taken, passed
			if op == notEqual {
				ifNull, ifNot = passed, taken
			}
			if a.site < 0 { // of one lookup or another: nothing else is known to be of the same
				ifNull.registers[r].null, ifNot.registers[r].null = isNull, notNull
				return true, true, nil
			}
			ifNull.resolve(a.site, isNull)
			ifNot.resolve(a.site, notNull)
			return true, true, nil
		}
		if a.null == maybeNull {
			return true, true, nil
		}
		isEqual := a.null == isNull
		return isEqual == (op == equal), isEqual != (op == equal), nil
	case a.kind == b.kind && a.id == b.id && a.kind != handle && wide:
		return true, true, nil
	}
	return false, false, v.problem(slot, taken, "compares %s with %s", a.kind, b.kind)
}
