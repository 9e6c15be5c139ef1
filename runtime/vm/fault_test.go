package vm

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"
)

// lookup leaves in r0 the address of element 0 of map number n.
func lookup(n int32) []byte {
	return join(
		slot(0x62, 10, 0, -4, 0),
		slot(0xbf, 2, 10, 0, 0), slot(0x07, 2, 0, 0, -4),
		slot(0x18, 1, srcMap, 0, n), slot(0, 0, 0, 0, 0),
		slot(0x85, 0, 0, 0, 1))
}

func TestFaults(t *testing.T) {
	frozen, err := NewMap(&ebpf.MapSpec{Name: "rodata", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1, Flags: flagReadOnlyProgram})
	require.NoError(t, err)
	hidden, err := NewMap(&ebpf.MapSpec{Name: "sink", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1, Flags: flagWriteOnlyProgram})
	require.NoError(t, err)
	env := &Environment{ReadOnlyContext: true, Maps: map[string]*Map{
		"0": newTestMap(t, ebpf.Array, 4, 12, 5),
		"1": newTestMap(t, ebpf.RingBuf, 0, 0, 4096),
		"2": newTestMap(t, ebpf.ProgramArray, 4, 4, 1),
		"3": frozen,
		"4": hidden,
	}}
	load8, store8 := slot(0x79, 0, 0, 0, 0), slot(0x7b, 0, 0, 0, 0)
	move := func(dst, src uint8, add int32) []byte {
		return join(slot(0xbf, dst, src, 0, 0), slot(0x07, dst, 0, 0, add))
	}
	handle := func(dst uint8, n int32) []byte { return join(slot(0x18, dst, srcMap, 0, n), slot(0, 0, 0, 0, 0)) }
	for name, test := range map[string]struct {
		code []byte
		want string
	}{
		"null pointer":         {load8, "instruction 0: load of 8 bytes at 0x0, a null pointer or a number"},
		"number":               {join(loadImm(0, 0xdeadbeef), load8), "instruction 2: load of 8 bytes at 0xdeadbeef, a null pointer or a number"},
		"big number":           {join(loadImm(0, 1<<63), load8), "load of 8 bytes at 0x8000000000000000, which is no address"},
		"all ones":             {join(loadImm(0, ^uint64(0)), load8), "load of 8 bytes at 0xffffffffffffffff, which is no address"},
		"half a pointer":       {join(slot(0xbc, 0, 10, 0, 0), load8), "load of 8 bytes at 0x200, a null pointer or a number"},
		"above the stack":      {slot(0x79, 0, 10, 0, 0), "load of 8 bytes at r10+0 in frame 0, whose stack has 512"},
		"over the stack's end": {slot(0x7b, 10, 0, -7, 0), "store of 8 bytes at r10-7 in frame 0, whose stack has 512"},
		"below the stack":      {slot(0x72, 10, 0, -513, 0), "store of 1 bytes at r10-513 in frame 0, whose stack has 512"},
		"another frame":        {slot(0x79, 0, 10, 1024-512, 0), "load of 8 bytes at stack frame 1, which is not in use"},
		"beyond the context":   {slot(0x61, 0, 1, 13, 0), "load of 4 bytes at byte 13 of the context, which has 16"},
		"before the context":   {slot(0x71, 0, 1, -1, 0), "load of 1 bytes at byte -1 of the context, which has 16"},
		"read-only context":    {slot(0x7b, 1, 0, 0, 0), "store of 8 bytes at byte 0 of the context, which is read-only"},
		"atomic on it":         {slot(0xdb, 1, 0, 8, 0), "atomic operation on 8 bytes at byte 8 of the context, which is read-only"},
		"crooked atomic":       {slot(0xdb, 10, 0, -12, 0), "atomic operation at r10-12 in frame 0, whose stack has 512, is not aligned to 8 bytes"},
		"atomic nowhere":       {slot(0xc3, 0, 0, 0, 0), "atomic operation on 4 bytes at 0x0, a null pointer or a number"},
		"beyond a value":       {join(lookup(0), slot(0x79, 0, 0, 5, 0)), "load of 8 bytes at byte 5 of a value of map `m`, which has 12"},
		"next value":           {join(lookup(0), slot(0x71, 0, 0, 16, 0)), "load of 1 bytes at byte 16 of a value of map `m`, which has 12"},
		"handle":               {join(handle(0, 0), load8), "load of 8 bytes at a map's handle"},
		"read-only map":        {join(lookup(3), store8), "store of 8 bytes at byte 0 of a value of map `rodata`, which programs may not use so"},
		"write-only map":       {join(lookup(4), load8), "load of 8 bytes at byte 0 of a value of map `sink`, which programs may not use so"},
		"update of it": {join(handle(1, 3), move(2, 10, -8), move(3, 10, -8), slot(0x85, 0, 0, 0, 2)),
			"instruction 6: programs may not change map `rodata`"},
		"not a map":       {slot(0x85, 0, 0, 0, 1), "0x1000000000000 is not a map"},
		"crooked handle":  {join(handle(1, 0), slot(0x07, 1, 0, 0, 8), slot(0x85, 0, 0, 0, 1)), "0x4000000000000008 is not a map"},
		"key nowhere":     {join(handle(1, 0), slot(0x85, 0, 0, 0, 1)), "read of 4 bytes at 0x0, a null pointer or a number"},
		"ring as a table": {lookup(1), "the map has no elements to look up or change"},
		"table as a ring": {join(handle(1, 0), slot(0x85, 0, 0, 0, 11)), "map `m` is not a ring buffer"},
		"record nowhere": {join(handle(1, 1), slot(0xbf, 2, 10, 0, 0), slot(0xb7, 3, 0, 0, 8), slot(0x85, 0, 0, 0, 11)),
			"read of 8 bytes at r10+0 in frame 0, whose stack has 512"},
		"tail call without a context": {join(slot(0xb7, 1, 0, 0, 0), slot(0x85, 0, 0, 0, 5)), "tail call without the context in r1"},
		"tail call into a table":      {join(handle(2, 0), slot(0x85, 0, 0, 0, 5)), "map `m` is not a program array"},
		"endless loop":                {slot(0x05, 0, 0, -1, 0), "instruction 0: too many instructions executed"},
		"endless recursion":           {slot(0x85, 0, 1, 0, -1), "instruction 0: calls nest deeper than 8 frames"},
	} {
		t.Run(name, func(t *testing.T) {
			p := mustLoad(t, env, test.code, exit)
			context := make([]byte, 16)
			_, err := NewMachine().Run(p, context, nil)
			require.ErrorContains(t, err, test.want)
			var fault *Fault
			require.ErrorAs(t, err, &fault)
			require.Equal(t, make([]byte, 16), context)
		})
	}
}

