package vm

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"
)

func newTestMap(t testing.TB, typ ebpf.MapType, key, value, entries uint32) *Map {
	t.Helper()
	m, err := NewMap(&ebpf.MapSpec{Name: "m", Type: typ, KeySize: key, ValueSize: value, MaxEntries: entries})
	require.NoError(t, err)
	return m
}

func TestCounter(t *testing.T) {
	m := newTestMap(t, ebpf.WindowsPerCPUArray, 4, 8, 10)
	p, err := Load(asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 3, asm.Word).WithSymbol("count"),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, 0).WithReference("counters"),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, 1).WithSymbol("out"),
		asm.Return(),
	}, &Environment{Maps: map[string]*Map{"counters": m}})
	require.NoError(t, err)
	machine := NewMachine()
	for range 5 {
		r0, err := machine.Run(p, nil, nil)
		require.NoError(t, err)
		require.EqualValues(t, 1, r0)
	}
	machine.CPU = 3
	_, err = machine.Run(p, nil, nil)
	require.NoError(t, err)
	sum, err := m.Sum([]byte{3, 0, 0, 0})
	require.NoError(t, err)
	require.EqualValues(t, 6, sum)
	require.Zero(t, testing.AllocsPerRun(100, func() { machine.Run(p, nil, nil) }))
}

func BenchmarkRun(b *testing.B) {
	p, err := Load(asm.Instructions{
		asm.Mov.Imm(asm.R0, 0),
		asm.Mov.Imm(asm.R2, 100000),
		asm.Add.Imm(asm.R0, 3).WithSymbol("loop"),
		asm.Xor.Reg(asm.R0, asm.R2),
		asm.StoreMem(asm.RFP, -8, asm.R0, asm.DWord),
		asm.LoadMem(asm.R3, asm.RFP, -8, asm.DWord),
		asm.RSh.Imm(asm.R3, 3),
		asm.Sub.Imm(asm.R2, 1),
		asm.JNE.Imm(asm.R2, 0, "loop"),
		asm.Return(),
	}, &Environment{})
	require.NoError(b, err)
	m := NewMachine()
	b.ReportAllocs()
	var steps uint64
	for b.Loop() {
		if _, err := m.Run(p, nil, nil); err != nil {
			b.Fatal(err)
		}
		steps += m.Steps()
	}
	b.ReportMetric(float64(steps)/b.Elapsed().Seconds()/1e6, "Minsns/s")
}
