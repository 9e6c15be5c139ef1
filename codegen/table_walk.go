package codegen

import (
	"math"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Registers of a walk through trees, which makes no calls. Two trees are walked at a
// time, so that the wait for a node of one is used for the other.
const (
	regTwo  = asm.R8 // reference in the one tree; for the other see walkPlace
	regBest = regLeaf

	regRounds = asm.R5 // on Windows how often the walk has gone round
)

// maxTableRounds is how often a walk may go round: once for each step at most, but for
// the last leaf of each of the two. Rounds are counted from firstTableRound, as many as
// an earlier walk may have gone: PREVAIL supposes at first that no loop has gone round
// more often than any register says, and proves a second walk finite only if that is
// true of the first.
const (
	maxTableRounds  = MaxTableSteps + 2
	firstTableRound = maxTableRounds
)

// walks finds the rule and then, if the policy has such, an audit rule before it.
func (f *function) walks() blockID {
	undecided := f.broken
	if f.early {
		undecided = f.undecided
	}
	found := f.straight(f.settled, asm.Mov.Reg(regAudit, regLeaf), asm.LoadMem(regLeaf, regStack, f.frame+engineLeaf, asm.DWord))
	if f.early {
		found = f.branch(asm.JEq, regLeaf, undecidedLeaf, undecided, found)
	}
	audit := f.straight(f.find(engineAuditTree, found), asm.StoreMem(regStack, f.frame+engineLeaf, regLeaf, asm.DWord))
	none := f.straight(f.settled, asm.Mov.Imm(regAudit, noLeaf))
	rule := f.hasFlag(regTable, flagAudit, audit, none)
	// Some rule must have been found, with a verdict.
	verdict := f.branch(asm.JEq, asm.R1, leafVerdict, undecided, rule,
		asm.Mov.Reg(asm.R1, regLeaf), asm.And.Imm(asm.R1, leafVerdict))
	if f.early {
		return f.find(engineTree, verdict)
	}
	return f.find(engineTree, f.whenReg(asm.JGE, asm.R1, asm.R2, f.broken, verdict,
		asm.Mov.Reg(asm.R1, regLeaf),
		asm.RSh.Imm(asm.R1, leafShift),
		asm.LoadMem(asm.R2, regTable, headerRules, asm.Word)))
}

// find leaves the lowest leaf of a list's trees in regLeaf. The place of the first entry
// is on the stack.
func (f *function) find(cursor int16, next blockID) blockID {
	cursor += f.frame
	if f.target != Linux {
		context := f.frame + engineContext
		walk := f.walk(walkPlace{regContext, regStack, f.slotAt(0), cursor}, f.straight(next, asm.LoadMem(regContext, regStack, context, asm.DWord)))
		return f.straight(walk,
			asm.StoreMem(regStack, context, regContext, asm.DWord),
			storeImm(f.frame+enginePageOne, 0, asm.DWord), asm.StoreMem(regStack, f.frame+enginePageOne+8, regTable, asm.DWord),
			storeImm(f.frame+enginePageTwo, 0, asm.DWord), asm.StoreMem(regStack, f.frame+enginePageTwo+8, regTable, asm.DWord))
	}
	return f.straight(f.branch(asm.JEq, asm.R0, decisionBroken, f.broken, f.straight(next, asm.Mov.Reg(regLeaf, asm.R0))),
		asm.Mov.Reg(asm.R1, regTable),
		asm.Mov.Reg(asm.R2, regStack),
		asm.Add.Imm(asm.R2, int32(f.slotAt(0))),
		asm.LoadMem(asm.R3, regStack, cursor, asm.DWord),
		callLocal(walkName))
}

// walkName names, on Linux, the function of a walk: long (struct hopgate_table *, struct
// hopgate_slots *, u64), the last the place of the list's first entry. It returns the leaf
// or decisionBroken.
const walkName = "hopgate_walk"

// Stack of the walk function, below the place of the list's next entry.
const (
	walkOne   = -16 // the reference in the one tree, while a sheet is looked up
	walkSheet = -20 // key of the sheet
	walkZero  = -24 // key of a sheet's value
)

func walkFunction() (asm.Instructions, error) {
	const slots, cursor = asm.R6, -8
	f := newEngine(Linux, true)
	f.broken = f.straight(noBlock, asm.Mov.Imm(asm.R0, decisionBroken))
	walk := f.walk(walkPlace{asm.R0, slots, 0, cursor}, f.straight(noBlock, asm.Mov.Reg(asm.R0, regBest)))
	start := f.branch(asm.JEq, asm.R2, 0, f.broken, walk, asm.StoreMem(regStack, cursor, asm.R3, asm.DWord), asm.Mov.Reg(slots, asm.R2))
	entry := f.branch(asm.JEq, asm.R1, 0, f.broken, start, asm.Mov.Reg(regTable, asm.R1))
	code, err := assemble(f.blocks, entry)
	if err != nil {
		return nil, err
	}
	asGlobal(code, walkName, long(), pointerTo("hopgate_table", TableValueSize), pointerTo("hopgate_slots", 4*tableSlots), &btf.Int{Name: "u64", Size: 8})
	return code, nil
}

// walkPlace is where a walk has the reference in one of its trees, and where it finds what
// it needs: the slots at an offset from a register, and on the stack the place of the list's
// next entry.
type walkPlace struct {
	one    asm.Register
	slots  asm.Register
	at     int16
	cursor int16
}

// walk goes through the trees of a list and leaves the lowest leaf in regBest. That
// references grow from node to node shows no verifier an end, but keeps what was never
// written, or is left over from elsewhere, from being followed.
func (f *function) walk(p walkPlace, next blockID) blockID {
	done := f.straight(next, asm.And.Imm(regBest, math.MaxInt32))
	head, middle := f.add(block{}), f.add(block{})
	isEnd := func(ref asm.Register, yes, no blockID) blockID {
		return f.add(block{ // tells a verifier nothing of the reference: it would look at each case anew
			code: asm.Instructions{asm.Mov.Reg(asm.R1, ref), asm.Xor.Imm(asm.R1, -1)},
			jump: jump{op: asm.JEq, dst: asm.R1}, taken: yes, next: no,
		})
	}
	leaf := func(ref asm.Register) blockID {
		return f.straight(f.nextTree(p.cursor, ref, head), f.minimumOf(regBest, ref)...)
	}
	one := isEnd(p.one, middle, leaf(p.one))
	two := isEnd(regTwo, isEnd(p.one, done, head), leaf(regTwo))
	f.blocks[middle] = block{jump: jump{op: asm.JGT, wide: true, dst: regTwo, imm: math.MaxInt32}, taken: two, next: f.step(p, regTwo, head)}
	turn := f.branch(asm.JGT, p.one, math.MaxInt32, one, f.step(p, p.one, middle))
	if f.target == Linux {
		f.blocks[head] = block{jump: jump{op: asm.JCOND, wide: true}, taken: f.broken, next: turn}
	} else {
		f.blocks[head] = block{
			code: asm.Instructions{asm.Add.Imm(regRounds, 1)},
			jump: jump{op: asm.JGT, wide: true, dst: regRounds, imm: firstTableRound + maxTableRounds}, taken: f.broken, next: turn,
		}
	}
	begin := f.nextTree(p.cursor, p.one, f.nextTree(p.cursor, regTwo, head))
	const none = noLeaf - math.MaxInt32 - 1
	if f.target == Linux { // to the verifier any number: what it knows at first, it would go round once more to forget
		return f.straight(begin, asm.LoadMem(regBest, p.slots, p.at+4*int16(slotZero), asm.Word), asm.Xor.Imm32(regBest, none))
	}
	return f.straight(begin, asm.Mov.Imm(regRounds, firstTableRound), asm.Mov.Imm32(regBest, none))
}

// minimumOf sets dst to the smaller of it and src, in numbers of 32 bits, without a jump.
// It uses r1 and r2. That the sum has 32 bits, too, only Linux must be shown.
func (f *function) minimumOf(dst, src asm.Register) asm.Instructions {
	sum := asm.Add.Reg(dst, asm.R1)
	if f.target == Linux {
		sum = asm.Add.Reg32(dst, asm.R1)
	}
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, src),
		asm.Sub.Reg(asm.R1, dst),
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.ArSh.Imm(asm.R2, 63),
		asm.And.Reg(asm.R1, asm.R2),
		sum,
	}
}

