package codegen

import (
	"fmt"
	"math"

	"github.com/cilium/ebpf/asm"
)

// blockID names a block by its index; noBlock is none.
type blockID int32

const noBlock blockID = -1

// block is code that runs straight through and then goes to next, or to taken if
// the jump's condition holds. A block whose next is noBlock ends in exit.
type block struct {
	code  []asm.Instruction
	jump  jump
	taken blockID
	next  blockID
}

// jump is a comparison of a register with a constant or another register.
type jump struct {
	op   asm.JumpOp // Ja: no condition
	wide bool       // compare 64 bits, else the low 32
	dst  asm.Register
	reg  bool // compare with src, else with imm
	src  asm.Register
	imm  int32
}

func (j jump) instruction(offset int16) asm.Instruction {
	class := asm.Jump32Class
	if j.wide {
		class = asm.JumpClass
	}
	ins := asm.Instruction{Dst: j.dst, Offset: offset, Constant: int64(j.imm)}
	source := asm.ImmSource
	if j.reg {
		source, ins.Src, ins.Constant = asm.RegSource, j.src, 0
	}
	ins.OpCode = asm.OpCode(class).SetJumpOp(j.op).SetSource(source)
	return ins
}

// inverse gives the comparison that holds exactly when the other does not.
var inverse = map[asm.JumpOp]asm.JumpOp{
	asm.JEq: asm.JNE, asm.JNE: asm.JEq,
	asm.JGE: asm.JLT, asm.JLT: asm.JGE,
	asm.JGT: asm.JLE, asm.JLE: asm.JGT,
}

// assemble places the blocks that entry reaches and resolves the jumps. Every jump
// goes forward, so that no verifier sees a loop, and what all paths share, the
// exits, comes last.
func assemble(blocks []block, entry blockID) (asm.Instructions, error) {
	order := topological(blocks, entry)
	rank := make([]int, len(blocks))
	for i, b := range order {
		rank[b] = i
	}
	n := 0
	for _, id := range order {
		n += len(blocks[id].code) + 2 // with a jump on each way
	}
	code := make([]placed, 0, n)
	start := make([]int, len(order)) // by rank: index into code
	for i, id := range order {
		b := &blocks[id]
		start[i] = len(code)
		for _, ins := range b.code {
			code = append(code, placed{ins: ins, target: -1})
		}
		j, taken, next := b.jump, b.taken, b.next
		if j.op != asm.Ja && taken == next {
			j.op = asm.Ja
		}
		if j.op != asm.Ja {
			if op, ok := inverse[j.op]; ok && rank[taken] == i+1 {
				j.op, taken, next = op, next, taken
			}
			code = append(code, placed{jump: j, target: rank[taken]})
		}
		switch {
		case next == noBlock:
			code = append(code, placed{ins: asm.Return(), target: -1})
		case rank[next] != i+1:
			code = append(code, placed{jump: jump{op: asm.Ja, wide: true}, target: rank[next]})
		}
	}
	return resolve(plant(code, start))
}

// topological orders the blocks so that each stands before those it leads to, and
// directly before its next one where that is possible.
func topological(blocks []block, entry blockID) []blockID {
	order := make([]blockID, 0, len(blocks))
	seen := make([]bool, len(blocks))
	var visit func(id blockID)
	visit = func(id blockID) {
		if id == noBlock || seen[id] {
			return
		}
		seen[id] = true
		if blocks[id].jump.op != asm.Ja {
			visit(blocks[id].taken)
		}
		visit(blocks[id].next)
		order = append(order, id)
	}
	visit(entry)
	for i, j := 0, len(order)-1; i < j; i, j = i+1, j-1 {
		order[i], order[j] = order[j], order[i]
	}
	return order
}

// placed is an instruction in its place, or a jump to a block.
type placed struct {
	ins    asm.Instruction
	jump   jump
	target int  // rank of the block; -1: ins is meant
	far    bool // the offset does not fit 16 bits
}

// ends reports whether what stands after it is reached by jumps alone.
func (p *placed) ends() bool {
	return p.target >= 0 && p.jump.op == asm.Ja || p.target < 0 && p.ins.OpCode.JumpOp() == asm.Exit
}

