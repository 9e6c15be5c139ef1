package codegen

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/require"
)

// sampleProgram is a program by hand with everything an object can hold: two entry
// points that share maps and a local function, and one of their own.
func sampleProgram() *Program {
	helper := func(id uint32) asm.Instruction {
		fn, err := asm.BuiltinFuncForPlatform("windows", id)
		if err != nil {
			panic(err)
		}
		return fn.Call()
	}
	rule := SourceLine{Text: "rule no-smb", File: "corp.hop", Line: 12, Column: 3}
	count := asm.Instructions{
		asm.StoreMem(asm.RFP, -4, asm.R1, asm.Word).WithSymbol("count").WithSource(asm.Comment("counts a decision")),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, 0).WithReference(CountersMap),
		helper(1),
		asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.JEq).SetSource(asm.ImmSource), Dst: asm.R0, Offset: 2},
		asm.Mov.Imm(asm.R1, 1),
		asm.AddAtomic.Mem(asm.R0, asm.R1, asm.DWord, 0),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	}
	entry := func(name, section string, more ...asm.Instruction) Function {
		insns := asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, SockAddrUserPort, asm.Half).WithSymbol(name).WithSource(rule),
			asm.Instruction{OpCode: asm.OpCode(asm.Jump32Class).SetJumpOp(asm.JNE).SetSource(asm.ImmSource), Dst: asm.R2, Offset: 6, Constant: 48385},
			asm.Mov.Imm(asm.R1, 0).WithSource(SourceLine{Text: "rule no-smb, deny", File: "corp.hop", Line: 12, Column: 20}),
			asm.Call.Label("count"),
			asm.LoadImm(asm.R3, 0x0047008000000000, asm.DWord),
			asm.Mov.Imm(asm.R0, 0),
			asm.Return(),
			asm.Mov.Imm(asm.R0, 1).WithSource(SourceLine{Text: "default", File: "corp.hop", Line: 2, Column: 3}),
			asm.Return(),
		}
		return Function{Name: name, Section: section, Instructions: append(append(insns, count...), more...)}
	}
	first := entry("connect_authorization4", "cgroup/connect_authorization4")
	second := entry("connect_authorization6", "cgroup/connect_authorization6", asm.Mov.Imm(asm.R0, 0).WithSymbol("deny"), asm.Return())
	second.Instructions[5] = asm.Call.Label("deny")
	return &Program{
		Target:    Windows,
		Policy:    "corp",
		Functions: []Function{first, second},
		Maps: []*ebpf.MapSpec{
			{Name: CountersMap, Type: ebpf.WindowsPerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 2},
			{Name: EventsMap, Type: ebpf.WindowsRingBuf, MaxEntries: 1 << 18},
			{Name: "set_blocked", Type: ebpf.WindowsLPMTrie, KeySize: 8, ValueSize: 4, MaxEntries: 16, Flags: 1, Contents: []ebpf.MapKV{
				{Key: []byte{0, 0, 0, 0, 0, 0, 0, 0}, Value: []byte{0, 0, 0, 0}},
				{Key: []byte{8, 0, 0, 0, 10, 0, 0, 0}, Value: []byte{1, 0, 0, 0}},
			}},
			{Name: "table", Type: ebpf.WindowsArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 7,
				InnerMap: &ebpf.MapSpec{Name: "table_inner", Type: ebpf.WindowsArray, KeySize: 4, ValueSize: 64, MaxEntries: 100}},
		},
		Rules: []Rule{
			{ID: "no-smb", Verdict: "deny", Source: "corp.hop:12:3"},
			{ID: "default", Verdict: "allow"},
		},
		Build: Build{Version: "v1.2.3", PolicySHA256: strings.Repeat("0f", 32), Options: []string{"form=code"}, Proof: "proved"},
	}
}

func objectOf(t testing.TB, p *Program) []byte {
	var b bytes.Buffer
	require.NoError(t, p.WriteELF(&b))
	return b.Bytes()
}

// instruction is all that an instruction means, to compare by.
type instruction struct {
	Op                        asm.OpCode
	Dst, Src                  asm.Register
	Offset                    int16
	Constant                  int64
	Symbol, Reference, Source string
}

func comparable(functions []Function) map[string][]instruction {
	all := map[string][]instruction{}
	for _, f := range functions {
		for _, ins := range f.Instructions {
			i := instruction{ins.OpCode, ins.Dst, ins.Src, ins.Offset, ins.Constant, ins.Symbol(), ins.Reference(), ""}
			if s := ins.Source(); s != nil {
				i.Source = s.String()
			}
			all[f.Section+" "+f.Name] = append(all[f.Section+" "+f.Name], i)
		}
	}
	return all
}

