package codegen

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Names of the functions that look numbers up in sets' tables. They take the key of
// the table in SetsMap and the number: the narrow one, for numbers of up to 64
// bits, has it in r2, the wide one the upper half in r2 and the lower one in r3.
// Both return 0, 1, or setBroken where there is no table.
//
// On Linux they are global functions, which the verifier takes once and not for each
// call.
const (
	narrowLookup = "hopgate_in_set"
	wideLookup   = "hopgate_in_wide_set"

	setBroken = 2
)

// Registers of a lookup. In r0 is a pointer to the block at hand.
const (
	regBlocks = asm.R6 // the map
	regHigh   = asm.R7 // the number
	regLow    = asm.R8
	regLanes  = asm.R9 // of the node
	regRank   = asm.R2
	regDigit  = asm.R3
	regOnes   = asm.R4 // 1 in each lane
)

// setLookup writes the function. On Linux it goes round until it has an answer, which the
// nodes' numbers, always larger, see to. Not every verifier proves that finite:
// elsewhere there is a copy of the step for each level of the deepest tree.
type setLookup struct {
	*function
	wide   bool
	member blockID // returns the lowest bit of the rank
}

func lookupFunction(name string, target Target) (asm.Instructions, error) {
	l := &setLookup{function: &function{target: target}, wide: name == wideLookup}
	l.member = l.straight(noBlock, asm.Mov.Reg(asm.R0, regRank), asm.And.Imm(asm.R0, 1))
	l.broken = l.straight(noBlock, asm.Mov.Imm(asm.R0, setBroken))
	depth, take := narrowDepth, asm.Instructions{asm.Mov.Reg(regLow, asm.R2)}
	if l.wide {
		depth, take = wideDepth, asm.Instructions{asm.Mov.Reg(regHigh, asm.R2), asm.Mov.Reg(regLow, asm.R3)}
	}
	node := l.broken
	if target == Linux {
		node = l.add(block{})
		deeper := l.add(block{
			code: asm.Instructions{asm.LoadMem(asm.R2, regStack, lookupKey, asm.Word)},
			jump: jump{op: asm.JGT, wide: true, dst: asm.R1, reg: true, src: asm.R2}, taken: l.find(l.node(node), asm.Mov.Reg(asm.R1, regBlocks)), next: l.broken,
		})
		l.blocks[node] = block{jump: jump{op: asm.JCOND, wide: true}, taken: l.broken, next: deeper}
		depth = 0
	}
	for range depth {
		node = l.find(l.node(node), asm.Mov.Reg(asm.R1, regBlocks))
	}
	header := l.straight(l.find(l.header(node), asm.Mov.Reg(asm.R1, regBlocks)),
		asm.Mov.Reg(regBlocks, asm.R0),
		asm.Mov.Imm(asm.R1, 0))
	start := l.straight(l.find(header, loadMap(SetsMap)), take...)
	code, err := assemble(l.blocks, start)
	if err != nil {
		return nil, err
	}
	number := &btf.Int{Name: "u64", Size: 8}
	arguments := []btf.Type{number, number, number}
	if !l.wide {
		arguments = arguments[:2]
	}
	asGlobal(code, name, &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}, arguments...)
	return code, nil
}

// lookupKey is where on the stack the key of a map is.
const lookupKey = -4

// find looks the key in r1 up in the map that an instruction puts there.
func (l *setLookup) find(next blockID, in asm.Instruction) blockID {
	return l.branch(asm.JEq, asm.R0, 0, l.broken, next,
		asm.StoreMem(regStack, lookupKey, asm.R1, asm.Word),
		in,
		asm.Mov.Reg(asm.R2, regStack),
		asm.Add.Imm(asm.R2, lookupKey),
		l.target.call(helperMapLookup))
}

