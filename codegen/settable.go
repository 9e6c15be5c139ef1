package codegen

import (
	"encoding/binary"
	"errors"
	"math"
	mathbits "math/bits"
	"slices"

	"github.com/hopgate/hopgate/compiler"
)

// A set's table is an array of blocks of one cache line that answers whether a
// number of up to 128 bits is in the set, in few steps whatever the set.
//
// The set is its bounds: the sorted numbers at which membership begins or ends. A
// number is a member if an odd count of bounds is not above it. Every block looks
// at numbers through a frame: digit = (number - base) >> shift, where a number
// below base comes before digit 0. A shift of 64 and more looks at the upper half
// of the difference alone.
//
//	header  block 0: a frame; its digit d leads to node 1 + d, or to the last one
//	node    a frame and sorted digits; rank = how many are not above the number's.
//	        A leaf's digits are bounds: the answer is rank + first, modulo 2. Else
//	        the node to go on with is block first + rank.
//
// There are so many nodes under the header that nearly all are leaves: a lookup
// reads one cold cache line.
const (
	tableBlock = 64 // bytes

	blockLow   = 0  // u64: base
	blockShift = 8  // u8
	nodeLanes  = 9  // u8: bits of a digit, 15, 31 or 63; one bit less than it takes
	nodeFirst  = 12 // u32; of the header: the last digit
	blockHigh  = 16 // u64: upper half of the base, if the table is wide
	narrowAt   = 16 // digits; those not there are 1 << lanes
	wideAt     = 24
	setMagicAt = 24 // u32
	setFieldAt = 28 // u8: compiler.Field

	setMagic = 0x31736768 // "hgs1"

	kidLanes   = 15 // of a node that is no leaf
	maxTopBits = 18 // 16 megabytes
)

// Depths of the trees below the header: what lookups go down. The deepest trees
// come from sets that are dense in places at many scales.
const (
	narrowDepth = 7
	wideDepth   = 12
)

// frame says how a block looks at numbers.
type frame struct {
	base  compiler.Value
	shift int
}

func minus(v, w compiler.Value) compiler.Value {
	lo, borrow := mathbits.Sub64(v.Lo, w.Lo, 0)
	return compiler.Value{Hi: v.Hi - w.Hi - borrow, Lo: lo}
}

// leastShift is that of a frame in which a difference is a digit of so many bits.
func leastShift(extent compiler.Value, bits int) int {
	if extent.Hi != 0 {
		return 64 + max(0, mathbits.Len64(extent.Hi)-bits)
	}
	return max(0, mathbits.Len64(extent.Lo)-bits)
}

func (f frame) digit(v compiler.Value) uint64 {
	d := minus(v, f.base)
	if f.shift >= 64 {
		return d.Hi >> (f.shift - 64)
	}
	return d.Lo >> f.shift
}

// value is the first number of a digit.
func (f frame) value(digit uint64) compiler.Value {
	if f.shift >= 64 {
		return compiler.Value{Hi: f.base.Hi + digit<<(f.shift-64), Lo: f.base.Lo}
	}
	high, low := mathbits.Mul64(digit, 1<<f.shift)
	low, carry := mathbits.Add64(f.base.Lo, low, 0)
	return compiler.Value{Hi: f.base.Hi + high + carry, Lo: low}
}

// setTable is a table being built.
type setTable struct {
	bounds []compiler.Value
	blocks []byte
	top    frame // the header's
	wide   bool
	deep   int // how deep the trees are
}

// SetTable gives the blocks of the table that holds the ranges, which are sorted and
// disjoint, of a set's values for an address family.
func SetTable(f compiler.Field, ranges []compiler.Range, ipv6 bool) ([]byte, error) {
	t := setTable{bounds: setBounds(f, ranges, ipv6), wide: setKeyBytes(f, ipv6) == 16}
	t.build()
	t.blocks[setFieldAt] = byte(f)
	if t.deep > t.depth() {
		return nil, errors.New("the set needs a deeper table than programs can look up")
	}
	return t.blocks, nil
}

