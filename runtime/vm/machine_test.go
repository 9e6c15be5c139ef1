package vm

import (
	"maps"
	"slices"
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
}

// loops are programs that do one kind of thing again and again, r6 counting down.
func loops(t testing.TB) map[string]*Program {
	env := &Environment{Maps: map[string]*Map{
		"0": newTestMap(t, ebpf.WindowsArray, 4, 8, 10),
		"1": newTestMap(t, ebpf.WindowsHash, 4, 8, 10),
		"2": newTestMap(t, ebpf.WindowsRingBuf, 0, 0, 4096),
	}}
	require.NoError(t, env.Maps["1"].Update(u32(0), u64(0), Any))
	loop := func(body ...[]byte) *Program {
		code := join(body...)
		return mustLoad(t, env, slot(0xbf, 9, 1, 0, 0), slot(0xb7, 6, 0, 0, 1000), code,
			slot(0x17, 6, 0, 0, 1), slot(0x55, 6, 0, int16(-len(code)/8-2), 0), slot(0xb7, 0, 0, 0, 0), exit)
	}
	var arithmetic, branches, memory [][]byte
	for i := range int32(16) {
		r := uint8(i % 4)
		arithmetic = append(arithmetic, slot(0x07, r, 0, 0, 3), slot(0xaf, r, 6, 0, 0), slot(0x04, r, 0, 0, i), slot(0x67, r, 0, 0, 1))
		branches = append(branches, slot(0x25, 6, 0, 1, 50*i), slot(0x07, 0, 0, 0, 1))
		memory = append(memory, slot(0x61, r, 9, int16(4*i), 0), slot(0x63, 10, r, -4*int16(i)-4, 0), slot(0x79, r, 10, -8*int16(i/2)-8, 0))
	}
	return map[string]*Program{
		"arithmetic":   loop(arithmetic...),
		"branches":     loop(branches...),
		"memory":       loop(memory...),
		"array lookup": loop(lookup(0), slot(0x79, 0, 0, 0, 0)),
		"hash lookup":  loop(lookup(1), slot(0x79, 0, 0, 0, 0)),
		"hash update": loop(slot(0x7a, 10, 0, -16, 1), slot(0x62, 10, 0, -4, 0), slot(0xbf, 2, 10, 0, 0), slot(0x07, 2, 0, 0, -4),
			slot(0xbf, 3, 10, 0, 0), slot(0x07, 3, 0, 0, -16), slot(0xb7, 4, 0, 0, 0), slot(0x18, 1, srcMap, 0, 1), slot(0, 0, 0, 0, 0), slot(0x85, 0, 0, 0, 2)),
		"count": loop(lookup(0), slot(0xb7, 1, 0, 0, 1), slot(0xdb, 0, 1, 0, 0)),
		"event": loop(slot(0xbf, 2, 9, 0, 0), slot(0xb7, 3, 0, 0, 64), slot(0xb7, 4, 0, 0, 0), slot(0x18, 1, srcMap, 0, 2), slot(0, 0, 0, 0, 0), slot(0x85, 0, 0, 0, 11)),
		"call":  mustLoad(t, env, slot(0xb7, 6, 0, 0, 1000), slot(0x85, 0, 1, 0, 3), slot(0x17, 6, 0, 0, 1), slot(0x55, 6, 0, -3, 0), exit, mov0, exit),
	}
}

func TestNoAllocation(t *testing.T) {
	for name, p := range loops(t) {
		m, context, state := NewMachine(), make([]byte, 64), new(int)
		require.Zero(t, testing.AllocsPerRun(10, func() {
			_, err := m.Run(p, context, state)
			require.NoError(t, err)
		}), name)
	}
}

// BenchmarkRun reports instructions a second, in millions.
func BenchmarkRun(b *testing.B) {
	programs := loops(b)
	for _, name := range slices.Sorted(maps.Keys(programs)) {
		b.Run(name, func(b *testing.B) {
			m, context := NewMachine(), make([]byte, 64)
			b.ReportAllocs()
			var steps uint64
			for b.Loop() {
				if _, err := m.Run(programs[name], context, nil); err != nil {
					b.Fatal(err)
				}
				steps += m.Steps()
			}
			b.ReportMetric(float64(steps)/b.Elapsed().Seconds()/1e6, "Minsns/s")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/loop")
		})
	}
}

// BenchmarkEmpty is what a run costs.
func BenchmarkEmpty(b *testing.B) {
	p, m, context := mustLoad(b, nil, mov0, exit), NewMachine(), make([]byte, 64)
	for b.Loop() {
		if _, err := m.Run(p, context, nil); err != nil {
			b.Fatal(err)
		}
	}
}
