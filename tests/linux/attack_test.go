//go:build linux

package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/runtime"
)

// mapped is the IPv4-mapped form of an address.
func mapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
}

// attack is a way to reach the corporate network by wan0. It gives the error of the
// last call, or nil if nothing refused: then what it sent must not have left.
type attack struct {
	name    string
	denied  bool // the call itself is refused
	attempt func(t *testing.T, w *world) error
}

// attacks all go to the wrong interface. Each must leave nothing on the wire.
var attacks = []attack{
	{"IPv4-mapped TCP connect", true, func(t *testing.T, w *world) error {
		return connect(t, mapped(at(corp4)))
	}},
	{"IPv4-mapped UDP connect and send", true, func(t *testing.T, w *world) error {
		fd := socketOf(t, unix.AF_INET6, unix.SOCK_DGRAM, 0)
		require.NoError(t, unix.Connect(fd, sockaddr(mapped(at(corp4)))))
		return sendOn(fd)
	}},
	{"IPv4-mapped sendto", true, func(t *testing.T, w *world) error {
		return send(t, mapped(at(corp4)))
	}},
	{"AF_INET address on an AF_INET6 UDP socket", true, func(t *testing.T, w *world) error {
		fd := socketOf(t, unix.AF_INET6, unix.SOCK_DGRAM, 0)
		return unix.Sendto(fd, []byte("x"), 0, sockaddr(at(corp4)))
	}},
	{"unconnected UDP", true, func(t *testing.T, w *world) error { return send(t, at(corp4)) }},
	{"unconnected UDP over IPv6", true, func(t *testing.T, w *world) error { return send(t, at(corp6)) }},
	{"connected UDP, sendto another peer", true, func(t *testing.T, w *world) error {
		fd := socket(t, at(wan4), unix.SOCK_DGRAM, 0)
		require.NoError(t, unix.Connect(fd, sockaddr(at(wan4))))
		return unix.Sendto(fd, []byte("x"), 0, sockaddr(at(corp4)))
	}},
	{"AF_UNSPEC, then sendto", true, func(t *testing.T, w *world) error {
		fd := socket(t, at(wan4), unix.SOCK_DGRAM, 0)
		require.NoError(t, unix.Connect(fd, sockaddr(at(wan4))))
		disconnect(t, fd)
		return unix.Sendto(fd, []byte("x"), 0, sockaddr(at(corp4)))
	}},
	{"IP_PKTINFO interface", true, func(t *testing.T, w *world) error {
		w.route("vpn0")
		defer w.route("wan0")
		return sendBy(t, w, "wan0", wan4)
	}},
	{"SO_BINDTODEVICE", true, func(t *testing.T, w *world) error {
		w.route("vpn0")
		defer w.route("wan0")
		fd := socket(t, at(corp4), unix.SOCK_STREAM, 0)
		require.NoError(t, unix.BindToDevice(fd, "wan0"))
		return unix.Connect(fd, sockaddr(at(corp4)))
	}},
	{"raw HDRINCL UDP", true, func(t *testing.T, w *world) error { return rawSend(t, unix.IPPROTO_UDP, 0x45, 0) }},
	{"raw HDRINCL TCP SYN", true, func(t *testing.T, w *world) error { return rawSend(t, unix.IPPROTO_TCP, 0x45, 0) }},
	{"raw HDRINCL with options", true, func(t *testing.T, w *world) error { return rawSend(t, unix.IPPROTO_UDP, 0x46, 0) }},
	{"raw HDRINCL later fragment", true, func(t *testing.T, w *world) error { return rawSend(t, unix.IPPROTO_UDP, 0x45, 8) }},
	{"ping socket", true, func(t *testing.T, w *world) error {
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0))
		fd := socketOf(t, unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)
		return unix.Sendto(fd, []byte{8, 0, 0, 0, 0, 0, 0, 0}, 0, &unix.SockaddrInet4{Addr: at(corp4).Addr().As4()})
	}},
	{"TCP Fast Open", true, func(t *testing.T, w *world) error {
		fd := socket(t, at(corp4), unix.SOCK_STREAM, 0)
		return unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, sockaddr(at(corp4)))
	}},
	{"multipath TCP", true, func(t *testing.T, w *world) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 262)
		if err != nil {
			t.Skip("this kernel has no MPTCP:", err)
		}
		defer unix.Close(fd)
		require.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: 200_000}))
		return unix.Connect(fd, sockaddr(at(corp4)))
	}},
	{"IPv6 routing header", true, func(t *testing.T, w *world) error {
		// Segments in reverse order: the packet goes to wan6 first.
		header := []byte{0, 4, 4, 1, 1, 0, 0, 0}
		for _, a := range []string{corp6, wan6} {
			ip := netip.MustParseAddr(a).As16()
			header = append(header, ip[:]...)
		}
		fd := socket(t, at(corp6), unix.SOCK_DGRAM, 0)
		if err := unix.SetsockoptString(fd, unix.IPPROTO_IPV6, unix.IPV6_RTHDR, string(header)); err != nil {
			t.Skip("this kernel sends no segment routing headers:", err)
		}
		return unix.Sendto(fd, []byte("x"), 0, sockaddr(at(corp6)))
	}},
	{"IPv4 loose source route", true, func(t *testing.T, w *world) error {
		hop := netip.MustParseAddr(wan4).As4()
		fd := socket(t, at(corp4), unix.SOCK_DGRAM, 0)
		require.NoError(t, unix.SetsockoptString(fd, unix.IPPROTO_IP, unix.IP_OPTIONS, string(append([]byte{131, 7, 4}, append(hop[:], 0)...))))
		return unix.Sendto(fd, []byte("x"), 0, sockaddr(at(corp4)))
	}},
	{"threads sharing a UDP socket", false, func(t *testing.T, w *world) error {
		fd := socket(t, at(corp4), unix.SOCK_DGRAM, 0)
		done := make(chan struct{})
		for _, to := range []string{wan4, corp4} {
			go func() {
				for end := time.Now().Add(time.Second); time.Now().Before(end); {
					_ = unix.Sendto(fd, []byte("x"), 0, sockaddr(at(to)))
				}
				done <- struct{}{}
			}()
		}
		<-done
		<-done
		return nil
	}},
	{"forked child", true, func(t *testing.T, w *world) error {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), inside+"=1", childSends+"="+at(corp4).String())
		out, err := child.CombinedOutput()
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			return unix.Errno(exit.ExitCode())
		}
		return fmt.Errorf("%w: %s", err, out)
	}},
	{"accepted socket reconnected outward", true, func(t *testing.T, w *world) error {
		accepted := acceptOne(t)
		disconnect(t, accepted)
		require.NoError(t, unix.Connect(accepted, sockaddr(at(wan4))))
		disconnect(t, accepted)
		return unix.Connect(accepted, sockaddr(at(corp4)))
	}},
	{"socket used after leaving the cgroup", true, func(t *testing.T, w *world) error {
		fd := socket(t, at(corp4), unix.SOCK_STREAM, 0)
		require.NoError(t, enter(cgroupRoot()))
		defer func() { require.NoError(t, enter(cgroup)) }()
		return unix.Connect(fd, sockaddr(at(corp4)))
	}},
	{"socket of a cgroup below", true, func(t *testing.T, w *world) error {
		below := filepath.Join(cgroup, "below")
		require.NoError(t, os.Mkdir(below, 0o755))
		require.NoError(t, enter(below))
		defer func() {
			require.NoError(t, enter(cgroup))
			require.NoError(t, os.Remove(below))
		}()
		return send(t, at(corp4))
	}},
}

