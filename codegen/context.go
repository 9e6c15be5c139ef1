package codegen

import (
	"github.com/cilium/ebpf/asm"

	"github.com/hopgate/hopgate/compiler"
)

// connection says where a program finds the connection it judges.
type connection struct {
	hook compiler.Hook
	// ipv4 is where an IPv4 address stands in the address: 0, or 12 in a program
	// for IPv6 that looks at an IPv4-mapped one.
	ipv4 int16
}

// Registers with a fixed meaning. r0 to r5 die at each call.
const (
	regConst   = asm.R0  // a constant of 64 bits to compare with
	regValue   = asm.R1  // the value under test, if it has no register of its own
	regContext = asm.R6  // the context
	regAudit   = asm.R8  // the audit rule that matched, as leafValue; only with audit rules
	regLeaf    = asm.R9  // the rule that decided, as leafValue
	regStack   = asm.R10 // end of the stack frame
)

// fromContext reports whether the value comes with the network context.
func fromContext(f compiler.Field) bool {
	switch f {
	case compiler.InterfaceType, compiler.TunnelType, compiler.NextHop, compiler.SubInterface:
		return true
	}
	return false
}

// load puts a variable's value in host byte order into a register.
func (c connection) load(v compiler.Var, dst asm.Register) asm.Instructions {
	remote, local := sockAddrEnds(c.hook)
	e := remote
	if v.Field == compiler.LocalAddress || v.Field == compiler.LocalPort {
		e = local
	}
	plain := func(base asm.Register, offset int16, size asm.Size) asm.Instructions {
		return asm.Instructions{asm.LoadMem(dst, base, offset, size)}
	}
	switch v.Field {
	case compiler.InterfaceType:
		return plain(regStack, stackContext+NetworkContextInterfaceType, asm.Word)
	case compiler.TunnelType:
		return plain(regStack, stackContext+NetworkContextTunnelType, asm.Word)
	case compiler.NextHop:
		return plain(regStack, stackContext+NetworkContextNextHop, asm.DWord)
	case compiler.SubInterface:
		return plain(regStack, stackContext+NetworkContextSubInterface, asm.Word)
	case compiler.Interface:
		return plain(regContext, SockAddrInterface, asm.DWord)
	case compiler.Protocol:
		return plain(regContext, SockAddrProtocol, asm.Word)
	case compiler.Compartment:
		return plain(regContext, SockAddrCompartment, asm.Word)
	case compiler.RemotePort, compiler.LocalPort:
		return append(plain(regContext, e.port, asm.Half), asm.HostTo(asm.BE, dst, asm.Half))
	}
	switch v.Part {
	case compiler.Word32:
		return append(plain(regContext, e.ip+c.ipv4, asm.Word), asm.HostTo(asm.BE, dst, asm.Word))
	case compiler.High64:
		return loadHalf(dst, e.ip)
	}
	return loadHalf(dst, e.ip+8)
}

// loadHalf loads half an IPv6 address. The address at offset 4 of the context is
// not aligned to 8 bytes, so that it takes two loads; regConst is scratch there.
func loadHalf(dst asm.Register, offset int16) asm.Instructions {
	if offset%8 == 0 {
		return asm.Instructions{
			asm.LoadMem(dst, regContext, offset, asm.DWord),
			asm.HostTo(asm.BE, dst, asm.DWord),
		}
	}
	return asm.Instructions{
		asm.LoadMem(dst, regContext, offset, asm.Word),
		asm.LoadMem(regConst, regContext, offset+4, asm.Word),
		asm.LSh.Imm(regConst, 32),
		asm.Or.Reg(dst, regConst),
		asm.HostTo(asm.BE, dst, asm.DWord),
	}
}

// bits is the width of a variable's value in its register.
func width(v compiler.Var) int {
	switch {
	case v.Part == compiler.High64 || v.Part == compiler.Low64:
		return 64
	case v.Field == compiler.NextHop || v.Field == compiler.Interface:
		return 64
	}
	return 32
}
