package codegen

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Programs for hosts without CAP_PERFMON, as Options.DeviceMap asks for them: those
// may not read structures of the kernel. Devices of packets are looked up in a map
// that the host keeps; one that is not in it is unknown. The device of a socket's
// route cannot be had, so that TCP connections are left to the egress stage.

// DevicesMap is a hash of devices, by network namespace and index.
const DevicesMap = "hopgate_devices"

// DeviceKey is a key of the devices map.
type DeviceKey struct {
	Network uint64 // cookie of the network namespace
	Index   uint64
}

// Device is a value of the devices map, by ClassifyDevice.
type Device struct{ InterfaceType, TunnelType uint32 }

// Offsets in these.
const (
	deviceNetwork = 0
	deviceIndex   = 8
	deviceKeySize = 16

	deviceIfType     = 0
	deviceTunnelType = 4
	deviceSize       = 8
)

const maxDevices = 1 << 16

func devicesMap() *ebpf.MapSpec {
	return &ebpf.MapSpec{
		Name: DevicesMap, Type: ebpf.Hash, KeySize: deviceKeySize, ValueSize: deviceSize,
		MaxEntries: maxDevices, Flags: linuxNoPrealloc,
	}
}

// flowDeviceOfPacket is flowDevice of the packet's device. The host makes the
// generation another when what it says of devices changes.
func flowDeviceOfPacket() asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R9, regContext, linuxBuffIfindex, asm.Word),
		asm.Mov.Reg(asm.R1, regContext),
		asm.FnGetNetnsCookie.Call(),
		asm.StoreMem(regStack, stackFlow+flowNetwork, asm.R0, asm.DWord),
	}
}

// networkContextByMap is networkContext for egress, from the devices map.
func networkContextByMap(name string) asm.Instructions {
	const context, buffer = asm.R6, asm.R7
	const stackDevice = -deviceKeySize
	f := &function{}
	fail := f.straight(noBlock, asm.Mov.Imm(asm.R0, -1))
	fill := f.straight(noBlock,
		storeTo(buffer, NetworkContextVersion, 1, asm.Word),
		asm.LoadMem(asm.R1, asm.R0, deviceIfType, asm.Word),
		asm.StoreMem(buffer, NetworkContextInterfaceType, asm.R1, asm.Word),
		asm.LoadMem(asm.R2, asm.R0, deviceTunnelType, asm.Word),
		asm.StoreMem(buffer, NetworkContextTunnelType, asm.R2, asm.Word),
		asm.LSh.Imm(asm.R1, luidTypeShift),
		asm.LoadMem(asm.R2, context, linuxBuffIfindex, asm.Word),
		asm.LSh.Imm(asm.R2, luidIndexShift),
		asm.Or.Reg(asm.R1, asm.R2),
		asm.StoreMem(buffer, NetworkContextNextHop, asm.R1, asm.DWord),
		storeTo(buffer, NetworkContextSubInterface, 0, asm.Word),
		asm.Mov.Imm(asm.R0, 0))
	find := f.branch(asm.JEq, asm.R0, 0, fail, fill,
		asm.Mov.Reg(context, asm.R1),
		asm.Mov.Reg(buffer, asm.R2),
		asm.FnGetNetnsCookie.Call(),
		asm.StoreMem(regStack, stackDevice+deviceNetwork, asm.R0, asm.DWord),
		asm.LoadMem(asm.R1, context, linuxBuffIfindex, asm.Word),
		asm.StoreMem(regStack, stackDevice+deviceIndex, asm.R1, asm.DWord),
		loadMap(DevicesMap),
		asm.Mov.Reg(asm.R2, regStack),
		asm.Add.Imm(asm.R2, stackDevice),
		asm.FnMapLookupElem.Call())
	code, err := assemble(f.blocks, f.branch(asm.JNE, asm.R3, NetworkContextSize, fail, find))
	if err != nil {
		panic(err) // it is small
	}
	code[0] = code[0].WithSymbol(name)
	return code
}

// noteOutbound notes that the TCP socket in r7 connects outward, since a connection
// that both ends open at once looks like an accepted one later.
func (f *function) noteOutbound(next blockID) blockID {
	if !f.devices {
		return next
	}
	note := f.straight(next, asm.Mov.Imm(asm.R1, socketConnects), asm.StoreMem(asm.R0, SocketDirection, asm.R1, asm.Word))
	create := f.branch(asm.JEq, asm.R0, 0, f.broken, note, storage(linuxStorageCreate)...)
	return f.branch(asm.JEq, asm.R1, linuxProtoTCP, create, next, asm.LoadMem(asm.R1, asm.R7, linuxSockProtocol, asm.Word))
}
