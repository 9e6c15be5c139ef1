package vm

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"math/bits"
	"testing"

	"github.com/stretchr/testify/require"
)

// slot encodes one instruction.
func slot(code, dst, src uint8, off int16, imm int32) []byte {
	b := []byte{code, dst | src<<4}
	b = binary.LittleEndian.AppendUint16(b, uint16(off))
	return binary.LittleEndian.AppendUint32(b, uint32(imm))
}

// loadImm encodes a 64-bit constant.
func loadImm(dst uint8, v uint64) []byte {
	return join(slot(0x18, dst, 0, 0, int32(v)), slot(0, 0, 0, 0, int32(v>>32)))
}

// mapValue loads the address of the value of map number 0.
func mapValue(dst uint8) []byte {
	return join(slot(0x18, dst, srcMapValue, 0, 0), slot(0, 0, 0, 0, 0))
}

func join(parts ...[]byte) []byte {
	var code []byte
	for _, p := range parts {
		code = append(code, p...)
	}
	return code
}

var exit = slot(0x95, 0, 0, 0, 0)

func mustLoad(t testing.TB, env *Environment, parts ...[]byte) *Program {
	t.Helper()
	if env == nil {
		env = &Environment{}
	}
	p, err := LoadBytes(join(parts...), env)
	require.NoError(t, err)
	return p
}

// result runs code and returns r0.
func result(t testing.TB, m *Machine, parts ...[]byte) uint64 {
	t.Helper()
	r0, err := m.Run(mustLoad(t, nil, parts...), nil, nil)
	require.NoError(t, err)
	return r0
}

// equal is require.Equal for loops of many cases.
func equal[T comparable](t *testing.T, want, got T, format string, args ...any) {
	t.Helper()
	if want != got {
		t.Fatalf("want %#v, got %#v: %s", want, got, fmt.Sprintf(format, args...))
	}
}

// edges are operands at which instructions go wrong.
var edges = []uint64{
	0, 1, 2, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65,
	0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000,
	0x7fffffff, 0x80000000, 0x80000001, 0xffffffff, 0x100000000, 0x1_8000_0000,
	0x7fffffffffffffff, 0x8000000000000000, 0x8000000000000001,
	0xffffffff_00000000, 0xffffffff_7fffffff, 0xffffffff_80000000, 0xffffffff_fffffffe, 0xffffffff_ffffffff,
	0x0123456789abcdef, 0xfedcba9876543210,
}

// immediates are the constants among them.
func immediates() []int32 {
	var out []int32
	for _, e := range edges {
		if int64(e) == int64(int32(e)) {
			out = append(out, int32(e))
		}
	}
	return out
}

// aluForm is an arithmetic instruction. Want is what RFC 9669 says of it, worked out in
// integers of any size.
type aluForm struct {
	name string
	code uint8 // of the 64-bit form with a constant, without class and source
	off  int16
	want func(a, b *big.Int, width uint) *big.Int // operands unsigned; the result is cut to width
}

func signedBig(v *big.Int, width uint) *big.Int {
	if v.Bit(int(width)-1) == 1 {
		return new(big.Int).Sub(v, new(big.Int).Lsh(big.NewInt(1), width))
	}
	return new(big.Int).Set(v)
}

func amount(b *big.Int, width uint) uint {
	return uint(new(big.Int).And(b, big.NewInt(int64(width-1))).Uint64())
}

