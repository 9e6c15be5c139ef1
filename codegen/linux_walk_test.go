package codegen

import (
	"slices"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"
)

// A path that comes where another was before it ends only there where the other's state
// was kept, and tests that an earlier one has decided are followed one way.
func TestKernelWalk(t *testing.T) {
	input := asm.Instructions{asm.LoadMem(asm.R2, asm.R1, 0, asm.Word)}
	end := asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
	below := func(n, over int32) asm.Instruction {
		return jump{op: asm.JLT, dst: asm.R2, imm: n}.instruction(int16(over))
	}
	for name, c := range map[string]struct {
		code  asm.Instructions
		steps int
	}{
		"straight":            {slices.Concat(input, end), 3},
		"both ways":           {slices.Concat(input, asm.Instructions{below(5, 1), asm.Mov.Imm(asm.R3, 0)}, end), 7},
		"one way, after both": {slices.Concat(input, asm.Instructions{below(5, 2), below(4, 1), asm.Mov.Imm(asm.R3, 0)}, end), 8},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.steps, walkOf(c.code, walkTo).Steps)
		})
	}
}

func TestKernelWalkIsTooLong(t *testing.T) {
	long := make(asm.Instructions, MaxKernelSteps)
	for i := range long {
		long[i] = asm.Mov.Imm(asm.R0, 0)
	}
	err := walkOf(append(long, asm.Return()), walkTo).fits("p", "egress")
	require.ErrorIs(t, err, ErrTooLarge)
	require.EqualError(t, err, "policy `p` is too large for target linux: on all paths of egress together the kernel's verifier would walk more than 1000000 instructions, its limit [too-large]: use --form table, --no-counters, fewer tests of dynamic sets, or rules that overlap less")
}