// header goes to the node of the number's digit.
func (l *setLookup) header(node blockID) blockID {
	outside := l.straight(l.member, asm.Mov.Imm(regRank, 0))
	leads := l.straight(node, asm.Mov.Reg(asm.R1, regDigit), asm.Add.Imm(asm.R1, 1))
	last := asm.LoadMem(asm.R1, asm.R0, nodeFirst, asm.Word)
	above := l.straight(leads, last, asm.Mov.Reg(regDigit, asm.R1))
	inside := l.add(block{
		code:  asm.Instructions{last},
		jump:  jump{op: asm.JGT, wide: true, dst: regDigit, reg: true, src: asm.R1},
		taken: above, next: leads,
	})
	return l.branch(asm.JNE, asm.R1, setMagic, l.broken, l.frame(outside, inside),
		asm.LoadMem(asm.R1, asm.R0, setMagicAt, asm.Word))
}

// node finds the rank of the number among the digits of a node, and answers or goes
// on to the next node. For once, that is arithmetic instead of comparisons: the top
// bit of a lane becomes 1 if the node's digit is not above the number's.
func (l *setLookup) node(next blockID) blockID {
	kid := l.straight(next, asm.Mov.Reg(asm.R1, regRank))
	ranked := l.branch(asm.JLT, asm.R1, 2, l.member, kid,
		asm.LoadMem(asm.R1, asm.R0, nodeFirst, asm.Word),
		asm.Add.Reg(regRank, asm.R1))
	code := append(ones(),
		asm.Mul.Reg(regDigit, regOnes),
		asm.Mov.Reg(asm.R1, regOnes),
		asm.LSh.Reg(asm.R1, regLanes),
		asm.Or.Reg(regDigit, asm.R1),
		asm.Mov.Imm(regRank, 0))
	at := int16(narrowAt)
	if l.wide {
		at = wideAt
	}
	for ; at < tableBlock; at += 8 {
		code = append(code,
			asm.LoadMem(asm.R5, asm.R0, at, asm.DWord),
			asm.Mov.Reg(asm.R1, regDigit),
			asm.Sub.Reg(asm.R1, asm.R5),
			asm.RSh.Reg(asm.R1, regLanes),
			asm.And.Reg(asm.R1, regOnes),
			asm.Add.Reg(regRank, asm.R1))
	}
	code = append(code, // sum the lanes up in the highest and bring it down
		asm.Mul.Reg(regRank, regOnes),
		asm.Mov.Imm(asm.R1, 63),
		asm.Sub.Reg(asm.R1, regLanes),
		asm.RSh.Reg(regRank, asm.R1))
	count := l.straight(ranked, code...)

	below := l.straight(ranked, asm.Mov.Imm(regRank, 0))
	inside := l.straight(count,
		asm.LoadMem(regLanes, asm.R0, nodeLanes, asm.Byte),
		asm.And.Imm(regLanes, 63),
		asm.Mov.Reg(asm.R1, regDigit), // becomes ^0 if the digit has more bits than a lane, else 0
		asm.RSh.Reg(asm.R1, regLanes),
		asm.Neg.Imm(asm.R1, 0),
		asm.ArSh.Imm(asm.R1, 63),
		asm.Or.Reg(regDigit, asm.R1),
		asm.Mov.Imm(asm.R1, 1),
		asm.LSh.Reg(asm.R1, regLanes),
		asm.Sub.Imm(asm.R1, 1),
		asm.And.Reg(regDigit, asm.R1))
	return l.frame(below, inside)
}

// ones puts a 1 into each lane of regOnes: one lane becomes two, and those four, unless
// they are as wide as to be there already. It uses r1 and r5.
func ones() asm.Instructions {
	code := asm.Instructions{asm.Mov.Imm(regOnes, 1), asm.Mov.Reg(asm.R1, regLanes), asm.Add.Imm(asm.R1, 1)}
	double := asm.Instructions{
		asm.And.Imm(asm.R1, 63),
		asm.Mov.Reg(asm.R5, regOnes),
		asm.LSh.Reg(asm.R5, asm.R1),
		asm.Or.Reg(regOnes, asm.R5),
	}
	return append(append(append(code, double...), asm.Add.Reg(asm.R1, asm.R1)), double...)
}

