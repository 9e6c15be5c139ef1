package vm

import "sync/atomic"

// Changes compares the u64 at the start of each value of an array, for one CPU,
// with what was seen last. It brings seen up to date and appends the numbers of
// those that differ to found. Elements beyond seen are not looked at, and no other
// kind of map has any. It allocates nothing where found has room.
func (m *Map) Changes(cpu int, seen []uint64, found []uint32) []uint32 {
	if m.form.kind != arrayMap || m.values == nil {
		return found
	}
	at, step := m.offset(0, cpu)/8, m.stride/8
	for i := range seen[:min(len(seen), int(m.slots))] {
		if v := atomic.LoadUint64(&m.values[at]); v != seen[i] {
			seen[i] = v
			found = append(found, uint32(i))
		}
		at += step
	}
	return found
}

// ChangesWithin is Changes for counters that follow one another in the values of an
// array, from an offset on; it and the size of a value are multiples of 8.
func (m *Map) ChangesWithin(offset int, seen []uint64, found []uint32) []uint32 {
	if m.form.kind != arrayMap || m.values == nil || offset < 0 || offset > 8*len(m.values) {
		return found
	}
	room := len(m.values) - offset/8
	for i := range seen[:min(len(seen), room)] {
		if v := atomic.LoadUint64(&m.values[offset/8+i]); v != seen[i] {
			seen[i] = v
			found = append(found, uint32(i))
		}
	}
	return found
}
