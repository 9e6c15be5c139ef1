package verifier_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/codegen/verifier"
)

// corpus, if given, is a folder to write the programs to, so that another verifier
// can be asked about them.
var corpus = flag.String("corpus", "", "write the corpus as objects to this `folder`")

var maps = []*ebpf.MapSpec{
	{Name: "array", Type: ebpf.WindowsArray, KeySize: 4, ValueSize: 8, MaxEntries: 4},
	{Name: "trie", Type: ebpf.WindowsLPMTrie, KeySize: 8, ValueSize: 4, MaxEntries: 16},
	{Name: "ring", Type: ebpf.WindowsRingBuf, MaxEntries: 4096},
	{Name: "programs", Type: ebpf.WindowsProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 4},
	{Name: "big", Type: ebpf.WindowsArray, KeySize: 4, ValueSize: 256, MaxEntries: 1},
}

func helper(id uint32) asm.Instruction {
	f, err := asm.BuiltinFuncForPlatform("windows", id)
	if err != nil {
		panic(err)
	}
	return f.Call()
}

func load(r asm.Register, name string) asm.Instruction {
	return asm.LoadMapPtr(r, 0).WithReference(name)
}

func storeImm(offset int16, size asm.Size, value int64) asm.Instruction {
	return asm.Instruction{OpCode: asm.OpCode(asm.StClass).SetMode(asm.MemMode).SetSize(size), Dst: asm.R10, Offset: offset, Constant: value}
}

// jump makes a resolved jump over instruction slots.
func jump(op asm.JumpOp, r asm.Register, imm int32, over int16) asm.Instruction {
	i := op.Imm(r, imm, "")
	i.Offset, i.Constant = over, int64(imm)
	return i.WithReference("")
}

func jump32(op asm.JumpOp, r asm.Register, imm int32, over int16) asm.Instruction {
	i := op.Imm32(r, imm, "")
	i.Offset, i.Constant = over, int64(imm)
	return i.WithReference("")
}

func jumpReg(op asm.JumpOp, a, b asm.Register, over int16) asm.Instruction {
	i := op.Reg(a, b, "")
	i.Offset = over
	return i.WithReference("")
}

func always(over int16) asm.Instruction {
	return asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Ja), Offset: over}
}

type code = asm.Instructions

func join(parts ...code) code {
	var all code
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// permit ends a program with PROCEED_SOFT.
var permit = code{asm.Mov.Imm(asm.R0, 1), asm.Return()}

// key puts a key of 4 bytes on the stack and its address into r2.
var key = code{storeImm(-4, asm.Word, 0), asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -4)}

// lookup looks key 0 up in the array.
var lookup = join(code{load(asm.R1, "array")}, key, code{helper(1)})

// network asks for the network context, 32 bytes at r10 - 32.
func network(size int32) code {
	return code{asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -32), asm.Mov.Imm(asm.R3, size), helper(codegen.HelperNetworkContext)}
}

