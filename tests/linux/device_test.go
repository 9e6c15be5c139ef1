//go:build linux

package linux

import (
	"net"
	"net/netip"
	"os"
	goruntime "runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/runtime"
)

// onOneCPU keeps the test on one processor.
func onOneCPU(t *testing.T) {
	goruntime.LockOSThread()
	var before, here unix.CPUSet
	here.Set(0)
	require.NoError(t, unix.SchedGetaffinity(0, &before))
	require.NoError(t, unix.SchedSetaffinity(0, &here))
	t.Cleanup(func() {
		require.NoError(t, unix.SchedSetaffinity(0, &before))
		goruntime.UnlockOSThread()
	})
}

// A device that takes the index of another is judged as what it is, though
// decisions about the other are remembered.
func TestIndexIsUsedAgain(t *testing.T) {
	attach(t, `policy p { default allow
  rule tunnel: deny if remote_port == 7000 unless tunnel_type == udp }`, runtime.KernelOptions{})
	onOneCPU(t) // what is remembered is the processor's
	to := netip.MustParseAddrPort("10.77.0.2:7000")
	fd := socketOf(t, unix.AF_INET, unix.SOCK_DGRAM, 0)
	sendBy := func(l netlink.Link) error {
		require.NoError(t, netlink.LinkAdd(l))
		defer func() { require.NoError(t, netlink.LinkDel(l)) }()
		made, err := netlink.LinkByIndex(777)
		require.NoError(t, err)
		address, err := netlink.ParseAddr("10.77.0.1/24")
		require.NoError(t, err)
		require.NoError(t, netlink.AddrAdd(made, address))
		require.NoError(t, netlink.LinkSetUp(made))
		return unix.Sendto(fd, []byte("x"), 0, sockaddr(to))
	}
	one := netlink.LinkAttrs{Index: 777, Name: "one", HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 7}}
	vxlan := &netlink.Vxlan{LinkAttrs: one, VxlanId: 7, Port: 4790, Group: net.IPv4(192, 0, 2, 1)}
	for range 3 {
		require.NoError(t, sendBy(vxlan))
		require.ErrorIs(t, sendBy(&netlink.Veth{LinkAttrs: one, PeerName: "two"}), unix.EPERM)
	}
}

// A device of another network namespace is not the named one, though its index, its
// kind and all of the flow are the same.
func TestSameIndexInAnotherNamespace(t *testing.T) {
	for _, opts := range []codegen.Options{{}, {DeviceMap: true}} {
		w := newWorld(t)
		w.route("vpn0")
		attachWith(t, corpPolicy, opts, runtime.KernelOptions{})
		done := make(chan error)
		go func() {
			goruntime.LockOSThread() // and never unlocked: the thread ends in the other namespace
			done <- w.sendFromElsewhere()
		}()
		require.ErrorIs(t, <-done, unix.EPERM)
		w.close()
	}
}

