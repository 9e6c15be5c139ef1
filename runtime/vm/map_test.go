package vm

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
)

func u32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
func u64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

func TestNewMap(t *testing.T) {
	for name, test := range map[string]struct {
		spec ebpf.MapSpec
		want string // of the error
	}{
		"array":             {ebpf.MapSpec{Type: ebpf.WindowsArray, KeySize: 4, ValueSize: 3, MaxEntries: 7}, ""},
		"largest":           {ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: MaxMapBytes, MaxEntries: 1}, ""},
		"too large":         {ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: MaxMapBytes, MaxEntries: 2}, "needs 536870912 bytes, more than 268435456"},
		"largest hash":      {ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: MaxMapBytes/2 - 32, MaxEntries: 1}, ""},
		"too large a hash":  {ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: MaxMapBytes/2 + 1, MaxEntries: 1}, "needs 268435520 bytes"},
		"absurd":            {ebpf.MapSpec{Type: ebpf.PerCPUHash, KeySize: 512, ValueSize: 1<<32 - 1, MaxEntries: 1<<32 - 1}, "more than 268435456"},
		"absurd count":      {ebpf.MapSpec{Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: MaxMapBytes, MaxEntries: 1<<32 - 1}, "more than 268435456"},
		"many programs":     {ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1<<32 - 1}, "more than 268435456"},
		"no entries":        {ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 4}, "no entries"},
		"no value":          {ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, MaxEntries: 1}, "values of no bytes"},
		"array key":         {ebpf.MapSpec{Type: ebpf.Array, KeySize: 8, ValueSize: 4, MaxEntries: 1}, "key of 8 bytes: want 4 to 4"},
		"hash key":          {ebpf.MapSpec{Type: ebpf.LRUHash, KeySize: 513, ValueSize: 4, MaxEntries: 1}, "key of 513 bytes: want 1 to 512"},
		"trie key":          {ebpf.MapSpec{Type: ebpf.LPMTrie, KeySize: 4, ValueSize: 4, MaxEntries: 1}, "key of 4 bytes: want 5 to 260"},
		"ring size":         {ebpf.MapSpec{Type: ebpf.WindowsRingBuf, MaxEntries: 5000}, "ring buffer of 5000 bytes: want a power of two"},
		"program value":     {ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 8, MaxEntries: 1}, "value of 8 bytes: want 4"},
		"type":              {ebpf.MapSpec{Type: ebpf.SockMap, KeySize: 4, ValueSize: 4, MaxEntries: 1}, "type SockMap is not supported"},
		"flags":             {ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 1, Flags: 1 << 16}, "flags 0x10000 are not supported"},
		"contents":          {ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1, Contents: []ebpf.MapKV{{Key: uint32(1), Value: uint32(1)}}}, "element 0 of the contents: map is full"},
		"contents of a map": {ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1, Contents: []ebpf.MapKV{{Key: "k", Value: uint32(1)}}}, "key 0 of the contents"},
	} {
		t.Run(name, func(t *testing.T) {
			test.spec.Name = "m"
			m, err := NewMap(&test.spec)
			if test.want == "" {
				require.NoError(t, err)
				require.Equal(t, test.spec.Type, m.Spec().Type)
				return
			}
			require.ErrorContains(t, err, "map `m`: ")
			require.ErrorContains(t, err, test.want)
		})
	}
	m, err := NewMap(&ebpf.MapSpec{Type: ebpf.WindowsArray, KeySize: 4, ValueSize: 6, MaxEntries: 2, Contents: []ebpf.MapKV{{Key: uint32(1), Value: []byte("abcdef")}}})
	require.NoError(t, err)
	value, err := m.Lookup(u32(1))
	require.NoError(t, err)
	require.Equal(t, "abcdef", string(value))
}