// childSends makes this binary send a datagram, and nothing else.
const childSends = "HOPGATE_TEST_SENDS"

func sendOn(fd int) error {
	_, err := unix.Write(fd, []byte("x"))
	return err
}

// disconnect connects to AF_UNSPEC.
func disconnect(t *testing.T, fd int) {
	var unspecified unix.RawSockaddr
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspecified)), unsafe.Sizeof(unspecified))
	require.Zero(t, errno)
}

// sendBy sends a datagram to the corporate network with the interface in control
// data.
func sendBy(t *testing.T, w *world, device, gateway string) error {
	l, err := w.host.LinkByName(device)
	require.NoError(t, err)
	// A second route by the interface, that only who asks for it gets.
	_, network, _ := net.ParseCIDR("10.66.100.0/24")
	second := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: network, Gw: net.ParseIP(gateway), Priority: 100}
	require.NoError(t, w.host.RouteAdd(second))
	defer func() { require.NoError(t, w.host.RouteDel(second)) }()
	fd := socket(t, at(corp4), unix.SOCK_DGRAM, 0)
	control := unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(l.Attrs().Index)})
	return unix.Sendmsg(fd, []byte("x"), control, sockaddr(at(corp4)), 0)
}

// rawSend sends a packet with a header of its own. Fragment is in units of 8 bytes.
func rawSend(t *testing.T, protocol byte, version byte, fragment uint16) error {
	fd := socketOf(t, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	p := make([]byte, 60)
	p[0], p[8], p[9] = version, 64, protocol
	binary.BigEndian.PutUint16(p[6:], fragment)
	from, to := netip.MustParseAddr("10.66.1.1").As4(), at(corp4).Addr().As4()
	copy(p[12:], from[:])
	copy(p[16:], to[:])
	header := 4 * int(version&15)
	if header > 20 {
		p[20] = 1 // no operation
	}
	binary.BigEndian.PutUint16(p[header:], 5555)
	binary.BigEndian.PutUint16(p[header+2:], port)
	p[header+12], p[header+13] = 5<<4, 2 // SYN
	return unix.Sendto(fd, p, 0, sockaddr(at(corp4)))
}

// acceptOne gives a socket that was accepted from a connection of the host to
// itself.
func acceptOne(t *testing.T) int {
	listener := socketOf(t, unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{10, 66, 1, 1}}))
	require.NoError(t, unix.Listen(listener, 1))
	address, err := unix.Getsockname(listener)
	require.NoError(t, err)
	client := socketOf(t, unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, unix.Connect(client, address))
	accepted, _, err := unix.Accept(listener)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(accepted) })
	return accepted
}

