package vm

import (
	"encoding/binary"
	"sync/atomic"
)

// words is memory that several goroutines use at once. Byte i is bits
// 8*(i%8) and up of word i/8, whatever the host's byte order. Every access is
// atomic by word, so an aligned access of up to 8 bytes is never torn.
// Offsets and sizes are in bytes and must lie inside.
type words []uint64

// load reads size bytes, 1 to 8, as a little-endian number.
func (w words) load(off, size uint64) uint64 {
	i, bit := off/8, off%8*8
	v := atomic.LoadUint64(&w[i]) >> bit
	if bit+size*8 > 64 {
		v |= atomic.LoadUint64(&w[i+1]) << (64 - bit)
	}
	return v & (1<<(size*8) - 1)
}

// store writes the low size bytes of v, 1 to 8.
func (w words) store(off, size, v uint64) {
	i, bit := off/8, off%8*8
	if size == 8 && bit == 0 {
		atomic.StoreUint64(&w[i], v)
		return
	}
	mask := uint64(1)<<(size*8) - 1
	v &= mask
	replaceBits(&w[i], mask<<bit, v<<bit)
	if bit+size*8 > 64 {
		replaceBits(&w[i+1], mask>>(64-bit), v>>(64-bit))
	}
}

func replaceBits(p *uint64, mask, v uint64) {
	for {
		old := atomic.LoadUint64(p)
		if atomic.CompareAndSwapUint64(p, old, old&^mask|v) {
			return
		}
	}
}

// update changes an aligned number of size bytes, 4 or 8, at once and returns
// what was there before.
func (w words) update(off, size uint64, c change) uint64 {
	i, bit := off/8, off%8*8
	mask := ^uint64(0) >> (64 - 8*size)
	for {
		word := atomic.LoadUint64(&w[i])
		old := word >> bit & mask
		if atomic.CompareAndSwapUint64(&w[i], word, word&^(mask<<bit)|(c.of(old)&mask)<<bit) {
			return old
		}
	}
}

// read copies len(dst) bytes out.
func (w words) read(off uint64, dst []byte) {
	for len(dst) > 0 {
		n := min(8-off%8, uint64(len(dst)))
		v := w.load(off, n)
		if n == 8 {
			binary.LittleEndian.PutUint64(dst, v)
		} else {
			for i := range n {
				dst[i] = byte(v >> (8 * i))
			}
		}
		dst, off = dst[n:], off+n
	}
}

// write copies src in.
func (w words) write(off uint64, src []byte) {
	for len(src) > 0 {
		n := min(8-off%8, uint64(len(src)))
		var v uint64
		if n == 8 {
			v = binary.LittleEndian.Uint64(src)
		} else {
			for i := range n {
				v |= uint64(src[i]) << (8 * i)
			}
		}
		w.store(off, n, v)
		src, off = src[n:], off+n
	}
}

// clear zeroes n bytes.
func (w words) clear(off, n uint64) {
	for ; n > 0 && off%8 != 0; off, n = off+1, n-1 {
		w.store(off, 1, 0)
	}
	for ; n >= 8; off, n = off+8, n-8 {
		w.store(off, 8, 0)
	}
	for ; n > 0; off, n = off+1, n-1 {
		w.store(off, 1, 0)
	}
}
