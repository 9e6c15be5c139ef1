package codegen

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"
)

var updateListings = flag.Bool("update-listings", false, "rewrite the golden listings")

func requireGolden(t *testing.T, name string, got []byte) {
	file := filepath.Join("testdata", name)
	if *updateListings {
		require.NoError(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

func TestListing(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, sampleProgram().WriteASM(&b))
	requireGolden(t, "listing.txt", b.Bytes())

	read, err := ReadObject("sample.o", objectOf(t, sampleProgram()))
	require.NoError(t, err)
	var again bytes.Buffer
	require.NoError(t, read.WriteASM(&again))
	require.Equal(t, b.String(), again.String(), "an object lists as the program it was made of")
}

// everyInstruction has each operation of the ISA at least once, those that came
// with cpu v4 apart.
func everyInstruction() (v3, v4 asm.Instructions) {
	for _, op := range []asm.ALUOp{asm.Add, asm.Sub, asm.Mul, asm.Div, asm.Or, asm.And, asm.LSh, asm.RSh, asm.Mod, asm.Xor, asm.Mov, asm.ArSh} {
		v3 = append(v3, op.Imm(asm.R1, -7), op.Reg(asm.R2, asm.R3), op.Imm32(asm.R4, 7), op.Reg32(asm.R5, asm.R6))
	}
	v3 = append(v3, asm.Neg.Imm(asm.R1, 0), asm.Neg.Imm32(asm.R1, 0), asm.LoadImm(asm.R1, -1, asm.DWord))
	for _, size := range []asm.Size{asm.Half, asm.Word, asm.DWord} {
		v3 = append(v3, asm.HostTo(asm.BE, asm.R1, size), asm.HostTo(asm.LE, asm.R2, size))
		v4 = append(v4, asm.BSwap(asm.R3, size))
	}
	for _, size := range []asm.Size{asm.Byte, asm.Half, asm.Word, asm.DWord} {
		v3 = append(v3, asm.LoadMem(asm.R1, asm.R2, 4, size), asm.StoreMem(asm.RFP, -8, asm.R1, size),
			asm.Instruction{OpCode: asm.StoreImmOp(size), Dst: asm.RFP, Offset: -8, Constant: 5})
	}
	for _, op := range []asm.JumpOp{asm.JEq, asm.JGT, asm.JGE, asm.JSet, asm.JNE, asm.JSGT, asm.JSGE, asm.JLT, asm.JLE, asm.JSLT, asm.JSLE} {
		for _, class := range []asm.Class{asm.JumpClass, asm.Jump32Class} {
			v3 = append(v3,
				asm.Instruction{OpCode: asm.OpCode(class).SetJumpOp(op).SetSource(asm.ImmSource), Dst: asm.R1, Constant: 7},
				asm.Instruction{OpCode: asm.OpCode(class).SetJumpOp(op).SetSource(asm.RegSource), Dst: asm.R1, Src: asm.R2})
		}
	}
	v3 = append(v3, asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Ja)})
	for _, op := range []asm.AtomicOp{asm.AddAtomic, asm.AndAtomic, asm.OrAtomic, asm.XorAtomic, asm.FetchAdd, asm.FetchAnd, asm.FetchOr, asm.FetchXor, asm.Xchg, asm.CmpXchg} {
		v3 = append(v3, op.Mem(asm.R1, asm.R2, asm.Word, -8), op.Mem(asm.R1, asm.R2, asm.DWord, -8))
	}
	for _, size := range []asm.Size{asm.Byte, asm.Half, asm.Word} {
		v4 = append(v4, asm.LoadMemSX(asm.R1, asm.R2, -4, size))
	}
	for _, op := range []asm.ALUOp{asm.SDiv, asm.SMod} {
		v4 = append(v4, op.Imm(asm.R1, -7), op.Reg(asm.R2, asm.R3), op.Imm32(asm.R4, 7), op.Reg32(asm.R5, asm.R6))
	}
	for _, op := range []asm.ALUOp{asm.MovSX8, asm.MovSX16, asm.MovSX32} {
		v4 = append(v4, op.Reg(asm.R1, asm.R2))
	}
	return v3, append(v4, asm.MovSX8.Reg32(asm.R1, asm.R2), asm.MovSX16.Reg32(asm.R1, asm.R2),
		asm.Instruction{OpCode: asm.OpCode(asm.Jump32Class).SetJumpOp(asm.Ja)}, asm.Return())
}

// Our notation is llvm-objdump's, instruction for instruction.
func TestListingAgreesWithLLVM(t *testing.T) {
	v3, v4 := everyInstruction()
	code := append(v3, v4...)
	code[0] = code[0].WithSymbol("all")
	p := &Program{Policy: "all", Functions: []Function{{Name: "all", Section: "cgroup/recv_accept4", Instructions: code}}}
	var listing bytes.Buffer
	require.NoError(t, p.WriteASM(&listing))
	requireGolden(t, "instructions.txt", listing.Bytes())

	file := filepath.Join(t.TempDir(), "all.o")
	require.NoError(t, os.WriteFile(file, objectOf(t, p), 0o600))
	theirs := bySlot(runTool(t, "llvm-objdump", "-d", "--no-show-raw-insn", file))
	ours := bySlot(listing.String())
	for iter := code.Iterate(); iter.Next(); {
		slot := int(iter.Offset)
		require.NotContains(t, ours[slot], "unknown")
		if iter.Index == len(v3) && theirs[slot] == "<unknown>" {
			t.Log("this llvm-objdump does not know cpu v4: those instructions were not compared")
			break
		}
		atomic := iter.Ins.OpCode.AtomicOp()
		if iter.Ins.OpCode.Size() == asm.Word && atomic != asm.InvalidAtomic && atomic != asm.AddAtomic {
			continue // an addition to llvm-objdump, but with --mcpu=v3, whose notation varies by version
		}
		if theirs[slot] != "<unknown>" { // remainders, to llvm-objdump 14
			require.Equal(t, theirs[slot], ours[slot])
		}
	}
}

// bySlot gives the text of each instruction, numbers decimal and without labels.
func bySlot(listing string) map[int]string {
	lines := map[int]string{}
	hex := regexp.MustCompile(`0x[0-9a-f]+`)
	for _, line := range strings.Split(listing, "\n") {
		slot, text, found := strings.Cut(strings.TrimSpace(line), ":")
		n, err := strconv.Atoi(slot)
		if !found || err != nil {
			continue
		}
		text, _, jump := strings.Cut(strings.TrimSpace(text), " <")
		if !jump && text == "" {
			text = "<unknown>"
		}
		lines[n] = hex.ReplaceAllStringFunc(text, func(s string) string {
			v, _ := strconv.ParseUint(s, 0, 64)
			return fmt.Sprint(v)
		})
	}
	return lines
}

func TestHelperNames(t *testing.T) {
	windows := func(id uint32) int64 { return int64(joinPlatform(Windows, id)) }
	for constant, want := range map[int64]string{
		int64(asm.FnMapLookupElem):          "bpf_map_lookup_elem",
		int64(asm.FnTcpRawGenSyncookieIpv4): "bpf_tcp_raw_gen_syncookie_ipv4",
		windows(8):                          "bpf_get_smp_processor_id",
		windows(19):                         "bpf_get_current_pid_tgid",
		windows(HelperNetworkContext):       "bpf_sock_addr_get_network_context",
		windows(9999):                       "9999",
		-1:                                  "4294967295",
	} {
		require.Equal(t, want, helperName(constant))
	}
}
