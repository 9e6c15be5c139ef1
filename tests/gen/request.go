package gen

import (
	"iter"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/hopgate/hopgate/compiler"
)

// Requests makes requests that meet the bounds of a policy's conditions.
type Requests struct {
	// cells has, for each field, one value of every stretch within which no
	// condition of the policy can tell values apart, in ascending order. IPv4 and
	// IPv6 are told apart always.
	cells [compiler.NumFields][]compiler.Value
}

// NewRequests collects the bounds of a policy.
func NewRequests(p *compiler.Policy) *Requests {
	s := &Requests{}
	for i := range p.Rules {
		s.collect(p.Rules[i].Cond)
	}
	for i := range p.Asserts {
		s.collect(p.Asserts[i].Cond)
	}
	for f := range compiler.Field(compiler.NumFields) {
		tested := len(s.cells[f]) > 0
		s.cut(f, f.Domain().First)
		if f == compiler.RemoteAddress || f == compiler.LocalAddress {
			s.cut(f, v4(0))
			if tested {
				s.within(f, compiler.Range{First: v4(0), Last: v4(math.MaxUint32)})
			}
		}
		for _, v := range f.NotAvailable() {
			if tested {
				s.within(f, compiler.Range{First: v, Last: v})
			}
		}
		slices.SortFunc(s.cells[f], compiler.Value.Compare)
		s.cells[f] = slices.Compact(s.cells[f])
	}
	return s
}

// v4 is the value of an IPv4 address.
func v4(a uint32) compiler.Value {
	return compiler.AddressValue(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}))
}

func (s *Requests) cut(f compiler.Field, v compiler.Value) { s.cells[f] = append(s.cells[f], v) }

// within makes cells of the range's own and of what follows it.
func (s *Requests) within(f compiler.Field, r compiler.Range) {
	s.cut(f, r.First)
	if r.Last.Compare(f.Domain().Last) < 0 {
		s.cut(f, add(r.Last, 1))
	}
}

func (s *Requests) collect(c compiler.Cond) {
	switch c := c.(type) {
	case compiler.All:
		for _, x := range c {
			s.collect(x)
		}
	case compiler.Any:
		for _, x := range c {
			s.collect(x)
		}
	case compiler.Not:
		s.collect(c.X)
	case compiler.Unknown:
		s.cut(c.Field, c.Field.Domain().First)
	case compiler.In:
		s.cut(c.Field, c.Field.Domain().First)
		for _, r := range c.Ranges {
			s.within(c.Field, r)
		}
	case compiler.InSet:
		s.cut(c.Field, c.Field.Domain().First)
		for _, r := range c.Set.Ranges {
			s.within(c.Field, r)
		}
	case compiler.IsInterface:
		luid := compiler.Number(c.Interface.LUID)
		s.within(c.Field, compiler.Range{First: luid, Last: luid})
	}
}

// add is v+n, wrapping.
func add(v compiler.Value, n int64) compiler.Value {
	low := v.Lo + uint64(n)
	switch {
	case n > 0 && low < v.Lo:
		v.Hi++
	case n < 0 && low > v.Lo:
		v.Hi--
	}
	v.Lo = low
	return v
}

// Random is a request with values at, one below and one above the policy's
// constants, not-available ones, and others.
func (s *Requests) Random(rng *rand.Rand) compiler.Request {
	var v [compiler.NumFields]compiler.Value
	for f := range compiler.Field(compiler.NumFields) {
		v[f] = s.value(rng, f)
	}
	ipv6 := rng.IntN(2) == 0
	for _, f := range []compiler.Field{compiler.RemoteAddress, compiler.LocalAddress} {
		for v[f].Address().Is6() != ipv6 {
			v[f] = s.value(rng, f)
		}
	}
	return request(&v)
}

// value is one near a bound, or any.
func (s *Requests) value(rng *rand.Rand, f compiler.Field) compiler.Value {
	domain := f.Domain()
	if unknown := f.NotAvailable(); len(unknown) > 0 && rng.IntN(8) == 0 {
		return unknown[rng.IntN(len(unknown))]
	}
	if rng.IntN(8) == 0 {
		return compiler.Value{Hi: rng.Uint64() & domain.Last.Hi, Lo: rng.Uint64() & domain.Last.Lo}
	}
	v := add(s.cells[f][rng.IntN(len(s.cells[f]))], rng.Int64N(3)-1)
	if v.Compare(domain.First) < 0 || v.Compare(domain.Last) > 0 {
		return domain.Last
	}
	return v
}

// Count is how many requests All gives.
func (s *Requests) Count() int {
	n := 1
	for f := range compiler.Field(compiler.NumFields) {
		switch f {
		case compiler.RemoteAddress:
			n *= len(s.ends(false)) + len(s.ends(true))
		case compiler.LocalAddress, compiler.Family:
		default:
			n *= len(s.cells[f])
		}
	}
	return n
}

// ends are the pairs of remote and local address of a family.
func (s *Requests) ends(ipv6 bool) [][2]compiler.Value {
	var pairs [][2]compiler.Value
	for _, remote := range s.cells[compiler.RemoteAddress] {
		for _, local := range s.cells[compiler.LocalAddress] {
			if remote.Address().Is6() == ipv6 && local.Address().Is6() == ipv6 {
				pairs = append(pairs, [2]compiler.Value{remote, local})
			}
		}
	}
	return pairs
}

// All gives one request of every kind that the policy's conditions can tell
// apart. There are Count of them: use a small policy.
func (s *Requests) All() iter.Seq[compiler.Request] {
	var free []compiler.Field
	for f := range compiler.Field(compiler.NumFields) {
		if f != compiler.RemoteAddress && f != compiler.LocalAddress && f != compiler.Family {
			free = append(free, f)
		}
	}
	return func(yield func(compiler.Request) bool) {
		var v [compiler.NumFields]compiler.Value
		var try func(left []compiler.Field) bool
		try = func(left []compiler.Field) bool {
			if len(left) == 0 {
				return yield(request(&v))
			}
			for _, v[left[0]] = range s.cells[left[0]] {
				if !try(left[1:]) {
					return false
				}
			}
			return true
		}
		for _, pair := range slices.Concat(s.ends(false), s.ends(true)) {
			v[compiler.RemoteAddress], v[compiler.LocalAddress] = pair[0], pair[1]
			if !try(free) {
				return
			}
		}
	}
}

// request has the values of all fields but family, which the addresses imply.
func request(v *[compiler.NumFields]compiler.Value) compiler.Request {
	return compiler.Request{
		InterfaceType: uint32(v[compiler.InterfaceType].Lo),
		TunnelType:    uint32(v[compiler.TunnelType].Lo),
		NextHop:       v[compiler.NextHop].Lo,
		SubInterface:  uint32(v[compiler.SubInterface].Lo),
		Interface:     v[compiler.Interface].Lo,
		Remote:        netip.AddrPortFrom(v[compiler.RemoteAddress].Address(), uint16(v[compiler.RemotePort].Lo)),
		Local:         netip.AddrPortFrom(v[compiler.LocalAddress].Address(), uint16(v[compiler.LocalPort].Lo)),
		Protocol:      uint8(v[compiler.Protocol].Lo),
		Compartment:   uint32(v[compiler.Compartment].Lo),
	}
}
