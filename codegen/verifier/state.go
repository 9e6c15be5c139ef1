package verifier

import (
	"maps"
	"slices"
)

// kind says what a register or a cell of the stack holds.
type kind uint8

const (
	unset   kind = iota // not written on every path
	mixed               // different things on different paths: of no use
	scalar              // a number
	context             // an address in the context
	stack               // an address in the stack of a frame
	mapped              // an address in a value of a map
	handle              // a map
)

var kindNames = [...]string{"nothing on some path", "different things on different paths", "a number", "an address of the context", "an address of the stack", "an address of a map's value", "a map"}

func (k kind) String() string { return kindNames[k] }

// null says whether an address can be null.
type null uint8

const (
	notNull null = iota
	maybeNull
	isNull
)

// value is what is known of a register or a cell.
type value struct {
	kind kind
	n    number // of a scalar
	from int64  // of an address: the least and the greatest offset
	to   int64
	id   int32 // frame of the stack, or index of the map
	size int64 // of a map's value
	null null
	site int32 // of an address that may be null: where it was looked up
}

func numberOf(n number) value { return value{kind: scalar, n: n} }

func (a *value) join(b *value) value {
	switch {
	case *a == *b:
		return *a
	case a.kind == unset || b.kind == unset:
		return value{}
	case a.kind != b.kind || a.id != b.id && a.kind != scalar && a.kind != mapped:
		return value{kind: mixed}
	case a.kind == scalar:
		return numberOf(a.n.join(b.n))
	}
	j := *a
	if b.size < a.size { // values of different maps: what both have
		j.id, j.size = b.id, b.size
	}
	j.from, j.to = min(a.from, b.from), max(a.to, b.to)
	if a.null != b.null {
		j.null = maybeNull
	}
	if a.site != b.site {
		j.site = -1 // a check of one says nothing of the other
	}
	return j
}

// within reports whether all that a may be b may be, too.
func (a *value) within(b *value) bool {
	joined := a.join(b)
	if joined == *b {
		return true
	}
	return a.kind == scalar && b.kind == scalar && a.n.within(b.n)
}

const stackSize = 512

// frame is the stack of a function: which bytes are written, and what is known of
// some of them.
type frame struct {
	written [stackSize / 64]uint64
	cells   map[int16]cell // by offset from the start
	saved   [4]value       // r6 to r9 of the caller
}

type cell struct {
	size int16
	v    value
}

func newFrame() *frame { return &frame{cells: map[int16]cell{}} }

func (f *frame) clone() *frame {
	g := *f
	g.cells = maps.Clone(f.cells)
	return &g
}

func (f *frame) isWritten(from, to int64) bool {
	for i := from; i < to; i++ {
		if f.written[i/64]>>(i%64)&1 == 0 {
			return false
		}
	}
	return true
}

// forget drops what is known of the values of bytes.
func (f *frame) forget(from, to int64) {
	for at, c := range f.cells {
		if int64(at) < to && int64(at)+int64(c.size) > from {
			delete(f.cells, at)
		}
	}
}

func (f *frame) write(from, to int64) {
	for i := from; i < to; i++ {
		f.written[i/64] |= 1 << (i % 64)
	}
}

// addresses reports whether some byte belongs to an address.
func (f *frame) addresses(from, to int64) bool {
	for at, c := range f.cells {
		if int64(at) < to && int64(at)+int64(c.size) > from && c.v.kind != scalar {
			return true
		}
	}
	return false
}

func (f *frame) join(g *frame) *frame {
	j := newFrame()
	for i := range f.written {
		j.written[i] = f.written[i] & g.written[i]
	}
	for at, c := range f.cells {
		d, ok := g.cells[at]
		switch {
		case ok && d.size == c.size:
			if v := c.v.join(&d.v); v.kind != unset {
				j.cells[at] = cell{c.size, v}
			}
		case c.v.kind != scalar:
			j.cells[at] = cell{c.size, value{kind: mixed}}
		}
	}
	for at, d := range g.cells {
		if _, ok := f.cells[at]; !ok && d.v.kind != scalar {
			j.cells[at] = cell{d.size, value{kind: mixed}}
		}
	}
	for i := range f.saved {
		j.saved[i] = f.saved[i].join(&g.saved[i])
	}
	return j
}

func (f *frame) within(g *frame) bool {
	for i := range f.written {
		if g.written[i]&^f.written[i] != 0 {
			return false
		}
	}
	for at, d := range g.cells {
		c, ok := f.cells[at]
		if !ok || c.size != d.size || !c.v.within(&d.v) {
			return false
		}
	}
	for i := range f.saved {
		if !f.saved[i].within(&g.saved[i]) {
			return false
		}
	}
	return true
}

// state is what is known before an instruction.
type state struct {
	registers [11]value
	frames    []*frame // the current one is the last
	path      *step
}

// step is a jump that was taken, or not, on the way; it makes error messages.
type step struct {
	before *step
	slot   int
	to     int
}

func (s *state) clone() *state {
	c := *s
	c.frames = make([]*frame, len(s.frames))
	for i, f := range s.frames {
		c.frames[i] = f.clone()
	}
	return &c
}

func (s *state) join(t *state) *state {
	j := &state{path: s.path, frames: make([]*frame, len(s.frames))}
	for r := range s.registers {
		j.registers[r] = s.registers[r].join(&t.registers[r])
	}
	for i := range s.frames {
		j.frames[i] = s.frames[i].join(t.frames[i])
	}
	return j
}

func (s *state) within(t *state) bool {
	for r := range s.registers {
		if !s.registers[r].within(&t.registers[r]) {
			return false
		}
	}
	for i := range s.frames {
		if !s.frames[i].within(t.frames[i]) {
			return false
		}
	}
	return true
}

// resolve says of an address that was looked up at a place whether it is null.
func (s *state) resolve(site int32, n null) {
	fix := func(v *value) {
		if v.kind >= mapped && v.null == maybeNull && v.site == site {
			v.null = n
		}
	}
	for r := range s.registers {
		fix(&s.registers[r])
	}
	s.kept(fix)
}

// kept changes the values that frames keep: in cells of the stack, and of their callers'
// registers.
func (s *state) kept(change func(v *value)) {
	for _, f := range s.frames {
		for at, c := range f.cells {
			change(&c.v)
			f.cells[at] = c
		}
		for i := range f.saved {
			change(&f.saved[i])
		}
	}
}

// steps lists the jumps of a path, oldest first, the last few of them.
func (p *step) steps() []*step {
	const most = 12
	var list []*step
	for ; p != nil && len(list) < most; p = p.before {
		list = append(list, p)
	}
	slices.Reverse(list)
	return list
}
