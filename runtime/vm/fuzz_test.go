package vm

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
)

// repaired makes instructions of arbitrary bytes likelier to be accepted: existing
// registers, jumps and maps, no fields that must be 0, an exit at the end.
func repaired(data []byte) []byte {
	slots, _ := rawBytes(data[:len(data)/8*8])
	var code []byte
	for i, r := range slots {
		r.dst, r.src = r.dst%10, r.src%11
		switch r.code & 7 {
		case classLd:
			r.code, r.src = codeLoadImm, []uint8{0, srcMap, srcMapValue}[r.src%3]
			if r.src != 0 {
				r.imm = int32(uint32(r.imm) % 7)
			}
			code = append(code, join(slot(r.code, r.dst, r.src, 0, r.imm), slot(0, 0, 0, 0, 0))...)
			continue
		case classJump, classJump32:
			r.off = int16(int(uint16(r.off))%(len(slots)+1) - i)
			if r.code&0xf0 == 0x80 && r.imm&1 == 0 {
				r = raw{code: 0x85, imm: int32(uint32(r.imm) / 2 % 32)}
			}
		case classLdx, classSt, classStx:
			r.off %= 600
		}
		if r.code&sourceRegister != 0 && r.code&7 >= classAlu32 {
			r.imm = 0
		} else if r.code&7 >= classAlu32 {
			r.src = 0
		}
		code = append(code, slot(r.code, r.dst, r.src, r.off, r.imm)...)
	}
	return join(code, mov0, exit)
}

func FuzzRun(f *testing.F) {
	f.Add(join(mov0, exit), true)
	f.Add(join(lookup(0), slot(0x15, 0, 0, 2, 0), slot(0x79, 1, 0, 0, 0), slot(0xdb, 0, 1, 0, 1), exit), false)
	f.Add(join(slot(0xbf, 6, 1, 0, 0), slot(0x18, 2, srcMap, 0, 4), slot(0, 0, 0, 0, 0), slot(0xb7, 3, 0, 0, 0), slot(0x85, 0, 0, 0, 5), exit), true)
	f.Add(join(slot(0x85, 0, 1, 0, 1), exit, slot(0x7a, 10, 0, -8, 1), slot(0xd7, 3, 0, 0, 32), slot(0x06, 0, 0, 0, 0), exit), true)
	f.Add(join(lookup(5), slot(0xbf, 1, 0, 0, 0), slot(0xbf, 2, 10, 0, 0), slot(0x07, 2, 0, 0, -4), slot(0x85, 0, 0, 0, 1), exit), false)
	for number := range int32(32) { // every helper, with odd arguments
		f.Add(join(slot(0xbf, 3, 1, 0, 0), slot(0xb7, 2, 0, 0, -1), slot(0xb7, 4, 0, 0, 1<<20), slot(0x85, 0, 0, 0, number), exit), false)
		f.Add(join(mapValue(1), slot(0xbf, 3, 10, 0, 0), slot(0x07, 3, 0, 0, -16), slot(0xb7, 2, 0, 0, 16), slot(0xb7, 4, 0, 0, 8), slot(0x85, 0, 0, 0, number), exit), false)
		f.Add(join(slot(0x18, 1, srcMap, 0, 2), slot(0, 0, 0, 0, 0), slot(0xbf, 2, 10, 0, 0), slot(0x07, 2, 0, 0, -32), slot(0xbf, 3, 2, 0, 0), slot(0x85, 0, 0, 0, number), exit), true)
	}
	f.Fuzz(func(t *testing.T, code []byte, repair bool) {
		inner := newTestMap(t, ebpf.Array, 4, 8, 2)
		outer := newTestMap(t, ebpf.ArrayOfMaps, 4, 4, 2)
		require.NoError(t, outer.SetMap(u32(0), inner))
		programs := newTestMap(t, ebpf.ProgramArray, 4, 4, 2)
		env := &Environment{MaxSteps: 10_000, Print: func(string) {}, ReadOnlyContext: len(code)%2 == 1, Maps: map[string]*Map{
			"0": newTestMap(t, ebpf.Array, 4, 24, 1),
			"1": newTestMap(t, ebpf.LRUHash, 4, 9, 3),
			"2": newTestMap(t, ebpf.LPMTrie, 8, 16, 3),
			"3": newTestMap(t, ebpf.RingBuf, 0, 0, 4096),
			"4": programs,
			"5": outer,
			"6": newTestMap(t, ebpf.Queue, 0, 5, 3),
		}}
		if repair {
			code = repaired(code)
		}
		p, err := LoadBytes(code, env)
		if err != nil {
			return
		}
		require.NoError(t, programs.SetProgram(0, p))
		context := make([]byte, 64)
		m := NewMachine()
		_, err = m.Run(p, context, nil)
		if fault := (*Fault)(nil); err != nil && !errors.As(err, &fault) {
			t.Fatalf("not a fault: %v", err)
		}
		require.LessOrEqual(t, m.Steps(), uint64(10_000+4096/bytesPerStep))
		if env.ReadOnlyContext {
			require.Equal(t, make([]byte, 64), context)
		}
	})
}

// FuzzMaps runs rows of operations on maps of all types and shapes.
func FuzzMaps(f *testing.F) {
	f.Add(uint32(ebpf.LPMTrie), uint8(8), uint8(3), uint8(4), []byte("\x02 \x00\x00\x00\x0a\x00\x00\x01abc"))
	f.Add(uint32(ebpf.WindowsLRUCPUHash), uint8(4), uint8(9), uint8(2), []byte("\x02keyavalue of 9\x03keya"))
	f.Add(uint32(ebpf.Stack), uint8(0), uint8(9), uint8(2), []byte("\x04123456789\x05"))
	f.Fuzz(func(t *testing.T, typ uint32, keySize, valueSize, entries uint8, data []byte) {
		m, err := NewMap(&ebpf.MapSpec{Type: ebpf.MapType(typ), KeySize: uint32(keySize), ValueSize: uint32(valueSize), MaxEntries: uint32(entries)})
		if err != nil {
			return
		}
		take := func(n int) []byte {
			b := make([]byte, n)
			data = data[copy(b, data):]
			return b
		}
		for len(data) > 0 {
			switch op := take(1)[0]; op % 8 {
			case 0:
				m.Lookup(take(int(keySize)))
			case 1, 2:
				key, value := take(int(keySize)), take(m.valueSize())
				if m.Update(key, value, uint64(op>>6)) == nil && m.form.kind != trieMap {
					got, err := m.Lookup(key)
					require.NoError(t, err)
					require.Equal(t, value, got)
				}
			case 3:
				m.Delete(take(int(keySize)))
			case 4:
				m.Push(take(int(valueSize)), uint64(op>>6))
			case 5:
				m.Pop()
			case 6:
				m.Drain()
			case 7:
				require.LessOrEqual(t, len(m.Keys()), int(entries))
			}
			require.LessOrEqual(t, m.Len(), int(entries))
		}
	})
}
