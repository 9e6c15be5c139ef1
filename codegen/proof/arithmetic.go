package proof

import (
	"math/bits"
	"slices"
)

// Operations of arithmetic instructions.
const (
	opAdd, opSub, opMul, opDiv, opOr, opAnd, opShiftLeft, opShiftRight = 0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70
	opNegate, opModulo, opXor, opMove, opShiftArithmetic, opSwap       = 0x80, 0x90, 0xa0, 0xb0, 0xc0, 0xd0
)

// compute executes an arithmetic instruction. Of numbers that are not constant it
// moves bytes about, nothing else.
func (m *machine) compute(s *state, in *instruction) error {
	wide := in.code&7 == classALU64
	op := in.code & 0xf0
	b := constant(uint64(in.imm))
	if in.code&sourceRegister != 0 && op != opSwap {
		source, err := m.get(s, in.src)
		if err != nil {
			return err
		}
		b = *source
	}
	if op == opMove && in.offset == 0 {
		if !wide {
			switch b.kind {
			case joined: // 32 bits, as it was when it was given
			case number:
				clearHigh(&b)
			default:
				return m.odd("cuts an address off")
			}
		}
		m.set(s, in.dst, b)
		return nil
	}
	a, err := m.get(s, in.dst)
	if err != nil {
		return err
	}
	if v, ok := towardsMinimum(op, a, &b, wide); ok {
		m.set(s, in.dst, v)
		return nil
	}
	if n, known := b.constant(); known && n == 0 && wide && op == opAdd {
		return nil
	}
	for _, v := range []*value{a, &b} {
		if v.kind == joined {
			return errJoined(v.id)
		}
	}
	if n, known := b.constant(); known && wide && op == opAdd {
		switch a.kind {
		case toStack, toContext, toValue:
			v := *a
			v.offset += int64(n)
			m.set(s, in.dst, v)
			return nil
		}
	}
	if a.kind != number || b.kind != number || in.offset != 0 {
		return m.odd("computes with an address, or in a way that is not understood")
	}
	var v value
	var ok bool
	if op == opSwap {
		v, ok = swap(a, in)
	} else {
		v, ok = arithmetic(op, *a, b, wide)
	}
	if !ok && m.member == nil {
		v, ok = unfollowed(a, &b), true
	}
	if !ok {
		return m.odd("computes in a way that is not understood")
	}
	m.set(s, in.dst, v)
	return nil
}

// towardsMinimum follows the steps of a minimum, up to its last. The number taken away
// stands in the difference as the last step must find it.
func towardsMinimum(op uint8, a, b *value, wide bool) (value, bool) {
	n, known := a.constant()
	m, knownToo := b.constant()
	v := *a
	switch {
	case !wide:
	case op == opSub && known && n < 1<<62 && b.kind == joined:
		return value{kind: difference, id: b.id, offset: int64(n), bytes: anything().bytes}, true
	case op == opSub && a.kind == joined && knownToo && m < 1<<62:
		return value{kind: difference, id: a.id, offset: int64(m), bytes: b.bytes}, true
	case op == opShiftArithmetic && a.kind == difference && knownToo && m == 63:
		v.kind = sign
		return v, true
	case op == opAnd && a.kind == difference && b.kind == sign && a.id == b.id && a.offset == b.offset && a.bytes == b.bytes:
		v.kind = lower
		return v, true
	}
	return value{}, false
}

// unfollowed is the result of a computation that is not followed. It is not known
// even as such if the operands are not.
func unfollowed(operands ...*value) value {
	v := value{kind: number}
	for i := range v.bytes {
		v.bytes[i] = opaque
	}
	for _, o := range operands {
		for _, b := range o.bytes {
			if b == garbage {
				return anything()
			}
		}
	}
	return v
}

func clearHigh(v *value) { copy(v.bytes[4:], []symbol{0, 0, 0, 0}) }

// swap is the byte swap of 16, 32 or 64 bits.
func swap(a *value, in *instruction) (value, bool) {
	n := int(in.imm) / 8
	toBig := in.code&sourceRegister != 0 || in.code&7 == classALU64 // htobe on a little-endian machine, or bswap
	if in.imm != 16 && in.imm != 32 && in.imm != 64 || in.code&7 == classALU64 && in.code&sourceRegister != 0 {
		return value{}, false
	}
	v := constant(0)
	for i := range n {
		v.bytes[i] = a.bytes[i]
		if toBig {
			v.bytes[i] = a.bytes[n-1-i]
		}
	}
	return v, true
}

func arithmetic(op uint8, a, b value, wide bool) (value, bool) {
	if !wide {
		clearHigh(&a)
		clearHigh(&b)
	}
	x, xKnown := a.constant()
	y, yKnown := b.constant()
	if xKnown && yKnown {
		n, ok := fold(op, x, y, wide)
		return constant(n), ok
	}
	width := 4
	if wide {
		width = 8
	}
	v := constant(0)
	switch op {
	case opShiftLeft, opShiftRight:
		shift := int(y) & (8*width - 1)
		if !yKnown || shift%8 != 0 {
			return v, false
		}
		for i := range width {
			from := i - shift/8
			if op == opShiftRight {
				from = i + shift/8
			}
			if 0 <= from && from < width {
				v.bytes[i] = a.bytes[from]
			}
		}
		return v, true
	case opSub:
		known := !slices.ContainsFunc(a.bytes[:], func(b symbol) bool { return b == garbage || b == unset || b == opaque })
		return v, known && a.bytes == b.bytes
	case opOr, opAnd, opXor, opAdd:
		for i := range width {
			p, q := a.bytes[i], b.bytes[i]
			switch {
			case op == opAnd && (p == 0 || q == 0):
				v.bytes[i] = 0
			case op == opAnd && q == 0xff, op != opAnd && q == 0:
				v.bytes[i] = p
			case op == opAnd && p == 0xff, op != opAnd && p == 0:
				v.bytes[i] = q
			default:
				return v, false
			}
		}
		return v, true
	}
	return v, false
}

