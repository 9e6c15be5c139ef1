package codegen

import "github.com/cilium/ebpf/asm"

// Protocols whose packets start with two ports.
var portProtocols = []int32{6, 17, 33, 132, 136} // TCP, UDP, DCCP, SCTP, UDP-Lite

// IPv6 extension headers, but for hop-by-hop options, of which see jumbo. Who may send them
// can say one destination to the routing and another to this program, so that they are denied.
var extensionHeaders = []int32{43, 44, 60, 135, 139, 140}

// egress is the stage that sees every packet with the device it leaves by. It
// decides on all but TCP connections, and on those whose route has moved.
func (f *function) egress() blockID {
	pass := f.straight(noBlock, asm.Mov.Imm(asm.R0, 1))
	drop := f.straight(noBlock, asm.Mov.Imm(asm.R0, 0))
	f.broken = drop
	denied := f.dropPacket(drop)
	answer := f.branch(asm.JEq, asm.R7, 0, denied, pass)
	f.settled = f.straight(f.noteOurs(f.fillCache(f.countFlow(true, answer))), f.told(asm.R7)...)

	judge := f.ifOutbound(f.decide(), pass, drop)
	// The peer of a flow that is remembered as denied may have sent first since.
	known := f.lookCache(pass, f.ifReply(f.ifKernels(denied, pass), pass), judge)
	parse := f.parse(f.straight(f.addGeneration(known), f.packetDevice()...), f.ifKernels(drop, pass))
	if f.devices {
		return f.straight(f.findSocket(parse, drop), f.start()...)
	}
	socket := f.straight(parse, loadTypeID("sock"), callKernel("bpf_rdonly_cast"), asm.Mov.Reg(asm.R7, asm.R0))
	return f.branch(asm.JEq, asm.R1, 0, drop, socket, append(f.start(), asm.LoadMem(asm.R1, regContext, linuxBuffSocket, asm.DWord))...)
}

// findSocket puts the packet's socket as programs are shown it into r7. It takes a
// call, which most packets do without.
func (f *function) findSocket(next, drop blockID) blockID {
	full := f.branch(asm.JEq, asm.R0, 0, drop, f.straight(next, asm.Mov.Reg(asm.R7, asm.R0)), asm.FnSkFullsock.Call())
	return f.branch(asm.JEq, asm.R1, 0, drop, full, asm.LoadMem(asm.R1, regContext, linuxBuffSocket, asm.DWord))
}

// socket loads from the socket in r7 into r1, before findSocket has been there unless there
// is no other way: a member of the kernel's structure, or what stands for it in what
// programs are shown.
func (f *function) socket(member string, shown int16) asm.Instruction {
	if f.devices {
		return asm.LoadMem(asm.R1, asm.R7, shown, asm.Word)
	}
	return loadMember(asm.R1, asm.R7, "sock", member)
}

func (f *function) socketType() asm.Instruction { return f.socket("sk_type", linuxSockType) }

func (f *function) socketProtocol() asm.Instruction {
	return f.socket("sk_protocol", linuxSockProtocol)
}

func (f *function) socketState() asm.Instruction {
	return f.socket("__sk_common.skc_state", linuxSockState)
}

// packetDevice puts the device that the packet leaves by into the flow.
func (f *function) packetDevice() asm.Instructions {
	switch {
	case !f.asksDevice():
		return anyDevice()
	case f.devices:
		return flowDeviceOfPacket()
	}
	return append(loadOfPacket(asm.R8, regContext, "dev"), f.flowDevice()...)
}

// loadOfPacket loads a member of the kernel's form of a packet. By the cast the verifier
// trusts the pointer less: for each member of one that it trusts it goes four times
// through the names of all types of the kernel, half a millisecond each time.
func loadOfPacket(dst, context asm.Register, member string) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, context),
		callKernel("bpf_cast_to_kern_ctx"),
		asm.Mov.Reg(asm.R1, asm.R0),
		loadTypeID("sk_buff"),
		callKernel("bpf_rdonly_cast"),
		loadMember(dst, asm.R0, "sk_buff", member),
	}
}

// ifKernels goes to pass for packets of the kernel's own raw sockets, which send
// replies of ICMP, IGMP and the like. r7 is the socket.
func (f *function) ifKernels(next, pass blockID) blockID {
	if f.devices {
		return next // they cannot be told
	}
	kernels := f.branch(asm.JNE, asm.R1, 0, pass, next, loadBit(asm.R1, asm.R7, "sock", "sk_kern_sock")...)
	return f.branch(asm.JEq, asm.R1, linuxSockRaw, kernels, next, f.socketType())
}

