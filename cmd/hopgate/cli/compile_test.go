package cli

import (
	"bytes"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
)

// The estimate of what the kernel's verifier walks is within a factor of two: from half of
// the limit on compile says so.
func TestWarnOfWalk(t *testing.T) {
	straight := func(steps int) asm.Instructions {
		code := make(asm.Instructions, steps)
		for i := range code {
			code[i] = asm.Mov.Imm(asm.R0, 0)
		}
		code[steps-1] = asm.Return()
		return code
	}
	var printed bytes.Buffer
	c := &console{err: &printed}
	c.warnOfWalk(&codegen.Program{Functions: []codegen.Function{
		{Name: "connect4", Instructions: straight(codegen.MaxKernelSteps / 2)},
		{Name: "egress", Instructions: straight(codegen.MaxKernelSteps/2 + 1)},
	}})
	require.Equal(t, "hopgate: egress may be too large for the kernel's verifier, which walks about 500001 instructions of it; its limit is 1000000\n", printed.String())
}