// reach is how far a conditional jump is planned to lead; islands that come between make
// it a little longer.
const reach = math.MaxInt16 - 2048

// plant lets conditional jumps that lead too far share islands, each a jump whose offset
// has 32 bits, between blocks where nothing runs into them. An island is the last that
// the first of its jumps can reach, so that a target has one for each 30 000 slots.
func plant(code []placed, start []int) ([]placed, []int) {
	at := make([]int, len(code)+1)
	for i := range code {
		at[i+1] = at[i] + code[i].size()
	}
	var islands []island
	last := map[int]int{} // by target: the rank of its last island, which follow those of blocks
	gap, next := 0, 0
	for i := range code {
		p := &code[i]
		for ; next < len(code) && at[next+1]-at[i+1] <= reach; next++ {
			if code[next].ends() {
				gap = next + 1
			}
		}
		if p.target < 0 || p.jump.op == asm.Ja || at[start[p.target]]-at[i+1] <= reach {
			continue
		}
		rank, ok := last[p.target]
		if !ok || islands[rank-len(start)].before <= i {
			if gap <= i {
				continue
			}
			rank = len(start) + len(islands)
			last[p.target] = rank
			islands = append(islands, island{gap, p.target})
		}
		p.target = rank
	}
	return insert(code, islands, start)
}

// island is a jump to the block of a rank, and the index of what it stands before.
type island struct{ before, target int }

// insert puts islands, which are in order, into the code, and gives where blocks, and
// islands after them, start.
func insert(code []placed, islands []island, start []int) ([]placed, []int) {
	if len(islands) == 0 {
		return code, start
	}
	moved := make([]int, len(code))
	all := make([]placed, 0, len(code)+len(islands))
	var planted []int
	for i := range code {
		for ; len(planted) < len(islands) && islands[len(planted)].before == i; planted = append(planted, len(all)-1) {
			all = append(all, placed{jump: jump{op: asm.Ja, wide: true}, target: islands[len(planted)].target})
		}
		moved[i] = len(all)
		all = append(all, code[i])
	}
	starts := make([]int, 0, len(start)+len(planted))
	for _, i := range start {
		starts = append(starts, moved[i])
	}
	return all, append(starts, planted...)
}

// size is the length in 8-byte slots. A far conditional jump jumps over a jump
// over the far one, whose offset has 32 bits.
func (p *placed) size() int {
	switch {
	case p.target < 0:
		return int(p.ins.Size() / asm.InstructionSize)
	case p.far && p.jump.op != asm.Ja:
		return 3
	}
	return 1
}

// resolve turns jumps into instructions. It lengthens jumps until all of them
// fit, and gives an error rather than an offset that does not.
func resolve(code []placed, start []int) (asm.Instructions, error) {
	at := make([]int, len(code)+1)
	for again := true; again; {
		again = false
		for i := range code {
			at[i+1] = at[i] + code[i].size()
		}
		for i := range code {
			p := &code[i]
			if p.target < 0 || p.far {
				continue
			}
			if offset := at[start[p.target]] - at[i+1]; offset < math.MinInt16 || offset > math.MaxInt16 {
				p.far, again = true, true
			}
		}
	}
	insns := make(asm.Instructions, 0, len(code))
	for i := range code {
		p := &code[i]
		if p.target < 0 {
			insns = append(insns, p.ins)
			continue
		}
		offset := at[start[p.target]] - at[i+1]
		if offset < math.MinInt32 || offset > math.MaxInt32 {
			return nil, fmt.Errorf("codegen: jump over %d instructions", offset)
		}
		if !p.far {
			insns = append(insns, p.jump.instruction(int16(offset)))
			continue
		}
		if p.jump.op != asm.Ja {
			insns = append(insns, p.jump.instruction(1), jump{op: asm.Ja, wide: true}.instruction(1))
		}
		insns = append(insns, farJump(offset))
	}
	return insns, nil
}

// farJump jumps over as many slots.
func farJump(offset int) asm.Instruction {
	return asm.Instruction{OpCode: asm.OpCode(asm.Jump32Class).SetJumpOp(asm.Ja), Constant: int64(offset)}
}
