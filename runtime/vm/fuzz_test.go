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
