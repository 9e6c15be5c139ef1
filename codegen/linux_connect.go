package codegen

import "github.com/cilium/ebpf/asm"

// connect is the stage of connect4 and connect6, before route selection. It denies
// with EPERM what is denied whatever the route turns out to be, and takes back what
// an earlier connection has left on the socket.
func (f *function) connect() blockID {
	judge := f.byAddress()
	clean := f.noteOutbound(judge)
	restore := f.restoreBinding(clean)
	aborted := f.branch(asm.JEq, asm.R1, 0, clean, restore,
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.R0, SocketDirection, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.R0, socketAborted, asm.Word))
	code := asm.Instructions{asm.LoadMem(asm.R7, regContext, linuxAddrSocket, asm.DWord)}
	find := f.branch(asm.JEq, asm.R0, 0, clean, aborted, append(code, storage(0)...)...)
	// Nothing is ever left on a UDP socket, and to look for it takes a call.
	return f.branch(asm.JEq, asm.R1, linuxProtoUDP, judge, find,
		append(f.start(), asm.LoadMem(asm.R1, regContext, linuxAddrProtocol, asm.Word))...)
}

// sendmsg is the stage of sendmsg4 and sendmsg6: UDP to an address that the socket
// is not connected to, before route selection.
func (f *function) sendmsg() blockID {
	return f.straight(f.byAddress(), f.start()...)
}

// start is how every stage begins.
func (f *function) start() asm.Instructions {
	start := asm.Instructions{asm.Mov.Reg(regContext, asm.R1)}
	if f.events || f.devices { // without CAP_PERFMON what is handed on must have been written
		start = append(start, f.sees.network.unknown(true)...)
	}
	return start
}

// byAddress decides on TCP and UDP by what a sock_addr context shows. The protocol of
// a raw socket may not be that of its packets.
func (f *function) byAddress() blockID {
	pass := f.straight(noBlock, asm.Mov.Imm(asm.R0, 1))
	deny := f.straight(noBlock, asm.Mov.Imm(asm.R0, 0))
	f.undecided, f.broken = pass, deny
	f.settled = f.settle(deny)

	fill := asm.Instructions{asm.StoreMem(regStack, stackFlow+flowProtocol, asm.R2, asm.Word)}
	if f.ipv6 {
		fill = append(fill, copyToFlow(flowRemote, linuxAddrIP6, 16)...)
		fill = append(fill,
			storeImm(stackFlow+flowLocal, 0, asm.DWord),
			storeImm(stackFlow+flowLocal+8, 0, asm.DWord))
	} else {
		fill = append(fill, mappedPrefix()...)
		fill = append(fill, copyToFlow(flowRemote+12, linuxAddrIP4, 4)...)
		fill = append(fill, storeImm(stackFlow+flowLocal+12, 0, asm.Word))
	}
	fill = append(fill,
		asm.LoadMem(asm.R1, regContext, linuxAddrPort, asm.Word),
		asm.StoreMem(regStack, stackFlow+flowRemotePort, asm.R1, asm.Half),
		storeImm(stackFlow+flowLocalPort, 0, asm.Half))
	filled := f.straight(f.ifReply(f.decide(), pass), fill...)

	multipath := f.branch(asm.JEq, asm.R2, linuxProtoMPTCP, f.straight(filled, asm.Mov.Imm(asm.R2, linuxProtoTCP)), pass)
	known := f.oneOf(asm.R2, []int32{linuxProtoTCP, linuxProtoUDP}, filled, multipath)
	return f.straight(known, asm.LoadMem(asm.R2, regContext, linuxAddrProtocol, asm.Word))
}

// restoreBinding binds the socket whose storage is in r0 to the interface it was
// bound to before its connection was aborted.
func (f *function) restoreBinding(next blockID) blockID {
	return f.straight(next, append(asm.Instructions{
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.R0, socketAborted, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.R0, socketBound, asm.Word),
	}, bindSocket()...)...)
}

// bindSocket binds the context's socket to the interface in r1.
func bindSocket() asm.Instructions {
	return asm.Instructions{
		asm.StoreMem(regStack, stackOption, asm.R1, asm.Word),
		asm.Mov.Reg(asm.R1, regContext),
		asm.Mov.Imm(asm.R2, linuxSolSocket),
		asm.Mov.Imm(asm.R3, linuxBindToIfindex),
		asm.Mov.Reg(asm.R4, regStack),
		asm.Add.Imm(asm.R4, stackOption),
		asm.Mov.Imm(asm.R5, 4),
		asm.FnSetsockopt.Call(),
	}
}
