//go:build linux

package linux

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// world is a host with two ways to a peer in a namespace of its own: the link
// wan0, and the VXLAN vpn0 over it. The peer has the addresses of the corporate
// network as its own, and answers on port 7000 by TCP and UDP.
//
//	host  wan0 10.66.1.1 fd66:1::1 ---- 10.66.1.2 fd66:1::2  peer
//	      vpn0 10.66.2.1 fd66:2::1 ---- 10.66.2.2 fd66:2::2  10.66.100.1 fd66:100::1
type world struct {
	t        testing.TB
	peer     netns.NsHandle
	host     *netlink.Handle
	heardTCP atomic.Int64 // bytes that the peer has received
	heardUDP atomic.Int64 // datagrams
	closers  []io.Closer
}

const (
	corp4, corp6 = "10.66.100.1", "fd66:100::1"
	wan4, wan6   = "10.66.1.2", "fd66:1::2"
	port         = 7000
)

// corpPolicy lets the corporate network be reached through the tunnel only.
const corpPolicy = `policy corp {
  default allow
  interface vpn = name "vpn0"
  rule corp: deny log if remote_address in { 10.66.100.0/24, fd66:100::/32 } unless next_hop == $vpn
}`

func newWorld(t testing.TB) *world {
	w := &world{t: t}
	t.Cleanup(w.close)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	require.NoError(t, err)
	defer home.Close()
	w.peer, err = netns.New() // moves this thread there
	require.NoError(t, err)
	there, err := netlink.NewHandleAt(w.peer)
	require.NoError(t, err)
	defer there.Close()
	w.listen()
	require.NoError(t, netns.Set(home))
	w.host, err = netlink.NewHandleAt(home)
	require.NoError(t, err)

	require.NoError(t, w.host.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "wan0"}, PeerName: "wan0", PeerNamespace: netlink.NsFd(w.peer),
	}))
	w.bringUp(w.host, "wan0", "10.66.1.1/24", "fd66:1::1/64")
	w.bringUp(there, "wan0", "10.66.1.2/24", "fd66:1::2/64")
	w.bringUp(there, "lo", corp4+"/32", corp6+"/128")
	w.makeTunnel(there, "10.66.1.1", "10.66.2.2/24", "fd66:2::2/64")
	w.tunnel()
	return w
}

func (w *world) close() {
	for _, c := range w.closers {
		_ = c.Close()
	}
	if w.host != nil {
		for _, name := range []string{"vpn0", "wan0"} {
			if l, err := w.host.LinkByName(name); err == nil {
				_ = w.host.LinkDel(l)
			}
		}
		w.host.Close()
	}
	_ = w.peer.Close()
}

func (w *world) bringUp(h *netlink.Handle, name string, addresses ...string) netlink.Link {
	l, err := h.LinkByName(name)
	require.NoError(w.t, err)
	require.NoError(w.t, h.LinkSetUp(l))
	for _, text := range addresses {
		a, err := netlink.ParseAddr(text)
		require.NoError(w.t, err)
		a.Flags = unix.IFA_F_NODAD // usable at once
		require.NoError(w.t, h.AddrReplace(l, a))
	}
	return l
}

func (w *world) makeTunnel(h *netlink.Handle, remote string, addresses ...string) netlink.Link {
	require.NoError(w.t, h.LinkAdd(&netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: "vpn0"}, VxlanId: 66, Port: 4789, Group: net.ParseIP(remote), Learning: true,
	}))
	return w.bringUp(h, "vpn0", addresses...)
}

// tunnel makes the host's end of the tunnel.
func (w *world) tunnel() netlink.Link {
	return w.makeTunnel(w.host, wan4, "10.66.2.1/24", "fd66:2::1/64")
}

// route sends the corporate network's traffic by vpn0 or wan0.
func (w *world) route(by string) {
	via4, via6 := "10.66.2.2", "fd66:2::2"
	if by == "wan0" {
		via4, via6 = wan4, wan6
	}
	w.routeBy(by, map[string]string{"10.66.100.0/24": via4, "fd66:100::/32": via6})
}

// routeBy sends networks' traffic to gateways by a device.
func (w *world) routeBy(device string, gateways map[string]string) {
	l, err := w.host.LinkByName(device)
	require.NoError(w.t, err)
	for dst, via := range gateways {
		_, network, err := net.ParseCIDR(dst)
		require.NoError(w.t, err)
		require.NoError(w.t, w.host.RouteReplace(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: network, Gw: net.ParseIP(via)}))
	}
}

