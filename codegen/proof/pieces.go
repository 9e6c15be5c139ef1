package proof

import (
	"encoding/binary"
	"math/bits"
)

// bitmap is a set of small numbers.
type bitmap []uint64

func newBitmap(n int) bitmap { return make(bitmap, (n+63)/64) }

func (b bitmap) has(i int32) bool { return b[i>>6]>>(i&63)&1 != 0 }
func (b bitmap) add(i int32)      { b[i>>6] |= 1 << (i & 63) }
func (b bitmap) drop(i int32)     { b[i>>6] &^= 1 << (i & 63) }

// first is the least number from one on, or -1.
func (b bitmap) first(from int32) int32 {
	for i := int(from >> 6); i < len(b); i++ {
		word := b[i]
		if i == int(from>>6) {
			word &= ^uint64(0) << (from & 63)
		}
		if word != 0 {
			return int32(i<<6 + bits.TrailingZeros64(word))
		}
	}
	return -1
}

// firstBut is the least number from one on that is in b and not in c, or -1.
func (b bitmap) firstBut(c bitmap, from int32) int32 {
	for i := int(from >> 6); i < len(b); i++ {
		word := b[i] &^ c[i]
		if i == int(from>>6) {
			word &= ^uint64(0) << (from & 63)
		}
		if word != 0 {
			return int32(i<<6 + bits.TrailingZeros64(word))
		}
	}
	return -1
}

// cutAt drops the numbers from one on.
func (b bitmap) cutAt(end int32) {
	for i := int(end >> 6); i < len(b); i++ {
		if i == int(end>>6) {
			b[i] &= 1<<(end&63) - 1
		} else {
			b[i] = 0
		}
	}
}

// addFrom adds all numbers from one on.
func (b bitmap) addFrom(from int32) {
	for i := int(from >> 6); i < len(b); i++ {
		if i == int(from>>6) {
			b[i] |= ^uint64(0) << (from & 63)
		} else {
			b[i] = ^uint64(0)
		}
	}
}

func (b bitmap) and(c bitmap) bitmap {
	out := make(bitmap, len(b))
	for i := range b {
		out[i] = b[i] & c[i]
	}
	return out
}

func (b bitmap) or(c bitmap) bitmap {
	out := make(bitmap, len(b))
	for i := range b {
		out[i] = b[i] | c[i]
	}
	return out
}

func (b bitmap) meets(c bitmap) bool {
	for i := range b {
		if b[i]&c[i] != 0 {
			return true
		}
	}
	return false
}

// pieces are the conditions of the rules as alternatives, each of which is a test of
// every variable by itself. They stand in the order of their rules.
type pieces struct {
	rule     []int32    // by piece
	begin    []int32    // by rule, and the default: its first piece
	values   [][]values // by variable: what it is tested for
	untested []bitmap   // by variable: pieces that do not test it
	tests    [][]side   // by piece
}

// values is what some pieces test a variable for.
type values struct {
	in     set
	pieces []int32
}

// side is what a piece tests a variable for.
type side struct {
	v  variable
	in set
}

// maxPieces bounds the alternatives of a rule.
const maxPieces = 1000

// piecesOf cuts the conditions of rules; false if there are too many alternatives.
func piecesOf(p *part) (*pieces, bool) {
	c := &pieces{values: make([][]values, p.terms.count), untested: make([]bitmap, p.terms.count)}
	for i, f := range p.match {
		c.begin = append(c.begin, int32(len(c.rule)))
		list, ok := f.alternatives()
		if !ok {
			return nil, false
		}
		for _, sides := range list {
			c.tests = append(c.tests, sides)
			c.rule = append(c.rule, int32(i))
		}
	}
	c.begin = append(c.begin, int32(len(c.rule)))
	for v := range c.untested {
		c.untested[v] = newBitmap(len(c.rule))
	}
	known := map[string]int{}
	for i, sides := range c.tests {
		for v := range c.untested {
			c.untested[v].add(int32(i))
		}
		for _, s := range sides {
			c.untested[s.v].drop(int32(i))
			key := s.key()
			at, ok := known[key]
			if !ok {
				at = len(c.values[s.v])
				known[key] = at
				c.values[s.v] = append(c.values[s.v], values{in: s.in})
			}
			d := &c.values[s.v][at]
			d.pieces = append(d.pieces, int32(i))
		}
	}
	return c, true
}

func (s *side) key() string {
	b := binary.LittleEndian.AppendUint32(nil, uint32(s.v))
	for _, a := range s.in {
		b = binary.LittleEndian.AppendUint64(b, a.first)
		b = binary.LittleEndian.AppendUint64(b, a.last)
	}
	return string(b)
}

// alternatives is the formula as an "or" of "and"s.
func (f *formula) alternatives() (list [][]side, ok bool) {
	switch f.kind {
	case test:
		if len(f.in) == 0 {
			return nil, true
		}
		return [][]side{{{f.v, f.in}}}, true
	case some:
		for _, p := range f.parts {
			some, ok := p.alternatives()
			if list = append(list, some...); !ok || len(list) > maxPieces {
				return nil, false
			}
		}
		return list, true
	}
	list = [][]side{nil}
	for _, p := range f.parts {
		some, ok := p.alternatives()
		if !ok || len(list)*len(some) > maxPieces {
			return nil, false
		}
		var both [][]side
		for _, a := range list {
			for _, b := range some {
				if c, ok := meeting(a, b); ok {
					both = append(both, c)
				}
			}
		}
		list = both
	}
	return list, true
}