// nextTree takes the next entry of a list; treeEnd after the last one, and after the last
// that can lead to an earlier rule, for then those after it cannot either.
func (f *function) nextTree(cursor int16, ref asm.Register, next blockID) blockID {
	prune := f.straight(next, // r2 becomes ^0 where the lowest leaf is not below the best
		asm.Sub.Reg(asm.R2, regBest),
		asm.RSh.Imm(asm.R2, 63),
		asm.Sub.Imm(asm.R2, 1),
		asm.Or.Reg(ref, asm.R2),
		asm.Mov.Reg32(ref, ref))
	return f.branch(asm.JEq, ref, 0, f.broken, prune,
		asm.LoadMem(asm.R1, regStack, cursor, asm.DWord),
		asm.And.Imm(asm.R1, tableTreesMask),
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.Add.Imm(asm.R2, tableTreeSize),
		asm.StoreMem(regStack, cursor, asm.R2, asm.DWord),
		asm.Mov.Reg(asm.R2, regTable),
		asm.Add.Reg(asm.R2, asm.R1),
		asm.LoadMem(ref, asm.R2, headerTrees, asm.Word),
		asm.LoadMem(asm.R2, asm.R2, headerTrees+4, asm.Word))
}

// step goes from a node to its kid: that of the cell whose number is how many of the
// node's numbers the values are above. There is no jump that a processor could guess wrongly.
func (f *function) step(p walkPlace, ref asm.Register, next blockID) blockID {
	const first, second = asm.R3, asm.R5 // how many numbers the values are above
	page := f.frame + enginePageOne
	if ref == regTwo {
		page = f.frame + enginePageTwo
	}
	code := asm.Instructions{asm.Mov.Reg(asm.R2, ref), asm.RSh.Imm(asm.R2, refPlace)}
	if f.target == Linux {
		code = append(code, asm.And.Imm(asm.R2, refPlaceMask), asm.Add.Reg(asm.R1, asm.R2))
	} else {
		code = append(code, asm.And.Imm(asm.R2, (TablePage-1)&refPlaceMask), asm.LoadMem(asm.R1, regStack, page+8, asm.DWord), asm.Add.Reg(asm.R1, asm.R2))
	}
	above := func(count asm.Register, slot, last int16) {
		code = append(code, asm.Mov.Reg(asm.R2, ref))
		if slot > 2 {
			code = append(code, asm.RSh.Imm(asm.R2, int32(slot-2)))
		}
		code = append(code, asm.And.Imm(asm.R2, refSlotMask<<2), asm.Add.Reg(asm.R2, p.slots), asm.LoadMem(asm.R2, asm.R2, p.at, asm.Word))
		for k := range int16(tableLasts) {
			to := asm.R4
			if k == 0 {
				to = count
			}
			code = append(code, asm.LoadMem(to, asm.R1, last+4*k, asm.Word), asm.Sub.Reg(to, asm.R2), asm.RSh.Imm(to, 63))
			if k > 0 {
				code = append(code, asm.Add.Reg(count, to))
			}
		}
	}
	above(first, refFirst, 0)
	above(second, refSecond, 4*tableLasts)
	code = append(code,
		asm.LSh.Imm(first, 4),
		asm.LSh.Imm(second, 2),
		asm.Or.Reg(first, second),
		// Not in r2, of which PREVAIL must know nothing where the loop begins again: of a
		// small number it goes on and on to find how small.
		asm.LoadMem(asm.R4, asm.R1, nodeCells, asm.DWord),
		asm.RSh.Reg(asm.R4, first),
		asm.And.Imm(asm.R4, tableKids-1),
		asm.LSh.Imm(asm.R4, 2),
		asm.Add.Reg(asm.R1, asm.R4),
		asm.LoadMem(asm.R1, asm.R1, nodeKids, asm.Word))
	if f.target == Linux {
		node := f.whenReg(asm.JLE, asm.R1, ref, f.broken, f.straight(next, asm.Mov.Reg(ref, asm.R1)), code...)
		first := f.straight(node, asm.Mov.Reg(asm.R1, regTable))
		return f.branch(asm.JNE, asm.R1, 0, f.findSheet(p, node), first, asm.Mov.Reg(asm.R1, ref), asm.RSh.Imm(asm.R1, refSheet))
	}
	node := f.whenReg(asm.JLE, asm.R1, ref, f.broken, f.straight(next, asm.Mov.Reg(ref, asm.R1), asm.LoadMem(regRounds, regStack, f.frame+engineRounds, asm.DWord)), code...)
	return f.whenReg(asm.JNE, asm.R1, asm.R2, f.findPage(page, node), node,
		asm.StoreMem(regStack, f.frame+engineRounds, regRounds, asm.DWord),
		asm.Mov.Reg(asm.R1, ref),
		asm.RSh.Imm(asm.R1, pageBits+refPlace),
		asm.LoadMem(asm.R2, regStack, page, asm.DWord))
}

