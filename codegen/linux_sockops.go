package codegen

import "github.com/cilium/ebpf/asm"

// sockops is the stage that decides on TCP: after route selection and before the
// SYN. A socket option is the only way it has to make connect fail: a binding to
// an interface that does not exist, which is taken back when the socket closes.
func (f *function) sockops() blockID {
	ignore := f.straight(noBlock, asm.Mov.Imm(asm.R0, 1))
	connect := ignore
	if !f.devices {
		connect = f.connecting(ignore)
	}
	accepted := f.accepted(ignore)

	restore := f.branch(asm.JEq, asm.R1, 0, ignore, f.restoreBinding(ignore),
		asm.LoadMem(asm.R1, asm.R0, socketAborted, asm.Word))
	closed := f.branch(asm.JEq, asm.R0, 0, ignore, restore, storage(0)...)
	closed = f.branch(asm.JEq, asm.R7, 0, ignore, closed, f.loadSocket()...)
	state := f.branch(asm.JEq, asm.R1, linuxClose, closed, ignore,
		asm.LoadMem(asm.R1, regContext, linuxOpsNewState, asm.Word))

	state = f.branch(asm.JEq, asm.R2, linuxStateOp, state, ignore)
	state = f.branch(asm.JEq, asm.R2, linuxAcceptedOp, accepted, state)
	return f.branch(asm.JEq, asm.R2, linuxConnectOp, connect, state,
		append(f.start(), asm.LoadMem(asm.R2, regContext, linuxOpsOp, asm.Word))...)
}

func (f *function) loadSocket() asm.Instructions {
	return asm.Instructions{asm.LoadMem(asm.R7, regContext, linuxOpsSocket, asm.DWord)}
}

// accepted notes that the connection is an inbound one, unless both ends have opened
// it at once: until it is accepted, an inbound one has no file.
func (f *function) accepted(next blockID) blockID {
	note := f.straight(next,
		asm.Mov.Imm(asm.R1, SocketAccepted),
		asm.StoreMem(asm.R0, SocketDirection, asm.R1, asm.Word))
	if f.devices {
		note = f.branch(asm.JEq, asm.R1, socketConnects, next, note, asm.LoadMem(asm.R1, asm.R0, SocketDirection, asm.Word))
	}
	note = f.branch(asm.JEq, asm.R0, 0, next, note, storage(linuxStorageCreate)...)
	if !f.devices {
		note = f.branch(asm.JEq, asm.R1, 0, note, next, loadMember(asm.R1, asm.R0, "sock", "sk_socket"))
		note = f.branch(asm.JEq, asm.R0, 0, next, note, asm.Mov.Reg(asm.R1, asm.R7), asm.FnSkcToTcpSock.Call())
	}
	return f.branch(asm.JEq, asm.R7, 0, next, note, f.loadSocket()...)
}

