package codegen

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// GenerateEngine gives the program of the table form: the same one for every
// policy. It denies everything until a policy is in its maps. On Windows it has
// entry points for both hooks, which look at policies of their own; on Linux the
// same stages as any other program.
func GenerateEngine(target Target) (*Program, error) {
	if target == Linux {
		return linuxEngine()
	}
	p := &Program{Target: target, Maps: engineMaps(target)}
	for _, hook := range []compiler.Hook{compiler.Connect, compiler.Accept} {
		for i, attach := range authorizationTypes(hook) {
			f := newEngine(target, i == 1)
			f.hook, f.sees = hook, sockAddr(hook)
			f.context = target.call(helperNetworkContext)
			code, err := f.windowsEngine()
			if err == nil {
				code, err = withLookups(code, target)
			}
			if err != nil {
				return nil, err
			}
			name := attach.Section()[len("cgroup/"):]
			code[0] = code[0].WithSymbol(name)
			p.Functions = append(p.Functions, Function{Name: name, Section: attach.Section(), Instructions: code})
		}
	}
	return p, nil
}

func linuxEngine() (*Program, error) {
	p := &Program{Target: Linux, Maps: append(engineMaps(Linux), linuxMaps(&compiler.Policy{}, &Options{})...)}
	functions, err := tableFunctions()
	if err != nil {
		return nil, err
	}
	for _, stage := range linuxStages {
		code, err := newEngine(Linux, stage.ipv6).linuxStage(&stage, functions)
		if err != nil {
			return nil, err
		}
		p.Functions = append(p.Functions, Function{Name: stage.name, Section: stage.section, Instructions: code})
	}
	return p, nil
}

// authorizationTypes are the attach types of a hook, by family.
func authorizationTypes(hook compiler.Hook) [2]AttachType {
	if hook == compiler.Accept {
		return [2]AttachType{AttachRecvAccept4, AttachRecvAccept6}
	}
	return [2]AttachType{AttachConnectAuthorization4, AttachConnectAuthorization6}
}

// The room for the sets of both hooks, and for their sheets after the first, each with
// those of its policy and of the one before.
const (
	engineSetKeys   = 4 * TableSetKeys
	engineSheetKeys = 5 * MaxTableSheets
)

func engineMaps(target Target) []*ebpf.MapSpec {
	set := SetTableMap(nil, target)
	set.MaxEntries = max(set.MaxEntries, 1)
	return []*ebpf.MapSpec{
		{Name: TableMap, Type: target.mapType(ebpf.WindowsArrayOfMaps), KeySize: 4, ValueSize: 4, MaxEntries: engineSheetKeys, InnerMap: TableValueMap(target)},
		{Name: SetsMap, Type: target.mapType(ebpf.WindowsArrayOfMaps), KeySize: 4, ValueSize: 4, MaxEntries: engineSetKeys, InnerMap: set},
		{Name: EventsMap, Type: target.mapType(ebpf.WindowsRingBuf), MaxEntries: eventsBytes},
	}
}

// TableValueMap describes the map that holds a sheet; TableMap leads to it. On Linux it
// is one value in memory that can be mapped, so that only what is used need be written; on
// Windows the value in pages, by number.
func TableValueMap(target Target) *ebpf.MapSpec {
	spec := &ebpf.MapSpec{Name: "hopgate_table", Type: target.mapType(ebpf.WindowsArray), KeySize: 4, ValueSize: TableValueSize, MaxEntries: 1}
	if target == Linux {
		spec.Flags = linuxMmapable
	} else {
		spec.ValueSize, spec.MaxEntries = TablePage, TableValueSize/TablePage
	}
	return spec
}

// regTable holds the address of the table while a decision is made.
const regTable = asm.R7

func newEngine(target Target, ipv6 bool) *function {
	return &function{
		target: target, ipv6: ipv6, policy: &compiler.Policy{},
		table: true, frame: stackTable, counters: true, events: true, audit: true,
	}
}

// whenReg adds code that ends in a comparison of two registers.
func (f *function) whenReg(op asm.JumpOp, dst, src asm.Register, taken, next blockID, code ...asm.Instruction) blockID {
	return f.add(block{code: code, jump: jump{op: op, wide: true, dst: dst, reg: true, src: src}, taken: taken, next: next})
}

// ifFlag goes to yes if the table has a flag. It uses r1.
func (f *function) ifFlag(flag int32, yes, no blockID) blockID {
	return f.straight(f.hasFlag(asm.R1, flag, yes, no), asm.LoadMem(asm.R1, regStack, stackTable, asm.DWord))
}

