package vm

import (
	"bytes"
	"hash/maphash"
	"math/bits"
)

// index finds the slot of a key's value. Its user locks. Keys have the map's
// size.
type index interface {
	find(key []byte) (slot uint32, ok bool)  // of the key's element, or of its longest prefix
	exact(key []byte) (slot uint32, ok bool) // of the key's element
	insert(key []byte, slot uint32) bool     // a new key; false if it cannot be one
	replace(key []byte, slot uint32)         // an existing key
	remove(key []byte) (slot uint32, ok bool)
	keys() [][]byte
}

// table is a hash table with chaining, without an allocation per element.
type table struct {
	seed    maphash.Seed
	size    uint32   // of a key
	buckets []uint32 // first slot + 1 of a chain
	next    []uint32 // next slot + 1, by slot
	live    []bool   // by slot
	bytes   []byte   // keys by slot
}

func newTable(keySize, slots uint32) *table {
	return &table{
		seed:    maphash.MakeSeed(),
		size:    keySize,
		buckets: make([]uint32, 1<<bits.Len32(slots-1)),
		next:    make([]uint32, slots),
		live:    make([]bool, slots),
		bytes:   make([]byte, uint64(keySize)*uint64(slots)),
	}
}

func (t *table) key(slot uint32) []byte {
	at := uint64(slot) * uint64(t.size)
	return t.bytes[at : at+uint64(t.size)]
}

// link is the place that names the key's slot, or where its chain ends.
func (t *table) link(key []byte) *uint32 {
	p := &t.buckets[maphash.Bytes(t.seed, key)&uint64(len(t.buckets)-1)]
	for *p != 0 && !bytes.Equal(t.key(*p-1), key) {
		p = &t.next[*p-1]
	}
	return p
}

func (t *table) find(key []byte) (uint32, bool) {
	slot := *t.link(key)
	return slot - 1, slot != 0
}

func (t *table) exact(key []byte) (uint32, bool) { return t.find(key) }

func (t *table) insert(key []byte, slot uint32) bool {
	*t.link(key) = slot + 1
	t.next[slot] = 0
	t.live[slot] = true
	copy(t.key(slot), key)
	return true
}

func (t *table) replace(key []byte, slot uint32) {
	p := t.link(key)
	old := *p - 1
	t.next[slot] = t.next[old]
	t.live[old], t.live[slot] = false, true
	copy(t.key(slot), key)
	*p = slot + 1
}

func (t *table) remove(key []byte) (uint32, bool) {
	p := t.link(key)
	if *p == 0 {
		return 0, false
	}
	slot := *p - 1
	*p = t.next[slot]
	t.live[slot] = false
	return slot, true
}

func (t *table) keys() [][]byte {
	var keys [][]byte
	for slot, live := range t.live {
		if live {
			keys = append(keys, bytes.Clone(t.key(uint32(slot))))
		}
	}
	return keys
}

// pool hands out slots: new ones first, then the one that was given back longest
// ago.
type pool struct {
	slots uint32 // how many there are
	fresh uint32 // those from here on were never handed out
	free  []uint32
	head  uint32 // of the queue in free
	count uint32
}

// take returns a slot; the user knows that there is one.
func (p *pool) take() uint32 {
	if p.fresh < p.slots {
		p.fresh++
		return p.fresh - 1
	}
	slot := p.free[p.head]
	p.head = (p.head + 1) % p.slots
	p.count--
	return slot
}

func (p *pool) put(slot uint32) {
	if p.free == nil {
		p.free = make([]uint32, p.slots)
	}
	p.free[(p.head+p.count)%p.slots] = slot
	p.count++
}