// dropPacket drops the packet. A SYN is reported to TCP as lost to congestion, so
// that connect fails after seconds, not minutes; for a live connection that would
// be the end, and its route may move back.
func (f *function) dropPacket(drop blockID) blockID {
	syn := f.straight(noBlock, asm.Mov.Imm(asm.R0, linuxDropAndTellTCP))
	state := f.branch(asm.JEq, asm.R1, linuxSynSent, syn, drop, asm.LoadMem(asm.R1, asm.R7, linuxSockState, asm.Word))
	socket := f.findSocket(f.branch(asm.JEq, asm.R1, linuxProtoTCP, state, drop, asm.LoadMem(asm.R1, asm.R7, linuxSockProtocol, asm.Word)), drop)
	return f.branch(asm.JEq, asm.R1, linuxProtoTCP, socket, drop, asm.LoadMem(asm.R1, regStack, stackFlow+flowProtocol, asm.Word))
}

// parse reads the flow from the packet: what the socket says of itself need not be
// where the packet goes. r7 is the socket.
func (f *function) parse(next, drop blockID) blockID {
	// A packet that is not of the socket's protocol has been put into another, as
	// by IPsec: where the inner one goes cannot be told. But raw sockets send what they
	// like; type 0 is the socket of a test run.
	same := f.add(block{
		code:  asm.Instructions{f.socketProtocol(), asm.StoreMem(regStack, stackProtocol, asm.R1, asm.DWord)},
		jump:  jump{op: asm.JEq, wide: true, dst: asm.R1, reg: true, src: asm.R4},
		taken: next, next: f.straight(f.oneOf(asm.R1, []int32{0, linuxSockRaw}, next, drop), f.socketType()),
	})

	// What the cache compares at once is stored at once: the processor hands on
	// only whole stores without waiting.
	rest := asm.Instructions{
		asm.Mov.Reg(asm.R2, asm.R4),
		asm.LSh.Imm(asm.R2, 32),
		asm.Or.Reg(asm.R1, asm.R2),
		asm.StoreMem(regStack, stackFlow+flowLocalPort, asm.R1, asm.DWord),
	}
	ports := func(at int16) blockID {
		return f.longer(at+4, f.straight(same, append(asm.Instructions{asm.LoadMem(asm.R1, asm.R8, at, asm.Word)}, rest...)...), drop)
	}
	none := f.straight(same, append(asm.Instructions{asm.Mov.Imm(asm.R1, 0)}, rest...)...)

	// A later fragment has no ports.
	fragment := f.branch(asm.JNE, asm.R1, 0, drop, ports(20),
		asm.LoadMem(asm.R1, asm.R8, 6, asm.Half),
		asm.And.Imm(asm.R1, 0xff1f)) // offset in network byte order
	code := asm.Instructions{asm.LoadMem(asm.R4, asm.R8, 9, asm.Byte), asm.Mov.Imm32(asm.R2, -0x10000)} // 00 00 ff ff
	for _, a := range []struct{ to, from int16 }{{flowRemote, 16}, {flowLocal, 12}} {
		code = append(code,
			storeImm(stackFlow+a.to, 0, asm.DWord),
			asm.LoadMem(asm.R1, asm.R8, a.from, asm.Word),
			asm.LSh.Imm(asm.R1, 32),
			asm.Or.Reg(asm.R1, asm.R2),
			asm.StoreMem(regStack, stackFlow+a.to+8, asm.R1, asm.DWord))
	}
	ipv4 := f.straight(f.oneOf(asm.R4, portProtocols, fragment, none), code...)

	code = asm.Instructions{asm.LoadMem(asm.R4, asm.R8, 6, asm.Byte)}
	for _, a := range []struct{ to, from int16 }{{flowRemote, 24}, {flowRemote + 8, 32}, {flowLocal, 8}, {flowLocal + 8, 16}} {
		code = append(code,
			asm.LoadMem(asm.R1, asm.R8, a.from, asm.DWord),
			asm.StoreMem(regStack, stackFlow+a.to, asm.R1, asm.DWord))
	}
	headers := f.oneOf(asm.R4, extensionHeaders, drop, f.oneOf(asm.R4, portProtocols, ports(40), none))
	headers = f.branch(asm.JEq, asm.R4, 0, f.jumbo(ports, drop), headers)
	ipv6 := f.straight(f.ifMapped(drop, headers), code...)
	// The version is that of the frame, or the routing has seen another header than
	// this program.
	frame := func(protocol int32, next blockID) blockID {
		return f.branch(asm.JEq, asm.R1, protocol, next, drop, asm.LoadMem(asm.R1, regContext, linuxBuffProtocol, asm.Word))
	}
	version := f.branch(asm.JEq, asm.R2, 6, f.longer(40, frame(linuxFrameIPv6, ipv6), drop), drop, asm.RSh.Imm(asm.R2, 4))
	// A header longer than five words has options, which may hold a route.
	version = f.branch(asm.JEq, asm.R2, 0x45, frame(linuxFrameIPv4, ipv4), version, asm.LoadMem(asm.R2, asm.R8, 0, asm.Byte))
	return f.straight(f.longer(20, version, drop),
		asm.LoadMem(asm.R8, regContext, linuxBuffData, asm.Word),
		asm.LoadMem(asm.R9, regContext, linuxBuffDataEnd, asm.Word))
}