// hasFlag is ifFlag for the table in a register.
func (f *function) hasFlag(table asm.Register, flag int32, yes, no blockID) blockID {
	return f.branch(asm.JEq, asm.R1, 0, no, yes,
		asm.LoadMem(asm.R1, table, headerFlags, asm.Word),
		asm.And.Imm(asm.R1, flag))
}

// told puts what the hook is told about the rule in regLeaf into a register. An engine
// learns from its table whether the policy only audits. It uses r2 and r3.
func (f *function) told(dst asm.Register) asm.Instructions {
	if f.policy.AuditMode {
		return asm.Instructions{asm.Mov.Imm(dst, int32(lang.Allow))}
	}
	code := asm.Instructions{asm.Mov.Reg32(dst, regLeaf), asm.And.Imm32(dst, leafVerdict)}
	if !f.table {
		return code
	}
	return append(code, // r2 is 1, which is lang.Allow, in audit mode; r3 then 0, else ^0
		asm.LoadMem(asm.R2, regStack, stackTable, asm.DWord),
		asm.LoadMem(asm.R2, asm.R2, headerFlags, asm.Word),
		asm.And.Imm(asm.R2, flagAuditMode),
		asm.RSh.Imm(asm.R2, flagAuditMode>>1),
		asm.Mov.Reg(asm.R3, asm.R2),
		asm.Sub.Imm(asm.R3, 1),
		asm.And.Reg(dst, asm.R3),
		asm.Or.Reg(dst, asm.R2))
}

// findTable looks for the table that is in force, checks that it is one, and notes
// where it is; on Windows that of its first page, and of the map of all.
func (f *function) findTable(next blockID) blockID {
	find := func(next blockID, key int64, from ...asm.Instruction) blockID {
		code := append(asm.Instructions{storeImm(stackKey, key, asm.Word)}, from...)
		return f.branch(asm.JEq, asm.R0, 0, f.broken, next, append(code,
			asm.Mov.Reg(asm.R2, regStack),
			asm.Add.Imm(asm.R2, stackKey),
			f.target.call(helperMapLookup))...)
	}
	check := f.whenReg(asm.JNE, asm.R1, asm.R2, f.broken, next,
		asm.StoreMem(regStack, stackTable, asm.R0, asm.DWord),
		asm.LoadMem(asm.R1, asm.R0, headerMagic, asm.DWord),
		asm.LoadImm(asm.R2, TableVersion<<32|int64(TableMagic(f.target)), asm.DWord))
	from := asm.Instructions{asm.Mov.Reg(asm.R1, asm.R0)}
	if f.target != Linux {
		from = append(from, asm.StoreMem(regStack, f.frame+enginePages, asm.R0, asm.DWord))
	}
	return find(find(check, 0, from...), int64(f.hook), loadMap(TableMap))
}

// byTable decides as the table says. Stages that remember decisions have found it
// already.
func (f *function) byTable() blockID {
	if f.target != Linux {
		return f.findTable(f.straight(f.readTableContext(f.fillSlots(f.walks())), asm.Mov.Reg(regTable, asm.R0)))
	}
	call := f.straight(f.takeDecision(),
		asm.LoadMem(asm.R1, regStack, stackTable, asm.DWord),
		asm.Mov.Reg(asm.R2, regStack),
		asm.Add.Imm(asm.R2, stackFlow),
		callLocal(f.tableDecisionName()))
	if f.early {
		return f.findTable(call)
	}
	return f.readTableContext(call)
}

// readTableContext asks for the network context if some node reads it; else it is
// unknown.
func (f *function) readTableContext(next blockID) blockID {
	unknown := f.straight(next, f.sees.network.unknown(false)...)
	return f.ifFlag(flagContext, f.branch(asm.JNE, asm.R0, 0, unknown, next, f.askNetwork(f.context)...), unknown)
}

func (f *function) slotAt(s tableSlot) int16 { return f.frame + engineSlots + 4*int16(s) }

func (f *function) zeroSlots(first, end tableSlot) (code asm.Instructions) {
	for s := first; s < end; s += 2 {
		code = append(code, storeImm(f.slotAt(s), 0, asm.DWord))
	}
	return code
}

