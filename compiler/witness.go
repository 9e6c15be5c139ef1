package compiler

import (
	"fmt"
	"net/netip"
	"slices"
)

// Witness is a connection that shows something, with what the dynamic sets and the
// unbound interfaces must be for that.
type Witness struct {
	Request    Request
	Sets       []SetContents
	Interfaces []InterfaceBinding
}

// SetContents says what a dynamic set must hold and must not hold.
type SetContents struct {
	Set   *Set
	Has   []Value
	Lacks []Value
}

// InterfaceBinding says what LUID a named interface must have; 0 is none.
type InterfaceBinding struct {
	Interface *NamedInterface
	LUID      uint64
}

// witness finds a connection in a region. A region without any is possible: equal
// values are in a set both or not at all, and an interface has one LUID. With
// distinct, two interfaces of different names do not share one.
func (s *space) witness(r region, distinct bool) (*Witness, bool) {
	w := &wish{space: s, region: r, distinct: distinct}
	for _, pair := range [][2]Field{{NextHop, Interface}, {RemoteAddress, LocalAddress}, {RemotePort, LocalPort}} {
		if !w.choosePair(pair[0], pair[1]) {
			return nil, false
		}
	}
	for _, f := range []Field{InterfaceType, TunnelType, SubInterface, Protocol, Compartment} {
		w.values[f] = w.choose(f, w.options(f)[0])
	}
	w.values[Family] = Number(4)
	if s.ipv6 {
		w.values[Family] = Number(6)
	}
	return w.witness()
}

// wish is a witness in the making.
type wish struct {
	*space
	region   region
	distinct bool
	values   [NumFields]Value
}

// at is what a region says of a variable, if there is such a variable.
func (w *wish) at(v Var) ([]Range, bool) {
	i, ok := w.index[v]
	if !ok || int(i) >= len(w.region) {
		return nil, false
	}
	return w.region[i], true
}

// flag is what the region demands of a variable with the values 0 and 1.
func (w *wish) flag(v Var) (value, demanded bool) {
	ranges, ok := w.at(v)
	if !ok || ranges[0].First != ranges[0].Last {
		return false, false
	}
	return ranges[0].First == Number(1), true
}

// options are the values that a field may have, known ones and not-available ones
// apart, the better ones first: a field that nothing tests is better unknown.
func (w *wish) options(f Field) [][]Range {
	ranges, tested := w.at(Var{Field: f})
	if !tested {
		ranges = w.space.values(Var{Field: f})
	}
	for v := range w.index {
		tested = tested || v.Field == f
	}
	known, unknown := clip(ranges, f.known()), intersect(ranges, unknownRanges(f))
	options := [][]Range{known, unknown}
	if !tested {
		options = [][]Range{unknown, known}
	}
	return slices.DeleteFunc(options, func(r []Range) bool { return len(r) == 0 })
}

// choosePair chooses values of two fields of one kind, which dynamic sets and
// interfaces tie to each other.
func (w *wish) choosePair(f, g Field) bool {
	equal, differ := w.ties(f, g)
	for _, a := range w.options(f) {
		for _, b := range w.options(g) {
			known := f.Known(a[0].First) && g.Known(b[0].First)
			if !known {
				w.values[f], w.values[g] = w.choose(f, a), w.choose(g, b)
				return true
			}
			if w.chooseKnown(f, g, a, b, equal, differ) {
				return true
			}
		}
	}
	return false
}

// ties says whether two fields, if known, must have equal values, and whether they
// must have different ones.
func (w *wish) ties(f, g Field) (equal, differ bool) {
	for v := range w.index {
		if v.Field != f || v.Set == nil && v.Interface == nil {
			continue
		}
		x, one := w.flag(v)
		y, other := w.flag(Var{Field: g, Set: v.Set, Interface: v.Interface})
		if one && other {
			equal = equal || v.Interface != nil && x && y
			differ = differ || x != y
		}
	}
	return equal, differ
}