// setBounds lists where membership changes. An end at the largest value of the
// field is none.
func setBounds(f compiler.Field, ranges []compiler.Range, ipv6 bool) []compiler.Value {
	bounds := make([]compiler.Value, 0, 2*len(ranges))
	address := f == compiler.RemoteAddress || f == compiler.LocalAddress
	last := compiler.Number(math.MaxUint64)
	if size := setKeyBytes(f, ipv6); size == 16 {
		last.Hi = math.MaxUint64
	} else {
		last.Lo = lowBits(8 * int(size))
	}
	for _, r := range ranges {
		if address {
			var ok bool
			if r, ok = r.OfFamily(ipv6); !ok {
				continue
			}
			if !ipv6 {
				r.First.Lo, r.Last.Lo = r.First.Lo&math.MaxUint32, r.Last.Lo&math.MaxUint32
			}
		}
		bounds = append(bounds, r.First)
		if r.Last.Compare(last) < 0 {
			lo, carry := mathbits.Add64(r.Last.Lo, 1, 0)
			bounds = append(bounds, compiler.Value{Hi: r.Last.Hi + carry, Lo: lo})
		}
	}
	return bounds
}

func (t *setTable) depth() int {
	if t.wide {
		return wideDepth
	}
	return narrowDepth
}

func (t *setTable) digitsAt() int {
	if t.wide {
		return wideAt
	}
	return narrowAt
}

// room is how many digits a node has.
func (t *setTable) room(lanes int) int { return (tableBlock - t.digitsAt()) * 8 / (lanes + 1) }

func (t *setTable) build() {
	n, last := len(t.bounds), uint64(0)
	if n > 0 {
		t.top = t.chooseTop()
		last = t.top.digit(t.bounds[n-1])
	}
	t.blocks = make([]byte, 0, tableBlock*(2+last+last/8))
	t.allocate(2 + int(last))
	b := t.put(0, t.top, 0, uint32(last))
	binary.LittleEndian.PutUint32(b[setMagicAt:], setMagic)
	for digit, i := uint64(0), 0; digit <= last; digit++ {
		end := t.digitEnd(t.top, digit, i, n)
		t.node(1+int(digit), t.top.value(digit), i, end, 1)
		i = end
	}
}

// chooseTop finds the frame of the header: with as few digits as make nine nodes of
// ten leaves.
func (t *setTable) chooseTop() frame {
	n := len(t.bounds)
	extent := minus(t.bounds[n-1], t.bounds[0])
	most := min(mathbits.Len(uint(n/4)), maxTopBits)
	for bits := min(mathbits.Len(uint(n/t.room(kidLanes))), most); ; bits++ {
		f := frame{t.bounds[0], leastShift(extent, bits)}
		if bits >= most || t.mostlyLeaves(f) {
			return f
		}
	}
}

// mostlyLeaves looks at some of the bounds and the nodes they would be in.
func (t *setTable) mostlyLeaves(f frame) bool {
	const samples = 1 << 12
	n := len(t.bounds)
	leaves, others := 0, 0
	for at := 0; at < n; at += 1 + n/samples {
		digit := f.digit(t.bounds[at])
		i := search(0, at, func(i int) bool { return f.digit(t.bounds[i]) == digit })
		j := t.digitEnd(f, digit, at, n)
		if _, _, ok := t.leafFrame(f.value(digit), i, j); ok {
			leaves++
		} else {
			others++
		}
	}
	return others*9 < leaves
}

func (t *setTable) allocate(blocks int) (first int) {
	first = len(t.blocks) / tableBlock
	t.blocks = append(t.blocks, make([]byte, blocks*tableBlock)...)
	return first
}

func (t *setTable) put(block int, f frame, lanes int, first uint32) []byte {
	b := t.blocks[block*tableBlock:][:tableBlock]
	binary.LittleEndian.PutUint64(b[blockLow:], f.base.Lo)
	if t.wide {
		binary.LittleEndian.PutUint64(b[blockHigh:], f.base.Hi)
	}
	b[blockShift], b[nodeLanes] = byte(f.shift), byte(lanes)
	binary.LittleEndian.PutUint32(b[nodeFirst:], first)
	return b
}

