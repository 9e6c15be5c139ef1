package vm

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
)

// call runs a helper with up to five arguments, of which those above 1<<32 are
// offsets into the context.
func callHelper(t *testing.T, env *Environment, number int32, context []byte, arguments ...uint64) (uint64, error) {
	t.Helper()
	code := slot(0xbf, 6, 1, 0, 0)
	for i, a := range arguments {
		r := uint8(i + 1)
		if a>>32 == 0 {
			code = append(code, loadImm(r, a)...)
		} else {
			code = append(code, join(slot(0xbf, r, 6, 0, 0), slot(0x07, r, 0, 0, int32(a)))...)
		}
	}
	return NewMachine().Run(mustLoad(t, env, code, slot(0x85, 0, 0, 0, number), exit), context, nil)
}

// at is the address of an offset in the context.
func at(offset uint64) uint64 { return 1<<32 | offset }

func TestMemoryHelpers(t *testing.T) {
	negative := func(e Errno) uint64 { return e.result() }
	for name, test := range map[string]struct {
		number    int32
		arguments []uint64
		context   string
		want      uint64
		after     string // of the context; empty: as before
	}{
		"memcpy_s":              {helperMemoryCopy, []uint64{at(0), 4, at(4), 3}, "abcdefgh", 0, "efgdefgh"},
		"memcpy_s too long":     {helperMemoryCopy, []uint64{at(0), 2, at(4), 3}, "abcdefgh", negative(EINVAL), ""},
		"memmove_s":             {helperMemoryMove, []uint64{at(1), 7, at(0), 7}, "abcdefgh", 0, "aabcdefg"},
		"memcpy_s of nothing":   {helperMemoryCopy, []uint64{at(0), 4, 0, 0}, "abcd", 0, ""},
		"memcmp_s equal":        {helperMemoryCompare, []uint64{at(0), 2, at(2), 2}, "abab", 0, ""},
		"memcmp_s less":         {helperMemoryCompare, []uint64{at(0), 2, at(2), 2}, "abac", ^uint64(0), ""},
		"memcmp_s greater":      {helperMemoryCompare, []uint64{at(0), 2, at(2), 1}, "abac", 1, ""},
		"memset":                {helperMemorySet, []uint64{at(1), 2, 'x' | 0x100}, "abcd", contextAddress() + 1, "axxd"},
		"strncpy_s":             {helperStringCopy, []uint64{at(0), 4, at(4), 4}, "zzzzab\x00c", 0, "ab\x00\x00ab\x00c"},
		"strncpy_s at its size": {helperStringCopy, []uint64{at(0), 4, at(4), 3}, "zzzzabcd", 0, "abc\x00abcd"},
		"strncpy_s too long":    {helperStringCopy, []uint64{at(0), 4, at(4), 4}, "zzzzabcd", negative(ERANGE), ""},
		"strncat_s":             {helperStringAppend, []uint64{at(0), 6, at(6), 2}, "ab\x00zzzcd", 0, "abcd\x00\x00cd"},
		"strncat_s too long":    {helperStringAppend, []uint64{at(0), 4, at(4), 4}, "ab\x00zcdef", negative(ERANGE), ""},
		"strnlen_s":             {helperStringLength, []uint64{at(0), 8}, "abc\x00efgh", 3, ""},
		"strnlen_s without end": {helperStringLength, []uint64{at(0), 4}, "abcd", 4, ""},
		"strnlen_s of null":     {helperStringLength, []uint64{0, 4}, "abcd", 0, ""},
		"csum_diff":             {helperChecksum, []uint64{at(0), 4, at(4), 4, 5}, "\x01\x00\x02\x00\x03\x00\x04\x00", 0xfffe + 0xfffd + 3 + 4 + 5, ""},
		"csum_diff of odd size": {helperChecksum, []uint64{at(0), 3, 0, 0, 5}, "abcd", negative(EINVAL), ""},
		"csum_diff of null":     {helperChecksum, []uint64{0, 4, at(0), 4, 0}, "\x01\x00\x02\x00", 3, ""},
		"csum_diff overflowing": {helperChecksum, []uint64{0, 0, at(0), 4, 0x7fffffff}, "\x01\x00\x02\x00", negative(EINVAL), ""},
	} {
		t.Run(name, func(t *testing.T) {
			context := []byte(test.context)
			r0, err := callHelper(t, nil, test.number, context, test.arguments...)
			require.NoError(t, err)
			require.Equal(t, test.want, r0)
			if test.after == "" {
				test.after = test.context
			}
			require.Equal(t, test.after, string(context))
		})
	}
	// Memory that is not there, or not to be written, of sizes that would be madness
	// to allocate.
	for number, arguments := range map[int32][]uint64{
		helperMemoryCopy:    {at(0), ^uint64(0) >> 1, at(0), 1 << 31},
		helperMemoryCompare: {at(0), 8, at(1), 8},
		helperMemorySet:     {at(0), 1 << 31, 0},
		helperStringCopy:    {at(0), 8, 64, 8},
		helperStringAppend:  {at(0), 1 << 31, at(0), 1},
		helperStringLength:  {at(0), 9},
		helperChecksum:      {at(0), 8, at(0), 12, 0},
	} {
		for i, a := range arguments {
			if a == 1<<31 { // loadImm, not an address
				arguments[i] = 0x7fffffff
			}
		}
		_, err := callHelper(t, nil, number, make([]byte, 8), arguments...)
		require.ErrorContains(t, err, " bytes at ", number)
	}
	for _, number := range []int32{helperMemoryCopy, helperMemoryCompare, helperMemorySet, helperStringCopy, helperStringAppend, helperStringLength} {
		for _, size := range []uint64{^uint64(0), 1<<63 - 1, ^uint64(0) - 512, 1 << 48} {
			var code []byte
			for _, address := range []uint64{frameAddress(0) - frameBytes + 1, contextAddress() + 1, valueAddress(0, 1)} {
				for r := uint8(1); r <= 4; r++ {
					code = append(code, loadImm(r, []uint64{address, size}[(r+1)%2])...)
				}
				_, err := NewMachine().Run(mustLoad(t, &Environment{Maps: map[string]*Map{"m": newTestMap(t, ebpf.Array, 4, 8, 1)}},
					code, slot(0x85, 0, 0, 0, number), exit), make([]byte, 8), nil)
				require.ErrorContains(t, err, " bytes at ")
			}
		}
	}
	_, err := callHelper(t, &Environment{ReadOnlyContext: true}, helperMemorySet, make([]byte, 8), at(0), 8, 1)
	require.ErrorContains(t, err, "write of 8 bytes at byte 0 of the context, which is read-only")
}

