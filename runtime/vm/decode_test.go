package vm

import (
	"bytes"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"
)

var mov0 = slot(0xb7, 0, 0, 0, 0)

func TestRefusedCode(t *testing.T) {
	maps := map[string]*Map{
		"array": newTestMap(t, ebpf.Array, 4, 8, 2),
		"value": newTestMap(t, ebpf.Array, 4, 8, 1),
	}
	for name, test := range map[string]struct {
		code []byte
		want string
	}{
		"empty":                    {nil, "no instructions"},
		"ragged":                   {[]byte{1, 2, 3}, "3 bytes of code are not a multiple of 8"},
		"falls off the end":        {mov0, "instruction 0: the function ends without exit"},
		"ends in a condition":      {join(exit, slot(0x15, 0, 0, -2, 0)), "instruction 1: the function ends without exit"},
		"no such ALU operation":    {join(slot(0xe7, 0, 0, 0, 0), exit), "instruction 0: no such opcode"},
		"no such jump":             {join(slot(0xe5, 0, 0, 0, 0), exit), "no such opcode"},
		"call of a register":       {join(slot(0x8d, 2, 0, 0, 0), exit), "instruction 0: call through a register (group callx), which this machine has not"},
		"32-bit exit":              {join(slot(0x96, 0, 0, 0, 0), exit), "no such opcode"},
		"32-bit call":              {join(slot(0x86, 0, 0, 0, 1), exit), "no such opcode"},
		"packet access":            {join(slot(0x30, 0, 0, 0, 0), exit), "legacy load of packet bytes (group packet), which this machine has not"},
		"indirect packet access":   {join(slot(0x40, 0, 1, 0, 0), exit), "legacy load of packet bytes (group packet), which this machine has not"},
		"packet access of 8 bytes": {join(slot(0x38, 0, 0, 0, 0), exit), "no such opcode"},
		"swap from a register":     {join(slot(0xdf, 0, 0, 0, 16), exit), "no such opcode"},
		"swap of 24 bits":          {join(slot(0xd7, 0, 0, 0, 24), exit), "byte swap of 24 bits"},
		"neg of a register":        {join(slot(0x8f, 0, 1, 0, 0), exit), "no such opcode"},
		"sign extension of 8":      {join(slot(0x99, 0, 1, 0, 0), exit), "no such opcode"},
		"register 11":              {join(slot(0xbf, 0, 11, 0, 0), exit), "no register r11"},
		"register 15":              {join(slot(0xb7, 15, 0, 0, 0), exit), "no register r15"},
		"write to r10":             {join(slot(0xb7, 10, 0, 0, 0), exit), "write to r10"},
		"load to r10":              {join(slot(0x79, 10, 1, 0, 0), exit), "write to r10"},
		"64-bit constant to r10":   {join(loadImm(10, 1), exit), "write to r10"},
		"fetch to r10":             {join(slot(0xdb, 1, 10, 0, 1), exit), "write to r10"},
		"swap of r10":              {join(slot(0xd7, 10, 0, 0, 16), exit), "write to r10"},
		"unused source":            {join(slot(0xb7, 0, 1, 0, 0), exit), "source register in an instruction without one"},
		"unused destination":       {join(slot(0x05, 1, 0, 0, 0), exit), "destination register in an instruction without one"},
		"unused constant":          {join(slot(0xbf, 0, 1, 0, 1), exit), "constant 1 in an instruction without one"},
		"unused offset":            {join(slot(0x07, 0, 0, 1, 0), exit), "offset 1 in an instruction without one"},
		"sign-extending move of 4": {join(slot(0xbf, 0, 1, 4, 0), exit), "offset 4 in an instruction without one"},
		"32 to 32 bits":            {join(slot(0xbc, 0, 1, 32, 0), exit), "offset 32 in an instruction without one"},
		"extended constant":        {join(slot(0xb7, 0, 0, 8, 0), exit), "offset 8 in an instruction without one"},
		"jump beyond the end":      {join(slot(0x05, 0, 0, 1, 0), exit), "instruction 0: jump to instruction 2 of 2"},
		"jump before the start":    {join(slot(0x15, 0, 0, -2, 0), exit), "instruction 0: jump to instruction -1 of 2"},
		"far jump beyond the end":  {join(slot(0x06, 0, 0, 0, 1<<31-1), exit), "jump to instruction 2147483648 of 2"},
		"into a 64-bit constant":   {join(slot(0x05, 0, 0, 1, 0), loadImm(0, 0), exit), "instruction 0: jump into the middle of a 64-bit constant at 1"},
		"call of the middle":       {join(slot(0x85, 0, 1, 0, 1), loadImm(0, 0), exit), "instruction 0: jump into the middle of a 64-bit constant at 1"},
		"half a constant":          {slot(0x18, 0, 0, 0, 0), "64-bit constant without its second half"},
		"wrong second half":        {join(slot(0x18, 0, 0, 0, 0), exit, exit), "64-bit constant with fields that must be 0"},
		"map by descriptor":        {join(slot(0x18, 1, 1, 0, 3), slot(0, 0, 0, 0, 0), exit), "64-bit constant of kind 1"},
		"no such map":              {join(slot(0x18, 1, srcMap, 0, 2), slot(0, 0, 0, 0, 0), exit), "no map number 2"},
		"value of two":             {join(slot(0x18, 1, srcMapValue, 0, 0), slot(0, 0, 0, 0, 0), exit), "map `array` is not an array of one value"},
		"beyond a value":           {join(slot(0x18, 1, srcMapValue, 0, 1), slot(0, 0, 0, 0, 8), exit), "offset 8 in the value of 8 bytes of map `value`"},
		"no such helper":           {join(slot(0x85, 0, 0, 0, 4711), exit), "no helper number 4711"},
		"kernel function":          {join(slot(0x85, 0, 2, 0, 1), exit), "call of kind 2"},
		"atomic on 2 bytes":        {join(slot(0xcb, 10, 1, -8, 0), exit), "atomic operation on 2 bytes"},
		"no such atomic":           {join(slot(0xdb, 10, 1, -8, 2), exit), "no atomic operation 0x2"},
		"jump into a function": {join(slot(0x85, 0, 1, 0, 2), slot(0x05, 0, 0, 1, 0), exit, mov0, exit),
			"instruction 1: jump out of its function, to 3"},
		"runs into a function": {join(slot(0x85, 0, 1, 0, 1), mov0, mov0, exit), "instruction 1: the function ends without exit"},
		"call beyond the end":  {join(slot(0x85, 0, 1, 0, 1), exit), "jump to instruction 2 of 2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := LoadBytes(test.code, &Environment{Maps: maps})
			require.ErrorContains(t, err, test.want)
		})
	}
	_, err := LoadBytes(bytes.Repeat(mov0, maxInstructions+1), &Environment{})
	require.EqualError(t, err, "1048577 instructions, more than 1048576")
}

