package compiler

import (
	"fmt"
	"net/netip"
	"strings"
)

// fields is a set of fields.
type fields uint32

func (s fields) has(f Field) bool { return s&(1<<f) != 0 }

// testedFields gives the fields that some condition of the policy tests.
func testedFields(p *Policy) fields {
	var s fields
	for i := range p.Rules {
		s |= condFields(p.Rules[i].Cond)
	}
	for i := range p.Asserts {
		s |= condFields(p.Asserts[i].Cond)
	}
	return s
}

func condFields(c Cond) (s fields) {
	switch c := c.(type) {
	case All:
		for _, x := range c {
			s |= condFields(x)
		}
	case Any:
		for _, x := range c {
			s |= condFields(x)
		}
	case Not:
		return condFields(c.X)
	case In:
		return 1 << c.Field
	case Unknown:
		return 1 << c.Field
	case InSet:
		return 1 << c.Field
	case IsInterface:
		return 1 << c.Field
	}
	return s
}

// Givens is the inverse of ParseRequest: the fields of the request with their
// preferred literals. It leaves out what ParseRequest fills in by itself, but
// says `unknown` for the fields that the policy tests.
func (p *Policy) Givens(r *Request) []Given {
	var list []Given
	for f := range Field(NumFields) {
		switch f {
		case RemoteAddress:
			list = append(list, p.givenEnds(r)...)
		case LocalAddress, RemotePort, LocalPort, Family:
		case NextHop:
			if p.Hook == Connect {
				list = append(list, p.givenValue(r, f)...)
			}
		default:
			list = append(list, p.givenValue(r, f)...)
		}
	}
	return list
}

// givenValue spells a field that is not part of an end, if there is a need to.
func (p *Policy) givenValue(r *Request, f Field) []Given {
	v := r.Value(f)
	switch {
	case f.Known(v):
		if f.NotAvailable() != nil || v != (Value{}) {
			return []Given{{f.String(), p.literal(f, v)}}
		}
	case p.tested.has(f):
		return []Given{{f.String(), "unknown"}}
	}
	return nil
}

// literal is the preferred spelling of a value: of a named interface, its name.
func (p *Policy) literal(f Field, v Value) string {
	if f.kind() == NextHop {
		for _, i := range p.Interfaces {
			if i.LUID == v.Lo {
				return "$" + i.Name
			}
		}
	}
	return nameOf(f, v)
}

// givenEnds spells the remote end, and the local one unless it says nothing.
func (p *Policy) givenEnds(r *Request) []Given {
	unspecified := netip.IPv4Unspecified()
	if r.Family() == 6 {
		unspecified = netip.IPv6Unspecified()
	}
	list := []Given{{"remote", endText(r.Remote)}}
	if local := r.Local.Addr().Unmap(); local.IsValid() && local != unspecified {
		return append(list, Given{"local", endText(r.Local)})
	}
	if r.Local.Port() != 0 {
		list = append(list, Given{LocalPort.String(), fmt.Sprint(r.Local.Port())})
	}
	return list
}

// endText is `ip:port`, or `ip` for port 0.
func endText(end netip.AddrPort) string {
	addr := AddressValue(end.Addr()).Address()
	if end.Port() == 0 {
		return addr.String()
	}
	return netip.AddrPortFrom(addr, end.Port()).String()
}

// RequestText writes the request as a test or --given has it:
// `interface_type = wifi, remote = 10.0.0.9:445, protocol = tcp`.
func (p *Policy) RequestText(r *Request) string {
	var b strings.Builder
	for i, g := range p.Givens(r) {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(g.Field + " = " + g.Literal)
	}
	return b.String()
}
