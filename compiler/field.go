package compiler

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
)

// Field is a property of a connection that a policy may test.
type Field uint8

const (
	InterfaceType Field = iota // IANA ifType of the interface the route selected
	TunnelType                 // IANA tunnelType of that interface; 0 is no tunnel
	NextHop                    // LUID of the next-hop interface
	SubInterface               // sub-interface index
	Interface                  // LUID of the connection's local interface
	RemoteAddress
	LocalAddress
	RemotePort
	LocalPort
	Protocol        // IP protocol number
	Family          // 4 or 6
	Compartment     // Windows network compartment; 0 elsewhere
	NumFields   int = iota
)

var fieldNames = [NumFields]string{
	"interface_type", "tunnel_type", "next_hop", "sub_interface", "interface",
	"remote_address", "local_address", "remote_port", "local_port",
	"protocol", "family", "compartment",
}

func (f Field) String() string {
	if int(f) >= len(fieldNames) {
		return fmt.Sprintf("field-%d", uint8(f))
	}
	return fieldNames[f]
}

// Value is a field's value as a number of up to 128 bits. An address is its
// IPv6 form, IPv4 as the IPv4-mapped ::ffff:a.b.c.d, so that one number line
// holds both families.
type Value struct{ Hi, Lo uint64 }

// Number makes a Value of a number of up to 64 bits.
func Number(n uint64) Value { return Value{Lo: n} }

// AddressValue makes a Value of an address; a zone is ignored, and the zero Addr
// is 0.0.0.0.
func AddressValue(a netip.Addr) Value {
	if !a.IsValid() {
		return mapped.First
	}
	b := a.As16()
	return Value{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// Address is the inverse of AddressValue; IPv4-mapped values become IPv4.
func (v Value) Address() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], v.Hi)
	binary.BigEndian.PutUint64(b[8:], v.Lo)
	return netip.AddrFrom16(b).Unmap()
}

// Compare orders values as numbers: -1, 0 or 1.
func (v Value) Compare(w Value) int {
	if v.Hi != w.Hi {
		return cmp.Compare(v.Hi, w.Hi)
	}
	return cmp.Compare(v.Lo, w.Lo)
}

// less is Compare < 0 without a branch, for where much is compared.
func (v Value) less(w Value) bool {
	_, borrow := bits.Sub64(v.Lo, w.Lo, 0)
	_, borrow = bits.Sub64(v.Hi, w.Hi, borrow)
	return borrow != 0
}

// next is v+1; it wraps to 0 after the largest value.
func (v Value) next() Value {
	lo, carry := bits.Add64(v.Lo, 1, 0)
	return Value{v.Hi + carry, lo}
}

// prev is v-1; it wraps to the largest value before 0.
func (v Value) prev() Value {
	lo, borrow := bits.Sub64(v.Lo, 1, 0)
	return Value{v.Hi - borrow, lo}
}

// Range is all values from First to Last, both included.
type Range struct{ First, Last Value }

// Contains reports whether v lies in the range.
func (r Range) Contains(v Value) bool {
	return r.First.Compare(v) <= 0 && v.Compare(r.Last) <= 0
}

// mapped is ::ffff:0:0/96, where IPv4 addresses live.
var mapped = Range{Value{0, 0xffff_0000_0000}, Value{0, 0xffff_ffff_ffff}}

// Domain is every value the field can carry, not-available values included.
func (f Field) Domain() Range {
	switch f {
	case InterfaceType, TunnelType, SubInterface, Compartment:
		return Range{Last: Number(math.MaxUint32)}
	case NextHop, Interface:
		return Range{Last: Number(math.MaxUint64)}
	case RemoteAddress, LocalAddress:
		return Range{Last: Value{math.MaxUint64, math.MaxUint64}}
	case RemotePort, LocalPort:
		return Range{Last: Number(math.MaxUint16)}
	case Protocol:
		return Range{Last: Number(math.MaxUint8)}
	case Family:
		return Range{First: Number(4), Last: Number(6)}
	}
	panic(fmt.Sprintf("compiler: no such field %d", f))
}

// NotAvailable lists the values that mean "unknown" for the field. eBPF for
// Windows spells it 0 in the driver and ~0 in the design document; tunnel_type
// 0 is a real value (none). Nil for the fields that are always known.
func (f Field) NotAvailable() []Value {
	switch f {
	case InterfaceType, SubInterface:
		return []Value{Number(0), Number(math.MaxUint32)}
	case TunnelType:
		return []Value{Number(math.MaxUint32)}
	case NextHop, Interface:
		return []Value{Number(0), Number(math.MaxUint64)}
	}
	return nil
}

func (f Field) alwaysKnown() bool { return len(f.NotAvailable()) == 0 }

// Known reports whether v is a real value of the field, not a not-available one.
func (f Field) Known(v Value) bool {
	for _, n := range f.NotAvailable() {
		if v == n {
			return false
		}
	}
	return true
}

// IsMapped reports whether a range of addresses is one of IPv4 addresses only.
func IsMapped(r Range) bool { return mapped.Contains(r.First) && mapped.Contains(r.Last) }
