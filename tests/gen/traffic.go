package gen

import (
	"math"
	"math/rand/v2"
	"net/netip"

	"github.com/hopgate/hopgate/compiler"
)

// Loopback is the interface type that programs for Linux see of the loopback
// interface.
const Loopback = 24

// Traffic makes n IPv4 requests for a policy whose rules are conjunctions: every other
// one is of a rule drawn at random, the rest have values near the policy's constants.
// None has ports without a protocol that has them, and all leave by the loopback
// interface, as packets of test runs do, unless the rule wants another.
func Traffic(seed uint64, p *compiler.Policy, n int) []compiler.Request {
	rng := rand.New(rand.NewPCG(seed, uint64(len(p.Rules))))
	random := NewRequests(p)
	list := make([]compiler.Request, 0, n)
	for tries := 0; len(list) < n; tries++ {
		r := random.Random(rng)
		r.InterfaceType, r.TunnelType, r.SubInterface, r.Compartment = Loopback, 0, 0, 0
		r.Interface = Loopback<<48 | 1<<24
		r.NextHop = r.Interface
		if len(list)%2 == 0 && len(p.Rules) > 0 {
			Matching(rng, p.Rules[rng.IntN(len(p.Rules))].Cond, &r)
		}
		if tries > 8*n { // of IPv6 rules only the ports and protocols are left
			r.Remote = netip.AddrPortFrom(netip.IPv4Unspecified(), r.Remote.Port())
		}
		if Complete(&r) {
			list = append(list, r)
		}
	}
	return list
}

// Complete makes a request one that an IPv4 packet can be of, if it can.
func Complete(r *compiler.Request) bool {
	if r.Family() != 4 {
		return false
	}
	if !r.Local.Addr().Unmap().Is4() {
		r.Local = netip.AddrPortFrom(netip.IPv4Unspecified(), r.Local.Port())
	}
	switch r.Protocol {
	case 6, 17, 33, 132, 136: // TCP, UDP, DCCP, SCTP, UDP-Lite
	default:
		r.Local, r.Remote = netip.AddrPortFrom(r.Local.Addr(), 0), netip.AddrPortFrom(r.Remote.Addr(), 0)
	}
	return true
}

// Matching gives the request values for which a condition that is a conjunction holds.
func Matching(rng *rand.Rand, c compiler.Cond, r *compiler.Request) {
	switch c := c.(type) {
	case compiler.All:
		for _, x := range c {
			Matching(rng, x, r)
		}
	case compiler.In:
		assign(r, c.Field, inside(rng, c.Ranges[rng.IntN(len(c.Ranges))]))
	}
}

// Corner gives the request values at the ends of a conjunction's ranges: for each
// field the last one if last says so.
func Corner(c compiler.Cond, r *compiler.Request, last func() bool) {
	switch c := c.(type) {
	case compiler.All:
		for _, x := range c {
			Corner(x, r, last)
		}
	case compiler.In:
		end := c.Ranges[0].First
		if last() {
			end = c.Ranges[len(c.Ranges)-1].Last
		}
		assign(r, c.Field, end)
	}
}

// inside is a value of a range: an end of it half of the time.
func inside(rng *rand.Rand, r compiler.Range) compiler.Value {
	switch rng.IntN(4) {
	case 0:
		return r.First
	case 1:
		return r.Last
	}
	if r.First.Hi != r.Last.Hi {
		return compiler.Value{Hi: r.First.Hi + rng.Uint64N(r.Last.Hi-r.First.Hi), Lo: rng.Uint64() | r.First.Lo}
	}
	v := r.First
	if extent := r.Last.Lo - r.First.Lo; extent == math.MaxUint64 {
		v.Lo = rng.Uint64()
	} else {
		v.Lo += rng.Uint64N(extent + 1)
	}
	return v
}

func assign(r *compiler.Request, f compiler.Field, v compiler.Value) {
	switch f {
	case compiler.InterfaceType:
		r.InterfaceType = uint32(v.Lo)
	case compiler.RemoteAddress:
		r.Remote = netip.AddrPortFrom(v.Address(), r.Remote.Port())
	case compiler.LocalAddress:
		r.Local = netip.AddrPortFrom(v.Address(), r.Local.Port())
	case compiler.RemotePort:
		r.Remote = netip.AddrPortFrom(r.Remote.Addr(), uint16(v.Lo))
	case compiler.LocalPort:
		r.Local = netip.AddrPortFrom(r.Local.Addr(), uint16(v.Lo))
	case compiler.Protocol:
		r.Protocol = uint8(v.Lo)
	}
}