// programs are the corpus. Want is part of the reason, or "" for a program that is
// accepted. Stricter is set where PREVAIL accepts the program, since the rule is left
// to the compiler or what is wrong is not used; looser where it refuses the program,
// since it cannot follow the loop.
var programs = []struct {
	name     string
	code     code
	want     string
	stricter bool
	looser   bool
	section  string // connect_authorization4, if not given
}{
	{name: "permit", code: permit},
	{name: "deny", code: code{asm.Mov.Imm(asm.R0, 0), asm.Return()}},
	{name: "permit hard", code: code{asm.Mov.Imm(asm.R0, 2), asm.Return()}},
	{name: "no verdict", code: code{asm.Return()}, want: "r0 holds nothing"},
	{name: "verdict 3", code: code{asm.Mov.Imm(asm.R0, 3), asm.Return()}, want: "r0 may be 3", stricter: true},
	{name: "verdict -1", code: code{asm.Mov.Imm(asm.R0, -1), asm.Return()}, want: "a verdict is", stricter: true},
	{name: "verdict from the context", code: code{asm.LoadMem(asm.R0, asm.R1, 44, asm.Word), asm.Return()}, want: "r0 may be 0 to 4294967295", stricter: true},
	{name: "verdict masked to 1", code: code{asm.LoadMem(asm.R0, asm.R1, 44, asm.Word), asm.And.Imm(asm.R0, 1), asm.Return()}},
	{name: "verdict masked to 3", code: code{asm.LoadMem(asm.R0, asm.R1, 44, asm.Word), asm.And.Imm(asm.R0, 3), asm.Return()}, want: "0 to 3", stricter: true},
	{name: "verdict compared", code: code{asm.LoadMem(asm.R0, asm.R1, 44, asm.Word), jump(asm.JLE, asm.R0, 2, 1), asm.Mov.Imm(asm.R0, 0), asm.Return()}},
	{name: "verdict in one branch only", code: code{asm.LoadMem(asm.R2, asm.R1, 44, asm.Word), jump(asm.JEq, asm.R2, 6, 1), asm.Mov.Imm(asm.R0, 1), asm.Return()}, want: "r0 holds nothing"},
	{name: "context as verdict", code: code{asm.Mov.Reg(asm.R0, asm.R1), asm.Return()}, want: "r0 holds an address of the context"},
	{name: "runs past the end", code: code{asm.Mov.Imm(asm.R0, 1)}, want: "past its end"},

	{name: "r2 at the start", code: join(code{asm.Add.Imm(asm.R2, 1)}, permit), want: "r2 holds nothing"},
	{name: "r6 at the start", code: join(code{asm.Add.Imm(asm.R6, 1)}, permit), want: "r6 holds nothing"},
	{name: "r1 after a call", code: join(code{helper(19), asm.LoadMem(asm.R2, asm.R1, 0, asm.Word)}, permit), want: "r1 holds nothing"},
	{name: "r6 after a call", code: join(code{asm.Mov.Reg(asm.R6, asm.R1), helper(19), asm.LoadMem(asm.R2, asm.R6, 0, asm.Word)}, permit)},
	{name: "write to r10", code: join(code{asm.Mov.Imm(asm.R10, 0)}, permit), want: "r10 is read-only"},
	{name: "different things in a register", code: join(code{
		asm.LoadMem(asm.R2, asm.R1, 44, asm.Word), asm.Mov.Reg(asm.R3, asm.R1), jump(asm.JEq, asm.R2, 6, 1), asm.Mov.Imm(asm.R3, 0), asm.LoadMem(asm.R4, asm.R3, 0, asm.Word)}, permit), want: "r3 holds different things"},

	{name: "context, first byte", code: join(code{asm.LoadMem(asm.R2, asm.R1, 0, asm.Byte)}, permit)},
	{name: "context, last byte", code: join(code{asm.LoadMem(asm.R2, asm.R1, 63, asm.Byte)}, permit)},
	{name: "context, last eight", code: join(code{asm.LoadMem(asm.R2, asm.R1, 56, asm.DWord)}, permit)},
	{name: "context, over the end", code: join(code{asm.LoadMem(asm.R2, asm.R1, 57, asm.DWord)}, permit), want: "reaches outside"},
	{name: "context, after the end", code: join(code{asm.LoadMem(asm.R2, asm.R1, 64, asm.Byte)}, permit), want: "reaches outside"},
	{name: "context, before the start", code: join(code{asm.LoadMem(asm.R2, asm.R1, -1, asm.Byte)}, permit), want: "reaches outside"},
	{name: "context, moved", code: join(code{asm.Add.Imm(asm.R1, 24), asm.LoadMem(asm.R2, asm.R1, 0, asm.Word)}, permit)},
	{name: "context, moved too far", code: join(code{asm.Add.Imm(asm.R1, 61), asm.LoadMem(asm.R2, asm.R1, 0, asm.Word)}, permit), want: "reaches outside"},
	{name: "context, written", code: join(code{asm.Mov.Imm(asm.R2, 0), asm.StoreMem(asm.R1, 24, asm.R2, asm.Word)}, permit), want: "read-only", stricter: true},
	{name: "context, written at redirect", code: join(code{asm.Mov.Imm(asm.R2, 0), asm.StoreMem(asm.R1, 24, asm.R2, asm.Word)}, permit), section: "cgroup/connect4"},
	{name: "context, an address written", code: join(code{asm.StoreMem(asm.R1, 24, asm.R10, asm.DWord)}, permit), want: "outside of the stack", section: "cgroup/connect4"},
	{name: "context as key", code: join(code{asm.Mov.Reg(asm.R2, asm.R1), load(asm.R1, "array"), helper(1)}, permit), want: "wants memory of the stack"},

	{name: "stack, written and read", code: join(code{storeImm(-8, asm.DWord, 0), asm.LoadMem(asm.R2, asm.R10, -8, asm.DWord)}, permit)},
	{name: "stack, read", code: join(code{asm.LoadMem(asm.R2, asm.R10, -8, asm.DWord), asm.Add.Imm(asm.R2, 1)}, permit), want: "not written on every path"},
	{name: "stack, read in vain", code: join(code{asm.LoadMem(asm.R2, asm.R10, -8, asm.DWord)}, permit), want: "not written on every path", stricter: true},
	{name: "stack, half written", code: join(code{storeImm(-8, asm.Word, 0), asm.LoadMem(asm.R2, asm.R10, -8, asm.DWord), asm.Add.Imm(asm.R2, 1)}, permit), want: "not written on every path"},
	{name: "stack, written in halves", code: join(code{storeImm(-8, asm.Word, 0), storeImm(-4, asm.Word, 0), asm.LoadMem(asm.R2, asm.R10, -8, asm.DWord)}, permit)},
	{name: "stack, written in one branch", code: join(code{
		asm.LoadMem(asm.R2, asm.R1, 44, asm.Word), jump(asm.JEq, asm.R2, 6, 1), storeImm(-8, asm.DWord, 0), asm.LoadMem(asm.R3, asm.R10, -8, asm.DWord), asm.Add.Imm(asm.R3, 1)}, permit), want: "not written on every path"},
	{name: "stack, lowest", code: join(code{storeImm(-512, asm.DWord, 0)}, permit)},
	{name: "stack, too low", code: join(code{storeImm(-513, asm.Byte, 0)}, permit), want: "reaches outside"},
	{name: "stack, above r10", code: join(code{storeImm(-4, asm.DWord, 0)}, permit), want: "reaches outside"},
	{name: "stack, the context kept", code: join(code{asm.StoreMem(asm.R10, -8, asm.R1, asm.DWord), asm.LoadMem(asm.R2, asm.R10, -8, asm.DWord), asm.LoadMem(asm.R3, asm.R2, 0, asm.Word)}, permit)},
	{name: "stack, the context kept and broken", code: join(code{asm.StoreMem(asm.R10, -8, asm.R1, asm.DWord), storeImm(-8, asm.Byte, 0), asm.LoadMem(asm.R2, asm.R10, -8, asm.DWord), asm.LoadMem(asm.R3, asm.R2, 0, asm.Word)}, permit), want: "is no address"},
	{name: "stack, index with bounds", code: join(code{
		storeImm(-8, asm.DWord, 0), asm.LoadMem(asm.R2, asm.R1, 44, asm.Word), asm.And.Imm(asm.R2, 7), asm.Mov.Reg(asm.R3, asm.R10), asm.Add.Imm(asm.R3, -8), asm.Add.Reg(asm.R3, asm.R2), asm.LoadMem(asm.R4, asm.R3, 0, asm.Byte)}, permit)},
	{name: "stack, index compared", code: join(code{
		storeImm(-8, asm.DWord, 0), asm.LoadMem(asm.R2, asm.R1, 44, asm.Word), jump(asm.JGT, asm.R2, 7, 4), asm.Mov.Reg(asm.R3, asm.R10), asm.Add.Imm(asm.R3, -8), asm.Add.Reg(asm.R3, asm.R2), asm.LoadMem(asm.R4, asm.R3, 0, asm.Byte)}, permit)},
	{name: "stack, index one too large", code: join(code{
		storeImm(-8, asm.DWord, 0), asm.LoadMem(asm.R2, asm.R1, 44, asm.Word), jump(asm.JGT, asm.R2, 8, 4), asm.Mov.Reg(asm.R3, asm.R10), asm.Add.Imm(asm.R3, -8), asm.Add.Reg(asm.R3, asm.R2), asm.LoadMem(asm.R4, asm.R3, 0, asm.Byte)}, permit), want: "reaches outside"},
	{name: "stack, index without bounds", code: join(code{
		storeImm(-8, asm.DWord, 0), asm.LoadMem(asm.R2, asm.R1, 56, asm.DWord), asm.Mov.Reg(asm.R3, asm.R10), asm.Add.Reg(asm.R3, asm.R2), asm.LoadMem(asm.R4, asm.R3, 0, asm.Byte)}, permit), want: "without bounds"},

	{name: "lookup, checked", code: join(lookup, code{jump(asm.JEq, asm.R0, 0, 1), asm.LoadMem(asm.R2, asm.R0, 0, asm.DWord)}, permit)},
	{name: "lookup, checked the other way", code: join(lookup, code{jump(asm.JNE, asm.R0, 0, 2)}, permit, code{asm.LoadMem(asm.R2, asm.R0, 0, asm.DWord)}, permit)},
	{name: "lookup, not checked", code: join(lookup, code{asm.LoadMem(asm.R2, asm.R0, 0, asm.DWord)}, permit), want: "may be null"},
	{name: "lookup, wrong branch", code: join(lookup, code{jump(asm.JNE, asm.R0, 0, 1), asm.LoadMem(asm.R2, asm.R0, 0, asm.DWord)}, permit), want: "may be null"},
	{name: "lookup, checked by a copy", code: join(lookup, code{asm.Mov.Reg(asm.R6, asm.R0), jump(asm.JEq, asm.R6, 0, 1), asm.LoadMem(asm.R2, asm.R0, 0, asm.DWord)}, permit)},
	{name: "lookup, null as verdict", code: join(lookup, code{jump(asm.JNE, asm.R0, 0, 1), asm.Return()}, permit), want: "r0 holds an address"},
	{name: "lookup, over the value's end", code: join(lookup, code{jump(asm.JEq, asm.R0, 0, 1), asm.LoadMem(asm.R2, asm.R0, 4, asm.DWord)}, permit), want: "reaches outside"},
	{name: "lookup, counted", code: join(lookup, code{jump(asm.JEq, asm.R0, 0, 2), asm.Mov.Imm(asm.R1, 1), asm.StoreXAdd(asm.R0, asm.R1, asm.DWord)}, permit)},
	{name: "lookup, an address stored in the value", code: join(lookup, code{jump(asm.JEq, asm.R0, 0, 1), asm.StoreMem(asm.R0, 0, asm.R10, asm.DWord)}, permit), want: "outside of the stack"},
	{name: "lookup, key not written", code: join(code{load(asm.R1, "array"), asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -4), helper(1)}, permit), want: "not written on every path"},
	{name: "lookup, key half written", code: join(code{storeImm(-8, asm.Word, 0), load(asm.R1, "trie"), asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -8), helper(1)}, permit), want: "not written on every path"},
	{name: "lookup, no map", code: join(key, code{helper(1)}, permit), want: "wants a map in r1"},
	{name: "lookup in a ring buffer", code: join(code{load(asm.R1, "ring")}, key, code{helper(1)}, permit), want: "does not work on this map"},
	{name: "update", code: join(code{storeImm(-16, asm.DWord, 0), load(asm.R1, "array")}, key, code{asm.Mov.Reg(asm.R3, asm.R10), asm.Add.Imm(asm.R3, -16), asm.Mov.Imm(asm.R4, 0), helper(2)}, permit)},
	{name: "update, value not written", code: join(code{load(asm.R1, "array")}, key, code{asm.Mov.Reg(asm.R3, asm.R10), asm.Add.Imm(asm.R3, -16), asm.Mov.Imm(asm.R4, 0), helper(2)}, permit), want: "not written on every path"},
	{name: "update, no flags", code: join(code{storeImm(-16, asm.DWord, 0), load(asm.R1, "array")}, key, code{asm.Mov.Reg(asm.R3, asm.R10), asm.Add.Imm(asm.R3, -16), helper(2)}, permit), want: "r4 holds nothing"},

	{name: "network context", code: join(network(32), code{asm.LoadMem(asm.R2, asm.R10, -28, asm.Word)}, permit)},
	{name: "network context, checked", code: join(network(32), code{jump32(asm.JNE, asm.R0, 0, 1), asm.LoadMem(asm.R2, asm.R10, -16, asm.DWord)}, permit)},
	{name: "network context, part of it", code: join(network(12), code{asm.LoadMem(asm.R2, asm.R10, -24, asm.Word)}, permit)},
	{name: "network context, more than asked for", code: join(network(12), code{asm.LoadMem(asm.R2, asm.R10, -16, asm.DWord), asm.Add.Imm(asm.R2, 1)}, permit), want: "not written on every path"},
	{name: "network context, size 0", code: join(network(0), permit), want: "size above 0"},
	{name: "network context, too large for the stack", code: join(network(40), permit), want: "reaches outside"},
	{name: "network context, no context", code: join(code{asm.Mov.Imm(asm.R1, 0)}, network(32), permit), want: "wants the context in r1"},
	{name: "network context, moved context", code: join(code{asm.Add.Imm(asm.R1, 8)}, network(32), permit), want: "wants the context in r1"},
	{name: "event", code: join(code{storeImm(-8, asm.DWord, 1), load(asm.R1, "ring"), asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -8), asm.Mov.Imm(asm.R3, 8), asm.Mov.Imm(asm.R4, 0), helper(11)}, permit)},
	{name: "event, padding not written", code: join(code{storeImm(-8, asm.Word, 1), load(asm.R1, "ring"), asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -8), asm.Mov.Imm(asm.R3, 8), asm.Mov.Imm(asm.R4, 0), helper(11)}, permit), want: "not written on every path"},
	{name: "event from the context", code: join(code{asm.Mov.Reg(asm.R2, asm.R1), load(asm.R1, "ring"), asm.Mov.Imm(asm.R3, 8), asm.Mov.Imm(asm.R4, 0), helper(11)}, permit), want: "wants memory of the stack"},
	{name: "process id", code: join(code{helper(19)}, permit)},
	{name: "process id by its old number", code: join(code{helper(codegen.HelperCurrentPidTgidOld)}, permit), want: "there is no helper 65536"},
	{name: "unknown helper", code: join(code{helper(999)}, permit), want: "there is no helper 999"},
	{name: "tail call", code: join(code{load(asm.R2, "programs"), asm.Mov.Imm(asm.R3, 0), helper(5)}, permit)},
	{name: "tail call by another map", code: join(code{load(asm.R2, "array"), asm.Mov.Imm(asm.R3, 0), helper(5)}, permit), want: "does not work on this map"},

	{name: "arithmetic of 32 bits with an address", code: join(code{asm.Add.Imm32(asm.R1, 4), asm.LoadMem(asm.R2, asm.R1, 0, asm.Word)}, permit), want: "computes with"},
	{name: "two addresses added", code: join(code{asm.Add.Reg(asm.R1, asm.R10)}, permit), want: "two addresses"},
	{name: "an address multiplied", code: join(code{asm.Mul.Imm(asm.R1, 2)}, permit), want: "computes with"},
	{name: "division by zero", code: join(code{asm.Mov.Imm(asm.R2, 5), asm.Mov.Imm(asm.R3, 0), asm.Div.Reg(asm.R2, asm.R3)}, permit)},
	{name: "a number as address", code: join(code{asm.Mov.Imm(asm.R2, 4096), asm.LoadMem(asm.R3, asm.R2, 0, asm.Word)}, permit), want: "is no address"},
	{name: "addresses compared", code: join(code{jumpReg(asm.JEq, asm.R1, asm.R10, 0)}, permit), want: "compares"},

	{name: "loop of 8", code: join(code{asm.Mov.Imm(asm.R2, 0), asm.Add.Imm(asm.R2, 1), jump(asm.JLT, asm.R2, 8, -2)}, permit)},
	{name: "loop of 1000", code: join(code{asm.Mov.Imm(asm.R2, 0), asm.Add.Imm(asm.R2, 1), jump(asm.JLT, asm.R2, 1000, -2)}, permit)},
	{name: "loop that counts down", code: join(code{asm.Mov.Imm(asm.R2, 16), asm.Sub.Imm(asm.R2, 1), jump(asm.JNE, asm.R2, 0, -2)}, permit), looser: true},
	{name: "loop without end", code: join(code{always(-1)}, permit), want: "may not end"},
	{name: "loop that nothing moves", code: join(code{asm.Mov.Imm(asm.R2, 0), jump(asm.JLT, asm.R2, 8, -1)}, permit), want: "may not end"},
	{name: "loop to a bound from the context", code: join(code{asm.LoadMem(asm.R3, asm.R1, 44, asm.Word), asm.And.Imm(asm.R3, 15), asm.Mov.Imm(asm.R2, 0), asm.Add.Imm(asm.R2, 1), jumpReg(asm.JLT, asm.R2, asm.R3, -2)}, permit)},
	{name: "loop over the stack", code: join(code{
		asm.Mov.Imm(asm.R2, 0), asm.Mov.Reg(asm.R3, asm.R10), asm.Add.Imm(asm.R3, -8), asm.Add.Reg(asm.R3, asm.R2), asm.Mov.Imm(asm.R4, 0), asm.StoreMem(asm.R3, 0, asm.R4, asm.Byte),
		asm.Add.Imm(asm.R2, 1), jump(asm.JLT, asm.R2, 8, -7), asm.LoadMem(asm.R5, asm.R10, -8, asm.DWord)}, permit), looser: true},
	{name: "loop over too much of the stack", code: join(code{
		asm.Mov.Imm(asm.R2, 0), asm.Mov.Reg(asm.R3, asm.R10), asm.Add.Imm(asm.R3, -8), asm.Add.Reg(asm.R3, asm.R2), asm.Mov.Imm(asm.R4, 0), asm.StoreMem(asm.R3, 0, asm.R4, asm.Byte),
		asm.Add.Imm(asm.R2, 1), jump(asm.JLE, asm.R2, 8, -7)}, permit), want: "reaches outside"},

	{name: "jump out of the program", code: join(code{always(5)}, permit), want: "jumps to no instruction"},
	{name: "jump into a constant", code: join(code{asm.LoadMem(asm.R2, asm.R1, 44, asm.Word), jump(asm.JEq, asm.R2, 6, 1), asm.LoadImm(asm.R3, 1<<40, asm.DWord)}, permit), want: "jumps to no instruction"},
	{name: "unreachable misuse", code: join(code{always(1), asm.Mov.Reg(asm.R3, asm.R7)}, permit)},
	{name: "branch that cannot be", code: join(code{asm.Mov.Imm(asm.R2, 5), jump(asm.JEq, asm.R2, 5, 1), asm.Mov.Reg(asm.R3, asm.R7)}, permit)},
	{name: "sign of the helper's result", code: join(network(32), code{jump32(asm.JSLT, asm.R0, 0, 1), asm.LoadMem(asm.R2, asm.R10, -28, asm.Word)}, permit)},
}