// TestMapErrors holds each operation on each kind of map to the kernel's error
// numbers.
func TestMapErrors(t *testing.T) {
	key, value := u32(1), u64(7)
	for name, test := range map[string]struct {
		typ                                   ebpf.MapType
		keySize                               uint32
		lookup, exist, noExist, again, remove error
		full                                  error
		key                                   []byte
	}{
		"array": {typ: ebpf.Array, noExist: EEXIST, again: EEXIST, remove: EINVAL, full: E2BIG, key: key},
		"hash":  {typ: ebpf.Hash, lookup: ENOENT, exist: ENOENT, again: EEXIST, full: E2BIG, key: key},
		"trie":  {typ: ebpf.LPMTrie, keySize: 8, lookup: ENOENT, exist: ENOENT, again: EEXIST, full: ENOSPC, key: append(u32(32), 10, 0, 0, 1)},
		"lru":   {typ: ebpf.LRUHash, lookup: ENOENT, exist: ENOENT, again: EEXIST, key: key},
	} {
		t.Run(name, func(t *testing.T) {
			m := newTestMap(t, test.typ, max(4, test.keySize), 8, 2)
			is := func(want, got error) { t.Helper(); require.Equal(t, want, got) }
			_, err := m.Lookup(test.key)
			is(test.lookup, err)
			is(test.exist, m.Update(test.key, value, Exist))
			is(test.noExist, m.Update(test.key, value, NoExist))
			is(test.again, m.Update(test.key, value, NoExist))
			is(nil, m.Update(test.key, value, Exist))
			is(nil, m.Update(test.key, u64(8), Any))
			is(EINVAL, m.Update(test.key, value, 3))
			is(EINVAL, m.Update(test.key, value[1:], Any))
			is(EINVAL, m.Update(test.key[1:], value, Any))
			is(EINVAL, m.Delete(test.key[1:]))
			got, err := m.Lookup(test.key)
			is(nil, err)
			require.Equal(t, u64(8), got)
			_, err = m.Lookup(test.key[1:])
			is(EINVAL, err)
			other, third := bytes.Clone(test.key), bytes.Clone(test.key)
			other[len(other)-1], third[len(third)-1] = 2, 3
			if name == "array" {
				other, third = u32(0), u32(2)
			}
			is(nil, m.Update(other, value, Any))
			is(test.full, m.Update(third, value, Any))
			is(nil, m.Update(other, value, Any)) // a full map still takes known keys
			require.Equal(t, 2, m.Len())
			if name != "lru" {
				is(test.remove, m.Delete(test.key))
			}
			if name == "hash" || name == "trie" {
				is(ENOENT, m.Delete(test.key))
				require.Equal(t, 1, m.Len())
				is(nil, m.Update(third, value, Any))
			}
		})
	}
	require.ErrorIs(t, ENOENT, fs.ErrNotExist)
	require.ErrorIs(t, EEXIST, fs.ErrExist)
}

// TestMapOperations compares a map with Go's map in a long row of random
// operations.
func TestMapOperations(t *testing.T) {
	for _, typ := range []ebpf.MapType{ebpf.Hash, ebpf.PerCPUHash, ebpf.LPMTrie} {
		t.Run(typ.String(), func(t *testing.T) {
			const entries = 200
			rng := rand.New(rand.NewPCG(1, uint64(typ)))
			m := newTestMap(t, typ, 8, 12, entries)
			want := make(map[string][]byte)
			for range 50_000 {
				key := append(u32(uint32(rng.IntN(33))), 10, byte(rng.IntN(2)), byte(rng.IntN(3)), byte(rng.IntN(8)))
				key[4] = byte(10 << rng.IntN(3))
				name := string(key)
				if typ == ebpf.LPMTrie {
					name = canonical(key)
				}
				value := make([]byte, m.valueSize())
				for i := range value {
					value[i] = byte(rng.Int())
				}
				_, known := want[name]
				switch op, flags := rng.IntN(4), rng.Uint64N(3); {
				case op == 0:
					err := m.Delete(key)
					require.Equal(t, !known, err == ENOENT)
					delete(want, name)
				case op == 1 && typ != ebpf.LPMTrie:
					got, err := m.Lookup(key)
					require.Equal(t, !known, err == ENOENT)
					if known {
						require.Equal(t, want[name], got)
					}
				default:
					err := m.Update(key, value, flags)
					switch {
					case known && flags == NoExist:
						require.Equal(t, EEXIST, err)
					case !known && flags == Exist:
						require.Equal(t, ENOENT, err)
					case !known && len(want) == entries:
						require.Equal(t, m.full(), err)
					default:
						require.NoError(t, err)
						want[name] = value
					}
				}
				require.Equal(t, len(want), m.Len())
			}
			for _, key := range m.Keys() {
				name := string(key)
				if typ == ebpf.LPMTrie {
					name = canonical(key)
				}
				require.Contains(t, want, name)
				delete(want, name)
			}
			require.Empty(t, want)
		})
	}
}

