package codegen

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/runtime/vm"
)

// Devices as kernels describe them, of kinds that a test cannot make, too. What the
// programs say and what ClassifyDevice says is what docs/linux.md promises.
func TestDevicesAreClassified(t *testing.T) {
	program := classifier(t)
	for _, d := range []struct {
		name               string
		hardware           uint16
		link, device       string
		ifType, tunnelType uint32
	}{
		{"physical Ethernet", 1, "", "", 6, 0},
		{"veth", 1, "veth", "", 6, 0},
		{"dummy", 1, "dummy", "", 6, 0},
		{"macvlan", 1, "macvlan", "macvlan", 6, 0},
		{"Wi-Fi", 1, "", "wlan", 71, 0},
		{"Wi-Fi monitor", 803, "", "wlan", 71, 0},
		{"loopback", 772, "", "", 24, 0},
		{"PPP", 512, "ppp", "ppp", 23, 0},
		{"PPP of a modem", 512, "", "ppp", 23, 0},
		{"WWAN, Ethernet", 1, "", "wwan", 243, 0},
		{"WWAN", 65534, "wwan", "wwan", 243, 0},
		{"raw IP modem", 519, "", "", 243, 0},
		{"VLAN", 1, "vlan", "vlan", 135, 0},
		{"bond", 1, "bond", "bond", 161, 0},
		{"bond of InfiniBand", 32, "bond", "bond", 161, 0},
		{"team", 1, "team", "", 161, 0},
		{"bridge", 1, "bridge", "bridge", 209, 0},
		{"VRF", 1, "vrf", "", 53, 0},
		{"InfiniBand", 32, "ipoib", "", 199, 0},
		{"tun", 65534, "tun", "", 131, 1},
		{"tap", 1, "tun", "", 131, 1},
		{"tun disguised as loopback", 772, "tun", "", 131, 1},
		{"IPIP", 768, "ipip", "", 131, 2},
		{"ip6tnl", 769, "ip6tnl", "", 131, 2},
		{"GRE", 778, "gre", "", 131, 3},
		{"GRE over IPv6", 823, "ip6gre", "", 131, 3},
		{"GRETAP", 1, "gretap", "", 131, 3},
		{"GRETAP over IPv6", 1, "ip6gretap", "", 131, 3},
		{"ERSPAN", 1, "erspan", "", 131, 3},
		{"ERSPAN over IPv6", 1, "ip6erspan", "", 131, 3},
		{"L2TP Ethernet", 1, "", "l2tpeth", 131, 5},
		{"WireGuard", 65534, "wireguard", "wireguard", 131, 8},
		{"OpenVPN DCO", 65534, "ovpn", "", 131, 8},
		{"VXLAN", 1, "vxlan", "vxlan", 131, 8},
		{"VXLAN without Ethernet", 65534, "vxlan", "vxlan", 131, 8},
		{"Geneve", 1, "geneve", "geneve", 131, 8},
		{"bareudp", 65534, "bareudp", "bareudp", 131, 8},
		{"SIT", 776, "sit", "", 131, 11},
		{"xfrm", 65534, "xfrm", "", 131, 19},
		{"VTI", 768, "vti", "", 131, 19},
		{"VTI over IPv6", 769, "vti6", "", 131, 19},
		{"CAN", 280, "vcan", "", 0, math.MaxUint32},
		{"not known", 65534, "", "", 0, math.MaxUint32},
		{"not known", 65534, "wireguards", "", 131, 8}, // eight letters are compared
		{"not known", 65534, "tunnel", "", 0, math.MaxUint32},
	} {
		ifType, tunnelType := ClassifyDevice(d.hardware, d.link, d.device)
		require.Equal(t, [2]uint32{d.ifType, d.tunnelType}, [2]uint32{ifType, tunnelType}, d.name)
		context := make([]byte, 24)
		binary.LittleEndian.PutUint64(context, uint64(d.hardware))
		copy(context[8:16], d.link)
		copy(context[16:24], d.device)
		got, err := vm.NewMachine().Run(program, context, nil)
		require.NoError(t, err)
		require.Equal(t, [2]uint32{d.ifType, d.tunnelType}, [2]uint32{uint32(got >> 32), uint32(got)}, "program: %s", d.name)
	}
}

// classifier is classify as a program of its own: hardware type and names are its
// context, both types its result.
func classifier(t *testing.T) *vm.Program {
	f := &function{}
	end := f.straight(noBlock,
		asm.Mov.Reg(asm.R0, asm.R4),
		asm.LSh.Imm(asm.R0, 32),
		asm.Or.Reg(asm.R0, asm.R5))
	entry := f.straight(f.classify(end),
		asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord),
		asm.LoadMem(asm.R8, asm.R1, 8, asm.DWord),
		asm.LoadMem(asm.R9, asm.R1, 16, asm.DWord))
	code, err := assemble(f.blocks, entry)
	require.NoError(t, err)
	program, err := vm.Load(code, &vm.Environment{})
	require.NoError(t, err)
	return program
}
