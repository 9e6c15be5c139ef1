package vm

import (
	"bytes"
	"encoding/binary"
)

// The helpers on memory and strings of eBPF for Windows (ebpf_structs.h). Sizes
// are u64, in bytes.

// memory reads size bytes of the program's memory into scratch, which the next
// use of it overwrites.
func (m *Machine) memory(address, size uint64) ([]byte, error) {
	if err := m.reach("read of", address, size, flagWriteOnlyProgram); err != nil {
		return nil, err
	}
	b := m.buffer(size)
	return b, m.Read(address, b)
}

// twoMemories reads two pieces.
func (m *Machine) twoMemories(a, sizeA, b, sizeB uint64) ([]byte, []byte, error) {
	if err := m.reach("read of", a, sizeA, flagWriteOnlyProgram); err != nil {
		return nil, nil, err
	}
	if err := m.reach("read of", b, sizeB, flagWriteOnlyProgram); err != nil {
		return nil, nil, err
	}
	both := m.buffer(sizeA + sizeB)
	if err := m.Read(a, both[:sizeA]); err != nil {
		return nil, nil, err
	}
	return both[:sizeA], both[sizeA:], m.Read(b, both[sizeA:])
}

// memoryCopy: long (void *to, size, const void *from, size); they may overlap.
func memoryCopy(m *Machine, to, room, from, size, _ uint64) (uint64, error) {
	if size > room {
		return EINVAL.result(), nil
	}
	b, err := m.memory(from, size)
	if err != nil {
		return 0, err
	}
	return 0, m.Write(to, b)
}

// memoryCompare: int (const void *a, size, const void *b, size): -1, 0 or 1; the
// shorter comes first where it is a prefix.
func memoryCompare(m *Machine, a, sizeA, b, sizeB, _ uint64) (uint64, error) {
	x, y, err := m.twoMemories(a, sizeA, b, sizeB)
	return uint64(int64(bytes.Compare(x, y))), err
}

// memorySet: void *(void *at, size, int value).
func memorySet(m *Machine, at, size, value, _, _ uint64) (uint64, error) {
	if err := m.reach("write of", at, size, flagReadOnlyProgram); err != nil {
		return 0, err
	}
	b := m.buffer(size)
	for i := range b {
		b[i] = byte(value)
	}
	return at, m.Write(at, b)
}

// stringCopy: int (char *to, size, const char *from, size): copies up to the first
// zero, and fills the rest with zeros; ERANGE, copying nothing, where string and a
// zero do not fit.
func stringCopy(m *Machine, to, room, from, size, _ uint64) (uint64, error) {
	s, err := m.memory(from, size)
	if err != nil {
		return 0, err
	}
	return m.putString(to, room, stringIn(s))
}

// stringAppend: int (char *to, size, const char *from, size), otherwise as
// stringCopy.
func stringAppend(m *Machine, to, room, from, size, _ uint64) (uint64, error) {
	a, b, err := m.twoMemories(to, room, from, size)
	if err != nil {
		return 0, err
	}
	n := len(stringIn(a))
	n += copy(a[n:cap(a)], stringIn(b))
	return m.putString(to, room, a[:n])
}

func (m *Machine) putString(to, room uint64, s []byte) (uint64, error) {
	if uint64(len(s)) >= room {
		return ERANGE.result(), nil
	}
	if err := m.reach("write of", to, room, flagReadOnlyProgram); err != nil {
		return 0, err
	}
	b := m.buffer(room)
	clear(b[copy(b, s):])
	return 0, m.Write(to, b)
}

// stringLength: size (const char *, size): bytes before the first zero; 0 for a
// null pointer.
func stringLength(m *Machine, address, size, _, _, _ uint64) (uint64, error) {
	if address == 0 {
		return 0, nil
	}
	s, err := m.memory(address, size)
	return uint64(len(stringIn(s))), err
}

// stringIn is what stands before the first zero.
func stringIn(b []byte) []byte {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		return b[:end]
	}
	return b
}

// checksum: int (const void *from, int size, const void *to, int size, int seed):
// the seed and the 16-bit words of to and of the complement of from added up;
// EINVAL for sizes that are no multiples of 4, or a negative sum.
func checksum(m *Machine, from, sizeFrom, to, sizeTo, seed uint64) (uint64, error) {
	sizeFrom, sizeTo = uint64(uint32(sizeFrom)), uint64(uint32(sizeTo))
	if sizeFrom%4 != 0 || sizeTo%4 != 0 {
		return EINVAL.result(), nil
	}
	if from == 0 {
		sizeFrom = 0
	}
	if to == 0 {
		sizeTo = 0
	}
	a, b, err := m.twoMemories(from, sizeFrom, to, sizeTo)
	if err != nil {
		return 0, err
	}
	sum := int32(seed)
	for i := 0; i < len(a); i += 2 {
		sum += int32(^binary.LittleEndian.Uint16(a[i:]))
	}
	for i := 0; i < len(b); i += 2 {
		sum += int32(binary.LittleEndian.Uint16(b[i:]))
	}
	if sum < 0 {
		return EINVAL.result(), nil
	}
	return uint64(sum), nil
}
