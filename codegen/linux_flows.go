package codegen

import "github.com/cilium/ebpf/asm"

// The flows that have been counted are remembered so that each is counted once: 64
// bits of each, 8 flows to a line of the processor's cache. A line gives up the flow
// that has been in it for longest. Two flows are taken for one with a chance of one in
// 2^60, and a seed that the host draws keeps others from finding such two: counters
// may be wrong by that, decisions are not.
const (
	flowsLine = 64
	flowsBits = 11 // of the line's index

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
	return f.branch(asm.JEq, asm.R0, 0, first, found, lookup(flowsMap, hash...)...)
}

// flowHash leaves a number in r1 that depends on the flow and the state's seed, and
// is not 0. It works on two halves, so that the processor does both at a time.
func flowHash() asm.Instructions {
	code := asm.Instructions{
		asm.LoadMem(asm.R1, regStack, stackState, asm.DWord),
		asm.LoadMem(asm.R1, asm.R1, stateSeed, asm.DWord),
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.LoadImm(asm.R5, -7046029254386353131, asm.DWord), // 2^64 divided by the golden ratio
	}
	mix := func(half asm.Register) {
		code = append(code,
			asm.Mul.Reg(half, asm.R5),
			asm.Mov.Reg(asm.R3, half),
			asm.RSh.Imm(asm.R3, 32),
			asm.Xor.Reg(half, asm.R3))
	}
	for at := int16(0); at < flowSize; at += 8 {
		half := asm.R1 + asm.Register(at/8%2)
		code = append(code, asm.LoadMem(asm.R3, regStack, stackFlow+at, asm.DWord), asm.Xor.Reg(half, asm.R3))
		mix(half)
	}
	code = append(code, asm.Add.Reg(asm.R1, asm.R2))
	mix(asm.R1)
	return append(code, asm.Or.Imm(asm.R1, 1))
}