func TestPrint(t *testing.T) {
	for format, test := range map[string]struct {
		number    int32
		arguments []uint64
		want      string // empty: refused
	}{
		"hello\n":          {helperPrint2, nil, "hello"},
		"100%%":            {helperPrint2, nil, "100%"},
		"%d, %u":           {helperPrint4, []uint64{0xffffffff, 0xffffffff}, "-1, 4294967295"},
		"%lli %lx %x":      {helperPrint5, []uint64{0xfffffff0, 255, 16}, "4294967280 ff 10"},
		"%d":               {helperPrint2, nil, ""},
		"%d and no more":   {helperPrint4, []uint64{1, 2}, ""},
		"%s":               {helperPrint3, []uint64{1}, ""},
		"cut %":            {helperPrint3, []uint64{1}, ""},
		"%llld":            {helperPrint3, []uint64{1}, ""},
		"":                 {helperPrint2, nil, ""},
		"\x00 not reached": {helperPrint2, nil, "\x00"},
	} {
		var printed []string
		env := &Environment{Print: func(s string) { printed = append(printed, s) }}
		context := append([]byte(format), 0)
		r0, err := callHelper(t, env, test.number, context, append([]uint64{at(0), uint64(len(context))}, test.arguments...)...)
		require.NoError(t, err)
		switch test.want {
		case "":
			require.Equal(t, ^uint64(0), r0, format)
			require.Empty(t, printed)
		case "\x00": // an empty line
			require.Equal(t, []string{""}, printed)
		default:
			require.Equal(t, []string{test.want}, printed)
			require.EqualValues(t, len(test.want), r0)
		}
	}
	r0, err := callHelper(t, nil, helperPrint2, []byte("hello\x00"), at(0), 6)
	require.NoError(t, err)
	require.EqualValues(t, len("hello"), r0, "where nobody reads it")
}