func (w *wish) chooseKnown(f, g Field, a, b []Range, equal, differ bool) bool {
	if equal {
		a = intersect(a, b)
		if len(a) == 0 || differ {
			return false
		}
		w.values[f] = w.choose(f, a)
		w.values[g] = w.values[f]
		return true
	}
	w.values[f], w.values[g] = w.choose(f, a), w.choose(g, b)
	if !differ || w.values[f] != w.values[g] {
		return true
	}
	same := []Range{{w.values[f], w.values[f]}}
	if rest := subtract(b, same); len(rest) > 0 {
		w.values[g] = w.choose(g, rest)
		return true
	}
	if rest := subtract(a, same); len(rest) > 0 {
		w.values[f] = w.choose(f, rest)
		return true
	}
	return false
}

// usual are the values that a person expects in an example.
var usual = [NumFields][]Value{
	InterfaceType: {Number(6), Number(71), Number(53)},
	TunnelType:    {Number(0)},
	NextHop:       {Number(0x0006008005000000), Number(0x0047008000000000)},
	Interface:     {Number(0x0006008005000000), Number(0x0047008000000000)},
	SubInterface:  {Number(1)},
	RemoteAddress: {{Lo: 0xffff_c000_0201}, {Hi: 0x2001_0db8_0000_0000, Lo: 1}},
	LocalAddress:  {{Lo: 0xffff_0000_0000}, {}},
	RemotePort:    {Number(443), Number(80)},
	LocalPort:     {Number(0), Number(50000)},
	Protocol:      {Number(6), Number(17)},
}

// choose picks a value of some, which are all known or all not available.
func (w *wish) choose(f Field, from []Range) Value {
	if !f.Known(from[0].First) {
		return from[0].First
	}
	if f.kind() == NextHop {
		for _, v := range w.vars {
			if v.Interface == nil || v.Field != f {
				continue
			}
			luid := Number(v.Interface.LUID)
			is, demanded := w.flag(v)
			if is && contains(from, luid) {
				return luid
			}
			if rest := subtract(from, []Range{{luid, luid}}); demanded && len(rest) > 0 {
				from = rest
			}
		}
	}
	for _, v := range usual[f] {
		if contains(from, v) {
			return v
		}
	}
	first := from[0]
	if f.kind() == RemoteAddress && first.First.Lo&0xff == 0 && first.First != first.Last {
		return first.First.next() // rather a host than its network
	}
	return first.First
}

// witness puts together what was chosen, with the sets and interfaces it needs.
func (w *wish) witness() (*Witness, bool) {
	out := &Witness{Request: requestOf(&w.values)}
	for _, v := range w.vars {
		value := w.values[v.Field]
		is, demanded := w.flag(v)
		if !demanded || !v.Field.Known(value) {
			continue
		}
		switch {
		case v.Set != nil:
			out.demand(v.Set, value, is)
		case v.Interface != nil && is:
			out.bind(v.Interface, value.Lo)
		case v.Interface != nil && out.luid(v.Interface) == value.Lo:
			out.bind(v.Interface, 0)
		case v.Interface != nil:
			out.bind(v.Interface, out.luid(v.Interface))
		}
	}
	if w.distinct {
		for i, b := range out.Interfaces {
			for _, c := range out.Interfaces[:i] {
				if b.LUID != 0 && b.LUID == c.LUID {
					return nil, false
				}
			}
		}
	}
	return out, true
}

func (w *Witness) demand(set *Set, v Value, in bool) {
	i := slices.IndexFunc(w.Sets, func(c SetContents) bool { return c.Set == set })
	if i < 0 {
		i = len(w.Sets)
		w.Sets = append(w.Sets, SetContents{Set: set})
	}
	list := &w.Sets[i].Lacks
	if in {
		list = &w.Sets[i].Has
	}
	if !slices.Contains(*list, v) {
		*list = append(*list, v)
	}
}

// luid is what an interface is bound to so far.
func (w *Witness) luid(named *NamedInterface) uint64 {
	for _, b := range w.Interfaces {
		if b.Interface == named {
			return b.LUID
		}
	}
	return named.LUID
}