var aluForms = []aluForm{
	{"add", 0x00, 0, func(a, b *big.Int, _ uint) *big.Int { return a.Add(a, b) }},
	{"sub", 0x10, 0, func(a, b *big.Int, _ uint) *big.Int { return a.Sub(a, b) }},
	{"mul", 0x20, 0, func(a, b *big.Int, _ uint) *big.Int { return a.Mul(a, b) }},
	{"div", 0x30, 0, func(a, b *big.Int, _ uint) *big.Int {
		if b.Sign() == 0 {
			return b
		}
		return a.Quo(a, b)
	}},
	{"sdiv", 0x30, 1, func(a, b *big.Int, w uint) *big.Int {
		if b.Sign() == 0 {
			return b
		}
		return a.Quo(signedBig(a, w), signedBig(b, w))
	}},
	{"or", 0x40, 0, func(a, b *big.Int, _ uint) *big.Int { return a.Or(a, b) }},
	{"and", 0x50, 0, func(a, b *big.Int, _ uint) *big.Int { return a.And(a, b) }},
	{"lsh", 0x60, 0, func(a, b *big.Int, w uint) *big.Int { return a.Lsh(a, amount(b, w)) }},
	{"rsh", 0x70, 0, func(a, b *big.Int, w uint) *big.Int { return a.Rsh(a, amount(b, w)) }},
	{"mod", 0x90, 0, func(a, b *big.Int, _ uint) *big.Int {
		if b.Sign() == 0 {
			return a
		}
		return a.Rem(a, b)
	}},
	{"smod", 0x90, 1, func(a, b *big.Int, w uint) *big.Int {
		if b.Sign() == 0 {
			return a
		}
		return a.Rem(signedBig(a, w), signedBig(b, w))
	}},
	{"xor", 0xa0, 0, func(a, b *big.Int, _ uint) *big.Int { return a.Xor(a, b) }},
	{"mov", 0xb0, 0, func(_, b *big.Int, _ uint) *big.Int { return b }},
	{"arsh", 0xc0, 0, func(a, b *big.Int, w uint) *big.Int { return a.Rsh(signedBig(a, w), amount(b, w)) }},
}

// cut is v modulo 2^width.
func cut(v *big.Int, width uint) uint64 {
	mask := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), width), big.NewInt(1))
	return new(big.Int).And(v, mask).Uint64()
}

func TestALU(t *testing.T) {
	m := NewMachine()
	for _, f := range aluForms {
		for class, width := range map[uint8]uint{classAlu64: 64, classAlu32: 32} {
			want := func(a, b uint64) uint64 {
				x, y := new(big.Int).SetUint64(a), new(big.Int).SetUint64(b)
				return cut(f.want(new(big.Int).SetUint64(cut(x, width)), new(big.Int).SetUint64(cut(y, width)), width), width)
			}
			for _, a := range edges {
				for _, b := range edges {
					got := result(t, m, loadImm(0, a), loadImm(3, b), slot(f.code|sourceRegister|class, 0, 3, f.off, 0), exit)
					equal(t, want(a, b), got, "%s%d %#x, r%#x", f.name, width, a, b)
				}
				for _, b := range immediates() {
					got := result(t, m, loadImm(0, a), slot(f.code|class, 0, 0, f.off, b), exit)
					equal(t, want(a, uint64(int64(b))), got, "%s%d %#x, %#x", f.name, width, a, b)
				}
			}
		}
	}
}

