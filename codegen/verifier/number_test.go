package verifier

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is known of a result holds for every pair of numbers that the operands may be: if it
// did not, a program could do what the verifier has ruled out.
func TestNumbersHoldWhatTheyMayBe(t *testing.T) {
	operations := map[string]struct {
		known func(a, b number) number
		exact func(x, y uint64) uint64
	}{
		"join, left":  {number.join, func(x, _ uint64) uint64 { return x }},
		"join, right": {number.join, func(_, y uint64) uint64 { return y }},
		"add":         {number.add, func(x, y uint64) uint64 { return x + y }},
		"sub":         {number.sub, func(x, y uint64) uint64 { return x - y }},
		"and":         {number.and, func(x, y uint64) uint64 { return x & y }},
		"or":          {number.or, func(x, y uint64) uint64 { return x | y }},
		"xor":         {number.xor, func(x, y uint64) uint64 { return x ^ y }},
		"multiply":    {number.multiply, func(x, y uint64) uint64 { return x * y }},
		"divide":      {number.divide, func(x, y uint64) uint64 { return quotient(x, y) }},
		"modulo":      {number.modulo, func(x, y uint64) uint64 { return x - y*quotient(x, y) }},
		"low":         {func(a, _ number) number { return a.low(32) }, func(x, _ uint64) uint64 { return x & math.MaxUint32 }},
		"shift left":  {func(a, _ number) number { return a.shiftLeft(7) }, func(x, _ uint64) uint64 { return x << 7 }},
		"shift right": {func(a, _ number) number { return a.shiftRight(7) }, func(x, _ uint64) uint64 { return x >> 7 }},
	}
	for name, operation := range operations {
		eachPair(math.MaxUint64, func(a, b pair) {
			got := operation.known(a.known, b.known)
			for _, x := range a.may {
				for _, y := range b.may {
					if !exactly(operation.exact(x, y)).within(got) {
						require.Failf(t, name, "%#x and %#x give %#x, which is not in %+v", x, y, operation.exact(x, y), got)
					}
				}
			}
		})
	}
}

// Where two numbers compare so, the left one is still what it may be.
func TestComparedNumbersHoldWhatTheyMayBe(t *testing.T) {
	for _, width := range []int{32, 64} {
		last := uint64(math.MaxUint64) >> (64 - width)
		signed := func(x uint64) int64 { return int64(x<<(64-width)) >> (64 - width) }
		holds := map[int]func(x, y uint64) bool{
			equal:              func(x, y uint64) bool { return x == y },
			notEqual:           func(x, y uint64) bool { return x != y },
			less:               func(x, y uint64) bool { return x < y },
			lessEqual:          func(x, y uint64) bool { return x <= y },
			greater:            func(x, y uint64) bool { return x > y },
			greaterEqual:       func(x, y uint64) bool { return x >= y },
			signedLess:         func(x, y uint64) bool { return signed(x) < signed(y) },
			signedLessEqual:    func(x, y uint64) bool { return signed(x) <= signed(y) },
			signedGreater:      func(x, y uint64) bool { return signed(x) > signed(y) },
			signedGreaterEqual: func(x, y uint64) bool { return signed(x) >= signed(y) },
			someBits:           func(x, y uint64) bool { return x&y != 0 },
			noBits:             func(x, y uint64) bool { return x&y == 0 },
		}
		for op := range opposite {
			eachPair(last, func(a, b pair) {
				got, possible := a.known.where(op, b.known, width)
				for _, x := range a.may {
					for _, y := range b.may {
						if holds[op](x, y) && (!possible || !exactly(x).within(got)) {
							require.Failf(t, "comparison", "%d of %d bits: %#x and %#x compare so, but left is %+v, %t", op, width, x, y, got, possible)
						}
					}
				}
			})
		}
	}
}

// pair is one of two numbers, with what is known of it.
type pair struct {
	may   [2]uint64
	known number
}

// eachPair visits operands that are one of two numbers up to the last, at ends of ranges and
// of signs and at carries.
func eachPair(last uint64, visit func(a, b pair)) {
	var pairs []pair
	edges := []uint64{0, 1, 2, 3, 5, 8, 255, 256, math.MaxInt32, 1 << 31, math.MaxUint32, 1 << 32, math.MaxInt64, 1 << 63, math.MaxUint64 - 1, math.MaxUint64}
	for _, x := range edges {
		for _, y := range edges {
			if x <= y && y <= last {
				pairs = append(pairs, pair{[2]uint64{x, y}, exactly(x).join(exactly(y))})
			}
		}
	}
	for _, a := range pairs {
		for _, b := range pairs {
			visit(a, b)
		}
	}
}

// quotient is x / y, and 0 for a zero divisor.
func quotient(x, y uint64) uint64 {
	if y == 0 {
		return 0
	}
	return x / y
}