func requireSameProgram(t testing.TB, want, got *Program) {
	require.Equal(t, comparable(want.Functions), comparable(got.Functions))
	a, b := *want, *got
	a.Functions, b.Functions = nil, nil
	require.Equal(t, a, b)
}

func TestObjectRoundTrip(t *testing.T) {
	p := sampleProgram()
	data := objectOf(t, p)
	got, err := ReadObject("sample.o", data)
	require.NoError(t, err)
	requireSameProgram(t, p, got)
	require.Equal(t, data, objectOf(t, got), "written again")
	require.Equal(t, data, objectOf(t, sampleProgram()), "made again")
}

func TestObjectWithoutMaps(t *testing.T) {
	p := &Program{Policy: "all", Functions: []Function{{
		Name: "f", Section: "cgroup/recv_accept4",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1).WithSymbol("f"), asm.Return()},
	}}}
	got, err := ReadObject("all.o", objectOf(t, p))
	require.NoError(t, err)
	requireSameProgram(t, p, got)
}

// What eBPF for Windows demands of an object (hook.md, last section).
func TestObjectLayout(t *testing.T) {
	data := objectOf(t, sampleProgram())
	f, err := elf.NewFile(bytes.NewReader(data))
	require.NoError(t, err)
	require.Equal(t, elf.EM_BPF, f.Machine)

	var header elf.Header64
	_, err = binary.Decode(data, binary.LittleEndian, &header)
	require.NoError(t, err)
	require.Equal(t, uint64(len(data)), header.Shoff+uint64(header.Shnum)*uint64(header.Shentsize), "section headers end the file")

	var executable []string
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_EXECINSTR != 0 {
			executable = append(executable, s.Name)
			require.Equal(t, elf.SHF_ALLOC|elf.SHF_EXECINSTR, s.Flags)
			require.Equal(t, elf.SHT_PROGBITS, s.Type)
		}
	}
	require.Equal(t, []string{"cgroup/connect_authorization4", "cgroup/connect_authorization6", ".text"}, executable)
	require.Zero(t, f.Section(".hopgate").Flags)

	symbols, err := f.Symbols()
	require.NoError(t, err)
	sizes := map[string]uint64{}
	for _, s := range symbols {
		sizes[s.Name] = s.Size
		if f.Sections[s.Section].Name == ".maps" {
			require.NotEmpty(t, s.Name, "eBPF for Windows takes a section symbol for a map")
		}
	}
	require.Equal(t, uint64(4*8), sizes[CountersMap])
	require.Equal(t, uint64(2*8), sizes[EventsMap])
	require.Equal(t, uint64(11*8), sizes["count"])

	spec, infos, err := btf.LoadSpecAndExtInfosFromReader(bytes.NewReader(data))
	require.NoError(t, err)
	for _, s := range executable {
		require.Zero(t, infos.Lines[s][0].Offset, "line info covers instruction 0")
		require.Zero(t, infos.Funcs[s][0].Offset)
	}
	var counters *btf.Var
	require.NoError(t, spec.TypeByName(CountersMap, &counters))
	members := counters.Type.(*btf.Struct).Members
	require.Equal(t, "type", members[0].Name)
	require.Equal(t, uint32(5), members[0].Type.(*btf.Pointer).Target.(*btf.Array).Nelems, "number of the target")
}

