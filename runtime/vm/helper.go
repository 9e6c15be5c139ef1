package vm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Helper is a function that programs call by number, with r1 to r5; the result
// is r0. An error ends the run: it is for a program that a verifier would have
// refused. An address is to be used by Machine.Read and Write only.
type Helper func(m *Machine, r1, r2, r3, r4, r5 uint64) (uint64, error)

// Numbers of the general helpers of eBPF for Windows (ebpf_structs.h,
// ebpf_helper_id_t).
const (
	helperMapLookup       = 1
	helperMapUpdate       = 2
	helperMapDelete       = 3
	helperTailCall        = 5
	helperRandom          = 6
	helperBootNanoseconds = 7
	helperProcessor       = 8
	helperNanoseconds     = 9
	helperRingOutput      = 11
)

// general finds a general helper; nil for none.
func general(number int32) Helper {
	switch number {
	case helperMapLookup:
		return mapLookup
	case helperMapUpdate:
		return mapUpdate
	case helperMapDelete:
		return mapDelete
	case helperRandom:
		return random
	case helperProcessor:
		return processor
	case helperBootNanoseconds, helperNanoseconds:
		return nanoseconds
	case helperRingOutput:
		return ringOutput
	}
	return nil
}

// Map is the map of a handle that a program passed.
func (m *Machine) Map(handle uint64) (*Map, error) {
	mp, _, err := m.mapOf(handle)
	return mp, err
}

func (m *Machine) mapOf(handle uint64) (mp *Map, number int, err error) {
	n := handle>>addressBits - handleRegions
	if mp = m.mapNumber(n); mp == nil || handle&offsetMask != 0 {
		return nil, 0, fmt.Errorf("%#x is not a map", handle)
	}
	return mp, int(n), nil
}

var errNoElements = errors.New("the map has no elements to look up or change")

// keyOf reads the key that a program passed.
func (m *Machine) keyOf(mp *Map, address uint64) ([]byte, error) {
	if mp.slots == 0 {
		return nil, errNoElements
	}
	key := m.key[:mp.spec.KeySize]
	return key, m.Read(address, key)
}

// mapLookup: void *(map, const void *key), null where there is no element.
func mapLookup(m *Machine, handle, keyAddress, _, _, _ uint64) (uint64, error) {
	mp, number, err := m.mapOf(handle)
	if err != nil {
		return 0, err
	}
	key, err := m.keyOf(mp, keyAddress)
	if err != nil {
		return 0, err
	}
	slot, ok := mp.find(key)
	if !ok {
		return 0, nil
	}
	if mp.inner == nil {
		return valueAddress(number, mp.number(slot, int(m.CPU))<<mp.shift), nil
	}
	inner := mp.inner[slot].Load()
	if inner == nil {
		return 0, nil
	}
	return m.innerHandle(inner)
}

// innerHandle gives a map that was found in another map a number in this run.
func (m *Machine) innerHandle(inner *Map) (uint64, error) {
	for i := len(m.inner) - 1; i >= 0; i-- {
		if m.inner[i] == inner {
			return handleAddress(innerMaps + i), nil
		}
	}
	if len(m.inner) == maxInnerMaps {
		return 0, fmt.Errorf("more than %d inner maps in one run", maxInnerMaps)
	}
	m.inner = append(m.inner, inner)
	return handleAddress(innerMaps + len(m.inner) - 1), nil
}

// mapUpdate: long (map, const void *key, const void *value, u64 flags).
func mapUpdate(m *Machine, handle, keyAddress, valueAddress, flags, _ uint64) (uint64, error) {
	mp, _, err := m.mapOf(handle)
	if err != nil {
		return 0, err
	}
	key, err := m.keyOf(mp, keyAddress)
	if err != nil {
		return 0, err
	}
	if mp.values == nil || mp.spec.Flags&flagReadOnlyProgram != 0 {
		return 0, fmt.Errorf("update of map `%s`, which programs may not change", mp.spec.Name)
	}
	value := m.buffer(uint64(mp.spec.ValueSize))
	if err := m.Read(valueAddress, value); err != nil {
		return 0, err
	}
	return mp.update(key, value, flags, int(m.CPU)).result(), nil
}

// mapDelete: long (map, const void *key).
func mapDelete(m *Machine, handle, keyAddress, _, _, _ uint64) (uint64, error) {
	mp, _, err := m.mapOf(handle)
	if err != nil {
		return 0, err
	}
	key, err := m.keyOf(mp, keyAddress)
	if err != nil {
		return 0, err
	}
	if mp.values == nil || mp.spec.Flags&flagReadOnlyProgram != 0 {
		return 0, fmt.Errorf("delete from map `%s`, which programs may not change", mp.spec.Name)
	}
	return mp.remove(key).result(), nil
}

// buffer is scratch memory for one helper call.
func (m *Machine) buffer(size uint64) []byte {
	if uint64(cap(m.scratch)) < size {
		m.scratch = make([]byte, size)
	}
	return m.scratch[:size]
}

// random: u32 (void).
func random(*Machine, uint64, uint64, uint64, uint64, uint64) (uint64, error) {
	return uint64(rand.Uint32()), nil
}

// processor: u32 (void), the number of the CPU.
func processor(m *Machine, _, _, _, _, _ uint64) (uint64, error) { return uint64(m.CPU), nil }

// started is when time began for programs.
var started = time.Now()

// nanoseconds: u64 (void), monotonic.
func nanoseconds(*Machine, uint64, uint64, uint64, uint64, uint64) (uint64, error) {
	return uint64(time.Since(started)), nil
}

// ringOutput: long (map, const void *data, u64 size, u64 flags). Flags are those
// of the kernel that say when to wake the reader, which here is always woken.
func ringOutput(m *Machine, handle, data, size, flags, _ uint64) (uint64, error) {
	mp, _, err := m.mapOf(handle)
	if err != nil {
		return 0, err
	}
	if mp.ring == nil {
		return 0, fmt.Errorf("map `%s` is not a ring buffer", mp.spec.Name)
	}
	if flags > 3 {
		return EINVAL.result(), nil
	}
	if size >= uint64(len(mp.ring.bytes)) {
		return mp.ring.drop().result(), nil
	}
	record := m.buffer(size)
	if err := m.Read(data, record); err != nil {
		return 0, err
	}
	return mp.ring.output(record).result(), nil
}

// tailCall finds the program to go on with; nil where the kernel goes on with the
// calling one: nothing there, or too many tail calls.
func (m *Machine) tailCall(context, handle, index uint64) (*Program, error) {
	if !m.IsContext(context) {
		return nil, errors.New("tail call without the context in r1")
	}
	mp, _, err := m.mapOf(handle)
	if err != nil {
		return nil, err
	}
	if mp.programs == nil {
		return nil, fmt.Errorf("map `%s` is not a program array", mp.spec.Name)
	}
	i := uint32(index)
	if uint64(i) >= uint64(len(mp.programs)) || m.tail == maxTailCalls {
		return nil, nil
	}
	target := mp.programs[i].Load()
	if target != nil {
		m.tail++
	}
	return target, nil
}