// jumbo goes on at the ports of a TCP packet of more than 64 KB, which the kernel gives
// a hop-by-hop header of this form alone until it is cut up (BIG TCP).
func (f *function) jumbo(ports func(at int16) blockID, drop blockID) blockID {
	const header = 6 | 0xc2<<16 | 4<<24 // TCP, 8 bytes; the option jumbo payload, 4 bytes
	return f.longer(44, f.branch(asm.JEq, asm.R1, header, f.straight(ports(48), asm.Mov.Imm(asm.R4, linuxProtoTCP)), drop,
		asm.LoadMem(asm.R1, asm.R8, 40, asm.Word)), drop)
}

// ifMapped goes to mapped if an IPv6 packet is for an IPv4-mapped address, which in a flow
// is that of an IPv4 packet.
func (f *function) ifMapped(mapped, next blockID) blockID {
	prefix := f.branch(asm.JEq, asm.R1, 0xffff, mapped, next,
		asm.LoadMem(asm.R1, asm.R8, 32, asm.Word),
		asm.HostTo(asm.BE, asm.R1, asm.Word))
	return f.branch(asm.JEq, asm.R1, 0, prefix, next, asm.LoadMem(asm.R1, asm.R8, 24, asm.DWord))
}

// longer goes to drop unless the packet from r8 up to r9 has as many bytes.
func (f *function) longer(bytes int16, next, drop blockID) blockID {
	return f.add(block{
		code: asm.Instructions{asm.Mov.Reg(asm.R1, asm.R8), asm.Add.Imm(asm.R1, int32(bytes))},
		jump: jump{op: asm.JGT, wide: true, dst: asm.R1, reg: true, src: asm.R9}, taken: drop, next: next,
	})
}

// ifOutbound goes to pass for packets of the kernel's raw sockets, and of connections
// that came from outside: of an accepted socket, or a SYN-ACK, whose socket is the
// listener; for UDP, of which the kernel has no raw sockets, by ifReply. r7 is the socket.
func (f *function) ifOutbound(next, pass, drop blockID) blockID {
	direction := f.branch(asm.JEq, asm.R1, SocketAccepted, pass, next, asm.LoadMem(asm.R1, asm.R0, SocketDirection, asm.Word))
	tcp := f.branch(asm.JEq, asm.R0, 0, next, direction, storage(0)...)
	if !f.devices {
		// Most sockets have nothing stored, and raw ones of the kernel are closed.
		tcp = f.findSocket(tcp, drop)
		tcp = f.branch(asm.JEq, asm.R1, 0, next, tcp, loadMember(asm.R1, asm.R7, "sock", "sk_bpf_storage"))
		tcp = f.branch(asm.JEq, asm.R1, linuxClose, f.ifKernels(tcp, pass), tcp)
	}
	tcp = f.branch(asm.JEq, asm.R1, linuxListen, pass, tcp, f.socketState())
	other := f.branch(asm.JNE, asm.R1, linuxProtoUDP, f.ifKernels(next, pass), f.ifReply(next, pass))
	return f.branch(asm.JNE, asm.R1, linuxProtoTCP, other, tcp, asm.LoadMem(asm.R1, regStack, stackProtocol, asm.DWord))
}

// goldenRatio is 2^32 divided by the golden ratio: a factor that spreads bits.
const goldenRatio = -1640531527

