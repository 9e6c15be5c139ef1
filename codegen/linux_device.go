package codegen

import (
	"encoding/binary"
	"math"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// deviceKind is a row of the table that gives a network device its interface type
// and tunnel type. The first row that fits counts.
type deviceKind struct {
	hardware   uint16 // ARPHRD of the device (linux/if_arp.h)
	link       string // kind of the link (IFLA_INFO_KIND), up to 8 letters that tell it apart; "" is any
	device     string // type of the device (DEVTYPE in its uevent); "" is any
	ifType     uint32 // IANA ifType; 0 is unknown
	tunnelType uint32 // IANA tunnelType
}

// anyHardware stands for the hardware types that a device may be given: a tun by
// its owner (TUNSETLINK), a bond by its first member, a VXLAN or Geneve one without
// Ethernet by its options.
const anyHardware = 0xffff // ARPHRD_VOID

// deviceKinds: what is not in the table is unknown.
var deviceKinds = []deviceKind{
	{anyHardware, "tun", "", 131, 1},
	{anyHardware, "bond", "", 161, 0},
	{anyHardware, "team", "", 161, 0},
	{anyHardware, "vxlan", "", 131, 8},
	{anyHardware, "geneve", "", 131, 8},
	{1, "", "wlan", 71, 0}, // ARPHRD_ETHER
	{1, "", "wwan", 243, 0},
	{1, "", "l2tpeth", 131, 5},
	{1, "vlan", "", 135, 0},
	{1, "gretap", "", 131, 3},
	{1, "erspan", "", 131, 3},
	{1, "bridge", "", 209, 0},
	{1, "ip6greta", "", 131, 3},
	{1, "ip6erspa", "", 131, 3},
	{1, "vrf", "", 53, 0},
	{1, "", "", 6, 0},
	{772, "", "", 24, 0},        // ARPHRD_LOOPBACK
	{65534, "", "wwan", 243, 0}, // ARPHRD_NONE
	{65534, "wireguar", "", 131, 8},
	{65534, "ovpn", "", 131, 8},
	{65534, "bareudp", "", 131, 8},
	{65534, "xfrm", "", 131, 19},
	{512, "", "", 23, 0},      // ARPHRD_PPP
	{519, "", "", 243, 0},     // ARPHRD_RAWIP
	{768, "vti", "", 131, 19}, // ARPHRD_TUNNEL
	{768, "", "", 131, 2},
	{769, "vti6", "", 131, 19}, // ARPHRD_TUNNEL6
	{769, "", "", 131, 2},
	{776, "", "", 131, 11}, // ARPHRD_SIT
	{778, "", "", 131, 3},  // ARPHRD_IPGRE
	{823, "", "", 131, 3},  // ARPHRD_IP6GRE
	{801, "", "", 71, 0},   // ARPHRD_IEEE80211
	{802, "", "", 71, 0},   // ARPHRD_IEEE80211_PRISM
	{803, "", "", 71, 0},   // ARPHRD_IEEE80211_RADIOTAP
	{32, "", "", 199, 0},   // ARPHRD_INFINIBAND
}

// ClassifyDevice gives the interface type and the tunnel type of a network device
// by its hardware type (ARPHRD), link kind and device type; 0 and ~0, unknown, for
// one that is not in the table.
func ClassifyDevice(hardware uint16, link, device string) (ifType, tunnelType uint32) {
	for _, k := range deviceKinds {
		if (k.hardware == hardware || k.hardware == anyHardware) && matchesWord(k.link, link) && matchesWord(k.device, device) {
			return k.ifType, k.tunnelType
		}
	}
	return 0, math.MaxUint32
}

// matchesWord compares as much of a name as programs do.
func matchesWord(want, name string) bool {
	return want == "" || want == name[:min(8, len(name))]
}

// DeviceLUID is the NET_LUID of a network device.
func DeviceLUID(ifType, ifindex uint32) uint64 {
	return uint64(ifType)<<luidTypeShift | uint64(ifindex)<<luidIndexShift
}

const (
	luidTypeShift  = 48
	luidIndexShift = 24
)

// networkContext is a global function with the contract of
// bpf_sock_addr_get_network_context: int (ctx, void *buffer, u32 size). The device
// is that of the socket's route or of the packet.
func (f *function) networkContext(name string, ofSocket bool) asm.Instructions {
	if f.devices {
		return networkContextByMap(name)
	}
	const buffer, device, link, kind = asm.R6, asm.R7, asm.R8, asm.R9
	f = &function{} // with blocks of its own
	fail := f.straight(noBlock, asm.Mov.Imm(asm.R0, -1))
	fill := f.straight(noBlock,
		storeTo(buffer, NetworkContextVersion, 1, asm.Word),
		asm.StoreMem(buffer, NetworkContextInterfaceType, asm.R4, asm.Word),
		asm.StoreMem(buffer, NetworkContextTunnelType, asm.R5, asm.Word),
		asm.LSh.Imm(asm.R4, luidTypeShift),
		loadMember(asm.R1, device, "net_device", "ifindex"),
		asm.LSh.Imm(asm.R1, luidIndexShift),
		asm.Or.Reg(asm.R4, asm.R1),
		asm.StoreMem(buffer, NetworkContextNextHop, asm.R4, asm.DWord),
		storeTo(buffer, NetworkContextSubInterface, 0, asm.Word),
		asm.Mov.Imm(asm.R0, 0))
	classify := f.classify(fill)
	names := append(readWord(link, device, "rtnl_link_ops", "rtnl_link_ops", "kind"),
		readWord(kind, device, "dev.type", "device_type", "name")...)
	names = append(names, loadMember(asm.R2, device, "net_device", "type"))
	there := f.branch(asm.JEq, asm.R1, 0, fail, f.straight(classify, names...),
		loadMember(asm.R1, device, "net_device", "ifindex"))
	var entry blockID
	if ofSocket {
		find := f.branch(asm.JEq, asm.R0, 0, fail, f.straight(there, routeDevice(device)...), asm.FnSkcToTcpSock.Call())
		entry = f.branch(asm.JEq, asm.R1, 0, fail, find, asm.LoadMem(asm.R1, asm.R1, linuxOpsSocket, asm.DWord))
	} else {
		entry = f.straight(there, loadOfPacket(device, asm.R1, "dev")...)
	}
	entry = f.branch(asm.JNE, asm.R3, NetworkContextSize, fail, entry, asm.Mov.Reg(buffer, asm.R2))
	entry = f.branch(asm.JEq, asm.R2, 0, fail, entry)
	code, err := assemble(f.blocks, entry)
	if err != nil {
		panic(err) // it is small
	}
	context := "__sk_buff"
	if ofSocket {
		context = "bpf_sock_ops"
	}
	asGlobal(code, name, &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed},
		&btf.Pointer{Target: &btf.Struct{Name: context}}, pointerTo("hopgate_network", NetworkContextSize), &btf.Int{Name: "u64", Size: 8})
	return code
}

