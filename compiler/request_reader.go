package compiler

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/hopgate/hopgate/lang"
)

// Given is one field of a request in the language's words: `remote_port`, `443`.
type Given struct{ Field, Literal string }

// ParseRequest makes a request of fields and their literals, which may be
// `$name` of an interface. Network-context fields that are not given are
// unknown, the other ones 0; an end that is not given is the unspecified address
// of the other end's family. IPv4-mapped addresses are IPv4, and a name with
// several numbers (cellular) is the first of them.
func (p *Policy) ParseRequest(given []Given) (Request, error) {
	r := requestReader{policy: p, request: NoContext()}
	for _, g := range given {
		if err := r.set(g.Field, g.Literal); err != nil && err.severity == lang.Error {
			return Request{}, err.plain()
		}
	}
	return r.finish(), nil
}

// RequestFromText reads `interface_type = wifi, remote = 10.0.0.9:445`, the way
// tests and --given have it.
func (p *Policy) RequestFromText(text string) (Request, error) {
	if strings.TrimSpace(text) == "" {
		return p.ParseRequest(nil)
	}
	list, err := lang.ParseGivens("request", []byte(text))
	if err != nil {
		var found lang.Diagnostics
		if errors.As(err, &found) {
			return Request{}, (&problem{message: found[0].Message, hint: found[0].Hint}).plain()
		}
		return Request{}, err
	}
	given := make([]Given, len(list))
	for i, g := range list {
		given[i] = Given{g.Field.Text, g.Value.Text}
		if g.Value.Ref {
			given[i].Literal = "$" + g.Value.Text
		}
	}
	return p.ParseRequest(given)
}

// plain is the problem as an error of its own, with the hint.
func (p *problem) plain() error {
	if p.hint == "" {
		return errors.New(p.message)
	}
	return fmt.Errorf("%s: %s", p.message, p.hint)
}

// requestReader fills in a request field by field.
type requestReader struct {
	policy  *Policy
	request Request
	given   uint32           // bit i: field i was given
	values  [NumFields]Value // of the fields that were given

	hasFamily, is6 bool // of what was given
}

// familyOf says of which address family a connection with the value is, if that
// tells.
func familyOf(f Field, v Value) (is6, ok bool) {
	switch f {
	case Family:
		return v == Number(6), true
	case RemoteAddress, LocalAddress:
		return v.Address().Is6(), true
	}
	return false, false
}

// set reads one field. A warning means that the field has been set.
func (r *requestReader) set(name, literal string) *problem {
	s, err := subjectOf(name, r.policy.Hook)
	if err != nil {
		return err
	}
	if s.field.kind() == RemoteAddress {
		return r.setAddress(s, literal)
	}
	u := union{kind: s.field.kind()}
	warning := r.read(&u, name, literal)
	if warning != nil && warning.severity == lang.Error {
		return warning
	}
	if u.unknown {
		return r.setValue(s.field, s.field.NotAvailable()[0])
	}
	for t, ranges := range u.ranges {
		if len(ranges) == 0 {
			continue
		}
		if ranges[0].First != ranges[0].Last {
			_, what, _ := strings.Cut(u.kind.kindName(), " ")
			return wrong(codeNotOneValue, "", "`%s` is not one %s", literal, what)
		}
		if err := r.setValue(s.field, ranges[0].First); err != nil {
			return err
		}
		if err := r.setTransport(transport(t)); err != nil {
			return err
		}
	}
	return warning
}

// read adds a literal or the LUID of an interface to the union. Of a name with
// several numbers, the first counts.
func (r *requestReader) read(u *union, field, literal string) *problem {
	name, isName := strings.CutPrefix(literal, "$")
	if !isName {
		return u.add(literal)
	}
	for _, i := range r.policy.Interfaces {
		if i.Name != name {
			continue
		}
		if u.kind != NextHop {
			return wrong(codeInterfaceKind, "an interface is compared with next_hop or interface", "`%s` is an interface, `%s` is %s", literal, field, u.kind.kindName())
		}
		if i.LUID == 0 {
			return wrong(codeUndefinedName, "", "the interface `%s` is absent", name)
		}
		luid := Number(i.LUID)
		u.ranges[anyTransport] = append(u.ranges[anyTransport], Range{luid, luid})
		return nil
	}
	names := make([]string, len(r.policy.Interfaces))
	for i, n := range r.policy.Interfaces {
		names[i] = n.Name
	}
	return wrong(codeUndefinedName, didYouMean(name, names), "no interface is called `%s`", name)
}

// setAddress reads an address, or for the sugar an address and a port.
// IPv4-mapped addresses are IPv4 here.
func (r *requestReader) setAddress(s subject, literal string) *problem {
	addr, port, hasPort := splitEndpoint(literal)
	if !hasPort {
		addr = literal
	}
	a, err := netip.ParseAddr(addr)
	switch {
	case err != nil || a.Zone() != "" || hasPort && a.Is4() && literal[0] == '[':
		return badRequestAddress(literal)
	case hasPort && !s.sugar:
		return portWithAddress(s, literal)
	}
	if err := r.setValue(s.field, AddressValue(a)); err != nil || !hasPort {
		return err
	}
	ports, t, problem := parsePorts(port)
	if problem != nil {
		return problem
	}
	if ports.First != ports.Last {
		return wrong(codeNotOneValue, "", "`%s` is not one port", port)
	}
	if err := r.setValue(s.port, ports.First); err != nil {
		return err
	}
	return r.setTransport(t)
}

// badRequestAddress says why a literal is not one address.
func badRequestAddress(literal string) *problem {
	u := union{kind: RemoteAddress}
	if err := u.add(literal); err != nil {
		return err
	}
	return wrong(codeNotOneValue, "a connection has one", "`%s` is not one address", literal)
}

func (r *requestReader) setTransport(t transport) *problem {
	if t == anyTransport {
		return nil
	}
	return r.setValue(Protocol, Number(protocols[t]))
}

// setValue sets a field, which may get the same value twice but not two.
func (r *requestReader) setValue(f Field, v Value) *problem {
	if r.given&(1<<f) != 0 && r.values[f] != v {
		return wrong(codeConflictingValues, "a connection has one value a field", "`%s` is given two values", f)
	}
	if is6, ok := familyOf(f, v); ok {
		if r.hasFamily && r.is6 != is6 {
			return wrong(codeMixedFamilies, "remote and local are of one family", "`%s` is of another address family than what stands before it", f)
		}
		r.hasFamily, r.is6 = true, is6
	}
	r.given |= 1 << f
	r.values[f] = v
	switch f {
	case InterfaceType:
		r.request.InterfaceType = uint32(v.Lo)
	case TunnelType:
		r.request.TunnelType = uint32(v.Lo)
	case NextHop:
		r.request.NextHop = v.Lo
	case SubInterface:
		r.request.SubInterface = uint32(v.Lo)
	case Interface:
		r.request.Interface = v.Lo
	case Protocol:
		r.request.Protocol = uint8(v.Lo)
	case Compartment:
		r.request.Compartment = uint32(v.Lo)
	}
	return nil
}

// finish gives the ends of the connection their addresses and ports.
func (r *requestReader) finish() Request {
	end := func(address, port Field) netip.AddrPort {
		a := netip.IPv4Unspecified()
		switch {
		case r.given&(1<<address) != 0:
			a = r.values[address].Address()
		case r.is6:
			a = netip.IPv6Unspecified()
		}
		return netip.AddrPortFrom(a, uint16(r.values[port].Lo))
	}
	r.request.Remote = end(RemoteAddress, RemotePort)
	r.request.Local = end(LocalAddress, LocalPort)
	return r.request
}