// fillSlots writes every slot, and decides which list of trees is meant. There are no
// jumps but for sets: a verifier would go on by each way.
func (f *function) fillSlots(next blockID) blockID {
	var code asm.Instructions
	fill := func(s tableSlot, field compiler.Field, size asm.Size) {
		code = append(code, f.sees.load(compiler.Var{Field: field}, asm.R1)...)
		code = append(code, asm.StoreMem(regStack, f.slotAt(s), asm.R1, size))
	}
	if f.early {
		code = append(f.zeroSlots(slotInterfaceType, slotProtocol), storeImm(f.slotAt(slotTunnelType), -1, asm.Word))
	} else {
		fill(slotInterfaceType, compiler.InterfaceType, asm.Word)
		fill(slotTunnelType, compiler.TunnelType, asm.Word)
		fill(slotSubInterface, compiler.SubInterface, asm.Word)
		fill(slotCompartment, compiler.Compartment, asm.Word)
		fill(slotNextHop, compiler.NextHop, asm.DWord)
		fill(slotInterface, compiler.Interface, asm.DWord)
	}
	fill(slotProtocol, compiler.Protocol, asm.Word)
	fill(slotRemotePort, compiler.RemotePort, asm.Word)
	fill(slotLocalPort, compiler.LocalPort, asm.Word)
	code = append(code, storeImm(f.slotAt(slotZero), 0, asm.Word))
	if f.ipv6 {
		code = append(code, f.addresses()...)
	} else {
		at := int16(0)
		if f.sees.whole {
			at = 12
		}
		code = append(code, f.zeroSlots(slotRemote, slotLocal+4)...)
		code = append(code, f.addressWord(slotRemote+3, f.sees.remote.ip+at)...)
		code = append(code, f.addressWord(slotLocal+3, f.sees.local.ip+at)...)
		code = append(code, f.chooseTrees()...)
	}
	return f.straight(f.lookUpSets(next), code...)
}

// addresses fills the slots of addresses that may be IPv4-mapped ones, of which no node
// looks at what stands before the last two words, and sets at the lower of these.
func (f *function) addresses() asm.Instructions {
	code := asm.Instructions{ // r3 becomes 1 if the remote address is no IPv4-mapped one
		asm.LoadMem(asm.R3, f.sees.base, f.sees.remote.ip, asm.Word),
		asm.LoadMem(asm.R1, f.sees.base, f.sees.remote.ip+4, asm.Word),
		asm.Or.Reg(asm.R3, asm.R1),
		asm.LoadMem(asm.R1, f.sees.base, f.sees.remote.ip+8, asm.Word),
		asm.Xor.Imm32(asm.R1, -0x10000), // 00 00 ff ff
		asm.Or.Reg(asm.R3, asm.R1),
		asm.Neg.Imm(asm.R3, 0),
		asm.RSh.Imm(asm.R3, 63),
		asm.StoreMem(regStack, f.frame+engineWide, asm.R3, asm.DWord),
		asm.Mov.Reg(asm.R2, asm.R3),
		asm.Neg.Imm(asm.R2, 0),
	}
	for w := range tableSlot(4) {
		for _, a := range []struct {
			slot tableSlot
			end  end
		}{{slotRemote + w, f.sees.remote}, {slotLocal + w, f.sees.local}} {
			word := f.addressWord(a.slot, a.end.ip+4*int16(w))
			if w == 2 {
				word = append(word[:2:2], asm.And.Reg(asm.R1, asm.R2), word[2])
			}
			code = append(code, word...)
		}
	}
	return append(code, f.chooseTrees()...)
}

// zero sets a register to 0, which to Linux's verifier is any number: it would follow a loop
// anew for each number that it knows.
func (f *function) zero(dst asm.Register) asm.Instructions {
	return asm.Instructions{asm.LoadMem(dst, regTable, headerMagic, asm.Word), asm.Xor.Imm(dst, int32(TableMagic(f.target)))}
}

// chooseTrees notes where the lists of the connection's family begin, in code for IPv6 by
// what r3 holds.
func (f *function) chooseTrees() (code asm.Instructions) {
	list := tableIPv4
	if f.early {
		list += tableEarly
	}
	if f.ipv6 {
		code = append(code, asm.LSh.Imm(asm.R3, tableListShift))
	}
	for _, l := range []struct {
		list tableList
		at   int16
	}{{list, engineTree}, {list + tableAudit, engineAuditTree}} {
		code = append(code, f.zero(asm.R1)...)
		if f.ipv6 {
			code = append(code, asm.Add.Reg(asm.R1, asm.R3))
		}
		code = append(code, asm.Add.Imm(asm.R1, int32(l.list)<<tableListShift), asm.StoreMem(regStack, f.frame+l.at, asm.R1, asm.DWord))
	}
	return code
}

