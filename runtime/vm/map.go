package vm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
)

// CPUs is how many values a per-CPU map holds for a key. Machine.CPU picks the
// one a program sees.
const CPUs = 16

// MaxMapBytes bounds the memory of one map: values of all CPUs, keys and index.
const MaxMapBytes = 256 << 20

// Flags of MapSpec.Flags that are honoured (BPF_F_* of linux/bpf.h), and those
// that only say how the kernel should store the map and have no effect here.
const (
	flagReadOnlyProgram  = 1 << 7
	flagWriteOnlyProgram = 1 << 8
	flagsWithoutEffect   = 1<<0 | 1<<1 | 1<<2 | 1<<10 | 1<<12 // no prealloc, no common LRU, NUMA node, mmapable, inner map
)

// Map is an eBPF map in process. All its methods, and programs using it, may run
// at once in several goroutines.
//
// What another goroutine sees is what the kernel guarantees: Update of a hash or
// trie shows the old value or the new one, never a mixture; an array's value is
// changed in place, whole only by aligned words of up to 8 bytes; so are the
// stores of a program through a pointer from lookup. Such a pointer stays usable
// when its element is deleted, and may see another element's value once the place
// is used again, which is put off as long as possible.
type Map struct {
	spec ebpf.MapSpec
	form form

	mu    sync.RWMutex // index, pool and count
	index index        // nil: the key is the slot's number
	pool  pool
	count uint32
	used  []atomic.Bool // LRU: looked up since the hand passed, by slot
	hand  uint32        // LRU: where the search for a victim goes on

	slots  uint32
	stride uint64 // bytes from one value to the next
	shift  uint   // a value's address is its number << shift
	values words  // slots values of CPU 0, then those of CPU 1 ...

	inner    []atomic.Pointer[Map]     // maps of maps, by slot
	programs []atomic.Pointer[Program] // program array
	queue    queue
	ring     *ring
}

// form is what a map type is on either platform.
type form struct {
	kind   kind
	perCPU bool
	ofMaps bool
}

type kind uint8

const (
	arrayMap kind = iota
	hashMap
	lruMap
	trieMap
	queueMap
	stackMap
	ringMap
	programMap
)

// keyed says whether elements are found by a key.
func (k kind) keyed() bool { return k <= trieMap }

func formOf(t ebpf.MapType) (form, bool) {
	switch t {
	case ebpf.Array, ebpf.WindowsArray:
		return form{kind: arrayMap}, true
	case ebpf.PerCPUArray, ebpf.WindowsPerCPUArray:
		return form{kind: arrayMap, perCPU: true}, true
	case ebpf.Hash, ebpf.WindowsHash:
		return form{kind: hashMap}, true
	case ebpf.PerCPUHash, ebpf.WindowsPerCPUHash:
		return form{kind: hashMap, perCPU: true}, true
	case ebpf.LRUHash, ebpf.WindowsLRUHash:
		return form{kind: lruMap}, true
	case ebpf.LRUCPUHash, ebpf.WindowsLRUCPUHash:
		return form{kind: lruMap, perCPU: true}, true
	case ebpf.LPMTrie, ebpf.WindowsLPMTrie:
		return form{kind: trieMap}, true
	case ebpf.Queue, ebpf.WindowsQueue:
		return form{kind: queueMap}, true
	case ebpf.Stack, ebpf.WindowsStack:
		return form{kind: stackMap}, true
	case ebpf.RingBuf, ebpf.WindowsRingBuf:
		return form{kind: ringMap}, true
	case ebpf.ProgramArray, ebpf.WindowsProgramArray:
		return form{kind: programMap}, true
	case ebpf.ArrayOfMaps, ebpf.WindowsArrayOfMaps:
		return form{kind: arrayMap, ofMaps: true}, true
	case ebpf.HashOfMaps, ebpf.WindowsHashOfMaps:
		return form{kind: hashMap, ofMaps: true}, true
	}
	return form{}, false
}

// MaxBytes bounds the memory of the maps of NewMaps together.
const MaxBytes = 1 << 30

// NewMaps makes maps by name. They are bounded together, so that an object cannot
// ask for more than MaxBytes.
func NewMaps(specs []*ebpf.MapSpec) (map[string]*Map, error) {
	maps := make(map[string]*Map, len(specs))
	total := uint64(0)
	for _, spec := range specs {
		if maps[spec.Name] != nil {
			return nil, fmt.Errorf("map `%s`: there are two of that name", spec.Name)
		}
		f, _ := formOf(spec.Type)
		if total += min(bytesNeeded(spec, f), MaxBytes+1); total > MaxBytes {
			return nil, fmt.Errorf("map `%s`: the maps need more than %d bytes together", spec.Name, MaxBytes)
		}
		m, err := NewMap(spec)
		if err != nil {
			return nil, err
		}
		maps[spec.Name] = m
	}
	return maps, nil
}

// NewMap makes a map from its description, of a Linux or a Windows type, and
// fills in spec.Contents. Contents that name programs or maps are left to the
// caller, by SetProgram and SetMap.
func NewMap(spec *ebpf.MapSpec) (*Map, error) {
	m, err := newMap(spec)
	if err != nil {
		return nil, fmt.Errorf("map `%s`: %w", spec.Name, err)
	}
	return m, nil
}