func program(section string, insns code, name string) *codegen.Program {
	if section == "" {
		section = codegen.AttachConnectAuthorization4.Section()
	}
	insns = append(code(nil), insns...)
	insns[0] = insns[0].WithSymbol("program")
	return &codegen.Program{
		Target: codegen.Windows, Policy: name, Maps: maps,
		Functions: []codegen.Function{{Name: "program", Section: section, Instructions: insns}},
	}
}

// writeObject writes a program to the corpus, with what PREVAIL thinks of it.
func writeObject(t *testing.T, p *codegen.Program, name string, good bool) {
	if *corpus == "" {
		return
	}
	var object bytes.Buffer
	if err := p.WriteELF(&object); err != nil {
		t.Skipf("cannot be written as an object: %v", err)
	}
	verdict := map[bool]string{true: "good-", false: "bad-"}[good]
	file := verdict + strings.NewReplacer(" ", "_", ",", "", "'", "").Replace(name) + ".o"
	require.NoError(t, os.WriteFile(filepath.Join(*corpus, file), object.Bytes(), 0o644))
}

func TestCorpus(t *testing.T) {
	for _, c := range programs {
		t.Run(c.name, func(t *testing.T) {
			p := program(c.section, c.code, c.name)
			_, err := verifier.Verify(p)
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
			writeObject(t, p, c.name, c.want == "" && !c.looser || c.stricter)
		})
	}
	require.GreaterOrEqual(t, len(programs), 60)
}