// putNode writes a node of n digits.
func (t *setTable) putNode(block int, f frame, lanes, first, n int, digit func(int) uint64) {
	b := t.put(block, f, lanes, uint32(first))[t.digitsAt():]
	for k := range t.room(lanes) {
		d := uint64(1) << lanes
		if k < n {
			d = digit(k)
		}
		switch lanes {
		case 15:
			binary.LittleEndian.PutUint16(b[2*k:], uint16(d))
		case 31:
			binary.LittleEndian.PutUint32(b[4*k:], uint32(d))
		case 63:
			binary.LittleEndian.PutUint64(b[8*k:], d)
		}
	}
}

// search is the first number from i up to j for which f is true; all before it are
// false.
func search(i, j int, f func(int) bool) int {
	for i < j {
		if mid := (i + j) / 2; f(mid) {
			j = mid
		} else {
			i = mid + 1
		}
	}
	return i
}

// digitEnd is the end of the bounds up to a digit, which begin at i.
func (t *setTable) digitEnd(f frame, digit uint64, i, j int) int {
	step := 1
	for i+step <= j && f.digit(t.bounds[i+step-1]) <= digit {
		step *= 2
	}
	return search(i+step/2, min(i+step-1, j), func(k int) bool { return f.digit(t.bounds[k]) > digit })
}

// leafFrame gives a frame in which the bounds, for numbers from start on, are
// digits of a leaf; false if there is none. It prefers one that all the numbers
// are in, which spares a lookup a surprise.
func (t *setTable) leafFrame(start compiler.Value, i, j int) (f frame, lanes int, ok bool) {
	if i == j {
		return frame{start, 0}, 15, true
	}
	for _, lanes := range [...]int{15, 31, 63} {
		if j-i > t.room(lanes) {
			break
		}
		for _, base := range [...]compiler.Value{start, t.bounds[i]} {
			var bits compiler.Value
			for _, b := range t.bounds[i:j] {
				d := minus(b, base)
				bits.Hi, bits.Lo = bits.Hi|d.Hi, bits.Lo|d.Lo
			}
			least := leastShift(minus(t.bounds[j-1], base), lanes)
			if most := t.mostShift(bits); least <= most {
				return frame{base, most}, lanes, true
			}
		}
	}
	return frame{}, 0, false
}

// mostShift is that of a frame in which differences with the bits are exact.
func (t *setTable) mostShift(bits compiler.Value) int {
	most := trailingZeros(bits)
	if !t.wide || bits.Hi == 0 && bits.Lo != 0 {
		return min(most, 63)
	}
	return min(most, 127)
}

// node writes the tree of the bounds from i up to j, for numbers from start on.
func (t *setTable) node(block int, start compiler.Value, i, j, depth int) {
	t.deep = max(t.deep, depth)
	if f, lanes, ok := t.leafFrame(start, i, j); ok {
		t.putNode(block, f, lanes, i&1, j-i, func(k int) uint64 { return f.digit(t.bounds[i+k]) })
		return
	}
	last := t.bounds[j-1]
	f := frame{t.bounds[i], leastShift(minus(last, t.bounds[i]), kidLanes)}
	if leastShift(minus(last, start), kidLanes) == f.shift {
		f.base = start
	}
	kids := t.kids(f, i, j)
	first := t.allocate(len(kids))
	separator := func(k int) uint64 { return f.digit(t.bounds[kids[k+1]]) }
	t.putNode(block, f, kidLanes, first, len(kids)-1, separator)
	for k, from := range kids {
		end := j
		if k+1 < len(kids) {
			end = kids[k+1]
		}
		if k > 0 {
			start = f.value(separator(k - 1))
		}
		t.node(first+k, start, from, end, depth+1)
	}
}

// kids divides the bounds from i up to j among the kids of a node, and gives where
// each begins. Bounds of one digit stay together.
func (t *setTable) kids(f frame, i, j int) []int {
	most := t.room(kidLanes) + 1
	for least := (j - i + most - 1) / most; ; least += least/4 + 1 {
		if kids := t.divide(f, i, j, least, most); len(kids) <= most {
			return kids
		}
	}
}