// addressWord fills the slot of a part of an address.
func (f *function) addressWord(s tableSlot, from int16) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R1, f.sees.base, from, asm.Word),
		asm.HostTo(asm.BE, asm.R1, asm.Word),
		asm.StoreMem(regStack, f.slotAt(s), asm.R1, asm.Word),
	}
}

// Registers of lookUpSets, which calls leave alone.
const (
	regSet  = asm.R8 // how many sets have been looked up
	regBits = asm.R9 // the answers, the last in bit 0
)

// lookUpSets fills the slots of the answers.
func (f *function) lookUpSets(next blockID) blockID {
	next = f.compareInterfaces(next)
	none := f.straight(next, f.zeroSlots(slotAnswers, tableSlots)...)
	var unpack asm.Instructions
	for s := slotAnswers; s < tableSlots; s++ {
		unpack = append(unpack,
			asm.Mov.Reg(asm.R1, regBits),
			asm.And.Imm(asm.R1, 1),
			asm.StoreMem(regStack, f.slotAt(s), asm.R1, asm.Word),
			asm.RSh.Imm(regBits, 1))
	}
	head := f.add(block{})
	answered := f.branch(asm.JEq, asm.R0, setBroken, f.broken, f.straight(head, asm.LSh.Imm(regBits, 1), asm.Or.Reg(regBits, asm.R0)))
	narrow := f.straight(answered, asm.Mov.Reg(asm.R1, asm.R4), callLocal(narrowLookup))
	if f.ipv6 {
		wide := f.straight(answered,
			asm.And.Imm(asm.R5, refSlotMask&^3),
			asm.LSh.Imm(asm.R5, 2),
			asm.Add.Reg(asm.R5, regStack),
			asm.Mov.Reg(asm.R3, asm.R2),
			asm.LoadMem(asm.R2, asm.R5, f.slotAt(0), asm.Word),
			asm.LSh.Imm(asm.R2, 32),
			asm.LoadMem(asm.R1, asm.R5, f.slotAt(1), asm.Word),
			asm.Or.Reg(asm.R2, asm.R1),
			asm.Mov.Reg(asm.R1, asm.R4),
			asm.Add.Imm(asm.R1, 1),
			callLocal(wideLookup))
		narrow = f.branch(asm.JNE, asm.R1, 0, wide, narrow,
			asm.LoadMem(asm.R1, asm.R1, headerSetList+12, asm.Word),
			asm.LoadMem(asm.R3, regStack, f.frame+engineWide, asm.DWord),
			asm.And.Reg(asm.R1, asm.R3))
	}
	look := f.straight(narrow, // the key in r4, the number in r2, the lower slot in r5, the entry in r1
		asm.Mov.Reg(asm.R1, regSet),
		asm.LSh.Imm(asm.R1, 4),
		asm.Add.Reg(asm.R1, regTable),
		asm.Add.Imm(regSet, 1),
		asm.LoadMem(asm.R2, asm.R1, headerSetList+4, asm.Word),
		asm.And.Imm(asm.R2, refSlotMask),
		asm.LSh.Imm(asm.R2, 2),
		asm.Add.Reg(asm.R2, regStack),
		asm.LoadMem(asm.R2, asm.R2, f.slotAt(0), asm.Word),
		asm.LSh.Imm(asm.R2, 32),
		asm.LoadMem(asm.R5, asm.R1, headerSetList, asm.Word),
		asm.Mov.Reg(asm.R3, asm.R5),
		asm.And.Imm(asm.R3, refSlotMask),
		asm.LSh.Imm(asm.R3, 2),
		asm.Add.Reg(asm.R3, regStack),
		asm.LoadMem(asm.R3, asm.R3, f.slotAt(0), asm.Word),
		asm.Or.Reg(asm.R2, asm.R3),
		asm.LoadMem(asm.R4, regTable, headerSetBase, asm.Word),
		asm.LoadMem(asm.R3, asm.R1, headerSetList+8, asm.Word),
		asm.Add.Reg(asm.R4, asm.R3))
	bound := f.branch(asm.JGE, regSet, MaxTableAnswers, f.broken, look)
	f.blocks[head] = block{next: f.whenReg(asm.JGE, regSet, asm.R1, f.straight(next, unpack...), bound, asm.LoadMem(asm.R1, regTable, headerSets, asm.Word))}
	zero := asm.Instructions{asm.Mov.Imm(regSet, 0)}
	if f.target == Linux {
		f.blocks[head].jump, f.blocks[head].taken = jump{op: asm.JCOND, wide: true}, f.broken
		zero = f.zero(regSet)
	}
	// Who looks a slot up by its number may read any.
	begin := f.straight(head, append(append(f.zeroSlots(slotAnswers, tableSlots), zero...), asm.Mov.Reg(regBits, regSet))...)
	return f.branch(asm.JEq, asm.R1, 0, none, begin, asm.LoadMem(asm.R1, regTable, headerSets, asm.Word))
}

