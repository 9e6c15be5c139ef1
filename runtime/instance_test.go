package runtime

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// counting is a program that rejects UDP by its first rule, and counts it, and
// counts the audit rule for port 443.
func counting() *codegen.Program {
	count := func(key int64) asm.Instructions {
		return asm.Instructions{
			asm.StoreImm(asm.R10, -4, key, asm.Word),
			asm.LoadMapPtr(asm.R1, 0).WithReference(codegen.CountersMap),
			asm.Mov.Reg(asm.R2, asm.R10),
			asm.Add.Imm(asm.R2, -4),
			asm.BuiltinFunc(1).Call(),
			asm.Mov.Imm(asm.R1, 1),
			asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		}
	}
	code := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R1, asm.R6, codegen.SockAddrUserPort, asm.Half),
		asm.JNE.Imm(asm.R1, 443<<8&0xff00|443>>8, "other port"),
	}
	code = append(code, count(1)...)
	code = append(code,
		asm.LoadMem(asm.R1, asm.R6, codegen.SockAddrProtocol, asm.Word).WithSymbol("other port"),
		asm.JEq.Imm(asm.R1, 17, "udp"))
	code = append(code, count(2)...)
	code = append(code, asm.Mov.Imm(asm.R0, 1), asm.Return())
	udp := count(0)
	udp[0] = udp[0].WithSymbol("udp")
	code = append(code, udp...)
	code = append(code, asm.Mov.Imm(asm.R0, 0), asm.Return())
	return &codegen.Program{
		Policy:    "counting",
		Functions: []codegen.Function{{Name: "four", Section: "cgroup/connect_authorization4", Instructions: code}},
		Maps:      []*ebpf.MapSpec{{Name: codegen.CountersMap, Type: ebpf.WindowsPerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 3}},
		Rules:     []codegen.Rule{{ID: "no-udp"}, {ID: "watch-https", Audit: true}, {ID: "default"}},
	}
}

func TestEval(t *testing.T) {
	instance, err := Load(counting())
	require.NoError(t, err)
	for _, test := range []struct {
		protocol uint8
		remote   string
		want     compiler.Decision
	}{
		{17, "192.0.2.1:53", compiler.Decision{Verdict: lang.Deny, Rule: 0, Audit: -1}},
		{6, "192.0.2.1:80", compiler.Decision{Verdict: lang.Allow, Rule: 2, Audit: -1}},
		{6, "192.0.2.1:443", compiler.Decision{Verdict: lang.Allow, Rule: 2, Audit: 1}},
		{17, "192.0.2.1:443", compiler.Decision{Verdict: lang.Deny, Rule: 0, Audit: 1}},
	} {
		r := request("10.0.0.1:1", test.remote)
		r.Protocol = test.protocol
		got, err := instance.Eval(&r)
		require.NoError(t, err)
		require.Equal(t, test.want, got, "%s over %d", test.remote, test.protocol)
	}
	require.Equal(t, []uint64{2, 2, 2}, instance.Counters())

	v6 := request("[::]:1", "[2001:db8::1]:443")
	got, err := instance.Eval(&v6)
	require.ErrorContains(t, err, "no function for cgroup/connect_authorization6")
	require.Equal(t, compiler.Decision{Verdict: lang.Deny, Rule: -1, Audit: -1}, got)
}

func TestEvalDoesNotAllocate(t *testing.T) {
	instance, err := Load(counting())
	require.NoError(t, err)
	r := request("10.0.0.1:1", "192.0.2.1:443")
	require.Zero(t, testing.AllocsPerRun(100, func() { _, err = instance.Eval(&r) }))
	require.NoError(t, err)
}

// The hook names the rules too.
func TestHookNamesRules(t *testing.T) {
	hook := NewHook(nil)
	_, err := hook.Attach(counting(), nil)
	require.NoError(t, err)
	r := request("10.0.0.1:1", "192.0.2.1:443")
	_, result := hook.Connect(&r)
	require.Equal(t, "no-udp", result.Decider().Rule)
	require.Equal(t, "connect 192.0.2.1:443: deny\n"+
		"* connect_authorization4       counting on 192.0.2.1:443: deny by no-udp, audit watch-https", result.String())
}

// A tail call goes to the function that the contents of the program array name,
// whatever its section.
func TestTailCall(t *testing.T) {
	program := &codegen.Program{
		Policy: "tail call",
		Functions: []codegen.Function{
			{Name: "entry", Section: "cgroup/recv_accept4", Instructions: asm.Instructions{
				asm.LoadMapPtr(asm.R2, 0).WithReference("programs"),
				asm.Mov.Imm(asm.R3, 1),
				asm.BuiltinFunc(5).Call(),
				asm.Mov.Imm(asm.R0, 0),
				asm.Return(),
			}},
			{Name: "callee", Section: "elsewhere", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}},
		},
		Maps: []*ebpf.MapSpec{{
			Name: "programs", Type: ebpf.WindowsProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 2,
			Contents: []ebpf.MapKV{{Key: uint32(1), Value: "callee"}},
		}},
	}
	instance, err := Load(program)
	require.NoError(t, err)
	r := request("10.0.0.1:1", "192.0.2.1:443")
	got, err := instance.Eval(&r)
	require.NoError(t, err)
	require.Equal(t, lang.AllowHard, got.Verdict)

	program.Maps[0].Contents[0].Value = "nobody"
	_, err = Load(program)
	require.ErrorContains(t, err, "map `programs`: there is no function or map `nobody`")
}

func TestLoadErrors(t *testing.T) {
	exit := asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
	for _, test := range []struct {
		name    string
		program codegen.Program
		want    string
	}{
		{"nothing to attach", codegen.Program{Functions: []codegen.Function{{Name: "f", Section: "xdp", Instructions: exit}}}, "no function of the program is for a layer of the hook"},
		{"no program that can run", codegen.Program{Functions: []codegen.Function{{Name: "f", Section: "cgroup/connect4", Instructions: exit[:1]}}}, "function `f`: "},
		{"a map of an unknown type", codegen.Program{Maps: []*ebpf.MapSpec{{Name: "m", Type: ebpf.StackTrace, MaxEntries: 1}}}, "map `m`: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := NewHook(nil).Attach(&test.program, nil)
			require.ErrorContains(t, err, test.want)
		})
	}
}

func BenchmarkEval(b *testing.B) {
	instance, err := Load(counting())
	require.NoError(b, err)
	r := request("10.0.0.1:1", "192.0.2.1:443")
	b.ReportAllocs()
	for b.Loop() {
		instance.Eval(&r)
	}
}

func BenchmarkConnect(b *testing.B) {
	hook := NewHook(nil)
	_, err := hook.Attach(counting(), nil)
	require.NoError(b, err)
	r := request("10.0.0.1:1", "192.0.2.1:443")
	b.ReportAllocs()
	for b.Loop() {
		flow, _ := hook.Connect(&r)
		flow.Close()
	}
}
