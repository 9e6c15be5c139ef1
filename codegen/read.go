package codegen

import "github.com/cilium/ebpf/asm"

// The network context is asked for at most once, by a call that costs more than
// many comparisons. In a forest that needs it, that is up front. A single tree
// asks where a path first reads it, so that other paths do without. Each such place
// would need the whole call; where there are many, they share one, and note
// where to go on.

// readUpFront reports whether the graph asks for the network context before its
// first test.
func (b *body) readUpFront() bool {
	if len(b.graph.Trees) == 1 {
		return false
	}
	for i := range b.graph.Nodes {
		if b.connection.fromContext(b.graph.Nodes[i].Var.Field) {
			return true
		}
	}
	return false
}

// readContext is a block that asks for the network context and goes on to the same
// point. Its code is written by finishReads.
func (b *body) readContext(p point) blockID {
	id := b.add(block{next: noBlock})
	p.read = true
	b.reads = append(b.reads, read{id, p})
	return id
}

// read is a block that asks for the network context and where it goes then.
type read struct {
	id   blockID
	then point
}

// fewReads is how many places may have the call to themselves.
const fewReads = 2

func (b *body) finishReads() {
	if len(b.reads) <= fewReads {
		for _, r := range b.reads {
			b.blocks[r.id].next = b.callContext(b.at(r.then))
		}
		return
	}
	resume := make([]blockID, len(b.reads))
	for i, r := range b.reads {
		resume[i] = b.at(r.then)
	}
	shared := b.callContext(b.straight(b.dispatch(resume, 0), asm.LoadMem(regValue, regStack, stackKey, asm.Word)))
	for i, r := range b.reads {
		code := asm.Instructions{storeImm(stackKey, int64(i), asm.Word)}
		if b.audit && r.then.tree == 0 {
			// No rule is found yet. Other paths have one, which is read where all have
			// joined: verifiers want the register written on each.
			code = append(code, asm.Mov.Imm32(regLeaf, 0))
		}
		b.blocks[r.id] = block{code: code, next: shared}
	}
}

// dispatch goes to the block whose number, counted from first, is in regValue.
func (b *body) dispatch(to []blockID, first int) blockID {
	if len(to) == 1 {
		return to[0]
	}
	mid := len(to) / 2
	return b.add(block{
		jump:  jump{op: asm.JLT, dst: regValue, imm: int32(first + mid)},
		taken: b.dispatch(to[:mid], first), next: b.dispatch(to[mid:], first+mid),
	})
}

// callContext fills the network context on the stack, with unknown values where it
// cannot be had.
func (b *body) callContext(next blockID) blockID {
	again := b.straight(next, b.loadHomes(asm.R2, asm.R5)...)
	failed := b.straight(again, b.sees.network.unknown(false)...)
	return b.add(block{
		code: b.askNetwork(b.context), jump: jump{op: asm.JEq, dst: asm.R0}, taken: again, next: failed,
	})
}

// askNetwork asks for the network context by a call or what stands for it: r0 is 0 if it
// is there.
func (f *function) askNetwork(ask ...asm.Instruction) asm.Instructions {
	code := append(asm.Instructions{asm.Mov.Reg(asm.R1, regContext)}, f.sees.network.address(asm.R2)...)
	return append(append(code, asm.Mov.Imm(asm.R3, NetworkContextSize)), ask...)
}