// The watch itself sees what it is for.
func TestWatchSeesLeaks(t *testing.T) {
	w := newWorld(t)
	w.route("wan0")
	for _, corp := range []string{corp4, corp6} {
		leaks := w.watch()
		require.NoError(t, connect(t, at(corp)))
		require.NoError(t, send(t, at(corp)))
		leaks.stop()
		// What a socket of an earlier test sends again is seen as well.
		require.GreaterOrEqual(t, leaks.count.Load()+watchEnded, int64(2))
	}
}

// Without a policy each attack reaches the wire.
func TestAttacksAreReal(t *testing.T) {
	w := newWorld(t)
	w.route("wan0")
	for _, a := range slices.Concat(attacks, pathAttacks) {
		t.Run(a.name, func(t *testing.T) {
			leaks := w.watch()
			err := a.attempt(t, w)
			leaks.stop()
			require.NotZero(t, leaks.count.Load()+watchEnded, "%v", err)
		})
	}
}

func TestAttacks(t *testing.T) { tryAttacks(t, attacks) }

// tryAttacks tries each attack on each kind of program.
func tryAttacks(t *testing.T, attacks []attack) {
	for _, way := range []struct {
		name    string
		opts    codegen.Options
		runtime runtime.KernelOptions
	}{
		{"connect stage", codegen.Options{}, runtime.KernelOptions{}},
		{"egress alone", codegen.Options{}, runtime.KernelOptions{NoConnectStage: true}},
		{"devices by map", codegen.Options{DeviceMap: true}, runtime.KernelOptions{}},
	} {
		t.Run(way.name, func(t *testing.T) {
			w := newWorld(t)
			older := socket(t, at(corp4), unix.SOCK_STREAM, 0)
			attachWith(t, corpPolicy, way.opts, way.runtime)
			w.route("wan0")
			list := append([]attack{{"socket older than the attachment", true, func(t *testing.T, w *world) error {
				return unix.Connect(older, sockaddr(at(corp4)))
			}}}, attacks...)
			for _, a := range list {
				t.Run(a.name, func(t *testing.T) {
					leaks := w.watch()
					err := a.attempt(t, w)
					if a.denied {
						require.Error(t, err)
					}
					leaks.none(t)
				})
			}
		})
	}
}