// unaryForms change a register, or with source r3 set it from that.
var unaryForms = []struct {
	name string
	code uint8
	src  uint8
	off  int16
	imm  int32
	want func(uint64) uint64
}{
	{"neg64", 0x87, 0, 0, 0, func(a uint64) uint64 { return ^a + 1 }},
	{"neg32", 0x84, 0, 0, 0, func(a uint64) uint64 { return uint64(^uint32(a) + 1) }},
	{"movsx8 64", 0xbf, 3, 8, 0, func(a uint64) uint64 { return a&0x7f - a&0x80 }},
	{"movsx16 64", 0xbf, 3, 16, 0, func(a uint64) uint64 { return a&0x7fff - a&0x8000 }},
	{"movsx32 64", 0xbf, 3, 32, 0, func(a uint64) uint64 { return a&0x7fffffff - a&0x80000000 }},
	{"movsx8 32", 0xbc, 3, 8, 0, func(a uint64) uint64 { return (a&0x7f - a&0x80) & 0xffffffff }},
	{"movsx16 32", 0xbc, 3, 16, 0, func(a uint64) uint64 { return (a&0x7fff - a&0x8000) & 0xffffffff }},
	{"le16", 0xd4, 0, 0, 16, func(a uint64) uint64 { return a & 0xffff }},
	{"le32", 0xd4, 0, 0, 32, func(a uint64) uint64 { return a & 0xffffffff }},
	{"le64", 0xd4, 0, 0, 64, func(a uint64) uint64 { return a }},
	{"be16", 0xdc, 0, 0, 16, func(a uint64) uint64 { return a>>8&0xff | a&0xff<<8 }},
	{"be32", 0xdc, 0, 0, 32, func(a uint64) uint64 { return bits.ReverseBytes64(a) >> 32 }},
	{"be64", 0xdc, 0, 0, 64, bits.ReverseBytes64},
	{"bswap16", 0xd7, 0, 0, 16, func(a uint64) uint64 { return a>>8&0xff | a&0xff<<8 }},
	{"bswap32", 0xd7, 0, 0, 32, func(a uint64) uint64 { return bits.ReverseBytes64(a) >> 32 }},
	{"bswap64", 0xd7, 0, 0, 64, bits.ReverseBytes64},
}

func TestUnary(t *testing.T) {
	m := NewMachine()
	for _, f := range unaryForms {
		for _, a := range edges {
			got := result(t, m, loadImm(0, a), loadImm(3, a), slot(f.code, 0, f.src, f.off, f.imm), exit)
			equal(t, f.want(a), got, "%s %#x", f.name, a)
		}
	}
}

// jumpForms are the conditional jumps; want compares operands of width 64, the
// unsigned in u and the signed in s.
var jumpForms = []struct {
	name string
	code uint8
	want func(ua, ub uint64, sa, sb int64) bool
}{
	{"jeq", 0x10, func(ua, ub uint64, _, _ int64) bool { return ua == ub }},
	{"jgt", 0x20, func(ua, ub uint64, _, _ int64) bool { return ua > ub }},
	{"jge", 0x30, func(ua, ub uint64, _, _ int64) bool { return ua >= ub }},
	{"jset", 0x40, func(ua, ub uint64, _, _ int64) bool { return ua&ub != 0 }},
	{"jne", 0x50, func(ua, ub uint64, _, _ int64) bool { return ua != ub }},
	{"jsgt", 0x60, func(_, _ uint64, sa, sb int64) bool { return sa > sb }},
	{"jsge", 0x70, func(_, _ uint64, sa, sb int64) bool { return sa >= sb }},
	{"jlt", 0xa0, func(ua, ub uint64, _, _ int64) bool { return ua < ub }},
	{"jle", 0xb0, func(ua, ub uint64, _, _ int64) bool { return ua <= ub }},
	{"jslt", 0xc0, func(_, _ uint64, sa, sb int64) bool { return sa < sb }},
	{"jsle", 0xd0, func(_, _ uint64, sa, sb int64) bool { return sa <= sb }},
}

func TestConditionalJumps(t *testing.T) {
	m := NewMachine()
	for _, f := range jumpForms {
		check := func(class uint8, a, b uint64, jump []byte) {
			taken := f.want(a, b, int64(a), int64(b))
			if class == classJump32 {
				taken = f.want(uint64(uint32(a)), uint64(uint32(b)), int64(int32(a)), int64(int32(b)))
			}
			got := result(t, m, loadImm(2, a), loadImm(3, b), slot(0xb7, 0, 0, 0, 1), jump, slot(0xb7, 0, 0, 0, 0), exit)
			equal(t, taken, got == 1, "%s class %d: %#x, %#x", f.name, class, a, b)
		}
		for _, class := range []uint8{classJump, classJump32} {
			for _, a := range edges {
				for _, b := range edges {
					check(class, a, b, slot(f.code|sourceRegister|class, 2, 3, 1, 0))
				}
				for _, b := range immediates() {
					check(class, a, uint64(int64(b)), slot(f.code|class, 2, 0, 1, b))
				}
			}
		}
	}
}