func TestFaultNamesProgram(t *testing.T) {
	p, err := Load(asm.Instructions{asm.LoadMem(asm.R0, asm.R2, 0, asm.Byte).WithSymbol("connect4"), asm.Return()}, &Environment{})
	require.NoError(t, err)
	_, err = NewMachine().Run(p, nil, nil)
	require.EqualError(t, err, "instruction 0 of `connect4`: load of 1 bytes at 0x0, a null pointer or a number")
}

func TestSteps(t *testing.T) {
	code := [][]byte{slot(0xb7, 1, 0, 0, 5), slot(0x17, 1, 0, 0, 1), slot(0x55, 1, 0, -2, 0), exit}
	m := NewMachine()
	_, err := m.Run(mustLoad(t, &Environment{MaxSteps: 12}, code...), nil, nil)
	require.NoError(t, err)
	require.EqualValues(t, 12, m.Steps())
	_, err = m.Run(mustLoad(t, &Environment{MaxSteps: 11}, code...), nil, nil)
	require.ErrorIs(t, err, ErrSteps)
	require.EqualValues(t, 11, m.Steps())
	_, err = m.Run(mustLoad(t, nil, slot(0x05, 0, 0, -1, 0)), nil, nil)
	require.ErrorIs(t, err, ErrSteps)
	require.EqualValues(t, DefaultMaxSteps, m.Steps())
}