// A message says where and how the program comes to grief.
func TestMessage(t *testing.T) {
	insns := join(code{asm.LoadMem(asm.R2, asm.R1, 44, asm.Word), jump(asm.JEq, asm.R2, 6, 1), asm.Mov.Imm(asm.R0, 1)}, code{asm.Return().WithSource(codegen.SourceLine{File: "corp.hop", Line: 3, Column: 5, Text: "rule vpn"})})
	_, err := verifier.Verify(program("", insns, "message"))
	require.EqualError(t, err, "cgroup/connect_authorization4: instruction 3 (rule vpn: corp.hop:3:5): `Exit`: r0 holds nothing on some path at exit; path: 1 -> 3")
}

func TestLimits(t *testing.T) {
	long := make(code, codegen.MaxWindowsInstructions)
	for i := range long {
		long[i] = asm.Mov.Imm(asm.R0, 1)
	}
	_, err := verifier.Verify(program("", join(long, permit), "long"))
	require.ErrorContains(t, err, "the limit is 65536")
	_, err = verifier.Verify(program("", join(code{asm.Mov.Imm(asm.R2, 0), asm.Add.Imm(asm.R2, 1), jump(asm.JLT, asm.R2, 200_000, -2)}, permit), "loop"))
	require.ErrorContains(t, err, "may run more than 100000 times")
}