func TestJumps(t *testing.T) {
	require.EqualValues(t, 7, result(t, NewMachine(),
		slot(0xb7, 0, 0, 0, 7),
		slot(0x05, 0, 0, 1, 0), // ja +1
		slot(0xb7, 0, 0, 0, 1),
		slot(0x06, 0, 0, 0, 1), // gotol +1
		slot(0xb7, 0, 0, 0, 2),
		exit))
	require.EqualValues(t, 3, result(t, NewMachine(), // backwards
		slot(0x05, 0, 0, 2, 0),
		slot(0xb7, 0, 0, 0, 3),
		exit,
		slot(0x06, 0, 0, 0, -3)))
}

// size names the sizes of memory instructions.
var memorySizes = []struct {
	bytes uint64
	field uint8
}{{1, 0x10}, {2, 0x08}, {4, 0x00}, {8, 0x18}}

// places are the kinds of memory: code that makes r6 point to 64 bytes of it.
func places(t testing.TB) map[string]struct {
	env     *Environment
	context []byte
	code    []byte
} {
	m := newTestMap(t, 2 /* array */, 4, 64, 1)
	type place = struct {
		env     *Environment
		context []byte
		code    []byte
	}
	return map[string]place{
		"stack":   {&Environment{}, nil, join(slot(0xbf, 6, 10, 0, 0), slot(0x07, 6, 0, 0, -64))},
		"context": {&Environment{}, make([]byte, 64), slot(0xbf, 6, 1, 0, 0)},
		"map":     {&Environment{Maps: map[string]*Map{"m": m}}, nil, join(slot(0x18, 6, srcMapValue, 0, 0), slot(0, 0, 0, 0, 0))},
	}
}

// reference is memory as a plain array.
type reference [64]byte

func (m *reference) load(off int, size uint64) uint64 {
	var b [8]byte
	copy(b[:], m[off:off+int(size)])
	return binary.LittleEndian.Uint64(b[:])
}

func (m *reference) store(off int, size, v uint64) {
	b := binary.LittleEndian.AppendUint64(nil, v)
	copy(m[off:], b[:size])
}

func TestLoadsAndStores(t *testing.T) {
	m := NewMachine()
	for name, place := range places(t) {
		for _, size := range memorySizes {
			for off := range 17 {
				for _, v := range edges {
					var want reference
					fill := place.code
					for i := range 4 {
						want.store(i*8, 8, 0x8877665544332211*uint64(i+1))
						fill = join(fill, loadImm(3, 0x8877665544332211*uint64(i+1)), slot(0x7b, 6, 3, int16(i*8), 0))
					}
					run := func(code ...[]byte) uint64 {
						r0, err := m.Run(mustLoad(t, place.env, append([][]byte{fill}, code...)...), place.context, nil)
						require.NoError(t, err)
						return r0
					}
					const message = "%s, %d bytes at %d"
					equal(t, want.load(off, size.bytes), run(slot(0x61|size.field, 0, 6, int16(off), 0), exit), message, name, size.bytes, off)
					if size.bytes < 8 {
						shift := 64 - 8*size.bytes
						signed := uint64(int64(want.load(off, size.bytes)<<shift) >> shift)
						equal(t, signed, run(slot(0x81|size.field, 0, 6, int16(off), 0), exit), message, name, size.bytes, off)
					}
					want.store(off, size.bytes, v)
					for i := range 4 {
						got := run(loadImm(3, v), slot(0x63|size.field, 6, 3, int16(off), 0), slot(0x79, 0, 6, int16(i*8), 0), exit)
						equal(t, want.load(i*8, 8), got, message, name, size.bytes, off)
					}
					if imm := int32(v); uint64(int64(imm)) == v {
						got := run(slot(0x62|size.field, 6, 0, int16(off), imm), slot(0x79, 0, 6, int16(off), 0), exit)
						equal(t, want.load(off, 8), got, message, name, size.bytes, off)
					}
				}
			}
		}
	}
}