// listen starts the peer's services, in the namespace of the calling thread.
func (w *world) listen() {
	tcp, err := net.Listen("tcp", ":7000")
	require.NoError(w.t, err)
	udp, err := net.ListenPacket("udp", ":7000")
	require.NoError(w.t, err)
	w.closers = append(w.closers, tcp, udp)
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 4096)
				for {
					n, err := c.Read(b)
					w.heardTCP.Add(int64(n))
					if err != nil {
						return
					}
				}
			}()
		}
	}()
	go func() {
		b := make([]byte, 4096)
		for {
			if _, _, err := udp.ReadFrom(b); err != nil {
				return
			}
			w.heardUDP.Add(1)
		}
	}()
}

// socket makes a socket for a destination, closed when the test ends. Its calls wait
// for a fifth of a second at most, for SYNs that are dropped.
func socket(t testing.TB, to netip.AddrPort, kind, protocol int) int {
	domain := unix.AF_INET
	if to.Addr().Is6() {
		domain = unix.AF_INET6
	}
	return socketOf(t, domain, kind, protocol)
}

func socketOf(t testing.TB, domain, kind, protocol int) int {
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	require.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: 200_000}))
	return fd
}

// sockaddr is an address for a system call; an IPv4-mapped one is for an IPv6
// socket.
func sockaddr(to netip.AddrPort) unix.Sockaddr {
	if to.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
}

func at(address string) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(address), port)
}

// connect connects by TCP, waiting for the end of it.
func connect(t testing.TB, to netip.AddrPort) error {
	return unix.Connect(socket(t, to, unix.SOCK_STREAM, 0), sockaddr(to))
}

// send sends a datagram to an address by a socket of its own.
func send(t testing.TB, to netip.AddrPort) error {
	return unix.Sendto(socket(t, to, unix.SOCK_DGRAM, 0), []byte("x"), 0, sockaddr(to))
}

// leaks counts what leaves for the corporate network by wan0 in the clear: SYNs,
// TCP payload and anything that is not TCP. Resets and the last acknowledgement of
// a connection are the kernel's own and say nothing.
type leaks struct {
	fd    int
	count atomic.Int64
	last  atomic.Value
	done  chan struct{}
}

func (w *world) watch() *leaks {
	l := &leaks{done: make(chan struct{})}
	var err error
	l.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
	require.NoError(w.t, err)
	wan, err := w.host.LinkByName("wan0")
	require.NoError(w.t, err)
	require.NoError(w.t, unix.Bind(l.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: wan.Attrs().Index}))
	require.NoError(w.t, unix.SetsockoptTimeval(l.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20_000}))
	go l.read()
	return l
}

func htons(n uint16) uint16 { return n<<8 | n>>8 }

func (l *leaks) read() {
	defer close(l.done)
	b := make([]byte, 2048)
	for {
		ended := l.count.Load() < 0 // before looking: then all packets are there
		n, from, err := unix.Recvfrom(l.fd, b, 0)
		switch {
		case errors.Is(err, unix.EBADF), ended && errors.Is(err, unix.EAGAIN):
			return
		case err != nil: // a signal of Go's may interrupt it
			continue
		}
		if sa, ok := from.(*unix.SockaddrLinklayer); ok && sa.Pkttype == unix.PACKET_OUTGOING && leaked(b[:n]) {
			l.last.Store(append([]byte(nil), b[:n]...))
			l.count.Add(1)
		}
	}
}

// leaked reports whether an IP packet tells the corporate network something.
func leaked(p []byte) bool {
	var protocol byte
	var payload []byte
	switch {
	case len(p) >= 20 && p[0]>>4 == 4 && p[0]&15 > 5, len(p) >= 40 && p[0]>>4 == 6 && p[6] == unix.IPPROTO_ROUTING:
		return true // by way of somebody else
	case len(p) >= 20 && p[0]>>4 == 4:
		if [3]byte(p[16:19]) != [3]byte{10, 66, 100} {
			return false
		}
		protocol, payload = p[9], p[4*int(p[0]&15):binary.BigEndian.Uint16(p[2:])]
	case len(p) >= 40 && p[0]>>4 == 6:
		if [4]byte(p[24:28]) != [4]byte{0xfd, 0x66, 0x01, 0x00} {
			return false
		}
		protocol, payload = p[6], p[40:]
	default:
		return false
	}
	if protocol != unix.IPPROTO_TCP || len(payload) < 20 {
		return true
	}
	const syn, rst = 2, 4
	flags := payload[13]
	return flags&syn != 0 || flags&rst == 0 && len(payload) > 4*int(payload[12]>>4)
}

// none waits until all packets have been seen and checks that none has leaked.
func (l *leaks) none(t testing.TB) {
	l.stop()
	require.Zero(t, l.count.Load()+watchEnded, "leaked, the last: %x", l.last.Load())
}

// watchEnded is taken off the count when the watch ends.
const watchEnded = 1 << 40

func (l *leaks) stop() {
	l.count.Add(-watchEnded)
	<-l.done
	_ = unix.Close(l.fd)
}
