package verifier_test

import (
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/codegen/verifier"
)

func callTo(name string) asm.Instruction {
	return asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Src: asm.PseudoCall, Constant: -1}.WithReference(name)
}

func named(name string, c code) code {
	c = append(code(nil), c...)
	c[0] = c[0].WithSymbol(name)
	return c
}

// Programs that a careless verifier accepts: what is checked is not what is used.
func TestAttacks(t *testing.T) {
	find := named("find", join(lookup, code{asm.Return()}))
	for _, c := range []struct {
		name string
		code code
		want string
	}{
		{"two calls of one lookup function", join(code{
			callTo("find"), asm.Mov.Reg(asm.R6, asm.R0), callTo("find"), jump(asm.JEq, asm.R0, 0, 1), asm.LoadMem(asm.R1, asm.R6, 0, asm.DWord)}, permit, find), "different things"},
		{"one check for two of two lookups", join(
			code{asm.LoadMem(asm.R8, asm.R1, 44, asm.Word), jump(asm.JEq, asm.R8, 6, 9)}, // slots: key 3, load 2, helper 1
			lookup, code{asm.Mov.Reg(asm.R6, asm.R0), asm.Mov.Imm(asm.R1, 1), always(7)},
			lookup, code{asm.Mov.Reg(asm.R6, asm.R0)},
			code{jump(asm.JEq, asm.R8, 17, 7)},
			lookup, code{always(6)},
			lookup,
			code{jump(asm.JEq, asm.R6, 0, 2), asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord), asm.Mov.Imm(asm.R1, 0)}, permit), "may be null"},
		{"the address of a function's stack kept", join(
			code{storeImm(-8, asm.DWord, 0), asm.Mov.Reg(asm.R1, asm.R10), asm.Add.Imm(asm.R1, -8), callTo("keep"), asm.LoadMem(asm.R2, asm.R10, -8, asm.DWord), asm.LoadMem(asm.R3, asm.R2, -8, asm.DWord)}, permit,
			named("keep", join(code{storeImm(-8, asm.DWord, 0), asm.StoreMem(asm.R1, 0, asm.R10, asm.DWord)}, permit))), "different things"},
		{"an address in an event", join(code{asm.StoreMem(asm.R10, -8, asm.R1, asm.DWord), load(asm.R1, "ring"), asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -8), asm.Mov.Imm(asm.R3, 8), asm.Mov.Imm(asm.R4, 0), helper(11)}, permit), "would show an address"},
		{"an address as key", join(code{asm.StoreMem(asm.R10, -8, asm.R1, asm.DWord), load(asm.R1, "trie"), asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -8), helper(1)}, permit), "would show an address"},
		{"an address as map value", join(code{asm.StoreMem(asm.R10, -16, asm.R1, asm.DWord), load(asm.R1, "array")}, key, code{asm.Mov.Reg(asm.R3, asm.R10), asm.Add.Imm(asm.R3, -16), asm.Mov.Imm(asm.R4, 0), helper(2)}, permit), "would show an address"},
		{"callx", join(code{asm.Mov.Imm(asm.R2, 1), asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call).SetSource(asm.RegSource), Dst: asm.R2}}, permit), "calls through a register"},
		{"an address cut to 32 bits and used", join(code{asm.Mov.Reg32(asm.R2, asm.R1), asm.LoadMem(asm.R3, asm.R2, 0, asm.Word)}, permit), "part of an address"},
		{"the helper overwrites an address", join(code{asm.StoreMem(asm.R10, -32, asm.R1, asm.DWord)}, network(32), code{asm.LoadMem(asm.R2, asm.R10, -32, asm.DWord), asm.LoadMem(asm.R3, asm.R2, 0, asm.Word)}, permit), "is no address"},
		{"a second lookup, not checked", join(lookup, code{jump(asm.JEq, asm.R0, 0, 6)}, lookup, code{asm.LoadMem(asm.R2, asm.R0, 0, asm.DWord)}, permit), "may be null"},
		{"an address shifted in by a number", join(code{asm.LoadMem(asm.R2, asm.R1, 56, asm.DWord), asm.Add.Reg(asm.R2, asm.R1), asm.LoadMem(asm.R3, asm.R2, 0, asm.Word)}, permit), "without bounds"},
		{"a negative size", join(code{asm.LoadMem(asm.R3, asm.R1, 44, asm.Word), asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -32), helper(codegen.HelperNetworkContext)}, permit), "size above 0"},
		{"verdict of a network context", join(network(32), code{asm.Return()}), "r0 may be"},
		{"an address subtracted from an address of other memory", join(code{asm.Mov.Reg(asm.R0, asm.R1), asm.Sub.Reg(asm.R0, asm.R10), asm.And.Imm(asm.R0, 1), asm.Return()}), "two addresses"},
		{"an atomic exchange of an address", join(code{storeImm(-8, asm.DWord, 0), asm.Instruction{OpCode: asm.OpCode(asm.StXClass).SetMode(asm.AtomicMode).SetSize(asm.DWord).SetAtomicOp(asm.Xchg), Dst: asm.R10, Src: asm.R1, Offset: -8}}, permit), "adds an address"},
		{"a value of a map moved past its end", join(lookup, code{jump(asm.JEq, asm.R0, 0, 3), asm.Add.Imm(asm.R0, 16), asm.Add.Imm(asm.R0, -8), asm.LoadMem(asm.R2, asm.R0, 1, asm.DWord)}, permit), "reaches outside"},
		{"a null address moved and then checked", join(lookup, code{asm.Add.Imm(asm.R0, 4), jump(asm.JEq, asm.R0, 0, 1), asm.LoadMem(asm.R2, asm.R0, 0, asm.Word)}, permit), "may be null"},
		{"a verdict compared in 32 bits, high half dirty", join(code{asm.LoadMem(asm.R0, asm.R1, 56, asm.DWord), jump32(asm.JLE, asm.R0, 2, 1), asm.Mov.Imm(asm.R0, 0), asm.LSh.Imm(asm.R0, 1)}, code{asm.Return()}), "r0 may be"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := program("", c.code, c.name)
			_, err := verifier.Verify(p)
			require.ErrorContains(t, err, c.want)
			writeObject(t, p, c.name, false)
		})
	}
}