// findPage looks up, on Windows, the page whose number is in r1, and notes it. Of a sheet
// but the first it must look up that before.
func (f *function) findPage(page int16, next blockID) blockID {
	const ofSheet, stackSheet = TableCounters / TablePage, stackKey + 8
	found := f.findMap(stackKey, f.straight(next, asm.StoreMem(regStack, page+8, asm.R0, asm.DWord)))
	first := f.straight(found, asm.LoadMem(asm.R1, regStack, f.frame+enginePages, asm.DWord))
	other := f.findMap(stackSheet, f.straight(found, asm.Mov.Reg(asm.R1, asm.R0)),
		asm.LoadMem(asm.R2, regTable, headerSheets, asm.Word),
		asm.Add.Reg(asm.R1, asm.R2),
		asm.StoreMem(regStack, stackSheet, asm.R1, asm.Word),
		loadMap(TableMap))
	return f.branch(asm.JEq, asm.R1, 0, first, other,
		asm.StoreMem(regStack, page, asm.R1, asm.DWord),
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.And.Imm(asm.R2, ofSheet-1),
		asm.StoreMem(regStack, stackKey, asm.R2, asm.Word),
		asm.RSh.Imm(asm.R1, refSheet-refPlace-pageBits))
}

// findSheet looks up, on Linux, the sheet but the first that a reference leads into, and
// leaves its address in r1. The reference in the one tree is in a register that calls use.
func (f *function) findSheet(p walkPlace, next blockID) blockID {
	found := f.straight(next, asm.Mov.Reg(asm.R1, asm.R0), asm.LoadMem(p.one, regStack, walkOne, asm.DWord))
	value := f.findMap(walkZero, found, asm.Mov.Reg(asm.R1, asm.R0))
	return f.findMap(walkSheet, value,
		asm.StoreMem(regStack, walkOne, p.one, asm.DWord),
		asm.LoadMem(asm.R2, regTable, headerSheets, asm.Word),
		asm.Add.Reg(asm.R1, asm.R2),
		asm.StoreMem(regStack, walkSheet, asm.R1, asm.Word),
		storeImm(walkZero, 0, asm.Word),
		loadMap(TableMap))
}