// canonical is a trie's key with the bits beyond its length cleared.
func canonical(key []byte) string {
	key = bytes.Clone(key)
	for i := int(binary.LittleEndian.Uint32(key)); i < 8*(len(key)-4); i++ {
		key[4+i/8] &^= 1 << (7 - i%8)
	}
	return string(key)
}

func TestTrie(t *testing.T) {
	m := newTestMap(t, ebpf.WindowsLPMTrie, 8, 1, 10)
	key := func(length uint32, a, b, c, d byte) []byte { return append(u32(length), a, b, c, d) }
	for i, k := range [][]byte{key(0, 0, 0, 0, 0), key(8, 10, 0, 0, 0), key(24, 10, 1, 2, 0), key(25, 10, 1, 2, 128), key(32, 10, 1, 2, 129)} {
		require.NoError(t, m.Update(k, []byte{byte(i)}, Any))
	}
	for _, test := range []struct {
		key  []byte
		want byte
	}{
		{key(32, 11, 0, 0, 0), 0},
		{key(32, 10, 0, 0, 1), 1},
		{key(32, 10, 1, 2, 127), 2},
		{key(32, 10, 1, 2, 128), 3},
		{key(32, 10, 1, 2, 129), 4},
		{key(24, 10, 1, 2, 129), 2}, // no longer prefix than the key's own
		{key(9, 10, 1, 2, 129), 1},
		{key(0, 10, 1, 2, 129), 0},
	} {
		value, err := m.Lookup(test.key)
		require.NoError(t, err)
		require.Equal(t, []byte{test.want}, value, "%v", test.key)
	}
	_, err := m.Lookup(key(33, 10, 0, 0, 0))
	require.Equal(t, ENOENT, err)
	require.Equal(t, EINVAL, m.Update(key(33, 10, 0, 0, 0), []byte{1}, Any))
	require.Equal(t, ENOENT, m.Delete(key(33, 10, 0, 0, 0)))
	require.Equal(t, ENOENT, m.Delete(key(16, 10, 1, 0, 0)))
	require.NoError(t, m.Delete(key(0, 1, 2, 3, 4)))
	_, err = m.Lookup(key(32, 11, 0, 0, 0))
	require.Equal(t, ENOENT, err)
}

// TestTrieAgainstScan looks up random addresses among random prefixes of 16
// bytes.
func TestTrieAgainstScan(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 3))
	m := newTestMap(t, ebpf.LPMTrie, 20, 4, 2000)
	prefixes := make(map[string]uint32)
	random := func(length int) []byte {
		key := u32(uint32(length))
		for range 16 {
			key = append(key, byte(rng.IntN(3)<<6))
		}
		return key
	}
	for range 10_000 {
		length := rng.IntN(129)
		key := random(length)
		if len(prefixes) < 1000 {
			v := rng.Uint32()
			require.NoError(t, m.Update(key, u32(v), Any))
			prefixes[canonical(key)] = v
		} else if rng.IntN(2) == 0 {
			gone := slices.Sorted(maps.Keys(prefixes))[rng.IntN(len(prefixes))]
			require.NoError(t, m.Delete([]byte(gone)))
			delete(prefixes, gone)
		}
		address := random(128)
		want, found := uint32(0), false
		for length := 128; length >= 0 && !found; length-- {
			copy(address, u32(uint32(length)))
			want, found = prefixes[canonical(address)]
		}
		copy(address, u32(128))
		got, err := m.Lookup(address)
		require.Equal(t, found, err == nil)
		if found {
			require.Equal(t, u32(want), got)
		}
	}
}

