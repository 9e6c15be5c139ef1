package codegen

import (
	"github.com/cilium/ebpf/asm"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// settle is what every decision ends in, once regLeaf holds the rule: count it,
// write its event, go on to next.
func (f *function) settle(next blockID) blockID {
	if f.events {
		event := f.event(next)
		next = f.add(block{
			code: asm.Instructions{asm.Mov.Reg32(asm.R1, regLeaf), asm.And.Imm32(asm.R1, leafLog)},
			jump: jump{op: asm.JNE, dst: asm.R1}, taken: event, next: next,
		})
	}
	next = f.count(regLeaf, next)
	if !f.audit {
		return next
	}
	audited := f.straight(f.count(regAudit, next), asm.Or.Imm32(regLeaf, leafLog))
	none := f.straight(next, asm.Mov.Imm32(regAudit, -1))
	return f.add(block{
		jump:  jump{op: asm.JLT, dst: regAudit, reg: true, src: regLeaf},
		taken: audited, next: none,
	})
}

// answerBlock turns regLeaf into the return value, in a way that shows a verifier
// that nothing but 0, 1 and 2 comes out.
func (f *function) answerBlock() blockID {
	if f.policy.AuditMode {
		return f.straight(noBlock, asm.Mov.Imm(asm.R0, int32(lang.Allow)))
	}
	soft := f.straight(noBlock, asm.Mov.Reg32(asm.R0, regLeaf), asm.And.Imm32(asm.R0, int32(lang.Allow)))
	hard := f.straight(noBlock)
	return f.add(block{
		code: asm.Instructions{asm.Mov.Reg32(asm.R0, regLeaf), asm.And.Imm32(asm.R0, int32(lang.AllowHard))},
		jump: jump{op: asm.JEq, dst: asm.R0}, taken: soft, next: hard,
	})
}

// count adds one to the counter of the rule in a register.
func (f *function) count(leaf asm.Register, next blockID) blockID {
	switch {
	case f.table:
		return f.countInTable(leaf, next)
	case !f.counters:
		return next
	}
	add := f.straight(next,
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord))
	return f.add(block{
		code: asm.Instructions{
			asm.Mov.Reg32(asm.R1, leaf),
			asm.RSh.Imm32(asm.R1, leafShift),
			asm.StoreMem(regStack, stackKey, asm.R1, asm.Word),
			loadMap(CountersMap),
			asm.Mov.Reg(asm.R2, regStack),
			asm.Add.Imm(asm.R2, stackKey),
			f.target.call(helperMapLookup),
		},
		jump: jump{op: asm.JEq, wide: true, dst: asm.R0}, taken: next, next: add,
	})
}

// event writes the event of the rule in regLeaf to the ring buffer. A full buffer
// loses the event, never the verdict.
func (f *function) event(next blockID) blockID {
	b := &eventWriter{}
	b.store(eventRule, asm.Word, asm.Mov.Reg32(asm.R1, regLeaf), asm.RSh.Imm32(asm.R1, leafShift))
	if f.audit {
		b.store(eventAudit, asm.Word, asm.Mov.Reg32(asm.R1, regAudit), asm.ArSh.Imm32(asm.R1, leafShift))
	} else {
		b.storeImm(eventAudit, asm.Word, -1)
	}
	b.store(eventVerdict, asm.Byte, asm.Mov.Reg32(asm.R1, regLeaf), asm.And.Imm32(asm.R1, leafVerdict))
	switch {
	case f.policy.AuditMode:
		b.storeImm(eventAnswer, asm.Byte, int64(lang.Allow))
	case f.table:
		b.store(eventAnswer, asm.Byte, f.told(asm.R1)...)
	default:
		b.code = append(b.code, asm.StoreMem(regStack, stackEvent+eventAnswer, asm.R1, asm.Byte))
	}
	if f.table {
		b.store(eventGeneration, asm.Byte, asm.LoadMem(asm.R1, regStack, stackTable, asm.DWord), asm.LoadMem(asm.R1, asm.R1, headerGeneration, asm.Word))
	} else {
		b.storeImm(eventGeneration, asm.Byte, 0)
	}
	c := f.sees
	for _, field := range []struct {
		at   int16
		f    compiler.Field
		size asm.Size
	}{
		{eventProtocol, compiler.Protocol, asm.Byte},
		{eventRemotePort, compiler.RemotePort, asm.Half},
		{eventLocalPort, compiler.LocalPort, asm.Half},
		{eventInterfaceType, compiler.InterfaceType, asm.Word},
		{eventTunnelType, compiler.TunnelType, asm.Word},
		{eventNextHop, compiler.NextHop, asm.DWord},
		{eventInterface, compiler.Interface, asm.DWord},
		{eventSubInterface, compiler.SubInterface, asm.Word},
		{eventCompartment, compiler.Compartment, asm.Word},
	} {
		b.store(field.at, field.size, c.load(compiler.Var{Field: field.f}, asm.R1)...)
	}
	b.address(eventRemote, c, c.remote.ip, f.ipv6)
	b.address(eventLocal, c, c.local.ip, f.ipv6)
	process := asm.Instructions{
		f.target.call(helperPidTgid),
		asm.StoreMem(regStack, stackEvent+eventProcess, asm.R0, asm.DWord),
	}
	size := int32(EventSize)
	if f.target == Linux {
		size = eventSizeLinux
		b.code = append(b.code, f.namespace()...)
		process = append(process, f.command()...)
	}
	write := f.straight(next,
		loadMap(EventsMap),
		asm.Mov.Reg(asm.R2, regStack),
		asm.Add.Imm(asm.R2, stackEvent),
		asm.Mov.Imm(asm.R3, size),
		asm.Mov.Imm(asm.R4, 0),
		f.target.call(helperRingbufOutput))
	known := f.straight(write, process...)
	if f.packets {
		known = f.ifSender(known, f.straight(write, zeroEvent(eventProcess, eventNetwork)...))
	}
	return f.describeInterface(f.straight(known, b.code...))
}

// eventWriter collects the code that fills in an event on the stack.
type eventWriter struct{ code asm.Instructions }

// store writes r1, as some code leaves it.
func (b *eventWriter) store(at int16, size asm.Size, value ...asm.Instruction) {
	b.code = append(b.code, value...)
	b.code = append(b.code, asm.StoreMem(regStack, stackEvent+at, asm.R1, size))
}

func (b *eventWriter) storeImm(at int16, size asm.Size, value int64) {
	b.code = append(b.code, storeImm(stackEvent+at, value, size))
}

// address writes 16 bytes in network order, IPv4 as IPv4-mapped.
func (b *eventWriter) address(at int16, c connection, from int16, ipv6 bool) {
	if ipv6 || c.whole {
		b.code = append(b.code, c.copyWords(stackEvent+at, from, 16)...)
		return
	}
	b.storeImm(at, asm.DWord, 0)
	b.storeImm(at+8, asm.Word, -0x10000) // 00 00 ff ff
	b.code = append(b.code, c.copyWords(stackEvent+at+12, from, 4)...)
}
