package codegen

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// Event is what a rule with log, or an audit rule, writes to the ring buffer.
type Event struct {
	Rule    int              // index in Program.Rules of the rule that decided
	Audit   int              // index of the audit rule that would have decided, or -1
	Verdict lang.Verdict     // the deciding rule's verdict
	Answer  lang.Verdict     // what the hook was told; differs in audit mode
	Request compiler.Request // the connection; network context unknown where it was not read
	Process uint32           // process id; 0 where the kernel sends on its own, as when a timer of TCP ends

	// Only on Linux:
	Command string // what the process is called, up to 15 bytes; "" where the program cannot tell
	Network uint64 // cookie of the network namespace that Request.NextHop is in

	Generation uint8 // of an engine's table, its lowest bits; 0 of another program
}

// EventSize is the length in bytes of an event in the ring buffer; on Linux more follows.
const EventSize = 88

// Offsets in an event. Numbers are little-endian but for the addresses, which are
// 16 bytes in network order, IPv4 as ::ffff:a.b.c.d.
const (
	eventRule          = 0  // u32
	eventAudit         = 4  // u32; ^0 for none
	eventVerdict       = 8  // u8
	eventAnswer        = 9  // u8
	eventProtocol      = 10 // u8
	eventGeneration    = 11 // u8
	eventRemotePort    = 12 // u16
	eventLocalPort     = 14 // u16
	eventRemote        = 16
	eventLocal         = 32
	eventInterfaceType = 48 // u32
	eventTunnelType    = 52 // u32
	eventNextHop       = 56 // u64 NET_LUID
	eventInterface     = 64 // u64 NET_LUID
	eventSubInterface  = 72 // u32
	eventCompartment   = 76 // u32
	eventProcess       = 80 // u64: process id in the high half, thread id in the low one

	// On Linux. On the stack this is in the place of the map key, which no event needs.
	eventCommand   = EventSize // 16 bytes, ends in zeros
	eventNetwork   = eventCommand + 16
	eventSizeLinux = eventNetwork + 8
)

// DecodeEvent reads one record of the ring buffer.
func DecodeEvent(b []byte) (Event, error) {
	if len(b) < EventSize {
		return Event{}, fmt.Errorf("event of %d bytes, want %d", len(b), EventSize)
	}
	u16, u32, u64 := binary.LittleEndian.Uint16, binary.LittleEndian.Uint32, binary.LittleEndian.Uint64
	address := func(at, port int) netip.AddrPort {
		ip := netip.AddrFrom16([16]byte(b[at : at+16])).Unmap()
		return netip.AddrPortFrom(ip, u16(b[port:]))
	}
	e := Event{
		Rule:    int(u32(b[eventRule:])),
		Audit:   int(int32(u32(b[eventAudit:]))),
		Verdict: lang.Verdict(b[eventVerdict]),
		Answer:  lang.Verdict(b[eventAnswer]),
		Request: compiler.Request{
			InterfaceType: u32(b[eventInterfaceType:]),
			TunnelType:    u32(b[eventTunnelType:]),
			NextHop:       u64(b[eventNextHop:]),
			SubInterface:  u32(b[eventSubInterface:]),
			Interface:     u64(b[eventInterface:]),
			Remote:        address(eventRemote, eventRemotePort),
			Local:         address(eventLocal, eventLocalPort),
			Protocol:      b[eventProtocol],
			Compartment:   u32(b[eventCompartment:]),
		},
		Process:    uint32(u64(b[eventProcess:]) >> 32),
		Generation: b[eventGeneration],
	}
	if len(b) >= eventSizeLinux {
		command, _, _ := bytes.Cut(b[eventCommand:eventNetwork], []byte{0})
		e.Command, e.Network = string(command), u64(b[eventNetwork:])
	}
	return e, nil
}