func TestQueues(t *testing.T) {
	for typ, order := range map[ebpf.MapType][]uint32{
		ebpf.WindowsQueue: {2, 3, 4}, ebpf.Queue: {2, 3, 4},
		ebpf.WindowsStack: {4, 3, 2}, ebpf.Stack: {4, 3, 2},
	} {
		m := newTestMap(t, typ, 0, 4, 3)
		env := &Environment{Maps: map[string]*Map{"m": m}}
		call := func(number int32, value uint32, flags int32) (uint64, uint32) {
			context := u32(value)
			r0, err := NewMachine().Run(mustLoad(t, env, slot(0xbf, 2, 1, 0, 0), slot(0x18, 1, srcMap, 0, 0), slot(0, 0, 0, 0, 0),
				slot(0xb7, 3, 0, 0, flags), slot(0x85, 0, 0, 0, number), exit), context, nil)
			require.NoError(t, err)
			return r0, binary.LittleEndian.Uint32(context)
		}
		_, err := m.Pop()
		require.Equal(t, ENOENT, err)
		for i := range uint32(3) {
			r0, _ := call(helperMapPush, i+1, Any)
			require.Zero(t, r0)
		}
		require.Equal(t, 3, m.Len())
		r0, _ := call(helperMapPush, 4, Any)
		require.Equal(t, E2BIG.result(), r0)
		r0, _ = call(helperMapPush, 4, NoExist)
		require.Equal(t, EINVAL.result(), r0)
		r0, _ = call(helperMapPush, 4, Exist) // drops 1
		require.Zero(t, r0)
		for _, want := range order {
			r0, got := call(helperMapPeek, 0, 0)
			require.Zero(t, r0)
			require.Equal(t, want, got)
			_, got = call(helperMapPop, 0, 0)
			require.Equal(t, want, got)
		}
		r0, got := call(helperMapPop, 77, 0)
		require.Equal(t, ENOENT.result(), r0)
		require.EqualValues(t, 77, got)
		require.NoError(t, m.Push(u32(9), Any))
		value, err := m.Pop()
		require.NoError(t, err)
		require.Equal(t, u32(9), value)
		require.Equal(t, EINVAL, m.Push(u64(9), Any))
		_, err = m.Lookup(nil)
		require.Equal(t, EINVAL, err)
		require.Equal(t, EINVAL, m.Update(nil, u32(1), Any))
		require.Equal(t, EINVAL, m.Delete(nil))
		require.Empty(t, m.Keys())
		_, err = NewMachine().Run(mustLoad(t, env, lookup(0), exit), nil, nil)
		require.ErrorContains(t, err, "the map has no elements to look up or change")
	}
	_, err := newTestMap(t, ebpf.Array, 4, 4, 1).Pop()
	require.Equal(t, EINVAL, err)
}

func TestLookupAndDelete(t *testing.T) {
	m := newTestMap(t, ebpf.WindowsHash, 4, 8, 2)
	env := &Environment{Maps: map[string]*Map{"m": m}}
	take := mustLoad(t, env, slot(0x62, 10, 0, -4, 0), slot(0xbf, 2, 10, 0, 0), slot(0x07, 2, 0, 0, -4),
		slot(0x18, 1, srcMap, 0, 0), slot(0, 0, 0, 0, 0), slot(0x85, 0, 0, 0, 4),
		slot(0x15, 0, 0, 1, 0), slot(0x79, 0, 0, 0, 0), exit)
	require.NoError(t, m.Update(u32(0), u64(42), Any))
	for _, want := range []uint64{42, 0} {
		r0, err := NewMachine().Run(take, nil, nil)
		require.NoError(t, err)
		require.Equal(t, want, r0)
	}
}

func TestNewMaps(t *testing.T) {
	spec := func(name string, size uint32) *ebpf.MapSpec {
		return &ebpf.MapSpec{Name: name, Type: ebpf.WindowsArray, KeySize: 4, ValueSize: size, MaxEntries: 1}
	}
	maps, err := NewMaps([]*ebpf.MapSpec{spec("a", 8), spec("b", 16)})
	require.NoError(t, err)
	require.Len(t, maps, 2)
	require.EqualValues(t, 16, maps["b"].Spec().ValueSize)
	_, err = NewMaps([]*ebpf.MapSpec{spec("a", 8), spec("a", 16)})
	require.EqualError(t, err, "map `a`: there are two of that name")
	_, err = NewMaps([]*ebpf.MapSpec{spec("a", MaxMapBytes), spec("b", MaxMapBytes), spec("c", MaxMapBytes), spec("d", MaxMapBytes), spec("e", 1)})
	require.EqualError(t, err, "map `e`: the maps need more than 1073741824 bytes together")
	for _, typ := range []ebpf.MapType{ebpf.Array, ebpf.Hash, ebpf.LPMTrie, ebpf.Queue} {
		_, err = NewMaps([]*ebpf.MapSpec{{Name: "a", Type: typ, MaxEntries: 1}})
		require.ErrorContains(t, err, "map `a`: ")
	}
}

// TestWorkIsBounded moves a megabyte in a loop: it ends as soon as an endless loop
// of plain instructions would.
func TestWorkIsBounded(t *testing.T) {
	m := newTestMap(t, ebpf.Array, 4, 1<<20, 1)
	p := mustLoad(t, &Environment{MaxSteps: 100_000, Maps: map[string]*Map{"m": m}},
		mapValue(1), slot(0xb7, 2, 0, 0, 1<<20), slot(0xb7, 3, 0, 0, 7), slot(0x85, 0, 0, 0, helperMemorySet),
		slot(0x05, 0, 0, -6, 0), exit)
	machine := NewMachine()
	_, err := machine.Run(p, nil, nil)
	require.ErrorIs(t, err, ErrSteps)
	require.Less(t, machine.Steps(), uint64(100_000+1<<20/bytesPerStep+10))
	value, err := m.Lookup(u32(0))
	require.NoError(t, err)
	require.Equal(t, bytes.Repeat([]byte{7}, 1<<20), value)
}