func TestWriteELFErrors(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*Program)
		want  string
	}{
		"no section":         {func(p *Program) { p.Functions[0].Section = "" }, "function `connect_authorization4` has no attach section"},
		"no code":            {func(p *Program) { p.Functions[0].Instructions = nil }, "function `connect_authorization4`: is empty"},
		"bad name":           {func(p *Program) { p.Functions[0].Name = "4" }, "function name `4` is no C identifier"},
		"twice":              {func(p *Program) { p.Functions[1].Name = "connect_authorization4" }, "two functions are called `connect_authorization4`"},
		"two local ones":     {func(p *Program) { p.Functions[0].Instructions[11].Constant = -8 }, "two functions are called `count`"},
		"jump out":           {func(p *Program) { p.Functions[0].Instructions[1].Offset = 100 }, "function `connect_authorization4`: instruction 1 jumps out of the function"},
		"jump back out":      {func(p *Program) { p.Functions[0].Instructions[1].Offset = math.MinInt16 }, "instruction 1 jumps out"},
		"jump into constant": {func(p *Program) { p.Functions[0].Instructions[1].Offset = 3 }, "instruction 1 jumps out"},
		"label left": {func(p *Program) { p.Functions[0].Instructions[1] = asm.JEq.Imm(asm.R1, 1, "deny") },
			"unresolved reference to `deny`"},
		"no such map": {func(p *Program) { p.Maps = p.Maps[1:] }, "function `count`: instruction 3 loads no map of the program: `hopgate_counters`"},
		"no such function": {func(p *Program) { p.Functions[0].Instructions = p.Functions[0].Instructions[:9] },
			"instruction 3 calls no local function: `count`"},
		"foreign helper": {func(p *Program) { p.Functions[0].Instructions[13] = asm.FnMapLookupElem.Call() }, "calls a helper of target linux in a program for windows"},
		"foreign map":    {func(p *Program) { p.Maps[0].Type = ebpf.PerCPUArray }, "map `hopgate_counters`: type PerCPUArray is of target linux"},
		"map name":       {func(p *Program) { p.Maps[0].Name = "a-b" }, "map name `a-b` is no C identifier"},
		"map twice":      {func(p *Program) { p.Maps[1].Name = CountersMap }, "map name `hopgate_counters` is no C identifier or not unique"},
		"contents' size": {func(p *Program) { p.Maps[2].Contents[0].Key = []byte{1} }, "contents of map `set_blocked`: 1 bytes where the map has 8"},
		"opcode":         {func(p *Program) { p.Functions[0].Instructions[0].OpCode = asm.InvalidOpCode }, "instruction 0: invalid opcode"},
		"byte in comment": {func(p *Program) {
			p.Functions[0].Instructions[0] = p.Functions[0].Instructions[0].WithSource(asm.Comment("\x00"))
		}, "zero byte"},
	} {
		t.Run(name, func(t *testing.T) {
			p := sampleProgram()
			test.spoil(p)
			require.ErrorContains(t, p.WriteELF(new(bytes.Buffer)), test.want)
		})
	}
}

// The tools that a user reads objects with have nothing to complain about.
func TestObjectTools(t *testing.T) {
	p := sampleProgram()
	p.Maps = p.Maps[:3] // cilium/ebpf reads no maps of maps but those of Linux
	file := filepath.Join(t.TempDir(), "sample.o")
	require.NoError(t, os.WriteFile(file, objectOf(t, p), 0o600))
	for _, test := range []struct {
		command []string
		want    []string
	}{
		{[]string{"llvm-objdump", "-d", "-r"}, []string{"<connect_authorization4>:", "w2 !=", "R_BPF_64_64", "hopgate_counters", "R_BPF_64_32", "count"}},
		{[]string{"llvm-readelf", "-a"}, []string{"EM_BPF", "cgroup/connect_authorization6", ".BTF.ext", "HIDDEN"}},
		{[]string{"bpftool", "btf", "dump", "file"}, []string{"DATASEC '.maps'", "FUNC 'count' type_id=", "linkage=static"}},
	} {
		t.Run(test.command[0], func(t *testing.T) {
			out := runTool(t, append(test.command, file)...)
			for _, want := range test.want {
				require.Contains(t, out, want)
			}
		})
	}
	spec, err := ebpf.LoadCollectionSpec(file)
	require.NoError(t, err)
	require.Len(t, spec.Programs, 2)
	require.Len(t, spec.Maps, 3)
}

// runTool runs a command that must exit 0 and say nothing on standard error.
func runTool(t *testing.T, command ...string) string {
	path, err := exec.LookPath(command[0])
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing in CI", command[0])
		}
		t.Skipf("%s is not installed", command[0])
	}
	var out, stderr bytes.Buffer
	cmd := exec.Command(path, command[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	require.NoError(t, cmd.Run(), stderr.String())
	require.Empty(t, stderr.String())
	return out.String()
}

// A program of the largest size that the kernel loads from one object.
func largeProgram(instructions int) *Program {
	code := asm.Instructions{asm.Mov.Imm(asm.R0, 0).WithSymbol("large")}
	for i := range instructions {
		code = append(code, asm.Mov.Imm(asm.R0, int32(i)).WithSource(SourceLine{Text: "rule r", File: "corp.hop", Line: i, Column: 3}))
	}
	return &Program{Functions: []Function{{Name: "large", Section: "cgroup/recv_accept4", Instructions: append(code, asm.Return())}}}
}

func BenchmarkWriteELF(b *testing.B) {
	p := largeProgram(100_000)
	for b.Loop() {
		require.NoError(b, p.WriteELF(io.Discard))
	}
}

func BenchmarkReadObject(b *testing.B) {
	data := objectOf(b, largeProgram(100_000))
	for b.Loop() {
		_, err := ReadObject("large.o", data)
		require.NoError(b, err)
	}
}
