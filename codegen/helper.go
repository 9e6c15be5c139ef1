package codegen

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// helper is a helper function that programs for several targets call.
type helper uint8

const (
	helperMapLookup helper = iota
	helperRingbufOutput
	helperPidTgid
	helperNetworkContext
)

// windowsNumbers are the numbers in eBPF for Windows (ebpf_structs.h,
// ebpf_nethooks.h).
var windowsNumbers = [...]uint32{
	helperMapLookup:      1,
	helperRingbufOutput:  11,
	helperPidTgid:        HelperCurrentPidTgid,
	helperNetworkContext: HelperNetworkContext,
}

// call calls a helper. On Linux the network context comes from a local function.
func (t Target) call(h helper) asm.Instruction {
	if t == Windows {
		f, err := asm.BuiltinFuncForPlatform("windows", windowsNumbers[h])
		if err != nil {
			panic(err)
		}
		return f.Call()
	}
	switch h {
	case helperMapLookup:
		return asm.FnMapLookupElem.Call()
	case helperRingbufOutput:
		return asm.FnRingbufOutput.Call()
	case helperPidTgid:
		return asm.FnGetCurrentPidTgid.Call()
	}
	panic("codegen: no such helper on linux")
}

// mapType gives the target's number of a map type of eBPF for Windows.
func (t Target) mapType(windows ebpf.MapType) ebpf.MapType {
	if t == Windows {
		return windows
	}
	switch windows {
	case ebpf.WindowsPerCPUArray:
		return ebpf.PerCPUArray
	case ebpf.WindowsRingBuf:
		return ebpf.RingBuf
	case ebpf.WindowsLPMTrie:
		return ebpf.LPMTrie
	case ebpf.WindowsArray:
		return ebpf.Array
	case ebpf.WindowsArrayOfMaps:
		return ebpf.ArrayOfMaps
	}
	panic("codegen: no such map type on linux")
}