// findMap looks the key in a place on the stack up in the map that the code puts in r1, and
// leaves what it leads to in r0.
func (f *function) findMap(key int16, next blockID, code ...asm.Instruction) blockID {
	return f.branch(asm.JEq, asm.R0, 0, f.broken, next, append(code,
		asm.Mov.Reg(asm.R2, regStack),
		asm.Add.Imm(asm.R2, int32(key)),
		f.target.call(helperMapLookup))...)
}

// countInTable adds one to the counter of the rule in a register.
func (f *function) countInTable(leaf asm.Register, next blockID) blockID {
	if f.target != Linux {
		add := f.straight(next,
			asm.Mov.Reg(asm.R2, leaf),
			asm.And.Imm(asm.R2, (TablePage/8-1)<<leafShift),
			asm.Add.Reg(asm.R0, asm.R2),
			asm.Mov.Imm(asm.R2, 1),
			asm.StoreXAdd(asm.R0, asm.R2, asm.DWord))
		return f.ifFlag(flagNoCounters, next, f.findMap(stackKey, add,
			asm.Mov.Reg(asm.R1, leaf),
			asm.RSh.Imm(asm.R1, pageBits),
			asm.And.Imm(asm.R1, 8*tableRules/TablePage-1),
			asm.Add.Imm(asm.R1, TableCounters/TablePage),
			asm.StoreMem(regStack, stackKey, asm.R1, asm.Word),
			asm.LoadMem(asm.R1, regStack, f.frame+enginePages, asm.DWord)))
	}
	add := f.straight(next,
		asm.Mov.Reg(asm.R1, leaf),
		asm.RSh.Imm(asm.R1, leafShift),
		asm.And.Imm(asm.R1, tableRules-1),
		asm.LSh.Imm(asm.R1, 3),
		asm.LoadMem(asm.R2, regStack, stackTable, asm.DWord),
		asm.Add.Reg(asm.R2, asm.R1),
		asm.Add.Imm(asm.R2, TableCounters),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R2, asm.R1, asm.DWord))
	return f.ifFlag(flagNoCounters, next, add)
}