func fold(op uint8, x, y uint64, wide bool) (uint64, bool) {
	mask := uint64(63)
	if !wide {
		mask = 31
	}
	var n uint64
	switch op {
	case opAdd:
		n = x + y
	case opSub:
		n = x - y
	case opMul:
		n = x * y
	case opOr:
		n = x | y
	case opAnd:
		n = x & y
	case opXor:
		n = x ^ y
	case opShiftLeft:
		n = x << (y & mask)
	case opShiftRight:
		n = x >> (y & mask)
	case opShiftArithmetic:
		if wide {
			n = uint64(int64(x) >> (y & mask))
		} else {
			n = uint64(int32(x) >> (y & mask))
		}
	case opNegate:
		n = -x
	case opDiv:
		if y != 0 {
			n = x / y
		}
	case opModulo:
		n = x
		if y != 0 {
			n = x % y
		}
	default:
		return 0, false
	}
	if !wide {
		n = uint64(uint32(n))
	}
	return n, true
}

// Conditions of jumps.
const (
	jumpAlways, jumpEqual, jumpGreater, jumpGreaterEqual, jumpAny, jumpNotEqual = 0x00, 0x10, 0x20, 0x30, 0x40, 0x50
	jumpSignedGreater, jumpSignedGreaterEqual, opCall, opExit                   = 0x60, 0x70, 0x80, 0x90
	jumpLess, jumpLessEqual, jumpSignedLess, jumpSignedLessEqual                = 0xa0, 0xb0, 0xc0, 0xd0
)

// holds decides a comparison of numbers of 64 bits, or of their low 32.
func holds(op uint8, x, y uint64, wide bool) bool {
	sx, sy := int64(x), int64(y)
	if !wide {
		x, y = uint64(uint32(x)), uint64(uint32(y))
		sx, sy = int64(int32(x)), int64(int32(y))
	}
	switch op {
	case jumpEqual:
		return x == y
	case jumpNotEqual:
		return x != y
	case jumpAny:
		return x&y != 0
	case jumpGreater:
		return x > y
	case jumpGreaterEqual:
		return x >= y
	case jumpLess:
		return x < y
	case jumpLessEqual:
		return x <= y
	case jumpSignedGreater:
		return sx > sy
	case jumpSignedGreaterEqual:
		return sx >= sy
	case jumpSignedLess:
		return sx < sy
	}
	return sx <= sy
}

// comparison gives the numbers of a width in bits for which a comparison with a
// constant holds; false for conditions that no set of few spans expresses.
func comparison(op uint8, y uint64, width uint) (set, bool) {
	last := ones(width)
	y &= last
	half := last>>1 + 1 // the least negative number, read as unsigned
	negative, positive := set{{half, last}}, set{{0, half - 1}}
	less := func(y uint64) set { // of both kinds: the numbers below y
		if y == 0 {
			return nil
		}
		return set{{0, y - 1}}
	}
	switch op {
	case jumpEqual:
		return point(y), true
	case jumpNotEqual:
		return point(y).not(last), true
	case jumpLess:
		return less(y), true
	case jumpGreaterEqual:
		return less(y).not(last), true
	case jumpGreater:
		return set{{0, y}}.not(last), true
	case jumpLessEqual:
		return set{{0, y}}, true
	case jumpSignedLess, jumpSignedGreaterEqual:
		below := negative.or(less(y).and(positive))
		if y >= half {
			below = less(y).and(negative)
		}
		if op == jumpSignedGreaterEqual {
			below = below.not(last)
		}
		return below, true
	case jumpSignedGreater, jumpSignedLessEqual:
		upTo := set{{0, y}}
		through := negative.or(upTo.and(positive))
		if y >= half {
			through = upTo.and(negative)
		}
		if op == jumpSignedGreater {
			through = through.not(last)
		}
		return through, true
	case jumpAny:
		if y != 0 && bits.OnesCount64(y) == 1 && y == half { // the sign
			return negative, true
		}
	}
	return nil, false
}

// mirrored is the condition with its sides exchanged.
func mirrored(op uint8) uint8 {
	switch op {
	case jumpGreater:
		return jumpLess
	case jumpGreaterEqual:
		return jumpLessEqual
	case jumpLess:
		return jumpGreater
	case jumpLessEqual:
		return jumpGreaterEqual
	case jumpSignedGreater:
		return jumpSignedLess
	case jumpSignedGreaterEqual:
		return jumpSignedLessEqual
	case jumpSignedLess:
		return jumpSignedGreater
	case jumpSignedLessEqual:
		return jumpSignedGreaterEqual
	}
	return op
}
