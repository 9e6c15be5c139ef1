package codegen

import "github.com/cilium/ebpf/asm"

// The flows that have been counted are remembered so that each is counted once: 64
// bits of each, 8 flows to a line of the processor's cache. A line gives up the flow
// that has been in it for longest. Two flows are taken for one by a rare chance, which
// others cannot make: counters and events may be wrong by that, decisions are not. There
// are no more lines because one that has not been touched for long makes the program
// wait.
const (
	flowsLine = 64
	flowsBits = 9 // of the line's index

	stackFingerprint = stackKey + 8
)

// noteFlow goes to known if the flow has been noted, else notes it and goes to first.
func (f *function) noteFlow(first, known blockID) blockID {
	var insert asm.Instructions
	for at := int16(flowsLine - 8); at > 0; at -= 8 {
		insert = append(insert,
			asm.LoadMem(asm.R2, asm.R0, at-8, asm.DWord),
			asm.StoreMem(asm.R0, at, asm.R2, asm.DWord))
	}
	look := f.straight(first, append(insert, asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord))...)
	for at := int16(flowsLine - 8); at >= 0; at -= 8 {
		look = f.add(block{
			code: asm.Instructions{asm.LoadMem(asm.R2, asm.R0, at, asm.DWord)},
			jump: jump{op: asm.JEq, wide: true, dst: asm.R2, reg: true, src: asm.R1}, taken: known, next: look,
		})
	}
	found := f.straight(look, asm.LoadMem(asm.R1, regStack, stackFingerprint, asm.DWord))
	hash := append(flowHash(),
		asm.StoreMem(regStack, stackFingerprint, asm.R1, asm.DWord),
		asm.RSh.Imm(asm.R1, 64-flowsBits))
	return f.withState(f.branch(asm.JEq, asm.R0, 0, first, found, lookup(flowsMap, hash...)...))
}

// flowHash leaves a number in r1 that depends on the flow and the seed of the state in
// r0, and is not 0. It adds up products of two words of the flow each, after a secret has
// been added to both, as NH does (Black et al., UMAC, 1999). The secrets are multiples of
// one, so that NH's bound is not known to hold, but without the seed no two flows that
// have the number in common can be named.
func flowHash() asm.Instructions {
	const sum, low, high, secret, key, factor = asm.R1, asm.R2, asm.R3, asm.R4, asm.R5, asm.R0
	code := asm.Instructions{
		asm.LoadMem(key, asm.R0, stateSeed, asm.DWord),
		asm.LoadImm(factor, -7046029254386353131, asm.DWord), // 2^64 divided by the golden ratio
		asm.Xor.Reg(key, factor),
		asm.Mov.Imm(sum, 0),
	}
	for at := int16(stackFlow); at < stackFlow+flowSize; at += 8 {
		code = append(code,
			asm.Mul.Reg(key, factor),
			asm.Mov.Reg(secret, key),
			asm.LoadMem(low, regStack, at, asm.Word),
			asm.Add.Reg32(low, secret),
			asm.RSh.Imm(secret, 32),
			asm.LoadMem(high, regStack, at+4, asm.Word),
			asm.Add.Reg32(high, secret),
			asm.Mul.Reg(low, high),
			asm.Add.Reg(sum, low))
	}
	return append(code, // the index is of the upper bits
		asm.Mov.Reg(low, sum),
		asm.RSh.Imm(low, 32),
		asm.Xor.Reg(sum, low),
		asm.Mul.Reg(sum, factor),
		asm.Or.Imm(sum, 1))
}
