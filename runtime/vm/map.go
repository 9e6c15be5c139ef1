package vm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
)

// CPUs is how many values a per-CPU map holds for a key. Machine.CPU picks the
// one a program sees.
const CPUs = 16

// MaxMapBytes bounds the memory of one map: values of all CPUs, keys and index.
const MaxMapBytes = 256 << 20

// Flags of Update, as BPF_MAP_UPDATE_ELEM has them.
const (
	Any     = 0 // create or change
	NoExist = 1 // create only, else EEXIST
	Exist   = 2 // change only, else ENOENT
)

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
	ringMap
	programMap
)

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
	if spec.ValueSize > MaxMapBytes {
		return uint64(spec.ValueSize)
	}
	each := (uint64(spec.ValueSize) + 7) &^ 7
	if f.perCPU {
		each *= CPUs
	}
	switch f.kind {
	case hashMap, lruMap:
		each += uint64(spec.KeySize) + 16
	case trieMap:
		each += 2*uint64(spec.KeySize) + 48
	}
	if high, _ := bits.Mul64(each, uint64(spec.MaxEntries)); high != 0 {
		return 1 << 63
	}
	return each * uint64(spec.MaxEntries)
}

// layOut makes index, pool and values. A few slots more than elements let a
// place rest after its value was replaced.
func (m *Map) layOut() {
	m.slots = m.spec.MaxEntries
	switch m.form.kind {
	case hashMap, lruMap:
		m.slots += spareSlots
		m.index = newTable(m.spec.KeySize, m.slots)
	case trieMap:
		m.slots += spareSlots
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

const spareSlots = 16

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

// Len is the number of elements; an array always has all of them.
func (m *Map) Len() int {
	if m.index == nil {
		return int(m.slots)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return int(m.count)
}

// valueSize is the size of a value as Lookup and Update have it.
func (m *Map) valueSize() int {
	if m.form.perCPU {
		return int(m.stride) * CPUs
	}
	return int(m.spec.ValueSize)
}

// Lookup returns a copy of a key's value. For a per-CPU map that is the values of
// all CPUs in turn, each in a multiple of 8 bytes, as the kernel's system call has
// it. A trie's key is a u32 prefix length in host (little-endian) order and the
// address; Lookup finds its longest prefix. Errors: ENOENT; EINVAL for a key of
// the wrong size or a map without values.
func (m *Map) Lookup(key []byte) ([]byte, error) {
	if m.values == nil || len(key) != int(m.spec.KeySize) {
		return nil, EINVAL
	}
	value := make([]byte, m.valueSize())
	if m.index == nil {
		slot, ok := m.find(key)
		if !ok {
			return nil, ENOENT
		}
		m.readValue(slot, value)
		return value, nil
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	slot, ok := m.index.find(key)
	if !ok {
		return nil, ENOENT
	}
	m.readValue(slot, value)
	return value, nil
}

func (m *Map) readValue(slot uint32, value []byte) {
	if !m.form.perCPU {
		m.values.read(m.offset(slot, 0), value)
		return
	}
	for cpu := range CPUs {
		at := uint64(cpu) * m.stride
		m.values.read(m.offset(slot, cpu), value[at:at+m.stride])
	}
}

// Sum adds up the u64 at the start of a key's value over all CPUs; of a map that
// is not per-CPU it is that number. Errors are those of Lookup, and EINVAL for
// values of less than 8 bytes.
func (m *Map) Sum(key []byte) (uint64, error) {
	if m.spec.ValueSize < 8 {
		return 0, EINVAL
	}
	value, err := m.Lookup(key)
	if err != nil {
		return 0, err
	}
	if !m.form.perCPU {
		return binary.LittleEndian.Uint64(value), nil
	}
	var sum uint64
	for v := range slices.Chunk(value, int(m.stride)) {
		sum += binary.LittleEndian.Uint64(v)
	}
	return sum, nil
}

// Update sets a key's value, for a per-CPU map all CPUs' values in the form of
// Lookup. Flags are Any, NoExist or Exist. Errors: EEXIST and ENOENT by the flags,
// E2BIG for a full hash or an index beyond an array, ENOSPC for a full trie,
// EINVAL for wrong sizes, flags or kind of map.
func (m *Map) Update(key, value []byte, flags uint64) error {
	if m.values == nil || len(key) != int(m.spec.KeySize) || len(value) != m.valueSize() {
		return EINVAL
	}
	if e := m.update(key, value, flags, allCPUs); e != 0 {
		return e
	}
	return nil
}

const allCPUs = -1

// update sets the value of one CPU, or of all. A new element is zero on the
// other CPUs.
func (m *Map) update(key, value []byte, flags uint64, cpu int) Errno {
	if flags > Exist {
		return EINVAL
	}
	if m.index == nil {
		slot, ok := m.find(key)
		switch {
		case !ok:
			return E2BIG
		case flags == NoExist:
			return EEXIST
		}
		m.writeValue(slot, value, cpu)
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old, found := m.index.exact(key)
	switch {
	case found && flags == NoExist:
		return EEXIST
	case !found && flags == Exist:
		return ENOENT
	case found && m.form.perCPU:
		m.writeValue(old, value, cpu)
		return 0
	case !found && m.count == m.spec.MaxEntries && !m.evict():
		return m.full()
	}
	slot := m.pool.take()
	if m.used != nil {
		m.used[slot].Store(false)
	}
	if m.form.perCPU && cpu != allCPUs {
		for c := range CPUs {
			m.values.clear(m.offset(slot, c), m.stride)
		}
	}
	m.writeValue(slot, value, cpu)
	if found {
		m.index.replace(key, slot)
		m.pool.put(old)
		m.touch(slot)
	} else if m.index.insert(key, slot) {
		m.count++
	} else {
		m.pool.put(slot)
		return EINVAL
	}
	return 0
}

func (m *Map) full() Errno {
	if m.form.kind == trieMap {
		return ENOSPC
	}
	return E2BIG
}

func (m *Map) writeValue(slot uint32, value []byte, cpu int) {
	if cpu != allCPUs || !m.form.perCPU {
		m.values.write(m.offset(slot, max(cpu, 0)), value)
		return
	}
	for cpu := range CPUs {
		at := uint64(cpu) * m.stride
		m.values.write(m.offset(slot, cpu), value[at:at+m.stride])
	}
}

// Delete removes an element. Errors: ENOENT; EINVAL for an array, a key of the
// wrong size or a map without values.
func (m *Map) Delete(key []byte) error {
	if len(key) != int(m.spec.KeySize) {
		return EINVAL
	}
	if e := m.remove(key); e != 0 {
		return e
	}
	return nil
}

func (m *Map) remove(key []byte) Errno {
	if m.index == nil {
		return EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	slot, ok := m.index.remove(key)
	if !ok {
		return ENOENT
	}
	m.release(slot)
	return 0
}

// release gives back the slot of an element that is no longer in the index.
func (m *Map) release(slot uint32) {
	m.count--
	m.pool.put(slot)
	if m.inner != nil {
		m.inner[slot].Store(nil)
	}
}

// Keys returns copies of all keys, in the order of their bytes; an array's in the
// order of their numbers.
func (m *Map) Keys() [][]byte {
	if m.index == nil {
		keys := make([][]byte, m.slots)
		for i := range keys {
			keys[i] = binary.LittleEndian.AppendUint32(nil, uint32(i))
		}
		return keys
	}
	m.mu.RLock()
	keys := m.index.keys()
	m.mu.RUnlock()
	slices.SortFunc(keys, bytes.Compare)
	return keys
}

// All calls yield for every element as Keys and Lookup have them, until it
// returns false. Elements that come or go meanwhile may be missed.
func (m *Map) All(yield func(key, value []byte) bool) {
	for _, key := range m.Keys() {
		value, err := m.Lookup(key)
		if err == nil && !yield(key, value) {
			return
		}
	}
}

// find is the slot of a key, for a program's lookup.
func (m *Map) find(key []byte) (slot uint32, ok bool) {
	if m.index == nil {
		slot = binary.LittleEndian.Uint32(key)
		return slot, slot < m.slots
	}
	m.mu.RLock()
	slot, ok = m.index.find(key)
	m.mu.RUnlock()
	if ok {
		m.touch(slot)
	}
	return slot, ok
}

// touch marks a slot of an LRU map as in use.
func (m *Map) touch(slot uint32) {
	if m.used != nil && !m.used[slot].Load() {
		m.used[slot].Store(true)
	}
}

// evict removes an element of a full LRU map: the next in order of slots that
// was not looked up since the search last passed it. False for other maps.
func (m *Map) evict() bool {
	if m.used == nil {
		return false
	}
	t := m.index.(*table)
	for tries := uint32(0); ; tries++ {
		slot := m.hand
		m.hand = (m.hand + 1) % m.slots
		if t.live[slot] && (!m.used[slot].Swap(false) || tries > 2*m.slots) {
			t.remove(t.key(slot))
			m.release(slot)
			return true
		}
	}
}

// offset is the place of a value in values.
func (m *Map) offset(slot uint32, cpu int) uint64 {
	return m.number(slot, cpu) * m.stride
}

// number counts the values: those of CPU 0 by slot, then those of CPU 1 ...
func (m *Map) number(slot uint32, cpu int) uint64 {
	if !m.form.perCPU {
		return uint64(slot)
	}
	return uint64(cpu)*uint64(m.slots) + uint64(slot)
}

// SetMap puts a map into a map of maps; nil takes it out. Errors: EINVAL where the
// map is not one of maps or inner is unlike the template, and those of Update.
func (m *Map) SetMap(key []byte, inner *Map) error {
	if m.inner == nil || len(key) != int(m.spec.KeySize) || !m.fits(inner) {
		return EINVAL
	}
	if m.index == nil {
		slot, ok := m.find(key)
		if !ok {
			return E2BIG
		}
		m.inner[slot].Store(inner)
		return nil
	}
	if inner == nil {
		return m.Delete(key)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	slot, ok := m.index.find(key)
	if !ok {
		if m.count == m.spec.MaxEntries {
			return E2BIG
		}
		slot = m.pool.take()
		m.index.insert(key, slot)
		m.count++
	}
	m.inner[slot].Store(inner)
	return nil
}

// fits says whether inner is like the template of a map of maps, in what programs
// depend on.
func (m *Map) fits(inner *Map) bool {
	t := m.spec.InnerMap
	if inner == nil || t == nil {
		return true
	}
	f, ok := formOf(t.Type)
	return ok && f == inner.form && t.KeySize == inner.spec.KeySize && t.ValueSize == inner.spec.ValueSize && !f.ofMaps
}

// SetProgram puts a program into a program array; nil takes it out. Errors: EINVAL
// for another kind of map, E2BIG for an index beyond its end.
func (m *Map) SetProgram(index uint32, p *Program) error {
	if m.programs == nil {
		return EINVAL
	}
	if index >= uint32(len(m.programs)) {
		return E2BIG
	}
	m.programs[index].Store(p)
	return nil
}
