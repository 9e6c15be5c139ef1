package codegen

import "github.com/cilium/ebpf/asm"

// ifSender goes to yes if the process that runs has sent the packet. TCP also sends when
// a timer or an acknowledgement has interrupted somebody else, but then no process has
// locked the socket. Programs that cannot read that know only that who connects sends a
// SYN.
func (f *function) ifSender(yes, no blockID) blockID {
	locked := f.branch(asm.JEq, asm.R1, 0, no, yes,
		append(loadOfPacket(asm.R1, regContext, "sk"), loadMember(asm.R1, asm.R1, "sock", "sk_lock.owned"))...)
	if f.devices {
		locked = f.branch(asm.JEq, asm.R1, linuxSynSent, yes, no, asm.LoadMem(asm.R1, asm.R0, linuxSockState, asm.Word))
		locked = f.branch(asm.JEq, asm.R0, 0, no, locked, asm.FnSkFullsock.Call())
		locked = f.branch(asm.JEq, asm.R1, 0, no, locked, asm.LoadMem(asm.R1, regContext, linuxBuffSocket, asm.DWord))
	}
	return f.branch(asm.JEq, asm.R1, linuxProtoTCP, locked, yes, asm.LoadMem(asm.R1, regStack, stackFlow+flowProtocol, asm.Word))
}

// command puts what the process that runs is called into an event.
func (f *function) command() asm.Instructions {
	if f.devices {
		return zeroEvent(eventCommand, eventNetwork)
	}
	code := append(asm.Instructions{asm.FnGetCurrentTaskBtf.Call()}, readMember(asm.R0, "task_struct", "comm")...)
	for at := int16(0); at < eventNetwork-eventCommand; at += 8 {
		code = append(code,
			asm.LoadMem(asm.R1, asm.R0, at, asm.DWord),
			asm.StoreMem(regStack, stackEvent+eventCommand+at, asm.R1, asm.DWord))
	}
	return code
}

// namespace puts the flow's into an event.
func (f *function) namespace() asm.Instructions {
	if f.early {
		return zeroEvent(eventNetwork, eventSizeLinux)
	}
	return asm.Instructions{
		asm.LoadMem(asm.R1, regStack, stackFlow+flowNetwork, asm.DWord),
		asm.StoreMem(regStack, stackEvent+eventNetwork, asm.R1, asm.DWord),
	}
}

// zeroEvent makes a part of an event zero.
func zeroEvent(from, to int16) asm.Instructions {
	var code asm.Instructions
	for at := from; at < to; at += 8 {
		code = append(code, storeImm(stackEvent+at, 0, asm.DWord))
	}
	return code
}