// connecting judges a TCP connection that has its route. One that another policy has
// aborted has none any more, and its binding is that one's to take back.
func (f *function) connecting(ignore blockID) blockID {
	abort := f.abort(ignore)
	f.broken = abort
	f.settled = f.countFlow(false, f.branch(asm.JEq, asm.R1, 0, abort, ignore, f.told(asm.R1)...))
	decide := f.decide()

	ends := f.straight(decide,
		storeImm(stackFlow+flowProtocol, linuxProtoTCP, asm.Word),
		asm.LoadMem(asm.R1, regContext, linuxOpsRemotePort, asm.Word),
		asm.RSh.Imm(asm.R1, 16),
		asm.StoreMem(regStack, stackFlow+flowRemotePort, asm.R1, asm.Half),
		asm.LoadMem(asm.R1, regContext, linuxOpsLocalPort, asm.Word),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.StoreMem(regStack, stackFlow+flowLocalPort, asm.R1, asm.Half))
	ipv4 := f.straight(ends, append(mappedPrefix(), append(
		copyToFlow(flowRemote+12, linuxOpsRemoteIP4, 4),
		copyToFlow(flowLocal+12, linuxOpsLocalIP4, 4)...)...)...)
	ipv6 := f.straight(ends, append(
		copyToFlow(flowRemote, linuxOpsRemoteIP6, 16),
		copyToFlow(flowLocal, linuxOpsLocalIP6, 16)...)...)
	// The local address of a socket connected to an IPv4-mapped one is in the IPv4
	// fields only.
	mapped := f.branch(asm.JEq, asm.R1, 0xffff, ipv4, ipv6,
		asm.LoadMem(asm.R1, regContext, linuxOpsRemoteIP6+8, asm.Word),
		asm.HostTo(asm.BE, asm.R1, asm.Word))
	mapped = f.branch(asm.JEq, asm.R1, 0, mapped, ipv6,
		asm.LoadMem(asm.R1, regContext, linuxOpsRemoteIP6, asm.Word),
		asm.LoadMem(asm.R2, regContext, linuxOpsRemoteIP6+4, asm.Word),
		asm.Or.Reg(asm.R1, asm.R2))
	family := f.branch(asm.JEq, asm.R1, linuxInet, ipv4, mapped,
		asm.LoadMem(asm.R1, regContext, linuxOpsFamily, asm.Word))

	route := anyDevice()
	if f.asksDevice() {
		route = append(routeDevice(asm.R8), f.flowDevice()...)
	}
	device := f.branch(asm.JEq, asm.R0, 0, ignore, f.straight(f.addGeneration(family), route...),
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.FnSkcToTcpSock.Call())
	off := f.branch(asm.JEq, asm.R1, 0, device, ignore,
		asm.LoadMem(asm.R1, asm.R0, stateFlags, asm.Word),
		asm.And.Imm(asm.R1, StateNoConnectStage))
	state := f.straight(f.withState(off), asm.StoreMem(regStack, stackSocket, asm.R7, asm.DWord))
	aborted := f.branch(asm.JEq, asm.R1, linuxNoInterface, ignore, state, asm.LoadMem(asm.R1, asm.R7, linuxSockBound, asm.Word))
	return f.branch(asm.JEq, asm.R7, 0, ignore, aborted, f.loadSocket()...)
}

// routeDevice loads the device of the route of the socket in r0. Where there is no
// route all that is read from the device is 0.
func routeDevice(dst asm.Register) asm.Instructions {
	return asm.Instructions{
		loadMember(dst, asm.R0, "sock", "sk_dst_cache"),
		loadMember(dst, dst, "dst_entry", "dev"),
	}
}

// abort makes connect fail with EHOSTUNREACH. Should the socket have no room for
// its storage, the egress stage drops the SYN.
func (f *function) abort(next blockID) blockID {
	bind := f.straight(next, append(asm.Instructions{
		asm.Mov.Reg(asm.R1, regContext),
		asm.LoadMem(asm.R2, regContext, linuxOpsFlags, asm.Word),
		asm.Or.Imm(asm.R2, linuxStateFlag),
		asm.FnSockOpsCbFlagsSet.Call(),
		asm.Mov.Imm(asm.R1, linuxNoInterface),
	}, bindSocket()...)...)
	save := f.straight(bind,
		asm.LoadMem(asm.R1, asm.R7, linuxSockBound, asm.Word),
		asm.StoreMem(asm.R0, socketBound, asm.R1, asm.Word),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, socketAborted, asm.R1, asm.Word))
	twice := f.branch(asm.JNE, asm.R1, 0, bind, save, asm.LoadMem(asm.R1, asm.R0, socketAborted, asm.Word))
	return f.branch(asm.JEq, asm.R0, 0, next, twice, append(
		asm.Instructions{asm.LoadMem(asm.R7, regStack, stackSocket, asm.DWord)},
		storage(linuxStorageCreate)...)...)
}
