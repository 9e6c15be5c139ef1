package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
)

// The estimate of what the kernel's verifier walks is within a tenth: above nine tenths of
// the limit compile says so.
func TestWarnOfSteps(t *testing.T) {
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
	program := &codegen.Program{Target: codegen.Linux, Functions: []codegen.Function{
		{Name: "connect4", Instructions: straight(codegen.MaxKernelSteps / 10 * 9)},
		{Name: "egress", Instructions: straight(codegen.MaxKernelSteps/10*9 + 1)},
	}}
	c.warnOfSteps(program, kernelSteps(program))
	require.Equal(t, "hopgate: egress may be too large for the kernel's verifier, which walks about 900001 instructions of it; its limit is 1000000\n", printed.String())
}

// A thousand lookups of IPv6 addresses are too many for a verifier that looks into each,
// which is no bug of hopgate.
func TestTooComplexForWindows(t *testing.T) {
	var text strings.Builder
	text.WriteString("policy p {\n  default allow\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "  set s%d dynamic = { 10.0.0.1 }\n  rule r%d: deny if remote in $s%d\n", i, i, i)
	}
	text.WriteString("}\n")
	dir := t.TempDir()
	file := filepath.Join(dir, "p.hop")
	require.NoError(t, os.WriteFile(file, []byte(text.String()), 0o644))
	var out, errs bytes.Buffer
	require.Equal(t, 1, Run([]string{"compile", file}, strings.NewReader(""), &out, &errs))
	require.Contains(t, errs.String(), "hopgate: policy `p` is too large for target windows: ")
	require.Contains(t, errs.String(), "[too-large]: use fewer tests of dynamic sets")
	require.NotContains(t, errs.String(), "bug")
	require.NoFileExists(t, filepath.Join(dir, "p.o"))
}
