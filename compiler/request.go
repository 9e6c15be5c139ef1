package compiler

import (
	"math"
	"net/netip"
)

// Request is one connection to be judged, in host byte order. A network-context
// field that holds one of its not-available values (Field.NotAvailable) is
// unknown; NoContext starts with all of them so.
type Request struct {
	InterfaceType uint32
	TunnelType    uint32
	NextHop       uint64 // NET_LUID
	SubInterface  uint32
	Interface     uint64 // NET_LUID
	Remote        netip.AddrPort
	Local         netip.AddrPort
	Protocol      uint8
	Compartment   uint32
}

// NoContext is a request of which the network context is unknown.
func NoContext() Request { return Request{TunnelType: math.MaxUint32} }

// Family is 4 or 6, as the remote address says. An IPv4-mapped IPv6 address is
// IPv4.
func (r *Request) Family() int {
	if r.Remote.Addr().Unmap().Is6() {
		return 6
	}
	return 4
}

// Value is the field's value in the request; it may be a not-available one.
func (r *Request) Value(f Field) Value {
	switch f {
	case InterfaceType:
		return Number(uint64(r.InterfaceType))
	case TunnelType:
		return Number(uint64(r.TunnelType))
	case NextHop:
		return Number(r.NextHop)
	case SubInterface:
		return Number(uint64(r.SubInterface))
	case Interface:
		return Number(r.Interface)
	case RemoteAddress:
		return AddressValue(r.Remote.Addr())
	case LocalAddress:
		return AddressValue(r.Local.Addr())
	case RemotePort:
		return Number(uint64(r.Remote.Port()))
	case LocalPort:
		return Number(uint64(r.Local.Port()))
	case Protocol:
		return Number(uint64(r.Protocol))
	case Family:
		return Number(uint64(r.Family()))
	case Compartment:
		return Number(uint64(r.Compartment))
	}
	panic("compiler: no such field")
}
