package codegen

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/hopgate/hopgate/compiler"
)

// GenerateEngine gives the program of the table form: the same one for every
// policy. It denies everything until a policy is in its maps. On Windows it has
// entry points for both hooks, which look at policies of their own.
func GenerateEngine(target Target) (*Program, error) {
	if target != Windows {
		return nil, fmt.Errorf("form table: no engine for target %s", target)
	}
	p := &Program{Target: target, Maps: engineMaps()}
	for _, hook := range []compiler.Hook{compiler.Connect, compiler.Accept} {
		for i, attach := range authorizationTypes(hook) {
			code, err := newEngine(target, hook, i == 1).generate()
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

// authorizationTypes are the attach types of a hook, by family.
func authorizationTypes(hook compiler.Hook) [2]AttachType {
	if hook == compiler.Accept {
		return [2]AttachType{AttachRecvAccept4, AttachRecvAccept6}
	}
	return [2]AttachType{AttachConnectAuthorization4, AttachConnectAuthorization6}
}

// setEntries is the room for the dynamic sets of both hooks, each with the sets of
// its policy and of the one before.
const setEntries = 4 * MaxTablePrefixes

func engineMaps() []*ebpf.MapSpec {
	return []*ebpf.MapSpec{
		{Name: TableMap, Type: ebpf.WindowsArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 2, InnerMap: TableValueMap(Windows)},
		{Name: TableSetsMap, Type: ebpf.WindowsLPMTrie, KeySize: setKeySize, ValueSize: 4, MaxEntries: setEntries},
		{Name: EventsMap, Type: ebpf.WindowsRingBuf, MaxEntries: eventsBytes},
	}
}

// TableValueMap describes the map that holds one policy; TableMap leads to it.
func TableValueMap(Target) *ebpf.MapSpec {
	return &ebpf.MapSpec{Name: "hopgate_table", Type: ebpf.WindowsArray, KeySize: 4, ValueSize: TableValueSize, MaxEntries: 1}
}

// A key of the sets' map: u32 prefix length in bits, u32 number of the set and the
// value as 128 bits, both in network byte order.
const (
	setKeySize   = 24
	setKeyNumber = 4
	setKeyValue  = 8
)

// regTable holds the address of the table throughout.
const regTable = asm.R7

// engine is an entry point of the table form in the making.
type engine struct {
	*function
	hook compiler.Hook
}

func newEngine(target Target, hook compiler.Hook, ipv6 bool) *engine {
	return &engine{
		function: &function{
			target: target, ipv6: ipv6, sees: sockAddr(hook), policy: &compiler.Policy{},
			table: true, counters: true, events: true, audit: true,
		},
		hook: hook,
	}
}

func (e *engine) generate() (asm.Instructions, error) {
	e.broken = e.straight(noBlock, asm.Mov.Imm(asm.R0, 0))
	e.context = e.target.call(helperNetworkContext)
	enforced := e.settle(e.answerBlock())
	e.policy = &compiler.Policy{AuditMode: true}
	audited := e.settle(e.answerBlock())
	settled := e.ifFlag(flagAuditMode, audited, enforced)
	start := append(asm.Instructions{asm.Mov.Reg(regContext, asm.R1)}, e.sees.network.unknown(true)...)
	return assemble(e.blocks, e.straight(e.find(e.readContext(e.fillSlots(e.lookUpSets(e.decide(settled))))), start...))
}

// when adds code that ends in a comparison of 64 bits with a constant.
func (e *engine) when(op asm.JumpOp, dst asm.Register, imm int32, taken, next blockID, code ...asm.Instruction) blockID {
	return e.add(block{code: code, jump: jump{op: op, wide: true, dst: dst, imm: imm}, taken: taken, next: next})
}

// whenReg is when for two registers.
func (e *engine) whenReg(op asm.JumpOp, dst, src asm.Register, taken, next blockID, code ...asm.Instruction) blockID {
	return e.add(block{code: code, jump: jump{op: op, wide: true, dst: dst, reg: true, src: src}, taken: taken, next: next})
}

func (f *function) ifFlag(flag int32, yes, no blockID) blockID {
	return f.add(block{
		code: asm.Instructions{asm.LoadMem(asm.R1, regTable, headerFlags, asm.Word), asm.And.Imm(asm.R1, flag)},
		jump: jump{op: asm.JNE, wide: true, dst: asm.R1}, taken: yes, next: no,
	})
}

// find looks for the table that is in force and checks that it is one.
func (e *engine) find(next blockID) blockID {
	check := e.whenReg(asm.JNE, asm.R1, asm.R2, e.broken, next,
		asm.Mov.Reg(regTable, asm.R0),
		asm.LoadMem(asm.R1, regTable, headerMagic, asm.DWord),
		asm.LoadImm(asm.R2, TableVersion<<32|TableMagic, asm.DWord))
	inner := e.when(asm.JEq, asm.R0, 0, e.broken, check, append(asm.Instructions{
		storeImm(stackKey, 0, asm.Word), asm.Mov.Reg(asm.R1, asm.R0)}, e.lookUp()...)...)
	return e.when(asm.JEq, asm.R0, 0, e.broken, inner, append(asm.Instructions{
		storeImm(stackKey, int64(e.hook), asm.Word), loadMap(asm.R1, TableMap)}, e.lookUp()...)...)
}

// lookUp looks for the key on the stack in the map in r1.
func (e *engine) lookUp() asm.Instructions {
	return asm.Instructions{asm.Mov.Reg(asm.R2, regStack), asm.Add.Imm(asm.R2, stackKey), e.target.call(helperMapLookup)}
}

// readContext asks for the network context if some node reads it.
func (e *engine) readContext(next blockID) blockID {
	failed := e.straight(next, e.sees.network.unknown(false)...)
	ask := e.add(block{
		code: e.askNetwork(), jump: jump{op: asm.JEq, dst: asm.R0}, taken: next, next: failed,
	})
	return e.ifFlag(flagContext, ask, next)
}

func storeSlot(s tableSlot, src asm.Register) asm.Instruction {
	return asm.StoreMem(regStack, stackSlots+8*int16(s), src, asm.DWord)
}

func loadSlot(dst asm.Register, s tableSlot) asm.Instruction {
	return asm.LoadMem(dst, regStack, stackSlots+8*int16(s), asm.DWord)
}

// fillSlots writes every slot, and decides which list of trees is meant.
func (e *engine) fillSlots(next blockID) blockID {
	var code asm.Instructions
	fill := func(v compiler.Var) {
		code = append(code, e.sees.load(v, asm.R1)...)
		code = append(code, storeSlot(slotOf(v), asm.R1))
	}
	for _, f := range []compiler.Field{
		compiler.InterfaceType, compiler.TunnelType, compiler.NextHop, compiler.SubInterface, compiler.Interface,
		compiler.RemotePort, compiler.LocalPort, compiler.Protocol, compiler.Compartment,
	} {
		fill(compiler.Var{Field: f})
	}
	for s := slotZero; s < slotSets; s++ {
		code = append(code, storeImm(stackSlots+8*int16(s), 0, asm.DWord))
	}
	// To the Linux verifier a constant would differ from what a set's map holds, and
	// the walk look new for every number of sets.
	code = append(code, asm.LoadMem(asm.R1, regTable, headerZero, asm.Word))
	for s := slotSets; s < tableSlots; s++ {
		code = append(code, storeSlot(s, asm.R1))
	}
	list := func(l tableList, mapped ...asm.Instruction) blockID {
		return e.straight(next, append(mapped,
			asm.LoadMem(asm.R1, regTable, headerStart+4*int16(l), asm.Word),
			asm.StoreMem(regStack, stackTree, asm.R1, asm.DWord),
			asm.LoadMem(asm.R1, regTable, headerStart+4*int16(l+tableAudit), asm.Word),
			asm.StoreMem(regStack, stackAuditTree, asm.R1, asm.DWord))...)
	}
	if !e.ipv6 {
		code = append(code, asm.LoadImm(asm.R2, mappedLow, asm.DWord))
		for _, f := range []compiler.Field{compiler.RemoteAddress, compiler.LocalAddress} {
			v := compiler.Var{Field: f, Part: compiler.Word32}
			code = append(code, storeImm(stackSlots+8*int16(slotOf(v)-1), 0, asm.DWord))
			code = append(code, e.sees.load(v, asm.R1)...)
			code = append(code, asm.Or.Reg(asm.R1, asm.R2), storeSlot(slotOf(v), asm.R1))
		}
		return e.straight(list(tableIPv4), code...)
	}
	for _, f := range []compiler.Field{compiler.LocalAddress, compiler.RemoteAddress} {
		fill(compiler.Var{Field: f, Part: compiler.Low64})
		fill(compiler.Var{Field: f, Part: compiler.High64})
	}
	ipv6 := list(tableIPv6)
	ipv4 := list(tableIPv4,
		storeImm(stackSlots+8*int16(slotLocalHigh), 0, asm.DWord),
		loadSlot(asm.R1, slotLocalLow),
		asm.Mov.Reg32(asm.R1, asm.R1),
		asm.LoadImm(asm.R2, mappedLow, asm.DWord),
		asm.Or.Reg(asm.R1, asm.R2),
		storeSlot(slotLocalLow, asm.R1))
	prefix := e.when(asm.JEq, asm.R1, mappedLow>>32, ipv4, ipv6, loadSlot(asm.R1, slotRemoteLow), asm.RSh.Imm(asm.R1, 32))
	return e.when(asm.JEq, asm.R1, 0, prefix, ipv6, code...)
}

// lookUpSets fills the slots of the dynamic sets.
func (e *engine) lookUpSets(next blockID) blockID {
	at := next
	for i := MaxTableSets - 1; i >= 0; i-- {
		at = e.lookUpSet(i, at, next)
	}
	return at
}

func (e *engine) lookUpSet(i int, next, done blockID) blockID {
	entry := int16(headerSetList + i*tableSetSize)
	found := e.straight(next,
		asm.LoadMem(asm.R1, asm.R0, 0, asm.Word),
		storeSlot(slotSets+tableSlot(i), asm.R1))
	code := asm.Instructions{
		storeImm(stackKey, 32+128, asm.Word),
		asm.LoadMem(asm.R1, regTable, headerSetBase, asm.Word),
		asm.LoadMem(asm.R2, regTable, entry+8, asm.Word),
		asm.Add.Reg(asm.R1, asm.R2),
		asm.HostTo(asm.BE, asm.R1, asm.Word),
		asm.StoreMem(regStack, stackKey+setKeyNumber, asm.R1, asm.Word),
	}
	for half := int16(0); half < 2; half++ {
		code = append(code,
			asm.LoadMem(asm.R1, regTable, entry+4*half, asm.Word),
			asm.And.Imm(asm.R1, refSlotMask),
			asm.Mov.Reg(asm.R2, regStack),
			asm.Add.Reg(asm.R2, asm.R1),
			asm.LoadMem(asm.R1, asm.R2, stackSlots, asm.DWord),
			asm.HostTo(asm.BE, asm.R1, asm.DWord),
			asm.StoreMem(regStack, stackKey+setKeyValue+8*half, asm.R1, asm.DWord))
	}
	code = append(append(code, loadMap(asm.R1, TableSetsMap)), e.lookUp()...)
	look := e.when(asm.JEq, asm.R0, 0, e.broken, found, code...)
	return e.when(asm.JLE, asm.R1, int32(i), done, look, asm.LoadMem(asm.R1, regTable, headerSets, asm.Word))
}

// walk goes through the trees of a list and leaves the lowest leaf in best, which
// holds one to begin with. The place of the first entry is on the stack. In each round
// it looks at a node, or at a leaf and then at the next entry; r0 is the
// reference to it and r5 counts the rounds. That references grow from node to node
// shows no verifier an end, but keeps what was never written, or is left over
// from elsewhere, from being followed.
func (e *engine) walk(start int16, best asm.Register, next blockID) blockID {
	head := e.add(block{}) // filled in below, when the blocks it leads to are there
	onward := e.straight(head, asm.Mov.Reg(asm.R0, asm.R1))
	kid := e.whenReg(asm.JLE, asm.R1, asm.R0, e.broken, onward, asm.LoadMem(asm.R1, asm.R1, 8, asm.Word))
	high := e.straight(kid, asm.Add.Imm(asm.R1, 4))
	node := e.whenReg(asm.JLT, asm.R2, asm.R3, kid, high,
		asm.Mov.Reg(asm.R4, asm.R0),
		asm.And.Imm(asm.R4, refSlotMask),
		asm.Mov.Reg(asm.R2, regStack),
		asm.Add.Reg(asm.R2, asm.R4),
		asm.LoadMem(asm.R2, asm.R2, stackSlots, asm.DWord),
		asm.Mov.Reg(asm.R4, asm.R0),
		asm.RSh.Imm(asm.R4, refToOffset),
		asm.And.Imm(asm.R4, refOffsetMask),
		asm.Mov.Reg(asm.R1, regTable),
		asm.Add.Reg(asm.R1, asm.R4),
		asm.LoadMem(asm.R3, asm.R1, 0, asm.DWord))
	tree := e.nextTree(start, best, head, next)
	lower := e.straight(tree, asm.Mov.Reg(best, asm.R0))
	leaf := e.whenReg(asm.JGE, asm.R0, best, tree, lower, asm.And.Imm(asm.R0, noLeaf))
	either := e.when(asm.JGT, asm.R0, noLeaf, leaf, node)
	e.blocks[head] = block{
		code: asm.Instructions{asm.Add.Imm(asm.R5, 1)},
		jump: jump{op: asm.JGT, wide: true, dst: asm.R5, imm: MaxTableSteps}, taken: e.broken, next: either,
	}
	return e.straight(e.nextTree(start, best, head, next), asm.Mov.Imm(asm.R5, 0))
}

// nextTree takes the next entry of a list. It is done at the last one, and at the first
// that cannot lead to an earlier rule, for neither can those after it.
func (e *engine) nextTree(cursor int16, best asm.Register, head, done blockID) blockID {
	tree := e.whenReg(asm.JGE, asm.R2, best, done, head)
	return e.when(asm.JEq, asm.R0, 0, done, tree,
		asm.LoadMem(asm.R1, regStack, cursor, asm.DWord),
		asm.And.Imm(asm.R1, tableTreesMask),
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.Add.Imm(asm.R2, tableTreeSize),
		asm.StoreMem(regStack, cursor, asm.R2, asm.DWord),
		asm.Mov.Reg(asm.R2, regTable),
		asm.Add.Reg(asm.R2, asm.R1),
		asm.LoadMem(asm.R0, asm.R2, headerTrees, asm.Word),
		asm.LoadMem(asm.R2, asm.R2, headerTrees+4, asm.Word))
}

// decide finds the rule and then, if the policy has such, an audit rule before it.
func (e *engine) decide(next blockID) blockID {
	audit := e.straight(e.walk(stackAuditTree, regAudit, next), asm.Mov.Reg(regAudit, regLeaf))
	none := e.straight(next, asm.Mov.Reg(regAudit, regLeaf))
	rule := e.check(e.ifFlag(flagAudit, audit, none))
	return e.straight(e.walk(stackTree, regLeaf, rule), asm.Mov.Imm(regLeaf, noLeaf))
}

// check denies where no tree led to a rule of the policy with a verdict.
func (e *engine) check(next blockID) blockID {
	verdict := e.when(asm.JEq, asm.R1, leafVerdict, e.broken, next,
		asm.Mov.Reg(asm.R1, regLeaf), asm.And.Imm(asm.R1, leafVerdict))
	return e.whenReg(asm.JGE, asm.R1, asm.R2, e.broken, verdict,
		asm.Mov.Reg(asm.R1, regLeaf),
		asm.RSh.Imm(asm.R1, leafShift),
		asm.LoadMem(asm.R2, regTable, headerRules, asm.Word))
}

// countInTable adds one to the counter of the rule in a register.
func (f *function) countInTable(leaf asm.Register, next blockID) blockID {
	add := f.straight(next,
		asm.Mov.Reg(asm.R1, leaf),
		asm.RSh.Imm(asm.R1, leafShift),
		asm.And.Imm(asm.R1, tableRules-1),
		asm.LSh.Imm(asm.R1, 3),
		asm.Mov.Reg(asm.R2, regTable),
		asm.Add.Reg(asm.R2, asm.R1),
		asm.Add.Imm(asm.R2, TableCounters),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R2, asm.R1, asm.DWord))
	return f.ifFlag(flagNoCounters, next, add)
}