func TestLRU(t *testing.T) {
	m := newTestMap(t, ebpf.WindowsLRUHash, 4, 8, 100)
	for i := range uint32(100) {
		require.NoError(t, m.Update(u32(i), u64(1), Any))
	}
	_, ok := m.find(u32(7)) // a program looks 7 up
	require.True(t, ok)
	for i := range uint32(50) {
		require.NoError(t, m.Update(u32(1000+i), u64(2), Any))
	}
	require.Equal(t, 100, m.Len())
	_, err := m.Lookup(u32(7))
	require.NoError(t, err)
	for _, gone := range []uint32{0, 6, 8, 49} {
		_, err := m.Lookup(u32(gone))
		require.Equal(t, ENOENT, err, gone)
	}
	// A thousand times its size goes through it.
	for i := range uint32(100_000) {
		require.NoError(t, m.Update(u32(5000+i), u64(3), NoExist))
	}
	require.Equal(t, 100, m.Len())
	_, err = m.Lookup(u32(5000 + 99_999))
	require.NoError(t, err)
}

func TestPerCPU(t *testing.T) {
	for _, typ := range []ebpf.MapType{ebpf.WindowsPerCPUArray, ebpf.WindowsPerCPUHash, ebpf.WindowsLRUCPUHash} {
		m := newTestMap(t, typ, 4, 12, 3)
		require.True(t, m.PerCPU())
		env := &Environment{Maps: map[string]*Map{"m": m}}
		// Sets the element on this CPU, then adds 1 through a pointer.
		p := mustLoad(t, env,
			slot(0x7a, 10, 0, -16, 1000), slot(0x62, 10, 0, -8, 9), slot(0x62, 10, 0, -20, 2),
			slot(0x18, 1, srcMap, 0, 0), slot(0, 0, 0, 0, 0),
			slot(0xbf, 2, 10, 0, 0), slot(0x07, 2, 0, 0, -20), slot(0xbf, 3, 10, 0, 0), slot(0x07, 3, 0, 0, -16), slot(0xb7, 4, 0, 0, 0),
			slot(0x85, 0, 0, 0, 2),
			slot(0x18, 1, srcMap, 0, 0), slot(0, 0, 0, 0, 0), slot(0xbf, 2, 10, 0, 0), slot(0x07, 2, 0, 0, -20), slot(0x85, 0, 0, 0, 1),
			slot(0x79, 1, 0, 0, 0), slot(0x07, 1, 0, 0, 1), slot(0x7b, 0, 1, 0, 0), exit)
		machine := NewMachine()
		for _, cpu := range []uint{0, 3, 15} {
			machine.CPU = cpu
			_, err := machine.Run(p, nil, nil)
			require.NoError(t, err)
		}
		sum, err := m.Sum(u32(2))
		require.NoError(t, err)
		require.EqualValues(t, 3003, sum)
		values, err := m.Lookup(u32(2))
		require.NoError(t, err)
		require.Len(t, values, 16*CPUs)
		require.Equal(t, append(u64(1001), 9, 0, 0, 0), values[3*16:3*16+12])
		require.Equal(t, make([]byte, 16), values[16:32])
		require.Equal(t, EINVAL, m.Update(u32(2), make([]byte, 12), Any))
		require.NoError(t, m.Update(u32(2), bytes.Repeat(u64(1), 2*CPUs), Any))
		sum, err = m.Sum(u32(2))
		require.NoError(t, err)
		require.EqualValues(t, CPUs, sum)
	}
	_, err := newTestMap(t, ebpf.Array, 4, 4, 1).Sum(u32(0))
	require.Equal(t, EINVAL, err)
}