func storeTo(base asm.Register, offset int16, value int64, size asm.Size) asm.Instruction {
	ins := storeImm(offset, value, size)
	ins.Dst = base
	return ins
}

// readWord reads the first 8 bytes of a name that a structure of the device points
// to, or 0 where there is none. The cast is to a structure that starts with a
// number of 64 bits; a pointer to nothing reads as 0.
func readWord(dst, device asm.Register, member, structure, name string) asm.Instructions {
	return asm.Instructions{
		loadMember(asm.R1, device, "net_device", member),
		loadMember(asm.R1, asm.R1, structure, name),
		loadTypeID("timespec64"),
		callKernel("bpf_rdonly_cast"),
		asm.LoadMem(dst, asm.R0, 0, asm.DWord),
	}
}

// readAddress reads a pointer as a number.
func readAddress(dst, src asm.Register, structure, member string) asm.Instructions {
	return append(readMember(src, structure, member), asm.LoadMem(dst, asm.R0, 0, asm.DWord))
}

// readMember leaves a pointer in r0 through which the first two words of 64 bits of a
// member can be read, whatever they are.
func readMember(src asm.Register, structure, member string) asm.Instructions {
	r := kernelReference{structure, member, coreByteOffset}
	_, i := r.find()
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, src),
		withKernelReference(asm.Add.Imm(asm.R1, int32(localSlot*i)), r),
		loadTypeID("timespec64"),
		callKernel("bpf_rdonly_cast"),
	}
}

// classify walks deviceKinds with the hardware type in r2, the first letters of the
// link's kind in r8 and of the device's type in r9. It leaves the types in r4 and
// r5.
func (f *function) classify(next blockID) blockID {
	unknown := f.straight(next, asm.Mov.Imm(asm.R4, 0), asm.Mov.Imm32(asm.R5, -1))
	entry := unknown
	for i := len(deviceKinds) - 1; i >= 0; {
		hardware := deviceKinds[i].hardware
		other, same := entry, unknown
		if hardware == anyHardware {
			same = other
		}
		for ; i >= 0 && deviceKinds[i].hardware == hardware; i-- {
			k := &deviceKinds[i]
			found := f.straight(next, asm.Mov.Imm(asm.R4, int32(k.ifType)), asm.Mov.Imm(asm.R5, int32(k.tunnelType)))
			switch {
			case k.link != "":
				same = f.compareWord(asm.R8, k.link, found, same)
			case k.device != "":
				same = f.compareWord(asm.R9, k.device, found, same)
			default:
				same = found
			}
		}
		if entry = same; hardware != anyHardware {
			entry = f.branch(asm.JEq, asm.R2, int32(hardware), same, other)
		}
	}
	return entry
}

// compareWord compares the first letters of a name, and its end if they are fewer
// than 8, with a word.
func (f *function) compareWord(reg asm.Register, word string, yes, no blockID) blockID {
	var letters [8]byte
	copy(letters[8-min(8, len(word)+1):], word)
	code := asm.Instructions{asm.Mov.Reg(asm.R1, reg)}
	if len(word) < 7 {
		code = append(code, asm.LSh.Imm(asm.R1, int32(8*(7-len(word)))))
	}
	code = append(code, asm.LoadImm(asm.R3, int64(binary.LittleEndian.Uint64(letters[:])), asm.DWord))
	return f.add(block{code: code, jump: jump{op: asm.JEq, wide: true, dst: asm.R1, reg: true, src: asm.R3}, taken: yes, next: no})
}
