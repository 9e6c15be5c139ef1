package vm

import (
	"encoding/binary"
	"fmt"
)

// An address is a region in its high 16 bits and an offset below. Addresses of
// one region reach no other but by adding numbers of 2^48 and more, and any
// address, however made, is checked where it is used.
const (
	addressBits = 48
	offsetMask  = 1<<addressBits - 1

	contextRegion = 0x0001
	stackRegion   = 0x0002
	valueRegions  = 0x1000 // + number of the map
	handleRegions = 0x4000 // + number of the map
	maxMaps       = 0x1000
	innerMaps     = 0x1000 // numbers of maps that a run found in maps of maps start here
	maxInnerMaps  = 0x1000
)

// Stack frames stand apart, so that an offset beyond one is in none.
const (
	frameShift = 10
	frameSpace = 1 << frameShift
)

func contextAddress() uint64 { return contextRegion << addressBits }

// frameAddress is r10 of a frame: the end of its bytes.
func frameAddress(depth int) uint64 {
	return stackRegion<<addressBits + uint64(depth)*frameSpace + frameBytes
}

func handleAddress(number int) uint64 { return (handleRegions + uint64(number)) << addressBits }

func valueAddress(number int, offset uint64) uint64 {
	return (valueRegions+uint64(number))<<addressBits + offset
}

// plain is the stack or context memory at an address; nil if it is not all there.
func (m *Machine) plain(address, size uint64) []byte {
	offset := address & offsetMask
	switch address >> addressBits {
	case stackRegion:
		if offset>>frameShift <= uint64(m.depth) && offset%frameSpace+size <= frameBytes {
			return m.stack[offset : offset+size]
		}
	case contextRegion:
		if offset+size <= uint64(len(m.context)) {
			return m.context[offset : offset+size]
		}
	}
	return nil
}

// plainToWrite is plain without a context that is read-only.
func (m *Machine) plainToWrite(address, size uint64) []byte {
	if m.readOnly && address>>addressBits == contextRegion {
		return nil
	}
	return m.plain(address, size)
}

// shared is the map memory at an address, and the offset in it; nil if there is
// none or a program may not do that to it.
func (m *Machine) shared(address, size uint64, forbidden uint32) (words, uint64) {
	mp := m.mapNumber(address>>addressBits - valueRegions)
	if mp == nil || mp.spec.Flags&forbidden != 0 {
		return nil, 0
	}
	offset := address & offsetMask
	number, within := offset>>mp.shift, offset&(1<<mp.shift-1)
	start := number * mp.stride
	if within+size > uint64(mp.spec.ValueSize) || start >= uint64(len(mp.values))*8 {
		return nil, 0
	}
	return mp.values, start + within
}

// mapNumber is the map of a number, of the program or of this run; nil for none.
func (m *Machine) mapNumber(n uint64) *Map {
	if n < uint64(len(m.maps)) {
		return m.maps[n]
	}
	if n -= innerMaps; n < uint64(len(m.inner)) {
		return m.inner[n]
	}
	return nil
}

// access executes a load, a store or an atomic instruction, on any memory.
func (m *Machine) access(in *insn) error {
	switch in.op {
	case opLoad8, opLoad16, opLoad32, opLoad64:
		size := uint64(1) << (in.op - opLoad8)
		address := m.reg[in.src] + in.imm
		w, offset := m.shared(address, size, flagWriteOnlyProgram)
		if w == nil {
			return m.outside("load of", address, size)
		}
		m.reg[in.dst] = w.load(offset, size)
	case opLoadSX8, opLoadSX16, opLoadSX32:
		size := uint64(1) << (in.op - opLoadSX8)
		address := m.reg[in.src] + in.imm
		w, offset := m.shared(address, size, flagWriteOnlyProgram)
		if w == nil {
			return m.outside("load of", address, size)
		}
		shift := 64 - 8*size
		m.reg[in.dst] = uint64(int64(w.load(offset, size)<<shift) >> shift)
	case opStore8, opStore16, opStore32, opStore64:
		size := uint64(1) << (in.op - opStore8)
		address := m.reg[in.dst] + uint64(int64(in.off))
		w, offset := m.shared(address, size, flagReadOnlyProgram)
		if w == nil {
			return m.outside("store of", address, size)
		}
		w.store(offset, size, m.reg[in.src]+in.imm)
	case opAtomic32:
		return m.atomic(in, 4)
	case opAtomic64:
		return m.atomic(in, 8)
	}
	return nil
}

