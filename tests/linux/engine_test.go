//go:build linux

package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/runtime"
	"github.com/hopgate/hopgate/tests/gen"
)

// device is a network device with what a policy should see of it.
type device struct {
	index              uint32
	ifType, tunnelType uint32
}

// devices makes one device of each kind that this kernel has.
func devices(t testing.TB) []device {
	all := []device{{1, 24, 0}}
	for i, d := range []struct {
		link               netlink.Link
		ifType, tunnelType uint32
	}{
		{&netlink.Veth{PeerName: "peer"}, 6, 0},
		{&netlink.Bridge{}, 209, 0},
		{&netlink.Vxlan{VxlanId: 7, Port: 4789, Group: net.IPv4(192, 0, 2, 1)}, 131, 8},
		{&netlink.Tuntap{Mode: netlink.TUNTAP_MODE_TUN}, 131, 1},
		{&netlink.Tuntap{Mode: netlink.TUNTAP_MODE_TAP}, 131, 1},
		{&netlink.Macvlan{Mode: netlink.MACVLAN_MODE_BRIDGE}, 6, 0},
		{&netlink.Vlan{VlanId: 5}, 135, 0},
		{&netlink.Ifb{}, 6, 0},
		{&netlink.Dummy{}, 6, 0},
		{&netlink.Wireguard{}, 131, 8},
		{&netlink.Gretun{Local: net.IPv4(192, 0, 2, 1), Remote: net.IPv4(192, 0, 2, 2)}, 131, 3},
		{&netlink.Iptun{Local: net.IPv4(192, 0, 2, 1), Remote: net.IPv4(192, 0, 2, 2)}, 131, 2},
		{&netlink.Ip6tnl{Local: net.ParseIP("2001:db8::1"), Remote: net.ParseIP("2001:db8::2")}, 131, 2},
		{&netlink.Sittun{Local: net.IPv4(192, 0, 2, 1), Remote: net.IPv4(192, 0, 2, 2)}, 131, 11},
		{&netlink.Geneve{ID: 7, Remote: net.IPv4(192, 0, 2, 1)}, 131, 8},
		{&netlink.Xfrmi{Ifid: 7}, 131, 19},
		{&netlink.Vrf{Table: 10}, 53, 0},
		{netlink.NewLinkBond(netlink.LinkAttrs{}), 161, 0},
	} {
		d.link.Attrs().Name = fmt.Sprintf("test%d", i)
		switch d.link.(type) {
		case *netlink.Macvlan, *netlink.Vlan:
			d.link.Attrs().ParentIndex = int(all[1].index)
		}
		err := netlink.LinkAdd(d.link)
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENODEV) {
			t.Logf("this kernel has no %s", d.link.Type())
			continue
		}
		require.NoError(t, err, d.link.Type())
		t.Cleanup(func() { _ = netlink.LinkDel(d.link) })
		made, err := netlink.LinkByName(d.link.Attrs().Name)
		require.NoError(t, err)
		require.NoError(t, netlink.LinkSetUp(made))
		all = append(all, device{uint32(made.Attrs().Index), d.ifType, d.tunnelType})
	}
	return all
}

// describe puts what a device means into a request.
func (d device) describe(r *compiler.Request) {
	r.InterfaceType, r.TunnelType = d.ifType, d.tunnelType
	r.NextHop = codegen.DeviceLUID(d.ifType, d.index)
	r.Interface, r.SubInterface, r.Compartment = r.NextHop, 0, 0
}