func TestRing(t *testing.T) {
	m := newTestMap(t, ebpf.WindowsRingBuf, 0, 0, 4096)
	env := &Environment{Maps: map[string]*Map{"m": m}}
	// Puts out the context's first r3 bytes, after copying 8 of them.
	put := func(size int32) *Program {
		return mustLoad(t, env, slot(0xbf, 2, 1, 0, 0), slot(0x18, 1, srcMap, 0, 0), slot(0, 0, 0, 0, 0),
			slot(0xb7, 3, 0, 0, size), slot(0xb7, 4, 0, 0, 0), slot(0x85, 0, 0, 0, 11), exit)
	}
	machine, context := NewMachine(), bytes.Repeat([]byte("0123456789abcdef"), 512)
	run := func(size int32) uint64 {
		r0, err := machine.Run(put(size), context, nil)
		require.NoError(t, err)
		return r0
	}
	for range 5 { // runs around the ring more than once
		for size := range int32(60) {
			require.Zero(t, run(size))
		}
		for size, record := range m.Drain() {
			require.Equal(t, string(context[:size]), string(record))
		}
	}
	require.Zero(t, m.Dropped())
	// 255 records of 8+8 bytes fit in 4096, for the ring is never quite full.
	<-m.Ready()
	for range 255 {
		require.Zero(t, run(7))
	}
	require.Equal(t, EAGAIN.result(), run(7))
	require.Equal(t, EAGAIN.result(), run(4096))
	require.EqualValues(t, 2, m.Dropped())
	<-m.Ready()
	require.Len(t, m.Drain(), 255)
	select {
	case <-m.Ready():
		t.Fatal("ready without a record")
	default:
	}
	record, ok := m.Read(nil)
	require.False(t, ok)
	require.Empty(t, record)
	require.Zero(t, run(4080))
	require.Len(t, m.Drain(), 1)
	require.Nil(t, newTestMap(t, ebpf.Array, 4, 4, 1).Drain())
}

func TestMapsOfMaps(t *testing.T) {
	template := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1}
	for _, typ := range []ebpf.MapType{ebpf.WindowsArrayOfMaps, ebpf.WindowsHashOfMaps} {
		outer, err := NewMap(&ebpf.MapSpec{Name: "outer", Type: typ, KeySize: 4, ValueSize: 4, MaxEntries: 4, InnerMap: template})
		require.NoError(t, err)
		for i := range uint32(3) {
			inner := newTestMap(t, ebpf.Array, 4, 8, 5)
			require.NoError(t, inner.Update(u32(0), u64(100+uint64(i)), Any))
			require.NoError(t, outer.SetMap(u32(i), inner))
		}
		require.Equal(t, EINVAL, outer.SetMap(u32(0), newTestMap(t, ebpf.Array, 4, 4, 1)))
		require.Equal(t, EINVAL, outer.SetMap(u32(0), outer))
		require.NoError(t, outer.SetMap(u32(2), nil))
		// Looks up the map whose number is the context, then its element 0.
		p := mustLoad(t, &Environment{Maps: map[string]*Map{"outer": outer}},
			slot(0x61, 3, 1, 0, 0), slot(0x63, 10, 3, -4, 0), slot(0x62, 10, 0, -8, 0),
			slot(0x18, 1, srcMap, 0, 0), slot(0, 0, 0, 0, 0), slot(0xbf, 2, 10, 0, 0), slot(0x07, 2, 0, 0, -4), slot(0x85, 0, 0, 0, 1),
			slot(0x15, 0, 0, 5, 0),
			slot(0xbf, 1, 0, 0, 0), slot(0xbf, 2, 10, 0, 0), slot(0x07, 2, 0, 0, -8), slot(0x85, 0, 0, 0, 1),
			slot(0x79, 0, 0, 0, 0), exit)
		machine := NewMachine()
		for number, want := range []uint64{100, 101, 0, 0, 0} {
			r0, err := machine.Run(p, u32(uint32(number)), nil)
			require.NoError(t, err)
			require.Equal(t, want, r0)
		}
	}
	require.Equal(t, EINVAL, newTestMap(t, ebpf.Array, 4, 4, 1).SetMap(u32(0), nil))
}

