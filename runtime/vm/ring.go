package vm

import (
	"encoding/binary"
	"sync"
)

// ring is a ring buffer of records: each an 8-byte length and the bytes, in a
// multiple of 8, as the kernel accounts for them.
type ring struct {
	mu         sync.Mutex
	bytes      []byte // a power of two
	head, tail uint64 // read from tail, write at head; never wrapped
	dropped    uint64
	ready      chan struct{}
}

func newRing(size uint32) *ring {
	return &ring{bytes: make([]byte, size), ready: make(chan struct{}, 1)}
}

const ringHeader = 8

// output appends a record. Error: EAGAIN where it does not fit, now or ever.
func (r *ring) output(record []byte) Errno {
	r.mu.Lock()
	defer r.mu.Unlock()
	need := ringHeader + (uint64(len(record))+7)&^7
	if r.head-r.tail+need >= uint64(len(r.bytes)) { // never quite full, as in the kernel
		r.dropped++
		return EAGAIN
	}
	var header [ringHeader]byte
	binary.LittleEndian.PutUint64(header[:], uint64(len(record)))
	r.copyIn(r.head, header[:])
	r.copyIn(r.head+ringHeader, record)
	r.head += need
	select {
	case r.ready <- struct{}{}:
	default:
	}
	return 0
}

// drop counts a record that cannot be put out.
func (r *ring) drop() Errno {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped++
	return EAGAIN
}

func (r *ring) copyIn(at uint64, b []byte) {
	n := copy(r.bytes[at&uint64(len(r.bytes)-1):], b)
	copy(r.bytes, b[n:])
}

func (r *ring) copyOut(at uint64, b []byte) {
	n := copy(b, r.bytes[at&uint64(len(r.bytes)-1):])
	copy(b[n:], r.bytes)
}

// Read takes the oldest record out of a ring buffer and appends it to buf; false
// if there is none, or the map is no ring buffer.
func (m *Map) Read(buf []byte) ([]byte, bool) {
	if m.ring == nil {
		return buf, false
	}
	r := m.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.head == r.tail {
		return buf, false
	}
	var header [ringHeader]byte
	r.copyOut(r.tail, header[:])
	n := binary.LittleEndian.Uint64(header[:])
	start := len(buf)
	buf = append(buf, make([]byte, n)...)
	r.copyOut(r.tail+ringHeader, buf[start:])
	r.tail += ringHeader + (n+7)&^7
	return buf, true
}

// Drain takes all records out of a ring buffer, oldest first.
func (m *Map) Drain() [][]byte {
	var records [][]byte
	for {
		record, ok := m.Read(nil)
		if !ok {
			return records
		}
		records = append(records, record)
	}
}

// Ready receives a value when records have come since it last did; nil for a map
// that is no ring buffer. For one reader, which then calls Read until it is false.
func (m *Map) Ready() <-chan struct{} {
	if m.ring == nil {
		return nil
	}
	return m.ring.ready
}

// Dropped is how many records found a ring buffer full.
func (m *Map) Dropped() uint64 {
	if m.ring == nil {
		return 0
	}
	m.ring.mu.Lock()
	defer m.ring.mu.Unlock()
	return m.ring.dropped
}