// allowAll attaches programs to a cgroup that allow everything, and take denials back
// where they can. It gives what detaches them.
func allowAll(t *testing.T, path string) (detach func()) {
	var links []link.Link
	for _, p := range []struct {
		kind   ebpf.ProgramType
		attach ebpf.AttachType
		undo   bool
	}{
		{ebpf.CGroupSKB, ebpf.AttachCGroupInetEgress, false},
		{ebpf.CGroupSockAddr, ebpf.AttachCGroupInet4Connect, true},
		{ebpf.CGroupSockAddr, ebpf.AttachCGroupUDP4Sendmsg, true},
		{ebpf.SockOps, ebpf.AttachCGroupSockOps, false},
	} {
		var code asm.Instructions
		if p.undo {
			code = asm.Instructions{asm.Mov.Imm(asm.R1, 0), asm.FnSetRetval.Call()}
		}
		program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: p.kind, AttachType: p.attach, License: codegen.License,
			Instructions: append(code, asm.Mov.Imm(asm.R0, 1), asm.Return()),
		})
		require.NoError(t, err)
		defer program.Close()
		l, err := link.AttachCgroup(link.CgroupOptions{Path: path, Attach: p.attach, Program: program})
		require.NoError(t, err)
		links = append(links, l)
	}
	return func() {
		for _, l := range links {
			_ = l.Close()
		}
	}
}

// outside gives a TCP socket that is not judged.
func outside(t testing.TB) int {
	require.NoError(t, enter(cgroupRoot()))
	defer func() { require.NoError(t, enter(cgroup)) }()
	return socketOf(t, unix.AF_INET, unix.SOCK_STREAM, 0)
}

// Accepted connections are left alone, whatever the policy says of their peers, and
// so are those that were accepted before the policy came, busy or not.
func TestInboundIsLeftAlone(t *testing.T) {
	listener := socketOf(t, unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(listener, 1))
	address, err := unix.Getsockname(listener)
	require.NoError(t, err)
	accept := func() (accepted, client int) {
		client = outside(t)
		require.NoError(t, unix.Connect(client, address))
		accepted, _, err := unix.Accept(listener)
		require.NoError(t, err)
		t.Cleanup(func() { _ = unix.Close(accepted) })
		return accepted, client
	}
	answers := func(accepted, client int) {
		require.NoError(t, sendOn(accepted))
		require.NoError(t, unix.SetsockoptTimeval(client, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
		var b [8]byte
		n, err := unix.Read(client, b[:])
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
	before, peer := accept()
	busy, reader := accept()
	enough, sent := make(chan struct{}), make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-enough:
				sent <- n
				return
			default:
				assert.NoError(t, sendOn(busy))
			}
		}
	}()
	attach(t, `policy none { default deny }`, runtime.KernelOptions{Problem: func(err error) { t.Error(err) }})
	answers(before, peer)
	close(enough)
	require.NoError(t, unix.SetsockoptTimeval(reader, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
	b := make([]byte, 4096)
	for n := <-sent; n > 0; {
		read, err := unix.Read(reader, b)
		if errors.Is(err, unix.EINTR) { // by a signal of Go's
			continue
		}
		require.NoError(t, err)
		require.Positive(t, read)
		n -= read
	}
	answers(accept())
}

// Of the connections from before the policy those that were accepted are left alone, and
// nothing else that leaves by a listener's port.
func TestOlderConnections(t *testing.T) {
	for name, to := range map[string]netip.AddrPort{
		"IPv4": netip.MustParseAddrPort("127.0.0.1:7100"), "IPv6": netip.MustParseAddrPort("[::1]:7100"),
		"IPv4-mapped": netip.MustParseAddrPort("[::ffff:127.0.0.1]:7100"),
	} {
		t.Run(name, func(t *testing.T) {
			listen := func(at unix.Sockaddr) int {
				fd := socket(t, to, unix.SOCK_STREAM, 0)
				require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
				require.NoError(t, unix.Bind(fd, at))
				require.NoError(t, unix.Listen(fd, 1))
				return fd
			}
			listener := listen(sockaddr(to))
			outward := socket(t, to, unix.SOCK_STREAM, 0)
			require.NoError(t, unix.SetsockoptInt(outward, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
			require.NoError(t, unix.Connect(outward, sockaddr(to)))
			own, err := unix.Getsockname(outward)
			require.NoError(t, err)
			listen(own)
			accepted, _, err := unix.Accept(listener)
			require.NoError(t, err)
			defer unix.Close(accepted)
			k := attach(t, `policy none { default deny }`, runtime.KernelOptions{})
			require.NoError(t, sendOn(accepted))
			require.NoError(t, unix.SetsockoptTimeval(outward, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
			n, err := unix.Read(outward, make([]byte, 8))
			require.NoError(t, err)
			require.Equal(t, 1, n)
			require.NoError(t, sendOn(outward))
			require.NotZero(t, counts(t, k)["default"])
			// Nothing is sent again after the end of the test.
			require.NoError(t, unix.SetsockoptLinger(outward, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
		})
	}
}