// frame puts the number's digit in the frame of the block into regDigit and goes on
// to inside, or to below. Of a number above it the digit is larger than any.
func (l *setLookup) frame(below, inside blockID) blockID {
	if !l.wide {
		shift := l.straight(inside,
			asm.Mov.Reg(regDigit, regLow),
			asm.Sub.Reg(regDigit, asm.R1),
			asm.LoadMem(asm.R5, asm.R0, blockShift, asm.Byte),
			asm.And.Imm(asm.R5, 63),
			asm.RSh.Reg(regDigit, asm.R5))
		return l.add(block{
			code:  asm.Instructions{asm.LoadMem(asm.R1, asm.R0, blockLow, asm.DWord)},
			jump:  jump{op: asm.JLT, wide: true, dst: regLow, reg: true, src: asm.R1},
			taken: below, next: shift,
		})
	}
	// By arithmetic, as in node: r1 is ^0 for a shift of 64 and more, r3 the half that is
	// shifted, and r2 what makes the digit too large.
	shift := l.straight(inside,
		asm.LoadMem(asm.R5, asm.R0, blockShift, asm.Byte),
		asm.Mov.Reg(asm.R1, asm.R5),
		asm.RSh.Imm(asm.R1, 6),
		asm.Neg.Imm(asm.R1, 0),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Xor.Reg(asm.R4, regDigit),
		asm.And.Reg(asm.R4, asm.R1),
		asm.Xor.Reg(regDigit, asm.R4),
		asm.Xor.Imm(asm.R1, -1),
		asm.And.Reg(asm.R2, asm.R1),
		asm.And.Imm(asm.R5, 63),
		asm.RSh.Reg(regDigit, asm.R5),
		asm.Mov.Reg(asm.R1, asm.R2),
		asm.Neg.Imm(asm.R1, 0),
		asm.Or.Reg(asm.R1, asm.R2),
		asm.ArSh.Imm(asm.R1, 63),
		asm.Or.Reg(regDigit, asm.R1))
	borrow := l.whenReg(asm.JLT, asm.R2, asm.R4, below, l.straight(shift, asm.Sub.Reg(asm.R2, asm.R4)),
		asm.LoadMem(asm.R1, asm.R0, blockLow, asm.DWord),
		asm.Mov.Reg(asm.R2, regHigh),
		asm.Sub.Reg(asm.R2, asm.R4),
		asm.Mov.Reg(regDigit, regLow),
		asm.Sub.Reg(regDigit, asm.R1),
		asm.Mov.Reg(asm.R5, regLow), // r4 becomes the borrow: the highest bit of ^low&base | (^low|base)&difference
		asm.Xor.Imm(asm.R5, -1),
		asm.Mov.Reg(asm.R4, asm.R5),
		asm.And.Reg(asm.R4, asm.R1),
		asm.Or.Reg(asm.R5, asm.R1),
		asm.And.Reg(asm.R5, regDigit),
		asm.Or.Reg(asm.R4, asm.R5),
		asm.RSh.Imm(asm.R4, 63))
	return l.add(block{
		code:  asm.Instructions{asm.LoadMem(asm.R4, asm.R0, blockHigh, asm.DWord)},
		jump:  jump{op: asm.JLT, wide: true, dst: regHigh, reg: true, src: asm.R4},
		taken: below, next: borrow,
	})
}

// SetLookupCode gives the bytes of a function that programs for a target look sets up
// with, as they stand in an object, and where in them the address of
// SetsMap is put; false if there is no such function. It is for those who check
// objects.
func SetLookupCode(name string, target Target) (code []byte, at uint64, ok bool) {
	if name != narrowLookup && name != wideLookup {
		return nil, 0, false
	}
	insns, err := lookupFunction(name, target)
	if err != nil {
		return nil, 0, false
	}
	f := placedFunction{name: name, local: true, instructions: insns}
	if err := f.encode(&Program{Target: target, Maps: []*ebpf.MapSpec{{Name: SetsMap}}}, nil); err != nil {
		return nil, 0, false
	}
	return f.data, f.relocations[0].offset, true
}
