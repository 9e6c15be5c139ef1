package codegen

import (
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

func hasLongJump(insns asm.Instructions) bool {
	for _, ins := range insns {
		if ins.OpCode.Class() == asm.Jump32Class && ins.OpCode.JumpOp() == asm.Ja {
			return true
		}
	}
	return false
}