func TestRefusedInstructions(t *testing.T) {
	far := asm.Instructions{asm.Ja.Label("far")}
	for range 32768 {
		far = append(far, asm.Mov.Imm(asm.R0, 0))
	}
	far = append(far, asm.Return().WithSymbol("far"))
	for want, insns := range map[string]asm.Instructions{
		"instruction 0: no symbol `nowhere`":                                  {asm.Ja.Label("nowhere"), asm.Return()},
		"instruction 2: symbol `a` is defined twice":                          {asm.LoadImm(asm.R0, 1, asm.DWord).WithSymbol("a"), asm.Return().WithSymbol("a")},
		"instruction 0: no map `m`":                                           {asm.LoadMapPtr(asm.R1, 0).WithReference("m"), asm.Return()},
		"instruction 0: load of a map without its name":                       {asm.LoadMapPtr(asm.R1, 3), asm.Return()},
		"instruction 0: constant 4294967296 does not fit 32 bits":             {{OpCode: asm.Mov.Op(asm.ImmSource), Constant: 1 << 32}, asm.Return()},
		"instruction 0: opcode 0xffff is not known":                           {{OpCode: asm.InvalidOpCode}, asm.Return()},
		"instruction 0: `far` is 32768 instructions away, too far for a jump": far,
		"instruction 0: `x` cannot be referred to here":                       {asm.Mov.Imm(asm.R0, 1).WithReference("x").WithSymbol("x"), asm.Return()},
		"instruction 0: 64-bit constant of kind 4":                            {{OpCode: asm.LoadImmOp(asm.DWord), Src: asm.PseudoFunc}, asm.Return()},
		"no instructions": nil,
	} {
		_, err := Load(insns, &Environment{})
		require.EqualError(t, err, want)
	}
}