// TestStackIsFresh runs a function that leaves data on its stack and one that
// reads it: frames are zero at their start, and a frame of a function that
// returned is out of reach.
func TestStackIsFresh(t *testing.T) {
	call := func(distance int32) []byte { return slot(0x85, 0, 1, 0, distance) }
	dirty := join(slot(0x7a, 10, 0, -8, 77), slot(0xbf, 0, 10, 0, 0), exit)
	read := join(slot(0x79, 0, 10, -8, 0), exit)
	m := NewMachine()
	require.EqualValues(t, 0, result(t, m, call(2), call(4), exit, dirty, read))
	_, err := m.Run(mustLoad(t, nil, dirty), nil, nil)
	require.NoError(t, err)
	require.EqualValues(t, 0, result(t, m, read))
	_, err = m.Run(mustLoad(t, nil, call(2), slot(0x79, 0, 0, -8, 0), exit, dirty), nil, nil)
	require.ErrorContains(t, err, "instruction 1: load of 8 bytes at stack frame 1, which is not in use")
}

// TestCalls passes arguments, keeps r6 to r9 and lets a function write to its
// caller's frame.
func TestCalls(t *testing.T) {
	require.EqualValues(t, 1+2+3+4+5+6+7+8+9+1000, result(t, NewMachine(),
		slot(0xb7, 1, 0, 0, 1), slot(0xb7, 2, 0, 0, 2), slot(0xb7, 3, 0, 0, 3), slot(0xb7, 4, 0, 0, 4),
		slot(0xb7, 6, 0, 0, 6), slot(0xb7, 7, 0, 0, 7), slot(0xb7, 8, 0, 0, 8), slot(0xb7, 9, 0, 0, 9),
		slot(0xbf, 5, 10, 0, 0),
		slot(0x85, 0, 1, 0, 7), // 9
		slot(0x79, 1, 10, -16, 0),
		slot(0x0f, 0, 1, 0, 0), slot(0x0f, 0, 6, 0, 0), slot(0x0f, 0, 7, 0, 0), slot(0x0f, 0, 8, 0, 0), slot(0x0f, 0, 9, 0, 0),
		exit,
		slot(0x7a, 5, 0, -16, 1005), // 17
		slot(0xb7, 6, 0, 0, 0), slot(0xb7, 7, 0, 0, 0), slot(0xb7, 8, 0, 0, 0), slot(0xb7, 9, 0, 0, 0),
		slot(0xbf, 0, 1, 0, 0), slot(0x0f, 0, 2, 0, 0), slot(0x0f, 0, 3, 0, 0), slot(0x0f, 0, 4, 0, 0),
		exit))
}

func TestDepth(t *testing.T) {
	// r1 counts down; every level calls the next.
	code := [][]byte{slot(0x15, 1, 0, 2, 0), slot(0x17, 1, 0, 0, 1), slot(0x85, 0, 1, 0, -3), slot(0x07, 0, 0, 0, 1), exit}
	for levels, ok := range map[int32]bool{6: true, 7: false} {
		all := append([][]byte{slot(0xb7, 1, 0, 0, levels), slot(0x85, 0, 1, 0, 1), exit}, code...)
		p := mustLoad(t, nil, all...)
		_, err := NewMachine().Run(p, nil, nil)
		if ok {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, "calls nest deeper than 8 frames")
		}
	}
}

