package vm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Helper is a function that programs call by number, with r1 to r5; the result
// is r0. An error ends the run: it is for a program that a verifier would have
// refused. An address is to be used by Machine.Read and Write only, and the
// machine not to be run.
type Helper func(m *Machine, r1, r2, r3, r4, r5 uint64) (uint64, error)

// Numbers of the general helpers of eBPF for Windows (ebpf_structs.h,
// ebpf_helper_id_t).
const (
	helperMapLookup          = 1
	helperMapUpdate          = 2
	helperMapDelete          = 3
	helperMapLookupAndDelete = 4
	helperTailCall           = 5
	helperRandom             = 6
	helperBootNanoseconds    = 7
	helperProcessor          = 8
	helperNanoseconds        = 9
	helperChecksum           = 10
	helperRingOutput         = 11
	helperPrint2             = 12
	helperPrint3             = 13
	helperPrint4             = 14
	helperPrint5             = 15
	helperMapPush            = 16
	helperMapPop             = 17
	helperMapPeek            = 18
	helperMemoryCopy         = 22
	helperMemoryCompare      = 23
	helperMemorySet          = 24
	helperMemoryMove         = 25
	helperStringCopy         = 27
	helperStringAppend       = 28
	helperStringLength       = 29
	helperBootMilliseconds   = 30
	helperMilliseconds       = 31
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
	case helperMapLookupAndDelete:
		return mapLookupAndDelete
	case helperMapPush:
		return mapPush
	case helperMapPop:
		return mapPop
	case helperMapPeek:
		return mapPeek
	case helperRingOutput:
		return ringOutput
	case helperRandom:
		return random
	case helperProcessor:
		return processor
	case helperBootNanoseconds, helperNanoseconds:
		return nanoseconds
	case helperBootMilliseconds, helperMilliseconds:
		return milliseconds
	case helperPrint2, helperPrint3, helperPrint4, helperPrint5:
		return printer(int(number - helperPrint2))
	case helperMemoryCopy, helperMemoryMove:
		return memoryCopy
	case helperMemoryCompare:
		return memoryCompare
	case helperMemorySet:
		return memorySet
	case helperStringCopy:
		return stringCopy
	case helperStringAppend:
		return stringAppend
	case helperStringLength:
		return stringLength
	case helperChecksum:
		return checksum
	}
	return nil
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

// milliseconds: u64 (void), monotonic.
func milliseconds(*Machine, uint64, uint64, uint64, uint64, uint64) (uint64, error) {
	return uint64(time.Since(started).Milliseconds()), nil
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
