package vm

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Flags of Update, as BPF_MAP_UPDATE_ELEM has them.
const (
	Any     = 0 // create or change
	NoExist = 1 // create only, else EEXIST
	Exist   = 2 // change only, else ENOENT
)

// Len is the number of elements; an array always has all of them, a ring buffer
// none.
func (m *Map) Len() int {
	if m.form.kind == arrayMap {
		return int(m.slots)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return int(m.count + m.queue.count)
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
	if !m.hasValue(key) {
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

// hasValue says whether there may be a value for such a key.
func (m *Map) hasValue(key []byte) bool {
	return m.form.kind.keyed() && m.values != nil && len(key) == int(m.spec.KeySize)
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
	if !m.hasValue(key) || len(value) != m.valueSize() {
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
	if _, e := m.remove(key); e != 0 {
		return e
	}
	return nil
}

// remove removes an element; its value stays readable until its slot is used
// again.
func (m *Map) remove(key []byte) (slot uint32, e Errno) {
	if m.index == nil {
		return 0, EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	slot, ok := m.index.remove(key)
	if !ok {
		return 0, ENOENT
	}
	m.release(slot)
	return slot, 0
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
	if !m.form.kind.keyed() {
		return nil
	}
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