// meeting is the tests of both lists; false if they exclude each other.
func meeting(a, b []side) ([]side, bool) {
	out := append(make([]side, 0, len(a)+len(b)), a...)
next:
	for _, s := range b {
		for i := range out {
			if out[i].v == s.v {
				if out[i].in = out[i].in.and(s.in); len(out[i].in) == 0 {
					return nil, false
				}
				continue next
			}
		}
		out = append(out, s)
	}
	return out, true
}

// region is a box of inputs with what is known of the pieces there.
type region struct {
	box    []set
	open   bitmap    // pieces that may hold somewhere in it
	whole  []bitmap  // by variable: pieces whose test of it holds in all of the box
	partly [][]int32 // by variable: which values cut the box; those of closed pieces may be left out
	exact  bool      // it is of one path
}

// all is the region of a box.
func (c *pieces) all(b []set) *region {
	r := &region{box: b, open: newBitmap(len(c.rule)), whole: make([]bitmap, len(b)), partly: make([][]int32, len(b)), exact: true}
	for i := range c.rule {
		r.open.add(int32(i))
	}
	for v := range r.whole {
		c.compare(r, variable(v))
	}
	return r
}

// compare finds out how the values of a variable lie to the box.
func (c *pieces) compare(r *region, v variable) {
	if len(c.values) <= int(v) || len(c.values[v]) == 0 {
		return
	}
	list := make([]int32, len(c.values[v]))
	for i := range list {
		list[i] = int32(i)
	}
	r.whole[v], r.partly[v] = append(bitmap(nil), c.untested[v]...), list
	c.sift(r, v)
}

// sift looks at the values that cut the box so far. The region's bitmaps are its own.
func (c *pieces) sift(r *region, v variable) {
	var partly []int32
	for _, id := range r.partly[v] {
		d := &c.values[v][id]
		open := false
		for _, i := range d.pieces {
			if open = r.open.has(i); open {
				break
			}
		}
		if !open {
			continue
		}
		switch r.box[v].in(d.in) {
		case apart:
			for _, i := range d.pieces {
				r.open.drop(i)
			}
		case inside:
			for _, i := range d.pieces {
				r.whole[v].add(i)
			}
		default:
			partly = append(partly, id)
		}
	}
	r.partly[v] = partly
}

// with is the region in which a variable has other values, fewer than before.
func (c *pieces) with(r *region, v variable, in set) *region {
	n := &region{box: append([]set(nil), r.box...), open: r.open, whole: r.whole, partly: r.partly, exact: r.exact}
	n.box[v] = in
	if len(r.partly) > int(v) && len(r.partly[v]) > 0 {
		n.open = append(bitmap(nil), r.open...)
		n.whole = append([]bitmap(nil), r.whole...)
		n.partly = append([][]int32(nil), r.partly...)
		n.whole[v] = append(bitmap(nil), r.whole[v]...)
		c.sift(n, v)
	}
	return n
}

// united is a region that holds two.
func (c *pieces) united(a, b, start *region) *region {
	n := &region{box: append([]set(nil), a.box...), open: append(bitmap(nil), a.open...), whole: make([]bitmap, len(a.whole)), partly: make([][]int32, len(a.partly))}
	for i := range n.open {
		n.open[i] |= b.open[i]
	}
	for v := range n.box {
		n.box[v] = a.box[v].or(b.box[v])
		if n.box[v].same(start.box[v]) {
			n.whole[v], n.partly[v] = start.whole[v], start.partly[v]
		} else {
			c.compare(n, variable(v))
		}
	}
	return n
}

// wholeOf reports whether a piece's test of a variable holds in all of the region.
func (c *pieces) wholeOf(r *region, v variable, piece int32) bool {
	return r.whole[v] == nil || r.whole[v].has(piece)
}

// holding are the open pieces that hold in all of the region.
func (c *pieces) holding(r *region) bitmap {
	out := append(bitmap(nil), r.open...)
	for _, whole := range r.whole {
		for i := range whole {
			out[i] &= whole[i]
		}
	}
	return out
}

// meetings finds the pieces that meet one.
type meetings struct {
	*pieces
	known []map[int32]bitmap // by variable, by what of values a piece tests it for
	value []map[int32]int32  // by variable, by piece
}

func newMeetings(c *pieces) *meetings {
	m := &meetings{c, make([]map[int32]bitmap, len(c.values)), make([]map[int32]int32, len(c.values))}
	for v := range c.values {
		m.known[v], m.value[v] = map[int32]bitmap{}, map[int32]int32{}
		for i := range c.values[v] {
			for _, piece := range c.values[v][i].pieces {
				m.value[v][piece] = int32(i)
			}
		}
	}
	return m
}

// with are the pieces that have an input in common with one.
func (m *meetings) with(piece int32) bitmap {
	all := newBitmap(len(m.rule))
	all.addFrom(0)
	for _, s := range m.tests[piece] {
		value := m.value[s.v][piece]
		b, ok := m.known[s.v][value]
		if !ok {
			b = append(bitmap(nil), m.untested[s.v]...)
			for i := range m.values[s.v] {
				if d := &m.values[s.v][i]; d.in.in(s.in) != apart {
					for _, other := range d.pieces {
						b.add(other)
					}
				}
			}
			m.known[s.v][value] = b
		}
		all = all.and(b)
	}
	return all
}
