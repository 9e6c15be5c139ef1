//go:build linux

package linux

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/runtime"
)

// Devices of each kind that this kernel has are what docs/linux.md says. Of the others
// only the table is tested (codegen).
func TestKindsOfDevices(t *testing.T) {
	under := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "under"}, PeerName: "under2"}
	require.NoError(t, netlink.LinkAdd(under))
	defer netlink.LinkDel(under)
	named := netlink.LinkAttrs{Name: "kind0"}
	above := netlink.LinkAttrs{Name: "kind0", ParentIndex: under.Index}
	from, to := net.IPv4(127, 0, 0, 1), net.IPv4(192, 0, 2, 1)
	from6, to6 := net.ParseIP("::1"), net.ParseIP("2001:db8::1")
	for _, k := range []struct {
		link           netlink.Link
		ifType, tunnel string
	}{
		{&netlink.Veth{LinkAttrs: named, PeerName: "kind1"}, "ethernet", "none"},
		{&netlink.Dummy{LinkAttrs: named}, "ethernet", "none"},
		{&netlink.Ifb{LinkAttrs: named}, "ethernet", "none"},
		{&netlink.Macvlan{LinkAttrs: above, Mode: netlink.MACVLAN_MODE_BRIDGE}, "ethernet", "none"},
		{&netlink.Macvtap{Macvlan: netlink.Macvlan{LinkAttrs: above, Mode: netlink.MACVLAN_MODE_BRIDGE}}, "ethernet", "none"},
		{&netlink.IPVlan{LinkAttrs: above}, "ethernet", "none"},
		{&netlink.Vlan{LinkAttrs: above, VlanId: 7}, "l2vlan", "none"},
		{netlink.NewLinkBond(named), "ieee8023adLag", "none"},
		{&netlink.Bridge{LinkAttrs: named}, "bridge", "none"},
		{&netlink.Vrf{LinkAttrs: named, Table: 77}, "prop-virtual", "none"},
		{&netlink.Tuntap{LinkAttrs: named, Mode: netlink.TUNTAP_MODE_TUN}, "tunnel", "other"},
		{&netlink.Tuntap{LinkAttrs: named, Mode: netlink.TUNTAP_MODE_TAP}, "tunnel", "other"},
		{&netlink.Iptun{LinkAttrs: named, Local: from, Remote: to}, "tunnel", "direct"},
		{&netlink.Ip6tnl{LinkAttrs: named, Local: from6, Remote: to6}, "tunnel", "direct"},
		{&netlink.Gretun{LinkAttrs: named, Local: from, Remote: to}, "tunnel", "gre"},
		{&netlink.Gretap{LinkAttrs: named, Local: from, Remote: to}, "tunnel", "gre"},
		{&netlink.Wireguard{LinkAttrs: named}, "tunnel", "udp"},
		{&netlink.Vxlan{LinkAttrs: named, VxlanId: 9, Port: 4791, Group: to}, "tunnel", "udp"},
		{&netlink.Geneve{LinkAttrs: named, ID: 9, Remote: to}, "tunnel", "udp"},
		{&netlink.BareUDP{LinkAttrs: named, Port: 4792, EtherType: unix.ETH_P_IP}, "tunnel", "udp"},
		{&netlink.Sittun{LinkAttrs: named, Local: from, Remote: to}, "tunnel", "sixToFour"},
		{&netlink.Vti{LinkAttrs: named, Local: from, Remote: to}, "tunnel", "ipsectunnelmode"},
		{&netlink.Xfrmi{LinkAttrs: above, Ifid: 9}, "tunnel", "ipsectunnelmode"},
	} {
		t.Run(fmt.Sprintf("%s to %s", k.link.Type(), k.ifType), func(t *testing.T) {
			if err := netlink.LinkAdd(k.link); err != nil {
				require.ErrorIs(t, err, unix.EOPNOTSUPP)
				t.Logf("this kernel has no %s", k.link.Type())
				return
			}
			made, err := netlink.LinkByName("kind0")
			require.NoError(t, err)
			defer netlink.LinkDel(made)
			require.NoError(t, netlink.AddrAdd(made, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 78, 0, 1), Mask: net.CIDRMask(24, 32)}}))
			require.NoError(t, netlink.LinkSetUp(made))
			peer := netip.MustParseAddrPort("10.78.0.2:7000")
			is := fmt.Sprintf("interface_type == %s and tunnel_type == %s", k.ifType, k.tunnel)
			for text, want := range map[string]error{
				"rule is: deny if remote_port == 7000 and " + is:               nil,
				"rule other: deny if remote_port == 7000 and not (" + is + ")": unix.EPERM,
			} {
				hook := attach(t, "policy p { default allow\n "+text+" }", runtime.KernelOptions{})
				if err := send(t, peer); want == nil {
					require.ErrorIs(t, err, unix.EPERM, text)
				} else {
					require.NotErrorIs(t, err, unix.EPERM, text)
				}
				require.NoError(t, hook.Close())
			}
		})
	}
}
