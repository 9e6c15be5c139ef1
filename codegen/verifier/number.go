package verifier

import (
	"math"
	"math/bits"
)

// number is what is known of a number: bounds, read as unsigned, and bits. A bit in
// mask is unknown; the others are those of value.
type number struct {
	min, max    uint64
	value, mask uint64
}

func exactly(n uint64) number { return number{n, n, n, 0} }

// upTo is a number that may be anything from 0 to a bound of the form 2^n - 1.
func upTo(last uint64) number { return number{0, last, 0, last} }

var anyNumber = upTo(math.MaxUint64)

func (a number) constant() (uint64, bool) { return a.min, a.min == a.max }

// settle makes bounds and bits tell each other what they know; false if no number
// fits both.
func (a number) settle() (number, bool) {
	a.min, a.max = max(a.min, a.value), min(a.max, a.value|a.mask)
	if a.min > a.max {
		return a, false
	}
	high := bits.Len64(a.min ^ a.max) // the bits above are those of both bounds
	known := ^uint64(0) << high
	if high == 64 {
		known = 0
	}
	if (a.value^a.min)&^a.mask&known != 0 {
		return a, false
	}
	a.value = a.value&^known | a.min&known
	a.mask &^= known
	a.min, a.max = max(a.min, a.value), min(a.max, a.value|a.mask)
	return a, a.min <= a.max
}

func (a number) join(b number) number {
	unknown := a.mask | b.mask | (a.value ^ b.value)
	return number{min(a.min, b.min), max(a.max, b.max), a.value &^ unknown, unknown}
}

func (a number) within(b number) bool {
	return a.min >= b.min && a.max <= b.max && a.mask&^b.mask == 0 && (a.value^b.value)&^b.mask == 0
}

// low is the number's low bits.
func (a number) low(width int) number {
	last := uint64(1)<<width - 1
	if width == 64 || a.max <= last {
		return a
	}
	n, ok := number{0, last, a.value & last, a.mask & last}.settle()
	if !ok {
		return upTo(last)
	}
	return n
}

func (a number) add(b number) number {
	sum, carry := bits.Add64(a.max, b.max, 0)
	n := number{a.min + b.min, sum, 0, math.MaxUint64}
	if carry != 0 {
		if _, both := bits.Add64(a.min, b.min, 0); both == 0 { // some sums wrap, some do not
			n.min, n.max = 0, math.MaxUint64
		}
	}
	// Bits below the first unknown one, with the carries, are known.
	unknown := a.mask | b.mask | ((a.value + b.value) ^ (a.value + a.mask + b.value + b.mask))
	n.value, n.mask = (a.value+b.value)&^unknown, unknown
	return n.settled()
}

func (a number) sub(b number) number {
	n := number{a.min - b.max, a.max - b.min, 0, math.MaxUint64}
	if a.min < b.max && !(a.max < b.min) {
		n.min, n.max = 0, math.MaxUint64
	}
	unknown := a.mask | b.mask | ((a.value + a.mask - b.value) ^ (a.value - b.value - b.mask))
	n.value, n.mask = (a.value-b.value)&^unknown, unknown
	return n.settled()
}

func (a number) settled() number {
	if n, ok := a.settle(); ok {
		return n
	}
	return anyNumber
}

func (a number) and(b number) number {
	value := a.value & b.value
	may := (a.value | a.mask) & (b.value | b.mask)
	return number{value, min(may, a.max, b.max), value, may &^ value}.settled()
}

func (a number) or(b number) number {
	value := a.value | b.value
	may := a.value | a.mask | b.value | b.mask
	return number{max(value, a.min, b.min), may, value, may &^ value}.settled()
}

func (a number) xor(b number) number {
	unknown := a.mask | b.mask
	value := (a.value ^ b.value) &^ unknown
	return number{value, value | unknown, value, unknown}.settled()
}

func (a number) shiftLeft(n uint64) number {
	r := number{0, math.MaxUint64, a.value << n, a.mask << n}
	if a.max<<n>>n == a.max {
		r.min, r.max = a.min<<n, a.max<<n
	}
	return r.settled()
}

func (a number) shiftRight(n uint64) number {
	return number{a.min >> n, a.max >> n, a.value >> n, a.mask >> n}.settled()
}

func (a number) multiply(b number) number {
	high, low := bits.Mul64(a.max, b.max)
	if high != 0 {
		return anyNumber
	}
	return between(a.min*b.min, low)
}

