package gen

import (
	"crypto/sha256"
	"encoding/binary"
	"math"

	"github.com/hopgate/hopgate/codegen"
)

// Spread moves the nodes of a table apart, so that even a small one takes many sheets. It
// goes by docs/table-form.md.
func Spread(t *codegen.Table) (*codegen.Table, error) {
	places := codegen.MaxTableNodes / max(4*t.Nodes(), 4)
	const (
		packHead, packSum             = 44, 12
		roots, leadEnd, nodes, sum    = 16, 1040, 1040, 1088
		firstNode, nodeSize, nodeKids = 1536, 64, 32
		numberBit                     = 12
	)
	get, put := binary.LittleEndian.Uint32, binary.LittleEndian.PutUint32
	pack := t.Pack()
	about := pack[packHead+4:][:get(pack[packHead:])]
	rest := pack[packHead+4+len(about):]
	image, sets := rest[4:][:get(rest)], rest[4+get(rest):]
	move := func(at []byte) {
		if reference := get(at); reference != 0 && reference <= math.MaxInt32 {
			number := firstNode/nodeSize + (reference>>numberBit-firstNode/nodeSize)*uint32(places)
			put(at, number<<numberBit|reference&(1<<numberBit-1))
		}
	}
	spread := make([]byte, firstNode+(len(image)-firstNode)*places)
	copy(spread, image[:firstNode])
	for at := roots; at < leadEnd; at += 8 {
		move(spread[at:])
	}
	for i := range (len(image) - firstNode) / nodeSize {
		node := spread[firstNode+i*places*nodeSize:][:nodeSize]
		copy(node, image[firstNode+i*nodeSize:])
		for at := nodeKids; at < nodeSize; at += 4 {
			move(node[at:])
		}
	}
	put(spread[nodes:], uint32((len(spread)-firstNode)/nodeSize))
	clear(spread[sum:][:sha256.Size])
	checksum := sha256.Sum256(append(spread[:len(spread):len(spread)], about...))
	copy(spread[sum:], checksum[:])

	body := append(binary.LittleEndian.AppendUint32(nil, uint32(len(about))), about...)
	body = append(binary.LittleEndian.AppendUint32(body, uint32(len(spread))), spread...)
	body = append(body, sets...)
	checksum = sha256.Sum256(body)
	head := append(pack[:packSum:packSum], checksum[:]...)
	return codegen.ReadPack("spread.hgp", append(head, body...))
}