// lookCache looks for an earlier decision on the flow. The entry may be written to
// by whoever interrupts this program on its CPU, so that its head must be of nobody
// who is writing, and the same after the flow has been read.
func (f *function) lookCache(pass, denied, miss blockID) blockID {
	hit := f.branch(asm.JEq, asm.R1, 0, denied, pass, asm.And.Imm(asm.R1, cachePass))
	again := f.add(block{
		code: asm.Instructions{asm.LoadMem(asm.R1, asm.R0, cacheHead, asm.DWord)},
		jump: jump{op: asm.JEq, wide: true, dst: asm.R1, reg: true, src: asm.R2}, taken: hit, next: miss,
	})
	differs := func(at int16) asm.Instructions {
		return asm.Instructions{
			asm.LoadMem(asm.R3, regStack, stackFlow+at, asm.DWord),
			asm.LoadMem(asm.R4, asm.R0, cacheFlow+at, asm.DWord),
			asm.Xor.Reg(asm.R3, asm.R4),
		}
	}
	compare := asm.Instructions{asm.Mov.Reg(asm.R1, asm.R2), asm.And.Imm(asm.R1, cacheBusy)}
	for at := int16(0); at < f.keySize(); at += 8 {
		if at != flowLocalPort {
			compare = append(append(compare, differs(at)...), asm.Or.Reg(asm.R1, asm.R3))
		}
	}
	equal := f.branch(asm.JEq, asm.R1, 0, again, miss, compare...)
	// Of two flows the ports nearly always differ.
	equal = f.branch(asm.JEq, asm.R3, 0, equal, miss, append(asm.Instructions{
		asm.StoreMem(regStack, stackEntry, asm.R0, asm.DWord),
		asm.LoadMem(asm.R2, asm.R0, cacheHead, asm.DWord),
	}, differs(flowLocalPort)...)...)
	entry := asm.Instructions{
		asm.LoadMem(asm.R1, regStack, stackFlow+flowRemote+12, asm.Word),
		asm.Mul.Imm32(asm.R1, 31),
		asm.LoadMem(asm.R2, regStack, stackFlow+flowLocal+12, asm.Word),
		asm.Xor.Reg32(asm.R1, asm.R2),
		asm.LoadMem(asm.R2, regStack, stackFlow+flowRemote+4, asm.Word),
		asm.Xor.Reg32(asm.R1, asm.R2),
		asm.LoadMem(asm.R2, regStack, stackFlow+flowLocalPort, asm.Word),
		asm.Xor.Reg32(asm.R1, asm.R2),
		asm.Mul.Imm32(asm.R1, goldenRatio),
		asm.RSh.Imm32(asm.R1, 32-cacheBits-6),
		// From half a word of the stack, or the verifier asks what the index is made of.
		asm.StoreMem(regStack, stackKey+4, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, regStack, stackKey+4, asm.Word),
		asm.And.Imm(asm.R1, (1<<cacheBits-1)*cacheSize),
		asm.Add.Reg(asm.R0, asm.R1),
	}
	return f.branch(asm.JEq, asm.R0, 0, f.broken, f.straight(equal, entry...), lookup(cacheMap, asm.Mov.Imm(asm.R1, 0))...)
}

// keySize is how much of a flow tells it from others.
func (f *function) keySize() int16 {
	if f.asksNamespace() {
		return flowSize
	}
	return flowNetwork
}

// fillCache notes the verdict in r7, unless somebody else is writing to the entry.
func (f *function) fillCache(next blockID) blockID {
	write := asm.Instructions{asm.Or.Imm(asm.R3, cachePass|cacheBusy), asm.Add.Imm(asm.R3, 1)}
	for at := int16(0); at < f.keySize(); at += 8 {
		write = append(write,
			asm.LoadMem(asm.R2, regStack, stackFlow+at, asm.DWord),
			asm.StoreMem(asm.R1, cacheFlow+at, asm.R2, asm.DWord))
	}
	// A second test of the verdict would make the verifier ask where the first came from.
	verdict := f.straight(next, append(write,
		asm.Mov.Imm(asm.R2, 0),
		asm.Sub.Reg(asm.R2, asm.R7),
		asm.RSh.Imm(asm.R2, 63),
		asm.LSh.Imm(asm.R2, 1),
		asm.Or.Reg(asm.R3, asm.R2),
		asm.StoreMem(asm.R1, cacheHead, asm.R3, asm.DWord))...)
	own := f.add(block{
		code: asm.Instructions{
			asm.Mov.Reg(asm.R2, asm.R0),
			asm.Or.Imm(asm.R2, cacheBusy),
			asm.CmpXchg.Mem(asm.R1, asm.R2, asm.DWord, cacheHead),
		},
		jump: jump{op: asm.JEq, wide: true, dst: asm.R0, reg: true, src: asm.R3}, taken: verdict, next: next,
	})
	return f.branch(asm.JNE, asm.R2, 0, next, own,
		asm.LoadMem(asm.R1, regStack, stackEntry, asm.DWord),
		asm.LoadMem(asm.R0, asm.R1, cacheHead, asm.DWord),
		asm.Mov.Reg(asm.R3, asm.R0),
		asm.Mov.Reg(asm.R2, asm.R0),
		asm.And.Imm(asm.R2, cacheBusy))
}