// A program that others call is loaded like them, by the start of its section's name; of
// a program for another layer nothing is said.
func TestSections(t *testing.T) {
	p := program("", permit, "sections")
	p.Functions = append(p.Functions,
		codegen.Function{Name: "listen", Section: "cgroup/listen4", Instructions: code{asm.Return().WithSymbol("listen")}},
		codegen.Function{Name: "called", Section: "cgroup/connect_authorization4/called", Instructions: named("called", permit)})
	result, err := verifier.Verify(p)
	require.NoError(t, err)
	require.Len(t, result.Functions, 2)
	require.Equal(t, []string{"cgroup/listen4"}, result.Others)

	p.Functions[2].Instructions = named("called", join(code{asm.Mov.Imm(asm.R2, 0), asm.StoreMem(asm.R1, 24, asm.R2, asm.Word)}, permit))
	_, err = verifier.Verify(p)
	require.ErrorContains(t, err, "cgroup/connect_authorization4/called: instruction 1: ")
	require.ErrorContains(t, err, "read-only")
}

// Functions call each other eight deep at most.
func TestCalls(t *testing.T) {
	chain := func(deep int) code {
		var all code
		for i := range deep {
			name := "f" + string(rune('a'+i))
			part := code{asm.Mov.Imm(asm.R0, 1), asm.Return()}
			if i+1 < deep {
				part = code{asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Src: asm.PseudoCall, Constant: -1}.WithReference("f" + string(rune('b'+i))), asm.Return()}
			}
			part[0] = part[0].WithSymbol(name)
			all = append(all, part...)
		}
		return all
	}
	call := code{asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Src: asm.PseudoCall, Constant: -1}.WithReference("fa"), asm.Return()}
	_, err := verifier.Verify(program("", join(call, chain(7)), "seven"))
	require.NoError(t, err)
	_, err = verifier.Verify(program("", join(call, chain(8)), "eight"))
	require.ErrorContains(t, err, "more than 8 deep")
}
