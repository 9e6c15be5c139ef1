package codegen

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/runtime/vm"
)

// A jump's offset has 16 bits. Jumps over just as much as fits, over one more and
// over far more must still go where they were told.
func TestJumpsReachAnyDistance(t *testing.T) {
	filler := func(n int) []asm.Instruction {
		code := make([]asm.Instruction, n)
		for i := range code {
			code[i] = asm.Mov.Imm(asm.R0, 9)
		}
		return code
	}
	start := block{
		code:  []asm.Instruction{asm.Mov.Imm(asm.R0, 1), asm.LoadMem(asm.R2, asm.R1, 0, asm.Word)},
		jump:  jump{op: asm.JNE, dst: asm.R2},
		taken: 2, next: 1,
	}
	for _, between := range []int{1, 32766, 32767, 32768, 32769, 65535, 65536, 100000} {
		shapes := map[string][]block{
			// Jumping passes block 1 and its exit.
			"conditional": {start, {code: filler(between - 1), next: noBlock}, {code: []asm.Instruction{asm.Mov.Imm(asm.R0, 2)}, next: noBlock}},
			// Not jumping has to pass block 2.
			"always": {start, {code: []asm.Instruction{asm.Mov.Imm(asm.R0, 2)}, next: 3}, {code: filler(between), next: 3}, {next: noBlock}},
		}
		for name, blocks := range shapes {
			t.Run(fmt.Sprintf("%s over %d", name, between), func(t *testing.T) {
				insns, err := assemble(blocks, 0)
				require.NoError(t, err)
				require.Equal(t, between > 32767, hasLongJump(insns))
				program, err := vm.Load(insns, &vm.Environment{})
				require.NoError(t, err)
				context := []byte{0, 0, 0, 0}
				if name == "conditional" {
					context[0] = 1
				}
				r0, err := vm.NewMachine().Run(program, context, nil)
				require.NoError(t, err)
				require.EqualValues(t, 2, r0)
			})
		}
	}
}

// Conditional jumps of a large tree to what its paths share have islands in reach, and need
// no second jump to skip the far one.
func TestFarJumpsShareIslands(t *testing.T) {
	const nodes, odd, even = 1 << 12, 0, 1
	filler := make([]asm.Instruction, 10)
	for i := range filler {
		filler[i] = asm.Mov.Imm(asm.R3, 9)
	}
	blocks := []block{
		{code: []asm.Instruction{asm.Mov.Imm(asm.R0, 1)}, next: noBlock},
		{code: []asm.Instruction{asm.Mov.Imm(asm.R0, 0)}, next: noBlock},
	}
	var tree func(from, to int32) blockID
	tree = func(from, to int32) blockID {
		b := block{code: filler, jump: jump{op: asm.JEq, dst: asm.R2, imm: from}, taken: odd, next: even}
		if from&1 == 0 {
			b.taken = even
		}
		if to-from > 1 {
			middle := (from + to) / 2
			b.jump, b.taken, b.next = jump{op: asm.JLT, dst: asm.R2, imm: middle}, tree(from, middle), tree(middle, to)
		}
		blocks = append(blocks, b)
		return blockID(len(blocks) - 1)
	}
	root := tree(0, nodes)
	blocks = append(blocks, block{code: []asm.Instruction{asm.LoadMem(asm.R2, asm.R1, 0, asm.Word)}, next: root})
	insns, err := assemble(blocks, blockID(len(blocks)-1))
	require.NoError(t, err)
	require.Greater(t, len(insns), 80_000)
	skips := 0
	for i, ins := range insns[1:] {
		if ins.OpCode.JumpOp() == asm.Ja && ins.Offset == 1 && insns[i].Offset == 1 {
			skips++
		}
	}
	require.Less(t, skips, 10)
	program, err := vm.Load(insns, &vm.Environment{})
	require.NoError(t, err)
	for n := range nodes {
		r0, err := vm.NewMachine().Run(program, binary.LittleEndian.AppendUint32(nil, uint32(n)), nil)
		require.NoError(t, err)
		require.EqualValues(t, n&1, r0, "%d", n)
	}
}

func hasLongJump(insns asm.Instructions) bool {
	for _, ins := range insns {
		if ins.OpCode.Class() == asm.Jump32Class && ins.OpCode.JumpOp() == asm.Ja {
			return true
		}
	}
	return false
}