// atomicForms by their constant; want is the new value.
var atomicForms = []struct {
	name  string
	imm   int32
	fetch bool
	want  func(old, operand uint64) uint64
}{
	{"add", 0x00, false, func(old, x uint64) uint64 { return old + x }},
	{"fetch add", 0x01, true, func(old, x uint64) uint64 { return old + x }},
	{"or", 0x40, false, func(old, x uint64) uint64 { return old | x }},
	{"fetch or", 0x41, true, func(old, x uint64) uint64 { return old | x }},
	{"and", 0x50, false, func(old, x uint64) uint64 { return old & x }},
	{"fetch and", 0x51, true, func(old, x uint64) uint64 { return old & x }},
	{"xor", 0xa0, false, func(old, x uint64) uint64 { return old ^ x }},
	{"fetch xor", 0xa1, true, func(old, x uint64) uint64 { return old ^ x }},
	{"xchg", 0xe1, true, func(_, x uint64) uint64 { return x }},
}

func TestAtomics(t *testing.T) {
	m := NewMachine()
	for name, place := range places(t) {
		for _, size := range memorySizes[2:] {
			mask := ^uint64(0) >> (64 - 8*size.bytes)
			for _, off := range []int{0, int(size.bytes)} {
				for _, old := range edges {
					for _, x := range edges {
						fill := join(place.code, loadImm(0, old), loadImm(3, x), slot(0x63|size.field, 6, 0, int16(off), 0))
						run := func(code ...[]byte) uint64 {
							r0, err := m.Run(mustLoad(t, place.env, append([][]byte{fill}, code...)...), place.context, nil)
							require.NoError(t, err)
							return r0
						}
						for _, f := range atomicForms {
							op := slot(0xc3|size.field, 6, 3, int16(off), f.imm)
							const message = "%s on %d bytes of %s: %#x, %#x"
							equal(t, f.want(old, x)&mask, run(op, slot(0x61|size.field, 0, 6, int16(off), 0), exit), message, f.name, size.bytes, name, old, x)
							left := x
							if f.fetch {
								left = old & mask
							}
							equal(t, left, run(op, slot(0xbf, 0, 3, 0, 0), exit), message, f.name, size.bytes, name, old, x)
						}
						// Compare and exchange: r0 is compared, and gets the old value.
						exchange := join(loadImm(0, x), loadImm(3, ^x), slot(0xc3|size.field, 6, 3, int16(off), 0xf1))
						equal(t, old&mask, run(exchange, exit), "cmpxchg on %s: %#x, %#x", name, old, x)
						want := old & mask
						if old&mask == x&mask {
							want = ^x & mask
						}
						equal(t, want, run(exchange, slot(0x61|size.field, 0, 6, int16(off), 0), exit), "cmpxchg on %s: %#x, %#x", name, old, x)
					}
				}
			}
		}
	}
}

func TestLoadAcquireStoreRelease(t *testing.T) {
	m := NewMachine()
	for name, place := range places(t) {
		for _, size := range memorySizes {
			p := mustLoad(t, place.env, place.code,
				loadImm(3, 0xfedcba9876543210),
				slot(0xc3|size.field, 6, 3, 8, 0x110),
				slot(0xc3|size.field, 0, 6, 8, 0x100), exit)
			r0, err := m.Run(p, place.context, nil)
			require.NoError(t, err)
			equal(t, uint64(0xfedcba9876543210)&(^uint64(0)>>(64-8*size.bytes)), r0, "%s", name)
		}
	}
}