// between is a number of which only bounds are known.
func between(first, last uint64) number { return number{first, last, 0, math.MaxUint64}.settled() }

// divide is the quotient; a zero divisor gives 0.
func (a number) divide(b number) number {
	if b.min == 0 {
		return between(0, a.max)
	}
	return between(a.min/b.max, a.max/b.min)
}

// modulo is the remainder; a zero divisor leaves the dividend.
func (a number) modulo(b number) number {
	switch {
	case b.min > 0 && a.max < b.min:
		return a
	case b.min == 0:
		return between(0, a.max)
	}
	return between(0, min(a.max, b.max-1))
}

// comparison operators, as constraints on the left side with a constant right one.
const (
	equal = iota
	notEqual
	less
	lessEqual
	greater
	greaterEqual
	signedLess
	signedLessEqual
	signedGreater
	signedGreaterEqual
	someBits
	noBits
)

var opposite = [...]int{
	equal: notEqual, notEqual: equal, less: greaterEqual, lessEqual: greater, greater: lessEqual, greaterEqual: less,
	signedLess: signedGreaterEqual, signedLessEqual: signedGreater, signedGreater: signedLessEqual, signedGreaterEqual: signedLess,
	someBits: noBits, noBits: someBits,
}

var mirrored = [...]int{
	equal: equal, notEqual: notEqual, less: greater, lessEqual: greaterEqual, greater: less, greaterEqual: lessEqual,
	signedLess: signedGreater, signedLessEqual: signedGreaterEqual, signedGreater: signedLess, signedGreaterEqual: signedLessEqual,
	someBits: someBits, noBits: noBits,
}

// where is the number if it compares so with b; false if it cannot.
func (a number) where(op int, b number, width int) (number, bool) {
	switch op {
	case equal:
		a.min, a.max = max(a.min, b.min), min(a.max, b.max)
		if (a.value^b.value)&^(a.mask|b.mask) != 0 {
			return a, false
		}
		a.value |= b.value &^ b.mask
		a.mask &= b.mask
		return a.settle()
	case notEqual:
		n, known := b.constant()
		switch {
		case !known:
			return a, true
		case a.min == a.max && a.min == n:
			return a, false
		case a.min == n:
			a.min++
		case a.max == n:
			a.max--
		}
		return a.settle()
	case less:
		if b.max == 0 {
			return a, false
		}
		a.max = min(a.max, b.max-1)
		return a.settle()
	case lessEqual:
		a.max = min(a.max, b.max)
		return a.settle()
	case greater:
		if b.min == math.MaxUint64 {
			return a, false
		}
		a.min = max(a.min, b.min+1)
		return a.settle()
	case greaterEqual:
		a.min = max(a.min, b.min)
		return a.settle()
	case someBits:
		if (a.value|a.mask)&(b.value|b.mask) == 0 {
			return a, false
		}
		return a, true
	case noBits:
		n, known := b.constant()
		if !known {
			return a, a.value&b.value == 0
		}
		if a.value&n != 0 {
			return a, false
		}
		a.mask &^= n
		a.max = min(a.max, a.value|a.mask)
		return a.settle()
	}
	return a.whereSigned(op, b, width)
}

// whereSigned is where for signed comparisons: they are as the unsigned ones where both
// numbers have one sign.
func (a number) whereSigned(op int, b number, width int) (number, bool) {
	half := uint64(1) << (width - 1)
	negative := func(n number) bool { return n.min >= half }
	positive := func(n number) bool { return n.max < half }
	unsigned := [...]int{signedLess: less, signedLessEqual: lessEqual, signedGreater: greater, signedGreaterEqual: greaterEqual}[op]
	below := op == signedLess || op == signedLessEqual
	switch {
	case positive(a) && positive(b), negative(a) && negative(b):
		return a.where(unsigned, b, width)
	case negative(a) && positive(b):
		return a, below
	case positive(a) && negative(b):
		return a, !below
	case below && negative(b):
		a.min = max(a.min, half)
		if a, ok := a.settle(); ok {
			return a.where(unsigned, b, width)
		}
		return a, false
	case !below && positive(b):
		a.max = min(a.max, half-1)
		if a, ok := a.settle(); ok {
			return a.where(unsigned, b, width)
		}
		return a, false
	}
	return a, true
}
