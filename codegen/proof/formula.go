package proof

import (
	"fmt"
	"math"
	"slices"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// formula is a condition with two values: no unknowns, no negations, and every test
// is of one variable.
type formula struct {
	kind  formulaKind
	parts []*formula // of all and any
	v     variable   // of test: v is in set
	in    set
}

type formulaKind uint8

const (
	all  formulaKind = iota // without parts: true
	some                    // without parts: false
	test
)

var (
	isTrue  = &formula{kind: all}
	isFalse = &formula{kind: some}
)

// negated is the formula that is true when f is false.
func (f *formula) negated() *formula {
	if f.kind == test {
		return &formula{kind: test, v: f.v, in: f.in.not(math.MaxUint64)}
	}
	g := &formula{kind: some, parts: make([]*formula, len(f.parts))}
	if f.kind == some {
		g.kind = all
	}
	for i, p := range f.parts {
		g.parts[i] = p.negated()
	}
	return g
}

// truth is the value of a formula on all of a box, or that it varies.
type truth int8

const (
	never_ truth = iota
	varies
	always
)

func (f *formula) on(b []set) truth {
	if f.kind == test {
		switch b[f.v].in(f.in) {
		case apart:
			return never_
		case inside:
			return always
		}
		return varies
	}
	best := always
	decisive := never_
	if f.kind == some {
		best, decisive = never_, always
	}
	for _, p := range f.parts {
		switch p.on(b) {
		case decisive:
			return decisive
		case varies:
			best = varies
		}
	}
	return best
}

// terms translates conditions for connections of one kind.
type terms struct {
	graph   *graph
	mapped  bool // IPv4, as such or IPv4-mapped
	ipv6    bool // the function is for IPv6
	members map[memberKey]variable
	count   int // variables

	// On Linux: the interfaces that the host looks up, and the variables of being one of
	// them, by deviceMap.
	named   []*compiler.NamedInterface
	devices map[string]variable
}

// field is the variable of a field that is no address. On Linux the interface is the
// next hop's.
func (t *terms) field(f compiler.Field) variable {
	if f == compiler.Interface && t.devices != nil {
		f = compiler.NextHop
	}
	return ofField(f)
}

type memberKey struct {
	field compiler.Field
	set   *compiler.Set
}

// mappedLow are the low halves of IPv4-mapped addresses.
var mappedLow = set{{0xffff_0000_0000, 0xffff_ffff_ffff}}

// condition is the formula of "c is true", or with maybe of "c is true or unknown".
func (t *terms) condition(c compiler.Cond, maybe bool) *formula {
	switch c := c.(type) {
	case compiler.All:
		return t.join(all, c, maybe)
	case compiler.Any:
		return t.join(some, c, maybe)
	case compiler.Not:
		return t.condition(c.X, !maybe).negated()
	case compiler.Unknown:
		return &formula{kind: test, v: t.field(c.Field), in: unavailable(c.Field)}
	case compiler.In:
		return t.in(c.Field, c.Ranges, maybe)
	case compiler.IsInterface:
		if i := slices.Index(t.named, c.Interface); i >= 0 {
			same := &formula{kind: all, parts: []*formula{
				{kind: test, v: t.device(namespaceMap), in: point(1)}, {kind: test, v: t.device(deviceMap(i)), in: point(1)},
			}}
			return t.known(same, c.Field, maybe)
		}
		var ranges []compiler.Range
		if n := compiler.Number(c.Interface.LUID); c.Interface.LUID != 0 {
			ranges = []compiler.Range{{First: n, Last: n}}
		}
		return t.in(c.Field, ranges, maybe)
	case compiler.InSet:
		return t.known(&formula{kind: test, v: t.member(c.Field, c.Set), in: point(1)}, c.Field, maybe)
	}
	panic(fmt.Sprintf("proof: no such condition %T", c))
}

// known makes of a test of a field's raw value the one that is false, or with maybe
// true, where the field is unknown.
func (t *terms) known(f *formula, field compiler.Field, maybe bool) *formula {
	if len(field.NotAvailable()) == 0 {
		return f
	}
	missing := unavailable(field)
	if maybe {
		return &formula{kind: some, parts: []*formula{f, {kind: test, v: t.field(field), in: missing}}}
	}
	return &formula{kind: all, parts: []*formula{f, {kind: test, v: t.field(field), in: missing.not(math.MaxUint64)}}}
}

func (t *terms) join(kind formulaKind, parts []compiler.Cond, maybe bool) *formula {
	f := &formula{kind: kind}
	for _, c := range parts {
		f.parts = append(f.parts, t.condition(c, maybe))
	}
	if len(f.parts) == 1 {
		return f.parts[0]
	}
	return f
}

// unavailable are the values that mean unknown.
func unavailable(f compiler.Field) set {
	var s set
	for _, v := range f.NotAvailable() {
		s = s.or(point(v.Lo))
	}
	return s
}

func (t *terms) in(field compiler.Field, ranges []compiler.Range, maybe bool) *formula {
	switch field {
	case compiler.Family:
		family := compiler.Number(6)
		if t.mapped {
			family = compiler.Number(4)
		}
		for _, r := range ranges {
			if r.Contains(family) {
				return isTrue
			}
		}
		return isFalse
	case compiler.RemoteAddress:
		return t.address(remoteHigh, remoteLow, ranges)
	case compiler.LocalAddress:
		return t.address(localHigh, localLow, ranges)
	}
	in := set{}
	for _, r := range ranges {
		if r.First.Hi == 0 {
			last := r.Last.Lo
			if r.Last.Hi != 0 {
				last = math.MaxUint64
			}
			in = append(in, span{r.First.Lo, last})
		}
	}
	missing := unavailable(field)
	in = in.and(missing.not(math.MaxUint64))
	if maybe {
		in = in.or(missing)
	}
	return &formula{kind: test, v: t.field(field), in: in}
}

// address tests the halves of an address.
func (t *terms) address(high, low variable, ranges []compiler.Range) *formula {
	var wide set // high halves whose low half does not matter
	f := &formula{kind: some}
	both := func(high_, first, last uint64) {
		f.parts = append(f.parts, &formula{kind: all, parts: []*formula{
			{kind: test, v: high, in: point(high_)}, {kind: test, v: low, in: set{{first, last}}},
		}})
	}
	var lows set
	for _, r := range ranges {
		a, z := r.First, r.Last
		if t.mapped {
			if a.Hi == 0 {
				last := z.Lo
				if z.Hi != 0 {
					last = math.MaxUint64
				}
				lows = append(lows, span{a.Lo, last})
			}
			continue
		}
		firstHigh, lastHigh, none := a.Hi, z.Hi, false
		if a.Hi == z.Hi && (a.Lo != 0 || z.Lo != math.MaxUint64) {
			both(a.Hi, a.Lo, z.Lo)
			continue
		}
		if a.Lo != 0 {
			both(a.Hi, a.Lo, math.MaxUint64)
			firstHigh++
		}
		if z.Lo != math.MaxUint64 {
			both(z.Hi, 0, z.Lo)
			none = z.Hi == 0
			lastHigh--
		}
		if !none && firstHigh <= lastHigh {
			wide = wide.or(set{{firstHigh, lastHigh}})
		}
	}
	if t.mapped {
		return &formula{kind: test, v: low, in: lows.and(mappedLow)}
	}
	if len(f.parts) == 0 {
		return &formula{kind: test, v: high, in: wide}
	}
	f.parts = append(f.parts, &formula{kind: test, v: high, in: wide})
	return f
}

// member is the variable of membership in a dynamic set: that of the lookup with
// the field as its key, if the program makes it.
func (t *terms) member(f compiler.Field, s *compiler.Set) variable {
	if v, ok := t.members[memberKey{f, s}]; ok {
		return v
	}
	v := t.looked(codegen.SetMapName(s, t.wideKey(s)), t.key(f, s))
	t.members[memberKey{f, s}] = v
	return v
}

// device is the variable of being a named interface, or in its namespace.
func (t *terms) device(name string) variable {
	v, ok := t.devices[name]
	if !ok {
		v = t.looked(name, [20]symbol{})
		t.devices[name] = v
	}
	return v
}

// looked is the variable of a lookup, or a new one if the program does not make it.
func (t *terms) looked(name string, key [20]symbol) variable {
	i := slices.IndexFunc(t.graph.lookups, func(l lookup) bool { return l.key == key && t.graph.maps[l.mapID].name == name })
	if i >= 0 {
		return t.graph.members[i]
	}
	t.count++
	return variable(t.count - 1)
}

// wideKey reports whether the set's keys are IPv6 addresses.
func (t *terms) wideKey(s *compiler.Set) bool { return s.Field == compiler.RemoteAddress && !t.mapped }

// key is the key under which a field's value is looked up: a length in bits and the
// value in network byte order.
func (t *terms) key(f compiler.Field, s *compiler.Set) (key [20]symbol) {
	var data []symbol
	put := func(v variable, bytes int) {
		for i := bytes - 1; i >= 0; i-- {
			data = append(data, byteOf(v, i))
		}
	}
	switch f {
	case compiler.RemoteAddress, compiler.LocalAddress:
		high, low := remoteHigh, remoteLow
		if f == compiler.LocalAddress {
			high, low = localHigh, localLow
		}
		if t.wideKey(s) {
			put(high, 8)
			put(low, 8)
		} else {
			put(low, 4)
		}
	case compiler.RemotePort, compiler.LocalPort:
		data = append(data, 0, 0)
		put(t.field(f), 2)
	case compiler.NextHop, compiler.Interface:
		put(t.field(f), 8)
	case compiler.Compartment:
		if t.devices != nil { // there is none on Linux
			data = []symbol{0, 0, 0, 0}
			break
		}
		put(compartment, 4)
	default:
		put(t.field(f), 4)
	}
	key[0] = symbol(8 * len(data))
	copy(key[4:], data)
	return key
}

// errBoxes says that a formula falls into too many boxes.
var errBoxes = fmt.Errorf("a rule whose condition falls into more than %d boxes", maxBoxes)

const maxBoxes = 20000

// boxes cuts the part of a box where a formula holds into boxes.
func (f *formula) boxes(b []set, emit func([]set)) error {
	left := maxBoxes
	return f.cut(b, func(b []set) { emit(b) }, &left)
}

func (f *formula) cut(b []set, emit func([]set), left *int) error {
	switch f.on(b) {
	case never_:
		return nil
	case always:
		if *left--; *left < 0 {
			return errBoxes
		}
		emit(b)
		return nil
	}
	v := f.varying(b)
	if f.only(v, b) {
		return f.cutOne(v, b, emit, left)
	}
	var tests []set
	f.testsOf(v, b, &tests)
	for _, cell := range cells(b[v], tests) {
		c := slices.Clone(b)
		c[v] = cell
		if err := f.cut(c, emit, left); err != nil {
			return err
		}
	}
	return nil
}

// cutOne cuts where a single variable still varies: one box is left.
func (f *formula) cutOne(v variable, b []set, emit func([]set), left *int) error {
	c := slices.Clone(b)
	c[v] = f.where(v, b)
	if len(c[v]) == 0 {
		return nil
	}
	if *left--; *left < 0 {
		return errBoxes
	}
	emit(c)
	return nil
}

// where gives the values of the one variable that varies for which f holds.
func (f *formula) where(v variable, b []set) set {
	switch f.on(b) {
	case never_:
		return nil
	case always:
		return b[v]
	}
	if f.kind == test {
		return b[v].and(f.in)
	}
	s := b[v]
	if f.kind == some {
		s = nil
	}
	for _, p := range f.parts {
		if f.kind == some {
			s = s.or(p.where(v, b))
		} else {
			s = s.and(p.where(v, b))
		}
	}
	return s
}

// varying is a variable of which it depends whether f holds.
func (f *formula) varying(b []set) variable {
	if f.kind == test {
		return f.v
	}
	for _, p := range f.parts {
		if p.on(b) == varies {
			return p.varying(b)
		}
	}
	panic("proof: nothing varies")
}

// only reports whether no other variable varies.
func (f *formula) only(v variable, b []set) bool {
	if f.kind == test {
		return f.v == v || f.on(b) != varies
	}
	for _, p := range f.parts {
		if p.on(b) == varies && !p.only(v, b) {
			return false
		}
	}
	return true
}

func (f *formula) testsOf(v variable, b []set, tests *[]set) {
	if f.kind == test {
		if f.v == v && f.on(b) == varies {
			*tests = append(*tests, f.in)
		}
		return
	}
	for _, p := range f.parts {
		p.testsOf(v, b, tests)
	}
}

// cells divides a set into the parts that tests tell apart.
func cells(s set, tests []set) []set {
	parts := []set{s}
	for _, in := range tests {
		var next []set
		for _, p := range parts {
			switch p.in(in) {
			case partly:
				next = append(next, p.and(in), p.and(in.not(math.MaxUint64)))
			default:
				next = append(next, p)
			}
		}
		parts = next
	}
	return parts
}