func (w *Witness) bind(named *NamedInterface, luid uint64) {
	i := slices.IndexFunc(w.Interfaces, func(b InterfaceBinding) bool { return b.Interface == named })
	if i < 0 {
		w.Interfaces = append(w.Interfaces, InterfaceBinding{named, luid})
		return
	}
	w.Interfaces[i].LUID = luid
}

// requestOf makes a request of the values of its fields.
func requestOf(v *[NumFields]Value) Request {
	return Request{
		InterfaceType: uint32(v[InterfaceType].Lo),
		TunnelType:    uint32(v[TunnelType].Lo),
		NextHop:       v[NextHop].Lo,
		SubInterface:  uint32(v[SubInterface].Lo),
		Interface:     v[Interface].Lo,
		Remote:        netip.AddrPortFrom(v[RemoteAddress].Address(), uint16(v[RemotePort].Lo)),
		Local:         netip.AddrPortFrom(v[LocalAddress].Address(), uint16(v[LocalPort].Lo)),
		Protocol:      uint8(v[Protocol].Lo),
		Compartment:   uint32(v[Compartment].Lo),
	}
}

// Under is the policy with dynamic sets and interfaces as the witness needs them:
// what Eval says of it is what the witness shows. Sets and interfaces are found by
// name, so that a witness of one version of a policy serves another.
func (w *Witness) Under(p *Policy) *Policy {
	if len(w.Sets)+len(w.Interfaces) == 0 {
		return p
	}
	q := *p
	q.Sets, q.Interfaces, q.Rules = slices.Clone(p.Sets), slices.Clone(p.Interfaces), slices.Clone(p.Rules)
	for i, s := range q.Sets {
		q.Sets[i] = w.set(s)
	}
	for i, n := range q.Interfaces {
		q.Interfaces[i] = w.named(n)
	}
	for i := range q.Rules {
		q.Rules[i].Cond = withTests(q.Rules[i].Cond, w.under)
	}
	return &q
}

// set is a dynamic set with contents changed as far as is needed.
func (w *Witness) set(s *Set) *Set {
	for _, c := range w.Sets {
		if c.Set.Name != s.Name || c.Set.Field != s.Field {
			continue
		}
		t := *s
		for _, v := range c.Has {
			t.Ranges = unite(t.Ranges, []Range{{v, v}})
		}
		for _, v := range c.Lacks {
			t.Ranges = subtract(t.Ranges, []Range{{v, v}})
		}
		return &t
	}
	return s
}

// named is a named interface with the LUID that is needed.
func (w *Witness) named(n *NamedInterface) *NamedInterface {
	for _, b := range w.Interfaces {
		if !n.Bound && b.Interface.sameAs(n) {
			bound := *n
			bound.LUID, bound.Bound = b.LUID, true
			return &bound
		}
	}
	return n
}

// sameAs reports whether two policies mean one interface of the host.
func (i *NamedInterface) sameAs(j *NamedInterface) bool {
	return i == j || i.Kind == j.Kind && i.Value == j.Value
}

// under is a test of sets and interfaces as the witness needs them.
func (w *Witness) under(test Cond) Cond {
	switch x := test.(type) {
	case InSet:
		return InSet{x.Field, w.set(x.Set)}
	case IsInterface:
		return IsInterface{x.Field, w.named(x.Interface)}
	}
	return test
}

// Needs says in words what must hold of sets and interfaces:
// `$blocked holds 192.0.2.1`. An interface that has the LUID already is not named.
func (w *Witness) Needs() []string {
	var needs []string
	for _, c := range w.Sets {
		for _, list := range []struct {
			verb   string
			values []Value
		}{{"holds", c.Has}, {"does not hold", c.Lacks}} {
			for _, v := range list.values {
				needs = append(needs, fmt.Sprintf("$%s %s %s", c.Set.Name, list.verb, nameOf(c.Set.Field, v)))
			}
		}
	}
	for _, b := range w.Interfaces {
		switch b.LUID {
		case b.Interface.LUID:
		case 0:
			needs = append(needs, fmt.Sprintf("$%s is another interface, or absent", b.Interface.Name))
		default:
			needs = append(needs, fmt.Sprintf("$%s is the interface %s", b.Interface.Name, luidText(b.LUID)))
		}
	}
	return needs
}
