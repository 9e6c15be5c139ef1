package hook

import (
	"encoding/binary"
	"net/netip"

	"github.com/cilium/ebpf/asm"

	"github.com/hopgate/hopgate/codegen"
)

// The layers, by their names in WFP.
const (
	redirect4      = codegen.AttachConnect4              // ALE_CONNECT_REDIRECT_V4
	redirect6      = codegen.AttachConnect6              // ALE_CONNECT_REDIRECT_V6
	authorize4     = codegen.AttachConnectAuthorization4 // ALE_AUTH_CONNECT_V4
	authorize6     = codegen.AttachConnectAuthorization6 // ALE_AUTH_CONNECT_V6
	recvAccept4    = codegen.AttachRecvAccept4           // ALE_AUTH_RECV_ACCEPT_V4
	recvAccept6    = codegen.AttachRecvAccept6           // ALE_AUTH_RECV_ACCEPT_V6
	anyCompartment = 0
)

// Verdicts as programs return them.
const (
	reject      = 0
	proceedSoft = 1
	proceedHard = 2
)

// returns is a program that gives one verdict to every connection.
func returns(verdict int32) asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, verdict), asm.Return()}
}

// faults reads beyond its context.
func faults() asm.Instructions {
	return asm.Instructions{asm.LoadMem(asm.R0, asm.R1, codegen.SockAddrSize, asm.Word), asm.Return()}
}

// returnsInR0 gives a 64-bit value.
func returnsInR0(value int64) asm.Instructions {
	return asm.Instructions{asm.LoadImm(asm.R0, value, asm.DWord), asm.Return()}
}

// onInterfaceType gives one verdict on interfaces of a type, another elsewhere,
// and rejects where the network context cannot be had.
func onInterfaceType(ifType, there, elsewhere int32) asm.Instructions {
	return append(networkContext(codegen.NetworkContextSize),
		asm.Mov.Reg(asm.R1, asm.R0),
		asm.Mov.Imm(asm.R0, reject),
		asm.JSLT.Imm(asm.R1, 0, "exit"),
		asm.LoadMem(asm.R1, asm.R10, -codegen.NetworkContextSize+codegen.NetworkContextInterfaceType, asm.Word),
		asm.Mov.Imm(asm.R0, there),
		asm.JEq.Imm(asm.R1, ifType, "exit"),
		asm.Mov.Imm(asm.R0, elsewhere),
		asm.Return().WithSymbol("exit"),
	)
}

// networkContext calls helper 65538 with a buffer of 64 bytes, filled with 0x6e,
// whose network context is at r10-32, and a size. The answer is in r0.
func networkContext(size int32) asm.Instructions {
	code := asm.Instructions{asm.LoadImm(asm.R2, 0x6e6e6e6e6e6e6e6e, asm.DWord)}
	for at := int16(-64); at < 0; at += 8 {
		code = append(code, asm.StoreMem(asm.R10, at, asm.R2, asm.DWord))
	}
	return append(code,
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, -codegen.NetworkContextSize),
		asm.Mov.Imm(asm.R3, size),
		asm.BuiltinFunc(codegen.HelperNetworkContext).Call(),
	)
}

// helperAnswer is proceedHard if helper 65538 fails, proceedSoft if it gives 0
// and reject for anything else.
func helperAnswer(size int32) asm.Instructions {
	return append(networkContext(size),
		asm.Mov.Reg(asm.R1, asm.R0),
		asm.Mov.Imm(asm.R0, proceedHard),
		asm.JSLT.Imm(asm.R1, 0, "exit"),
		asm.Mov.Imm(asm.R0, proceedSoft),
		asm.JEq.Imm(asm.R1, 0, "exit"),
		asm.Mov.Imm(asm.R0, reject),
		asm.Return().WithSymbol("exit"),
	)
}

// helperNull is helperAnswer with a null buffer.
func helperNull() asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Imm(asm.R3, codegen.NetworkContextSize),
		asm.BuiltinFunc(codegen.HelperNetworkContext).Call(),
		asm.Mov.Reg(asm.R1, asm.R0),
		asm.Mov.Imm(asm.R0, proceedHard),
		asm.JSLT.Imm(asm.R1, 0, "exit"),
		asm.Mov.Imm(asm.R0, reject),
		asm.Return().WithSymbol("exit"),
	}
}

// contextByte returns a byte of the buffer, counted from the start of the network
// context, after helper 65538 was given a size.
func contextByte(size int32, at int16) asm.Instructions {
	return append(networkContext(size),
		asm.LoadMem(asm.R0, asm.R10, -codegen.NetworkContextSize+at, asm.Byte),
		asm.Return(),
	)
}

// setsPort writes the destination port and gives a verdict.
func setsPort(port uint16, verdict int32) asm.Instructions {
	return asm.Instructions{
		asm.StoreImm(asm.R1, codegen.SockAddrUserPort, int64(swapped(port)), asm.Half),
		asm.Mov.Imm(asm.R0, verdict),
		asm.Return(),
	}
}

// writesBack stores what stands in the context already.
func writesBack(verdict int32) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, codegen.SockAddrUserIP, asm.Word),
		asm.StoreMem(asm.R1, codegen.SockAddrUserIP, asm.R2, asm.Word),
		asm.LoadMem(asm.R2, asm.R1, codegen.SockAddrUserPort, asm.Half),
		asm.StoreMem(asm.R1, codegen.SockAddrUserPort, asm.R2, asm.Half),
		asm.Mov.Imm(asm.R0, verdict),
		asm.Return(),
	}
}

// sendsTo writes an IPv4 destination and gives a verdict.
func sendsTo(destination string, verdict int32) asm.Instructions {
	d := netip.MustParseAddrPort(destination)
	return append(asm.Instructions{
		asm.StoreImm(asm.R1, codegen.SockAddrUserIP, int64(int32(word(d.Addr()))), asm.Word),
	}, setsPort(d.Port(), verdict)...)
}

// onRemote gives one verdict to connections to an IPv4 address, another to the
// rest.
func onRemote(address string, there, elsewhere int32) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, codegen.SockAddrUserIP, asm.Word),
		asm.Mov.Imm(asm.R0, there),
		asm.JEq.Imm32(asm.R2, int32(word(netip.MustParseAddr(address))), "exit"),
		asm.Mov.Imm(asm.R0, elsewhere),
		asm.Return().WithSymbol("exit"),
	}
}

// asks returns what a helper without further arguments gives.
func asks(helper asm.BuiltinFunc) asm.Instructions {
	return asm.Instructions{helper.Call(), asm.Return()}
}

// leavesRedirectContext hands 8 bytes to the proxy: the helper's answer plus 1 is
// the verdict.
func leavesRedirectContext(value int64) asm.Instructions {
	return asm.Instructions{
		asm.LoadImm(asm.R2, value, asm.DWord),
		asm.StoreMem(asm.R10, -8, asm.R2, asm.DWord),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, -8),
		asm.Mov.Imm(asm.R3, 8),
		asm.BuiltinFunc(codegen.HelperSetRedirectContext).Call(),
		asm.Add.Imm(asm.R0, 1),
		asm.Return(),
	}
}

// word is an IPv4 address as a program loads it.
func word(a netip.Addr) uint32 {
	b := a.As4()
	return binary.LittleEndian.Uint32(b[:])
}

// swapped is a port as a program loads it.
func swapped(port uint16) uint16 { return port<<8 | port>>8 }