// divide gives each kid so many bounds at least, or as many as make a leaf. A digit
// with so many has a kid of its own: that is where the next frame sees more.
func (t *setTable) divide(f frame, i, j, least, most int) []int {
	kids := []int{i}
	start := i
	for at := i; at < j; {
		end := t.digitEnd(f, f.digit(t.bounds[at]), at, j)
		if at > start && (end-at >= least || at-start >= least) {
			if _, _, leaf := t.leafFrame(t.bounds[start], start, end); !leaf {
				if kids = append(kids, at); len(kids) > most {
					return kids
				}
				start = at
			}
		}
		at = end
	}
	return kids
}

// TableRanges is the inverse of SetTable: the field and the ranges that a table
// holds, IPv4 addresses as IPv4-mapped ones.
func TableRanges(blocks []byte, ipv6 bool) (compiler.Field, []compiler.Range, error) {
	if len(blocks) < 2*tableBlock || binary.LittleEndian.Uint32(blocks[setMagicAt:]) != setMagic {
		return 0, nil, errors.New("not the table of a set")
	}
	f := compiler.Field(blocks[setFieldAt])
	if int(f) >= compiler.NumFields {
		return 0, nil, errDamagedTable
	}
	r := setReader{setTable: setTable{blocks: blocks, wide: setKeyBytes(f, ipv6) == 16}}
	top, _, last := r.frame(0)
	for d := range uint64(last) + 1 {
		if err := r.node(1+d, top.value(d), 1); err != nil {
			return 0, nil, err
		}
	}
	return f, r.ranges(f, ipv6), nil
}

var errDamagedTable = errors.New("the table of the set is damaged")

type setReader struct {
	setTable
	read int // nodes
}

func (r *setReader) frame(block uint64) (f frame, lanes int, first uint32) {
	b := r.blocks[block*tableBlock:]
	f = frame{compiler.Value{Lo: binary.LittleEndian.Uint64(b[blockLow:])}, int(b[blockShift] & 127)}
	if r.wide {
		f.base.Hi = binary.LittleEndian.Uint64(b[blockHigh:])
	}
	return f, int(b[nodeLanes]), binary.LittleEndian.Uint32(b[nodeFirst:])
}

// node notes what the answers are from start on.
func (r *setReader) node(block uint64, start compiler.Value, depth int) error {
	r.read++ // none is there twice
	if all := len(r.blocks) / tableBlock; block >= uint64(all) || depth > r.depth() || r.read > all {
		return errDamagedTable
	}
	f, lanes, first := r.frame(block)
	if lanes != 15 && lanes != 31 && lanes != 63 {
		return errDamagedTable
	}
	digits := r.blocks[block*tableBlock:][r.digitsAt():tableBlock]
	for rank := uint32(0); ; rank++ {
		if first > 1 {
			if err := r.node(uint64(first)+uint64(rank), start, depth+1); err != nil {
				return err
			}
		} else if uint32(len(r.bounds)&1) != (first+rank)&1 {
			r.bounds = append(r.bounds, start)
		}
		if int(rank) == r.room(lanes) {
			return nil
		}
		var digit uint64
		switch lanes {
		case 15:
			digit = uint64(binary.LittleEndian.Uint16(digits[2*rank:]))
		case 31:
			digit = uint64(binary.LittleEndian.Uint32(digits[4*rank:]))
		case 63:
			digit = binary.LittleEndian.Uint64(digits[8*rank:])
		}
		if digit>>lanes != 0 {
			return nil
		}
		start = f.value(digit)
	}
}

func (r *setReader) ranges(f compiler.Field, ipv6 bool) []compiler.Range {
	var list []compiler.Range
	mapped := uint64(0)
	last := f.Domain().Last
	if (f == compiler.RemoteAddress || f == compiler.LocalAddress) && !ipv6 {
		mapped = 0xffff_0000_0000
		last = compiler.Number(math.MaxUint32)
	}
	for pair := range slices.Chunk(r.bounds, 2) {
		one := compiler.Range{First: pair[0], Last: last}
		if len(pair) == 2 {
			one.Last = minus(pair[1], compiler.Number(1))
		}
		one.First.Lo, one.Last.Lo = one.First.Lo|mapped, one.Last.Lo|mapped
		list = append(list, one)
	}
	return list
}
