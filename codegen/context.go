package codegen

import (
	"github.com/cilium/ebpf/asm"

	"github.com/hopgate/hopgate/compiler"
)

// connection says where a program finds the connection it judges: at offsets from
// a register. The network context is in its own place, once it has been asked for.
type connection struct {
	base          asm.Register
	remote, local end
	ipv4          int16 // where an IPv4 address stands in an address
	whole         bool  // addresses have 16 bytes in both families
	protocol      int16 // u32
	compartment   int16 // u32, or absent: 0
	luid          int16 // u64 of the local interface, or absent: the next hop's
	network       networkPlace
}

// networkPlace is where the network context is, from a register.
type networkPlace struct {
	base asm.Register
	at   int16
}

// address puts the place into a register.
func (p networkPlace) address(dst asm.Register) asm.Instructions {
	return asm.Instructions{asm.Mov.Reg(dst, p.base), asm.Add.Imm(dst, int32(p.at))}
}

// unknown marks the network context as not available. With all it writes every
// byte, as a first write must.
func (p networkPlace) unknown(all bool) asm.Instructions {
	var code asm.Instructions
	if all {
		for at := int16(0); at < NetworkContextSize; at += 8 {
			code = append(code, storeTo(p.base, p.at+at, 0, asm.DWord))
		}
	} else {
		code = append(code,
			storeTo(p.base, p.at+NetworkContextInterfaceType, 0, asm.Word),
			storeTo(p.base, p.at+NetworkContextNextHop, 0, asm.DWord),
			storeTo(p.base, p.at+NetworkContextSubInterface, 0, asm.Word))
	}
	return append(code, storeTo(p.base, p.at+NetworkContextTunnelType, -1, asm.Word))
}

// absent is the offset of what a program is not shown.
const absent = -1

// sockAddr is the connection in the context of eBPF for Windows.
func sockAddr(hook compiler.Hook) connection {
	c := connection{
		base:        regContext,
		remote:      end{SockAddrUserIP, SockAddrUserPort},
		local:       end{SockAddrMsgSrcIP, SockAddrMsgSrcPort},
		protocol:    SockAddrProtocol,
		compartment: SockAddrCompartment,
		luid:        SockAddrInterface,
		network:     networkPlace{regStack, stackContext},
	}
	if hook == compiler.Accept {
		c.remote, c.local = c.local, c.remote
	}
	return c
}

// mapped is the connection as a program sees it that looks at an IPv4-mapped
// address.
func (c connection) mapped() connection {
	c.ipv4 = 12
	return c
}

// Registers with a fixed meaning. r0 to r5 die at each call.
const (
	regConst   = asm.R0  // a constant of 64 bits to compare with
	regValue   = asm.R1  // the value under test, if it has no register of its own
	regContext = asm.R6  // the context
	regState   = asm.R7  // the value of the state map, in decisions on Linux that need it
	regAudit   = asm.R8  // the audit rule that matched, as leafValue; only with audit rules
	regLeaf    = asm.R9  // the rule that decided, as leafValue
	regStack   = asm.R10 // end of the stack frame
)

// fromContext reports whether the value comes with the network context.
func (c connection) fromContext(f compiler.Field) bool {
	switch f {
	case compiler.InterfaceType, compiler.TunnelType, compiler.NextHop, compiler.SubInterface:
		return true
	case compiler.Interface:
		return c.luid == absent
	}
	return false
}

// load puts a variable's value in host byte order into a register.
func (c connection) load(v compiler.Var, dst asm.Register) asm.Instructions {
	e := c.remote
	if v.Field == compiler.LocalAddress || v.Field == compiler.LocalPort {
		e = c.local
	}
	plain := func(base asm.Register, offset int16, size asm.Size) asm.Instructions {
		return asm.Instructions{asm.LoadMem(dst, base, offset, size)}
	}
	switch v.Field {
	case compiler.InterfaceType:
		return plain(c.network.base, c.network.at+NetworkContextInterfaceType, asm.Word)
	case compiler.TunnelType:
		return plain(c.network.base, c.network.at+NetworkContextTunnelType, asm.Word)
	case compiler.NextHop:
		return plain(c.network.base, c.network.at+NetworkContextNextHop, asm.DWord)
	case compiler.SubInterface:
		return plain(c.network.base, c.network.at+NetworkContextSubInterface, asm.Word)
	case compiler.Interface:
		if c.luid == absent {
			return plain(c.network.base, c.network.at+NetworkContextNextHop, asm.DWord)
		}
		return plain(c.base, c.luid, asm.DWord)
	case compiler.Protocol:
		return plain(c.base, c.protocol, asm.Word)
	case compiler.Compartment:
		if c.compartment == absent {
			return asm.Instructions{asm.Mov.Imm(dst, 0)}
		}
		return plain(c.base, c.compartment, asm.Word)
	case compiler.RemotePort, compiler.LocalPort:
		return append(plain(c.base, e.port, asm.Half), asm.HostTo(asm.BE, dst, asm.Half))
	}
	switch v.Part {
	case compiler.Word32:
		return append(plain(c.base, e.ip+c.ipv4, asm.Word), asm.HostTo(asm.BE, dst, asm.Word))
	case compiler.High64:
		return c.loadHalf(dst, e.ip)
	}
	return c.loadHalf(dst, e.ip+8)
}

// loadHalf loads half an IPv6 address. One that is not aligned to 8 bytes, as at
// offset 4 of a sock_addr, takes two loads; regConst is scratch there.
func (c connection) loadHalf(dst asm.Register, offset int16) asm.Instructions {
	if offset%8 == 0 {
		return asm.Instructions{
			asm.LoadMem(dst, c.base, offset, asm.DWord),
			asm.HostTo(asm.BE, dst, asm.DWord),
		}
	}
	return asm.Instructions{
		asm.LoadMem(dst, c.base, offset, asm.Word),
		asm.LoadMem(regConst, c.base, offset+4, asm.Word),
		asm.LSh.Imm(regConst, 32),
		asm.Or.Reg(dst, regConst),
		asm.HostTo(asm.BE, dst, asm.DWord),
	}
}

// copyWords copies bytes of the connection to the stack, a word at a time.
func (c connection) copyWords(to, from, n int16) asm.Instructions {
	var code asm.Instructions
	for i := int16(0); i < n; i += 4 {
		code = append(code,
			asm.LoadMem(regValue, c.base, from+i, asm.Word),
			asm.StoreMem(regStack, to+i, regValue, asm.Word))
	}
	return code
}

// width is that of a variable's value in its register, in bits.
func width(v compiler.Var) int {
	switch {
	case v.Part == compiler.High64 || v.Part == compiler.Low64:
		return 64
	case v.Field == compiler.NextHop || v.Field == compiler.Interface:
		return 64
	}
	return 32
}
