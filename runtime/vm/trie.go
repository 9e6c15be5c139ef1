package vm

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// trie is the index of a longest-prefix-match map: a binary trie with one node
// where elements stand or paths part. A key is a little-endian u32 number of bits
// and the bits, the first of them the highest of the first byte.
type trie struct {
	size  uint32 // bytes of a prefix
	root  uint32 // node + 1, as all links
	nodes []trieNode
	bytes []byte // prefixes by node, as given
	free  []uint32
}

type trieNode struct {
	length uint32 // of the prefix, in bits
	child  [2]uint32
	slot   uint32 // slot + 1; 0: no element stands here
}

func newTrie(keySize uint32) *trie { return &trie{size: keySize - 4} }

func (t *trie) prefix(node uint32) []byte {
	return t.bytes[uint64(node)*uint64(t.size):][:t.size]
}

// common is the number of leading bits in which a and b agree, at most limit.
func common(a, b []byte, limit uint32) uint32 {
	n := uint32(0)
	for len(a) >= 8 {
		if x := binary.BigEndian.Uint64(a) ^ binary.BigEndian.Uint64(b); x != 0 {
			return min(n+uint32(bits.LeadingZeros64(x)), limit)
		}
		a, b, n = a[8:], b[8:], n+64
	}
	for i := range a {
		if x := a[i] ^ b[i]; x != 0 {
			return min(n+uint32(bits.LeadingZeros8(x)), limit)
		}
		n += 8
	}
	return min(n, limit)
}

func bitOf(prefix []byte, i uint32) byte { return prefix[i/8] >> (7 - i%8) & 1 }

// find is the longest prefix of the key that is no longer than the key's own
// length.
func (t *trie) find(key []byte) (uint32, bool) {
	length, bytes := binary.LittleEndian.Uint32(key), key[4:]
	if length > 8*t.size {
		return 0, false
	}
	best := uint32(0)
	for link := t.root; link != 0; {
		n := &t.nodes[link-1]
		if n.length > length || common(t.prefix(link-1), bytes, n.length) < n.length {
			break
		}
		if n.slot != 0 {
			best = n.slot
		}
		if n.length == length {
			break
		}
		link = n.child[bitOf(bytes, n.length)]
	}
	return best - 1, best != 0
}

// descend follows the key to the first link whose node is not above it: empty, at
// the key's length, or parting from it. Parent is the link that led to that link's
// node, nil for the root.
func (t *trie) descend(key []byte) (link, parent *uint32, match uint32) {
	length, bytes := binary.LittleEndian.Uint32(key), key[4:]
	for link = &t.root; *link != 0; {
		n := &t.nodes[*link-1]
		match = common(t.prefix(*link-1), bytes, min(n.length, length))
		if match < n.length || n.length == length {
			break
		}
		link, parent = &n.child[bitOf(bytes, n.length)], link
	}
	return link, parent, match
}

// at is the link to the node of exactly this key, which has an element.
func (t *trie) at(key []byte) (link, parent *uint32, ok bool) {
	length := binary.LittleEndian.Uint32(key)
	if length > 8*t.size {
		return nil, nil, false
	}
	link, parent, match := t.descend(key)
	if *link == 0 {
		return nil, nil, false
	}
	n := &t.nodes[*link-1]
	return link, parent, match == length && n.length == length && n.slot != 0
}

func (t *trie) exact(key []byte) (uint32, bool) {
	link, _, ok := t.at(key)
	if !ok {
		return 0, false
	}
	return t.nodes[*link-1].slot - 1, true
}

func (t *trie) insert(key []byte, slot uint32) bool {
	length, bytes := binary.LittleEndian.Uint32(key), key[4:]
	if length > 8*t.size {
		return false
	}
	// Make the nodes first: links are into nodes, which may move.
	leaf := t.node(bytes, length, slot+1)
	fork := t.node(bytes, 0, 0)
	link, _, match := t.descend(key)
	switch below := *link; {
	case below == 0:
		*link = leaf
	case match == length && t.nodes[below-1].length == length:
		t.nodes[below-1].slot = slot + 1
		copy(t.prefix(below-1), bytes)
		t.drop(leaf)
	case match == length:
		t.nodes[leaf-1].child[bitOf(t.prefix(below-1), length)] = below
		*link = leaf
	default:
		n := &t.nodes[fork-1]
		n.length = match
		n.child[bitOf(bytes, match)] = leaf
		n.child[bitOf(t.prefix(below-1), match)] = below
		*link = fork
		return true
	}
	t.drop(fork)
	return true
}

func (t *trie) replace(key []byte, slot uint32) {
	link, _, _ := t.at(key)
	t.nodes[*link-1].slot = slot + 1
	copy(t.prefix(*link-1), key[4:])
}

func (t *trie) remove(key []byte) (uint32, bool) {
	link, parent, ok := t.at(key)
	if !ok {
		return 0, false
	}
	node := *link
	n := &t.nodes[node-1]
	slot := n.slot - 1
	if n.child[0] != 0 && n.child[1] != 0 {
		n.slot = 0
		return slot, true
	}
	*link = n.child[0] | n.child[1]
	t.drop(node)
	if *link == 0 && parent != nil && t.nodes[*parent-1].slot == 0 {
		fork := *parent
		p := &t.nodes[fork-1]
		*parent = p.child[0] | p.child[1]
		t.drop(fork)
	}
	return slot, true
}

// node makes a node and returns the link to it.
func (t *trie) node(prefix []byte, length, slot uint32) uint32 {
	n := trieNode{length: length, slot: slot}
	if last := len(t.free) - 1; last >= 0 {
		link := t.free[last]
		t.free = t.free[:last]
		t.nodes[link-1] = n
		copy(t.prefix(link-1), prefix)
		return link
	}
	t.nodes = append(t.nodes, n)
	t.bytes = append(t.bytes, prefix...)
	return uint32(len(t.nodes))
}

func (t *trie) drop(link uint32) {
	t.nodes[link-1] = trieNode{}
	t.free = append(t.free, link)
}

func (t *trie) keys() [][]byte {
	var keys [][]byte
	for i, n := range t.nodes {
		if n.slot != 0 {
			key := binary.LittleEndian.AppendUint32(nil, n.length)
			keys = append(keys, slices.Concat(key, t.prefix(uint32(i))))
		}
	}
	return keys
}