func newMap(spec *ebpf.MapSpec) (*Map, error) {
	f, ok := formOf(spec.Type)
	if !ok {
		return nil, fmt.Errorf("type %s is not supported", spec.Type)
	}
	if err := checkSpec(spec, f); err != nil {
		return nil, err
	}
	m := &Map{spec: *spec, form: f}
	switch f.kind {
	case ringMap:
		m.ring = newRing(spec.MaxEntries)
		return m, nil
	case programMap:
		m.programs = make([]atomic.Pointer[Program], spec.MaxEntries)
		return m, nil
	}
	m.layOut()
	return m, m.fill(spec.Contents)
}

func checkSpec(spec *ebpf.MapSpec, f form) error {
	if spec.MaxEntries == 0 {
		return errors.New("no entries")
	}
	if unknown := spec.Flags &^ (flagsWithoutEffect | flagReadOnlyProgram | flagWriteOnlyProgram); unknown != 0 {
		return fmt.Errorf("flags %#x are not supported", unknown)
	}
	if f.kind == ringMap {
		if spec.MaxEntries%4096 != 0 || spec.MaxEntries&(spec.MaxEntries-1) != 0 || spec.MaxEntries > MaxMapBytes {
			return fmt.Errorf("ring buffer of %d bytes: want a power of two from 4096 to %d", spec.MaxEntries, MaxMapBytes)
		}
		return nil
	}
	least, most := uint32(4), uint32(4)
	switch f.kind {
	case hashMap, lruMap:
		least, most = 1, maxKeySize
	case trieMap:
		least, most = 5, 4+256
	case queueMap, stackMap:
		least, most = 0, 0
	}
	if spec.KeySize < least || spec.KeySize > most {
		return fmt.Errorf("key of %d bytes: want %d to %d", spec.KeySize, least, most)
	}
	if f.ofMaps || f.kind == programMap {
		if spec.ValueSize != 4 {
			return fmt.Errorf("value of %d bytes: want 4", spec.ValueSize)
		}
	} else if spec.ValueSize == 0 {
		return errors.New("values of no bytes")
	}
	if need := bytesNeeded(spec, f); need > MaxMapBytes {
		return fmt.Errorf("needs %d bytes, more than %d", need, MaxMapBytes)
	}
	return nil
}

// maxKeySize is the kernel's bound on a hash key: it has to fit in a stack frame.
const maxKeySize = 512

// bytesNeeded is the memory of a map, about. It cannot overflow: each factor is
// below 2^32, but for the constants.
func bytesNeeded(spec *ebpf.MapSpec, f form) uint64 {
	if f.kind == ringMap {
		return uint64(spec.MaxEntries)
	}
	if spec.ValueSize > MaxMapBytes {
		return uint64(spec.ValueSize)
	}
	each := (uint64(max(spec.ValueSize, 1)) + 7) &^ 7
	if f.perCPU {
		each *= CPUs
	}
	if f.ofMaps || f.kind == programMap {
		each = 8
	}
	switch f.kind {
	case hashMap, lruMap:
		each += uint64(spec.KeySize) + 20
	case trieMap:
		each += 2*uint64(spec.KeySize) + 48
	}
	slots := uint64(spec.MaxEntries) + uint64(spareSlots(spec, f))
	if high, _ := bits.Mul64(each, slots); high != 0 {
		return 1 << 63
	}
	return each * slots
}

// spareSlots is how many slots there are more than elements, to let one rest after
// its value was replaced: as many as a megabyte has, from 1 to 16.
func spareSlots(spec *ebpf.MapSpec, f form) uint32 {
	if f.kind != hashMap && f.kind != lruMap && f.kind != trieMap {
		return 0
	}
	each := uint64(max(spec.ValueSize, 1))
	if f.perCPU {
		each *= CPUs
	}
	return uint32(min(max(1<<20/each, 1), 16))
}

// layOut makes index, pool and values.
func (m *Map) layOut() {
	m.slots = m.spec.MaxEntries + spareSlots(&m.spec, m.form)
	switch m.form.kind {
	case hashMap, lruMap:
		m.index = newTable(m.spec.KeySize, m.slots)
	case trieMap:
		m.index = newTrie(m.spec.KeySize)
	}
	if m.index != nil {
		m.pool.slots = m.slots
	}
	if m.form.kind == lruMap {
		m.used = make([]atomic.Bool, m.slots)
	}
	if m.form.ofMaps {
		m.inner = make([]atomic.Pointer[Map], m.slots)
		return
	}
	m.stride = (uint64(m.spec.ValueSize) + 7) &^ 7
	numbers := uint64(m.slots)
	if m.form.perCPU {
		numbers *= CPUs
	}
	m.shift = addressBits - uint(bits.Len64(numbers))
	m.values = make(words, numbers*m.stride/8)
}

func (m *Map) fill(contents []ebpf.MapKV) error {
	for i, kv := range contents {
		if _, ok := kv.Value.(string); ok && m.form.ofMaps {
			continue
		}
		key, err := content(kv.Key)
		if err != nil {
			return fmt.Errorf("key %d of the contents: %w", i, err)
		}
		value, err := content(kv.Value)
		if err != nil {
			return fmt.Errorf("value %d of the contents: %w", i, err)
		}
		if err := m.Update(key, value, Any); err != nil {
			return fmt.Errorf("element %d of the contents: %w", i, err)
		}
	}
	return nil
}

func content(v any) ([]byte, error) {
	if b, ok := v.([]byte); ok {
		return b, nil
	}
	return binary.Append(nil, binary.LittleEndian, v)
}

// Spec is the description the map was made from.
func (m *Map) Spec() *ebpf.MapSpec {
	s := m.spec
	return &s
}

// PerCPU says whether the map holds a value for each CPU.
func (m *Map) PerCPU() bool { return m.form.perCPU }