// packet is an IP packet of a request, after an Ethernet header.
func packet(r *compiler.Request) []byte {
	b := make([]byte, 14)
	if r.Family() == 4 {
		binary.BigEndian.PutUint16(b[12:], 0x0800)
		src, dst := r.Local.Addr().Unmap().As4(), r.Remote.Addr().Unmap().As4()
		b = append(b, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, r.Protocol, 0, 0)
		b = append(append(b, src[:]...), dst[:]...)
	} else {
		binary.BigEndian.PutUint16(b[12:], 0x86dd)
		src, dst := r.Local.Addr().As16(), r.Remote.Addr().As16()
		b = append(b, 0x60, 0, 0, 0, 0, 20, r.Protocol, 64)
		b = append(append(b, src[:]...), dst[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, r.Local.Port())
	b = binary.BigEndian.AppendUint16(b, r.Remote.Port())
	return append(b, make([]byte, 20)...)
}

// skBuff is struct __sk_buff up to where the kernel looks in a test run.
type skBuff struct {
	_       [10]uint32
	Ifindex uint32
	_       [37]uint32
}

// hasPorts are the protocols whose ports a policy can see.
func hasPorts(protocol uint8) bool {
	switch protocol {
	case 6, 17, 33, 132, 136:
		return true
	}
	return false
}

func isExtension(protocol uint8) bool {
	switch protocol {
	case 0, 43, 44, 60, 135, 139, 140:
		return true
	}
	return false
}

// completeRequest makes a request one that a packet can be of.
func completeRequest(r *compiler.Request, d device) bool {
	d.describe(r)
	if (r.Family() == 4) != r.Local.Addr().Unmap().Is4() {
		return false
	}
	if !hasPorts(r.Protocol) {
		r.Remote, r.Local = netip.AddrPortFrom(r.Remote.Addr(), 0), netip.AddrPortFrom(r.Local.Addr(), 0)
	}
	return r.Family() == 4 || !isExtension(r.Protocol)
}

// TestEgressAgrees runs random policies on random packets in the kernel.
func TestEgressAgrees(t *testing.T) {
	all := devices(t)
	policies, requests := 250, 100
	if testing.Short() {
		policies, requests = 10, 100
	}
	inEachForm(t, policies, func(t *testing.T, seed uint64, p *compiler.Policy, attach attachAs) {
		rng := rand.New(rand.NewPCG(seed, 4))
		k := attach(t, p, codegen.Options{DeviceMap: seed%6 == 5, LeaveReplies: seed%6 == 4}, runtime.KernelOptions{Cgroup: ownCgroup(t)})
		random := gen.NewRequests(p)
		egress := k.Function("egress")
		before := counts(t, k)
		for range requests {
			r := random.Random(rng)
			d := all[rng.IntN(len(all))]
			if !completeRequest(&r, d) {
				continue
			}
			require.NoError(t, k.Refresh()) // so that the decision counts
			got, err := egress.Run(&ebpf.RunOptions{Data: packet(&r), Context: skBuff{Ifindex: d.index}})
			require.NoError(t, err)
			want := p.Eval(&r)
			require.Equal(t, want.Verdict != lang.Deny, got == 1, "%+v", r)
			before = requireCounted(t, k, p, want, before)
			cached, err := egress.Run(&ebpf.RunOptions{Data: packet(&r), Context: skBuff{Ifindex: d.index}})
			require.NoError(t, err)
			require.Equal(t, got, cached, "cached: %+v", r)
		}
	})
}

// ownCgroup moves this process into a cgroup of its own, away from what sockets of
// other tests may still send.
func ownCgroup(t *testing.T) string {
	path := filepath.Join(cgroup, "engine")
	require.NoError(t, os.Mkdir(path, 0o755))
	require.NoError(t, enter(path))
	t.Cleanup(func() {
		require.NoError(t, enter(cgroup))
		require.NoError(t, os.Remove(path))
	})
	return path
}

// inEachForm runs a test with the first so many policies of the cross-engine tests, but
// for those of hook accept, in form code; and with every third of them in form table.
func inEachForm(t *testing.T, policies int, test func(t *testing.T, seed uint64, p *compiler.Policy, attach attachAs)) {
	oneOf := map[string]uint64{"code": 1, "table": 3, "sheets": 12}
	for form, attach := range forms {
		t.Run(form, func(t *testing.T) {
			for seed := range uint64(policies) {
				_, text := gen.Case(seed)
				p := check(t, text, &compiler.Options{BindAll: true})
				if p.Hook == compiler.Connect && seed%oneOf[form] == 0 {
					t.Run(fmt.Sprint(seed), func(t *testing.T) { test(t, seed, p, attach) })
				}
			}
		})
	}
}

// requireCounted checks that the rules of the decision, and no others, have counted
// one more.
func requireCounted(t *testing.T, k *runtime.Kernel, p *compiler.Policy, want compiler.Decision, before map[string]uint64) map[string]uint64 {
	before[p.RuleID(want.Rule)]++
	if want.Audit >= 0 {
		before[p.RuleID(want.Audit)]++
	}
	after := counts(t, k)
	require.Equal(t, before, after)
	return after
}

// TestConnectAgrees makes real connections to random destinations over loopback,
// which in this namespace has every address.
func TestConnectAgrees(t *testing.T) {
	everywhere(t)
	policies, requests := 250, 20
	if testing.Short() {
		policies, requests = 8, 20
	}
	early := 0
	inEachForm(t, policies, func(t *testing.T, seed uint64, p *compiler.Policy, attach attachAs) {
		rng := rand.New(rand.NewPCG(seed, 5))
		// With a map of devices a denied TCP connection takes seconds to fail.
		k := attach(t, p, codegen.Options{LeaveReplies: seed%6 == 4}, runtime.KernelOptions{Cgroup: ownCgroup(t)})
		random := gen.NewRequests(p)
		for range requests {
			r := random.Random(rng)
			r.Protocol = []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP}[rng.IntN(2)]
			if !completeRequest(&r, device{1, 24, 0}) || !reachable(r.Remote) || !reachable(r.Local) {
				continue
			}
			require.NoError(t, k.Refresh())
			before := counts(t, k)
			want := p.Eval(&r)
			err := open(t, &r)
			if errors.Is(err, errSkip) {
				continue
			}
			require.Equal(t, want.Verdict == lang.Deny, errors.Is(err, unix.EPERM) || errors.Is(err, unix.EHOSTUNREACH), "%+v: %v", r, err)
			after := counts(t, k)
			if errors.Is(err, errEarly) {
				// The rule is the first that could be the one.
				early++
				require.NotEqual(t, before, after)
				continue
			}
			before[p.RuleID(want.Rule)]++
			if want.Audit >= 0 {
				before[p.RuleID(want.Audit)]++
			}
			require.Equal(t, before, after, "%+v", r)
		}
	})
	t.Logf("%d denied before route selection", early)
}

// everywhere makes every address one of this namespace.
func everywhere(t *testing.T) {
	for _, all := range []string{"0.0.0.0/0", "::/0"} {
		_, network, err := net.ParseCIDR(all)
		require.NoError(t, err)
		route := &netlink.Route{LinkIndex: 1, Dst: network, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST}
		require.NoError(t, netlink.RouteAdd(route))
		t.Cleanup(func() { require.NoError(t, netlink.RouteDel(route)) })
	}
}

// reachable reports whether a socket can have the address. A broadcast address, as
// 127.255.255.255 is on loopback, is none that datagrams come from.
func reachable(a netip.AddrPort) bool {
	ip := a.Addr().Unmap()
	return ip != netip.AddrFrom4([4]byte{127, 255, 255, 255}) && !ip.IsUnspecified() && !ip.IsMulticast() && !ip.IsLinkLocalUnicast() && ip != netip.AddrFrom4([4]byte{255, 255, 255, 255}) && a.Port() != 0
}

var (
	errSkip  = errors.New("cannot have these ends")
	errEarly = fmt.Errorf("before route selection: %w", unix.EPERM)
)

// open opens the connection of a request, by TCP or UDP.
func open(t *testing.T, r *compiler.Request) error {
	kind := unix.SOCK_STREAM
	if r.Protocol == unix.IPPROTO_UDP {
		kind = unix.SOCK_DGRAM
	}
	remote, local := r.Remote, r.Local
	if local.Addr().Unmap().Is4() {
		local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
		remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	}
	domain := unix.AF_INET
	if remote.Addr().Is6() {
		domain = unix.AF_INET6
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	if unix.Bind(fd, sockaddr(local)) != nil || remote == local {
		return errSkip
	}
	err = unix.Connect(fd, sockaddr(remote))
	switch {
	case errors.Is(err, unix.EPERM):
		return errEarly
	case err != nil || kind == unix.SOCK_STREAM:
		return err
	}
	_, err = unix.Write(fd, []byte("x"))
	return err
}