// compareInterfaces fills the slots of the named interfaces, from the last one down,
// with whether the device is the one that has the name.
func (f *function) compareInterfaces(next blockID) blockID {
	if f.target != Linux || f.early {
		return next
	}
	// Without jumps, of which a verifier would follow every combination: r3 is 0 in the
	// interfaces' namespace, and so is the difference of an equal index; less one, only 0
	// has the highest bit.
	code := asm.Instructions{
		asm.LoadMem(asm.R1, regTable, headerNetwork, asm.DWord),
		asm.LoadMem(asm.R3, f.sees.base, flowNetwork, asm.DWord),
		asm.Xor.Reg(asm.R1, asm.R3),
		asm.Mov.Reg(asm.R3, asm.R1),
		asm.RSh.Imm(asm.R3, 32),
		asm.Mov.Reg32(asm.R1, asm.R1),
		asm.Or.Reg(asm.R3, asm.R1),
		asm.LoadMem(asm.R2, f.sees.base, flowInterface, asm.Word),
	}
	for i := range MaxTableAnswers {
		code = append(code,
			asm.LoadMem(asm.R1, regTable, int16(TableIfindexAt(i)), asm.Word),
			asm.Xor.Reg(asm.R1, asm.R2),
			asm.Or.Reg(asm.R1, asm.R3),
			asm.Sub.Imm(asm.R1, 1),
			asm.RSh.Imm(asm.R1, 63),
			asm.LoadMem(asm.R4, regStack, f.slotAt(tableSlots-1-tableSlot(i)), asm.Word), // where there are fewer, a set's
			asm.Or.Reg(asm.R1, asm.R4),
			asm.StoreMem(regStack, f.slotAt(tableSlots-1-tableSlot(i)), asm.R1, asm.Word))
	}
	return f.branch(asm.JEq, asm.R1, 0, next, f.straight(next, code...), asm.LoadMem(asm.R1, regTable, headerInterfaces, asm.Word))
}

// On Linux a decision is a global function, which the kernel's verifier takes by itself: a
// long (struct hopgate_table *, struct hopgate_flow *) as those of form code.
func (f *function) tableDecisionName() string {
	switch {
	case !f.early:
		return "hopgate_decide_by_table"
	case f.ipv6:
		return "hopgate_decide_early_by_table"
	}
	return "hopgate_decide_early4_by_table"
}

// tableFunctions are the functions that the engine's stages call, each before those it
// calls.
func tableFunctions() ([]asm.Instructions, error) {
	var all []asm.Instructions
	for _, of := range []struct{ early, ipv6 bool }{{false, true}, {true, true}, {true, false}} {
		f := newEngine(Linux, of.ipv6)
		f.early, f.sees, f.frame = of.early, judged, 0
		f.giveDecision()
		decide := f.branch(asm.JEq, asm.R2, 0, f.broken, f.fillSlots(f.walks()), asm.Mov.Reg(f.sees.base, asm.R2))
		entry := f.branch(asm.JEq, asm.R1, 0, f.broken, decide, asm.Mov.Reg(regTable, asm.R1))
		code, err := assemble(f.blocks, entry)
		if err != nil {
			return nil, err
		}
		size := uint32(flowContext + NetworkContextSize)
		if f.early {
			size = flowInterface
		}
		asGlobal(code, f.tableDecisionName(), long(), pointerTo("hopgate_table", TableValueSize), pointerTo("hopgate_flow", size))
		all = append(all, code)
	}
	walk, err := walkFunction()
	return append(all, walk), err
}

// windowsEngine writes an entry point.
func (f *function) windowsEngine() (asm.Instructions, error) {
	f.broken = f.straight(noBlock, asm.Mov.Imm(asm.R0, int32(lang.Deny)))
	allow := f.straight(noBlock, asm.Mov.Imm(asm.R0, int32(lang.Allow)))
	f.settled = f.settle(f.ifFlag(flagAuditMode, allow, f.answerBlock()))
	entry := f.straight(f.byTable(), f.start()...)
	return assemble(f.blocks, entry)
}