func TestTailCalls(t *testing.T) {
	programs := newTestMap(t, ebpf.WindowsProgramArray, 4, 4, 4)
	env := &Environment{Maps: map[string]*Map{"programs": programs}}
	tail := func(index int32) []byte {
		return join(slot(0x18, 2, srcMap, 0, 0), slot(0, 0, 0, 0, 0), slot(0xb7, 3, 0, 0, index), slot(0x85, 0, 0, 0, 5))
	}
	run := func(p *Program) uint64 {
		context := make([]byte, 8)
		r0, err := NewMachine().Run(p, context, nil)
		require.NoError(t, err)
		return r0
	}
	// Counts in the context, then calls itself until the limit of tail calls.
	again := mustLoad(t, env, slot(0x79, 6, 1, 0, 0), slot(0x07, 6, 0, 0, 1), slot(0x7b, 1, 6, 0, 0), tail(0), slot(0xbf, 0, 6, 0, 0), exit)
	require.NoError(t, programs.SetProgram(0, again))
	require.EqualValues(t, 1+maxTailCalls, run(again))
	// Nothing there, or beyond the end: the program goes on.
	for _, index := range []int32{1, 4, -1} {
		require.Equal(t, ENOENT.result(), run(mustLoad(t, env, tail(index), exit)))
	}
	// From a function, the new program returns to the function's caller. Its registers start
	// fresh, its stack too.
	require.NoError(t, programs.SetProgram(2, mustLoad(t, &Environment{},
		slot(0x79, 0, 10, -8, 0), slot(0x0f, 0, 6, 0, 0), slot(0x07, 0, 0, 0, 5), slot(0xb7, 6, 0, 0, 0), exit)))
	require.EqualValues(t, 45, run(mustLoad(t, env,
		slot(0xb7, 6, 0, 0, 40), slot(0x85, 0, 1, 0, 2), slot(0x0f, 0, 6, 0, 0), exit,
		slot(0x7a, 10, 0, -8, 1), tail(2), exit)))
	require.Equal(t, EINVAL, programs.Update(make([]byte, 4), make([]byte, 4), Any))
	require.Equal(t, E2BIG, programs.SetProgram(4, again))
	require.NoError(t, programs.SetProgram(0, nil))
	require.Equal(t, EINVAL, newTestMap(t, ebpf.Array, 4, 4, 1).SetProgram(0, again))
}

// TestHelpers gives a program a helper of the caller, with state, memory and
// errors.
func TestHelpers(t *testing.T) {
	type connection struct{ interfaceType uint32 }
	broken := errors.New("broken")
	const fill, fail = 65538, 77
	env := &Environment{Helpers: map[int32]Helper{
		fill: func(m *Machine, r1, r2, r3, _, _ uint64) (uint64, error) {
			if !m.IsContext(r1) {
				return 0, errors.New("not the context")
			}
			require.Equal(t, []byte{1, 2, 3, 4}, m.Context())
			buf := make([]byte, 8)
			if err := m.Read(r2, buf); err != nil {
				return 0, err
			}
			buf[0] += byte(m.State().(*connection).interfaceType)
			return 0, m.Write(r2, buf[:r3])
		},
		fail: func(*Machine, uint64, uint64, uint64, uint64, uint64) (uint64, error) { return 0, broken },
	}}
	code := func(size int32, at int32) []byte {
		return join(slot(0x7a, 10, 0, -8, 0x101), slot(0xbf, 2, 10, 0, 0), slot(0x07, 2, 0, 0, at), slot(0xb7, 3, 0, 0, size),
			slot(0x85, 0, 0, 0, fill), slot(0x79, 0, 10, -8, 0), exit)
	}
	m, context, state := NewMachine(), []byte{1, 2, 3, 4}, &connection{71}
	r0, err := m.Run(mustLoad(t, env, code(1, -8)), context, state)
	require.NoError(t, err)
	require.EqualValues(t, 0x148, r0)
	_, err = m.Run(mustLoad(t, env, code(1, -4)), context, state)
	require.EqualError(t, err, "instruction 4: read of 8 bytes at r10-4 in frame 0, whose stack has 512")
	_, err = m.Run(mustLoad(t, env, slot(0x85, 0, 0, 0, fail), exit), nil, nil)
	require.ErrorIs(t, err, broken)
	require.Nil(t, m.State())

	random := result(t, m, slot(0x85, 0, 0, 0, 6), exit)
	require.Less(t, random, uint64(1<<32))
	first := result(t, m, slot(0x85, 0, 0, 0, 9), exit)
	require.LessOrEqual(t, first, result(t, m, slot(0x85, 0, 0, 0, 9), exit))
	m.CPU = 3 + CPUs
	require.EqualValues(t, 3, result(t, m, slot(0x85, 0, 0, 0, 8), exit))
}