// atomic executes an atomic instruction on 4 or 8 bytes.
func (m *Machine) atomic(in *insn, size uint64) error {
	address := m.reg[in.dst] + uint64(int64(in.off))
	if address%size != 0 {
		return fmt.Errorf("atomic operation at %s, is not aligned to %d bytes", m.describe(address, size), size)
	}
	mask := ^uint64(0) >> (64 - 8*size)
	c := change{in.imm, m.reg[in.src], m.reg[0] & mask}
	var old uint64
	if b := m.plainToWrite(address, size); b == nil {
		w, offset := m.shared(address, size, flagReadOnlyProgram)
		if w == nil {
			return m.outside("atomic operation on", address, size)
		}
		old = w.update(offset, size, c)
	} else if size == 8 {
		old = binary.LittleEndian.Uint64(b)
		binary.LittleEndian.PutUint64(b, c.of(old))
	} else {
		old = uint64(binary.LittleEndian.Uint32(b))
		binary.LittleEndian.PutUint32(b, uint32(c.of(old)))
	}
	switch {
	case in.imm == atomicCompare:
		m.reg[0] = old
	case in.imm&atomicFetch != 0:
		m.reg[in.src] = old
	}
	return nil
}

// change is what an atomic instruction does to memory.
type change struct {
	code              uint64 // its constant
	operand, expected uint64
}

// of is the new value.
func (c change) of(old uint64) uint64 {
	switch c.code &^ atomicFetch {
	case atomicAdd:
		return old + c.operand
	case atomicOr:
		return old | c.operand
	case atomicAnd:
		return old & c.operand
	case atomicXor:
		return old ^ c.operand
	case atomicCompare &^ atomicFetch:
		if old != c.expected {
			return old
		}
	}
	return c.operand
}

// bytesPerStep is how many bytes that a helper moves count as one instruction, so
// that what bounds a run bounds this too.
const bytesPerStep = 64

// reach is an error if size bytes at an address are not all in one place that the
// program may read, or write.
func (m *Machine) reach(what string, address, size uint64, forbidden uint32) error {
	size = min(size, offsetMask) // as good as any larger one, and no sum with it wraps
	if size == 0 || m.plain(address, size) != nil {
		return nil
	}
	if w, _ := m.shared(address, size, forbidden); w != nil {
		return nil
	}
	return m.outside(what, address, size)
}

// Read copies len(buf) bytes of the program's memory. It fails, copying nothing,
// if they are not all in one place that the program may read.
func (m *Machine) Read(address uint64, buf []byte) error {
	size := uint64(len(buf))
	if size == 0 {
		return nil
	}
	m.work += size / bytesPerStep
	if b := m.plain(address, size); b != nil {
		copy(buf, b)
		return nil
	}
	if w, offset := m.shared(address, size, flagWriteOnlyProgram); w != nil {
		w.read(offset, buf)
		return nil
	}
	return m.outside("read of", address, size)
}

// Write copies buf into the program's memory. It fails, copying nothing, if there
// is no place for all of it that the program may write.
func (m *Machine) Write(address uint64, buf []byte) error {
	size := uint64(len(buf))
	if size == 0 {
		return nil
	}
	m.work += size / bytesPerStep
	if b := m.plainToWrite(address, size); b != nil {
		copy(b, buf)
		return nil
	}
	if w, offset := m.shared(address, size, flagReadOnlyProgram); w != nil {
		w.write(offset, buf)
		return nil
	}
	return m.outside("write of", address, size)
}

// outside is the error of an access that is not allowed.
func (m *Machine) outside(what string, address, size uint64) error {
	return fmt.Errorf("%s %d bytes at %s", what, size, m.describe(address, size))
}

// describe says what is at an address, and what the program may use there.
func (m *Machine) describe(address, size uint64) string {
	const below = 1 << 32 // so far below a region an address is taken for one of it
	region := (address + below) >> addressBits
	offset := int64(address - region<<addressBits)
	switch {
	case address < below:
		return fmt.Sprintf("%#x, a null pointer or a number", address)
	case region == stackRegion:
		depth := (offset + (frameSpace-frameBytes)/2) >> frameShift
		if depth < 0 || depth > int64(m.depth) {
			return fmt.Sprintf("stack frame %d, which is not in use", depth)
		}
		return fmt.Sprintf("r10%+d in frame %d, whose stack has %d", offset-depth*frameSpace-frameBytes, depth, frameBytes)
	case region == contextRegion:
		if m.plain(address, size) != nil {
			return fmt.Sprintf("byte %d of the context, which is read-only", offset)
		}
		return fmt.Sprintf("byte %d of the context, which has %d", offset, len(m.context))
	case region >= handleRegions && m.mapNumber(region-handleRegions) != nil:
		return "a map's handle"
	}
	mp := m.mapNumber(region - valueRegions)
	if mp == nil || mp.values == nil {
		return fmt.Sprintf("%#x, which is no address", address)
	}
	within := offset & (1<<mp.shift - 1)
	if within+int64(size) <= int64(mp.spec.ValueSize) {
		return fmt.Sprintf("byte %d of a value of map `%s`, which programs may not use so", within, mp.spec.Name)
	}
	return fmt.Sprintf("byte %d of a value of map `%s`, which has %d", within, mp.spec.Name, mp.spec.ValueSize)
}