// TestDeletedElement uses a pointer to an element that the run has deleted.
func TestDeletedElement(t *testing.T) {
	m := newTestMap(t, ebpf.WindowsHash, 4, 8, 2)
	require.NoError(t, m.Update(u32(0), u64(42), Any))
	r0, err := NewMachine().Run(mustLoad(t, &Environment{Maps: map[string]*Map{"m": m}},
		lookup(0), slot(0xbf, 6, 0, 0, 0),
		slot(0x18, 1, srcMap, 0, 0), slot(0, 0, 0, 0, 0), slot(0xbf, 2, 10, 0, 0), slot(0x07, 2, 0, 0, -4), slot(0x85, 0, 0, 0, 3),
		slot(0x79, 0, 6, 0, 0), slot(0x7b, 6, 0, 0, 0), exit), nil, nil)
	require.NoError(t, err)
	require.EqualValues(t, 42, r0)
	require.Zero(t, m.Len())
}

// TestConcurrentUse runs programs and a control plane on the same maps; run with
// -race, it shows that they may. No count is lost, and no hash value is seen in
// part.
func TestConcurrentUse(t *testing.T) {
	const runs, workers = 2000, 4
	counters := newTestMap(t, ebpf.WindowsPerCPUArray, 4, 8, 1)
	last := newTestMap(t, ebpf.WindowsHash, 4, 16, 1)
	total := newTestMap(t, ebpf.WindowsArray, 4, 16, 1)
	env := &Environment{Maps: map[string]*Map{"0": counters, "1": last, "2": total}}
	p := mustLoad(t, env,
		slot(0x79, 7, 1, 0, 0), slot(0x7b, 10, 7, -16, 0), slot(0x7b, 10, 7, -24, 0),
		lookup(0), slot(0x79, 1, 0, 0, 0), slot(0x07, 1, 0, 0, 1), slot(0x7b, 0, 1, 0, 0),
		slot(0x18, 6, srcMapValue, 0, 2), slot(0, 0, 0, 0, 0), slot(0xb7, 1, 0, 0, 1),
		slot(0xdb, 6, 1, 0, 0), slot(0xc3, 6, 1, 8, 0), slot(0x73, 6, 1, 15, 0),
		slot(0x18, 1, srcMap, 0, 1), slot(0, 0, 0, 0, 0), slot(0xbf, 2, 10, 0, 0), slot(0x07, 2, 0, 0, -4),
		slot(0xbf, 3, 10, 0, 0), slot(0x07, 3, 0, 0, -24), slot(0xb7, 4, 0, 0, 0), slot(0x85, 0, 0, 0, 2),
		exit)
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			machine := NewMachine()
			machine.CPU = uint(worker)
			for i := range uint64(runs) {
				if r0, err := machine.Run(p, u64(i<<32|uint64(worker)), nil); err != nil || r0 != 0 {
					t.Errorf("r0 = %#x, %v", r0, err)
					return
				}
			}
		})
	}
	for range runs {
		if value, err := last.Lookup(u32(0)); err == nil {
			require.Equal(t, value[:8], value[8:])
		}
		sum, err := counters.Sum(u32(0))
		require.NoError(t, err)
		require.LessOrEqual(t, sum, uint64(runs*workers))
	}
	group.Wait()
	sum, err := counters.Sum(u32(0))
	require.NoError(t, err)
	require.EqualValues(t, runs*workers, sum)
	value, err := total.Lookup(u32(0))
	require.NoError(t, err)
	require.EqualValues(t, runs*workers, binary.LittleEndian.Uint64(value))
	require.EqualValues(t, runs*workers, binary.LittleEndian.Uint32(value[8:]))
	require.EqualValues(t, 1, value[15])
}