// sendFromElsewhere sends to the corporate network by vpn0 and then from a namespace
// that looks alike. It gives the error of the latter.
func (w *world) sendFromElsewhere() error {
	var here unix.CPUSet
	here.Set(0)
	if err := unix.SchedSetaffinity(0, &here); err != nil {
		return err
	}
	send := func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 7009}); err != nil {
			return err
		}
		return unix.Sendto(fd, []byte("x"), 0, sockaddr(at(corp4)))
	}
	vpn, err := w.host.LinkByName("vpn0")
	if err != nil {
		return err
	}
	if err := send(); err != nil {
		return err
	}
	elsewhere, err := netns.New()
	if err != nil {
		return err
	}
	defer elsewhere.Close()
	other := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vpn0", Index: vpn.Attrs().Index}, VxlanId: 66, Port: 4789, Group: net.ParseIP(wan4)}
	address, _ := netlink.ParseAddr("10.66.2.1/24")
	_, corp, _ := net.ParseCIDR("10.66.100.0/24")
	for _, step := range []func() error{
		func() error { return netlink.LinkAdd(other) },
		func() error { return netlink.LinkSetUp(other) },
		func() error { return netlink.AddrAdd(other, address) },
		func() error {
			return netlink.RouteAdd(&netlink.Route{LinkIndex: other.Index, Dst: corp, Gw: net.ParseIP("10.66.2.2")})
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return send()
}

// In a network namespace that the map of devices does not follow every device is
// unknown, and that is no Ethernet.
func TestUnknownDeviceFailsClosed(t *testing.T) {
	attachWith(t, `policy p { default allow
  rule wifi: deny if interface_type == wifi }`, codegen.Options{DeviceMap: true}, runtime.KernelOptions{})
	to := netip.MustParseAddrPort("127.0.0.1:7000")
	require.NoError(t, send(t, to))
	done := make(chan error)
	go func() {
		goruntime.LockOSThread() // and never unlocked: the thread ends in the other namespace
		elsewhere, err := netns.New()
		if err == nil {
			defer elsewhere.Close()
			var lo netlink.Link
			if lo, err = netlink.LinkByName("lo"); err == nil {
				err = netlink.LinkSetUp(lo)
			}
		}
		if err == nil {
			err = send(t, to)
		}
		done <- err
	}()
	require.ErrorIs(t, <-done, unix.EPERM)
}

// The owner of a tun device may give it another hardware type; it stays a tunnel.
func TestTunDisguisedAsLoopback(t *testing.T) {
	attach(t, `policy p { default deny
  rule loopback: allow if interface_type == loopback }`, runtime.KernelOptions{})
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	require.NoError(t, err)
	defer tun.Close()
	request, err := unix.NewIfreq("tun7")
	require.NoError(t, err)
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	require.NoError(t, unix.IoctlIfreq(int(tun.Fd()), unix.TUNSETIFF, request))
	require.NoError(t, unix.IoctlSetInt(int(tun.Fd()), unix.TUNSETLINK, unix.ARPHRD_LOOPBACK))
	l, err := netlink.LinkByName("tun7")
	require.NoError(t, err)
	address, err := netlink.ParseAddr("10.78.0.1/24")
	require.NoError(t, err)
	require.NoError(t, netlink.AddrAdd(l, address))
	require.NoError(t, netlink.LinkSetUp(l))
	require.ErrorIs(t, send(t, netip.MustParseAddrPort("10.78.0.2:7000")), unix.EPERM)
}

// Multicast takes a path of its own out of the kernel.
func TestMulticastIsJudged(t *testing.T) {
	w := newWorld(t)
	attach(t, `policy p { default allow
  rule groups: deny if remote_address in { 224.0.0.0/4, ff00::/8 } unless interface_type == tunnel }`, runtime.KernelOptions{})
	for _, c := range []struct {
		device string
		want   error
	}{{"wan0", unix.EPERM}, {"vpn0", nil}} {
		l, err := w.host.LinkByName(c.device)
		require.NoError(t, err)
		fd := socketOf(t, unix.AF_INET, unix.SOCK_DGRAM, 0)
		require.NoError(t, unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(l.Attrs().Index)}))
		require.ErrorIs(t, unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Port: port, Addr: [4]byte{239, 1, 2, 3}}), c.want)
		fd = socketOf(t, unix.AF_INET6, unix.SOCK_DGRAM, 0)
		group := netip.MustParseAddr("ff02::1234").As16()
		require.ErrorIs(t, unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet6{Port: port, ZoneId: uint32(l.Attrs().Index), Addr: group}), c.want)
	}
}

// A connection that both ends open at once is an outbound one: a policy that comes to
// deny it stops it.
func TestSimultaneousOpenIsOutbound(t *testing.T) {
	for i, opts := range []codegen.Options{{}, {DeviceMap: true}} {
		k := attachWith(t, `policy p { default allow }`, opts, runtime.KernelOptions{})
		fd := socketOf(t, unix.AF_INET, unix.SOCK_STREAM, 0)
		self := &unix.SockaddrInet4{Port: 7008 + i, Addr: [4]byte{127, 0, 0, 1}}
		require.NoError(t, unix.Bind(fd, self))
		require.NoError(t, unix.Connect(fd, self)) // its SYN meets itself
		require.NoError(t, sendOn(fd))
		got := make([]byte, 8)
		n, err := unix.Read(fd, got)
		require.NoError(t, err)
		require.Equal(t, 1, n)

		require.NoError(t, k.Update(compile(t, check(t, `policy p { default deny }`, nil), opts)))
		require.NoError(t, sendOn(fd))
		require.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 300_000}))
		_, err = unix.Read(fd, got)
		require.ErrorIs(t, err, unix.EAGAIN)
		require.NoError(t, k.Close())
	}
}