// TestLoad runs what the assembler makes: extended operations, references of
// every kind, distances that are resolved already.
func TestLoad(t *testing.T) {
	m := newTestMap(t, ebpf.WindowsArray, 4, 16, 1)
	env := &Environment{Maps: map[string]*Map{"a": newTestMap(t, ebpf.WindowsHash, 4, 8, 1), "m": m}}
	for name, test := range map[string]struct {
		insns asm.Instructions
		want  uint64
	}{
		"signed division": {asm.Instructions{
			asm.Mov.Imm(asm.R0, -7), asm.SDiv.Imm(asm.R0, 2), asm.Return()}, ^uint64(2)},
		"signed modulo": {asm.Instructions{
			asm.Mov.Imm(asm.R0, -7), asm.Mov.Imm(asm.R1, 2), asm.SMod.Reg(asm.R0, asm.R1), asm.Return()}, ^uint64(0)},
		"sign-extending moves": {asm.Instructions{
			asm.Mov.Imm(asm.R1, 0x80), asm.MovSX8.Reg(asm.R0, asm.R1), asm.Return()}, ^uint64(0x7f)},
		"32-bit sign-extending moves": {asm.Instructions{
			asm.Mov.Imm(asm.R1, 0x8000), asm.MovSX16.Reg32(asm.R0, asm.R1), asm.Return()}, 0xffff8000},
		"swap": {asm.Instructions{
			asm.Mov.Imm(asm.R0, 0x1234), asm.BSwap(asm.R0, asm.Half), asm.Return()}, 0x3412},
		"atomics, whose operation the assembler keeps in the opcode": {asm.Instructions{
			asm.Mov.Imm(asm.R0, 5), asm.StoreMem(asm.RFP, -8, asm.R0, asm.DWord), asm.Mov.Imm(asm.R0, 3),
			asm.FetchAdd.Mem(asm.RFP, asm.R0, asm.DWord, -8), asm.Return()}, 5},
		"label": {asm.Instructions{
			asm.Mov.Imm(asm.R0, 1), asm.JEq.Imm(asm.R0, 1, "out"), asm.LoadImm(asm.R0, 2, asm.DWord), asm.Return().WithSymbol("out")}, 1},
		"far label": {asm.Instructions{
			asm.Mov.Imm(asm.R0, 1), asm.LongJump("out"), asm.LoadImm(asm.R0, 2, asm.DWord), asm.Return().WithSymbol("out")}, 1},
		"distance": {asm.Instructions{
			asm.Mov.Imm(asm.R0, 1), {OpCode: asm.Ja.Op(asm.ImmSource), Offset: 2}, asm.LoadImm(asm.R0, 2, asm.DWord), asm.Return()}, 1},
		"functions": {asm.Instructions{
			asm.Mov.Imm(asm.R1, 20).WithSymbol("main"), asm.Call.Label("double"), asm.Add.Imm(asm.R0, 2), asm.Return(),
			asm.Mov.Reg(asm.R0, asm.R1).WithSymbol("double"), asm.Add.Reg(asm.R0, asm.R1), asm.Return()}, 42},
		"map value": {asm.Instructions{
			asm.LoadMapValue(asm.R1, 0, 8).WithReference("m"), asm.StoreImm(asm.R1, 0, 9, asm.Word),
			asm.LoadMem(asm.R0, asm.R1, 0, asm.DWord), asm.Return()}, 9},
		"unsigned constant": {asm.Instructions{
			{OpCode: asm.Mov.Op32(asm.ImmSource), Constant: 0xffffffff}, asm.Return()}, 0xffffffff},
		"helper of Windows": {asm.Instructions{
			{OpCode: asm.Call.Op(asm.ImmSource), Constant: int64(mustBuiltin(t, "windows", 8))}, asm.Return()}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Load(test.insns, env)
			require.NoError(t, err)
			r0, err := NewMachine().Run(p, nil, nil)
			require.NoError(t, err)
			require.Equal(t, test.want, r0)
		})
	}
	value, err := m.Lookup(make([]byte, 4))
	require.NoError(t, err)
	require.Equal(t, []byte{8: 9, 15: 0}, value)
}

func mustBuiltin(t *testing.T, platform string, number uint32) asm.BuiltinFunc {
	f, err := asm.BuiltinFuncForPlatform(platform, number)
	require.NoError(t, err)
	return f
}
