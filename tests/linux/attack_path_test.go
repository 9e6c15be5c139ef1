//go:build linux

package linux

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pathAttacks take other ways through the kernel than connect and sendto.
var pathAttacks = []attack{
	{"UDP segmentation offload", true, func(t *testing.T, w *world) error {
		fd := socket(t, at(corp4), unix.SOCK_DGRAM, 0)
		require.NoError(t, unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 100))
		return unix.Sendto(fd, make([]byte, 1000), 0, sockaddr(at(corp4)))
	}},
	{"corked for the corporate network, sent for another", true, func(t *testing.T, w *world) error {
		fd := socket(t, at(corp4), unix.SOCK_DGRAM, 0)
		if err := unix.Sendto(fd, []byte("x"), unix.MSG_MORE, sockaddr(at(corp4))); err != nil {
			return err
		}
		return unix.Sendto(fd, []byte("x"), 0, sockaddr(at(wan4)))
	}},
	{"zero copy", true, func(t *testing.T, w *world) error {
		fd := socket(t, at(corp4), unix.SOCK_DGRAM, 0)
		require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ZEROCOPY, 1))
		return unix.Sendto(fd, make([]byte, 1000), unix.MSG_ZEROCOPY, sockaddr(at(corp4)))
	}},
	{"sendfile", true, func(t *testing.T, w *world) error {
		file, err := os.Open(os.Args[0])
		require.NoError(t, err)
		defer file.Close()
		fd := socket(t, at(corp4), unix.SOCK_DGRAM, 0)
		if err := unix.Connect(fd, sockaddr(at(corp4))); err != nil {
			return err
		}
		_, err = unix.Sendfile(fd, int(file.Fd()), nil, 1000)
		return err
	}},
	{"probe (MSG_PROBE), then send", true, func(t *testing.T, w *world) error {
		fd := socket(t, at(corp4), unix.SOCK_DGRAM, 0)
		if err := unix.Sendto(fd, []byte("x"), 0x10, sockaddr(at(corp4))); err != nil {
			return err
		}
		return unix.Sendto(fd, []byte("x"), 0, sockaddr(at(corp4)))
	}},
	{"UDP-Lite", true, func(t *testing.T, w *world) error {
		fd := socket(t, at(corp4), unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE)
		return unix.Sendto(fd, []byte("x"), 0, sockaddr(at(corp4)))
	}},
	{"ping socket over IPv6", false, // the kernel keeps the error to itself
		func(t *testing.T, w *world) error {
			require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0))
			fd := socketOf(t, unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6)
			return unix.Sendto(fd, []byte{128, 0, 0, 0, 0, 0, 0, 0}, 0, &unix.SockaddrInet6{Addr: at(corp6).Addr().As16()})
		}},
	{"raw TCP without a header of its own", true, func(t *testing.T, w *world) error {
		fd := socketOf(t, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_TCP)
		return unix.Sendto(fd, make([]byte, 20), 0, &unix.SockaddrInet4{Addr: at(corp4).Addr().As4()})
	}},
	{"raw IP in IP", true, func(t *testing.T, w *world) error { return rawSend(t, unix.IPPROTO_IPIP, 0x45, 0) }},
	{"raw IPv6 with a fragment header", true, func(t *testing.T, w *world) error { return rawSend6(t, unix.IPPROTO_FRAGMENT) }},
	{"raw IPv6 UDP", true, func(t *testing.T, w *world) error { return rawSend6(t, unix.IPPROTO_UDP) }},
	{"raw IPv6 with a routing header", true, func(t *testing.T, w *world) error { return rawSend6(t, unix.IPPROTO_ROUTING) }},
	{"IPv6 destination options", true, func(t *testing.T, w *world) error {
		fd := socket(t, at(corp6), unix.SOCK_DGRAM, 0)
		require.NoError(t, unix.SetsockoptString(fd, unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, "\x00\x00\x01\x04\x00\x00\x00\x00"))
		return unix.Sendto(fd, []byte("x"), 0, sockaddr(at(corp6)))
	}},
	{"TCP repair makes a connection without a SYN", false, func(t *testing.T, w *world) error {
		fd := socket(t, at(corp4), unix.SOCK_STREAM, 0)
		require.NoError(t, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1))
		if err := unix.Connect(fd, sockaddr(at(corp4))); err != nil {
			return err
		}
		window := make([]byte, 20) // struct tcp_repair_window
		for _, at := range []int{4, 8, 12} {
			binary.NativeEndian.PutUint32(window[at:], 60_000)
		}
		require.NoError(t, unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_WINDOW, string(window)))
		require.NoError(t, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, -1)) // without a probe
		// Nothing is sent again after the end of the test.
		require.NoError(t, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
		return sendOn(fd)
	}},
	{"no room for what is noted of a socket", true, func(t *testing.T, w *world) error {
		const room = "/proc/sys/net/core/optmem_max"
		before, err := os.ReadFile(room)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(room, []byte("1"), 0))
		defer func() { require.NoError(t, os.WriteFile(room, before, 0)) }()
		return connect(t, at(corp4))
	}},
	{"io_uring sends", true, func(t *testing.T, w *world) error {
		fd := socket(t, at(corp4), unix.SOCK_DGRAM, 0)
		return newRing(t, 0).sendmsg(fd, at(corp4))
	}},
	{"io_uring connects", true, func(t *testing.T, w *world) error {
		fd := socket(t, at(corp4), unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		return newRing(t, 0).connect(fd, at(corp4))
	}},
	{"io_uring's own thread sends", true, func(t *testing.T, w *world) error {
		fd := socket(t, at(corp4), unix.SOCK_DGRAM, 0)
		return newRing(t, setupSQPoll).sendmsg(fd, at(corp4))
	}},
	{"program of a cgroup below that allows", true, func(t *testing.T, w *world) error {
		below := filepath.Join(cgroup, "below")
		require.NoError(t, os.Mkdir(below, 0o755))
		allow := allowAll(t, below)
		require.NoError(t, enter(below))
		defer func() {
			require.NoError(t, enter(cgroup))
			allow()
			require.NoError(t, os.Remove(below))
		}()
		if err := connect(t, at(corp4)); err == nil {
			return nil
		}
		return send(t, at(corp4))
	}},
}

// rawSend6 sends an IPv6 packet with a header of its own to the corporate network.
func rawSend6(t *testing.T, protocol byte) error {
	return sendRaw6(t, corp6, rawPacket6(protocol))
}

func sendRaw6(t *testing.T, to string, p []byte) error {
	fd := socketOf(t, unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_RAW)
	return unix.Sendto(fd, p, 0, &unix.SockaddrInet6{Addr: netip.MustParseAddr(to).As16()})
}

func rawPacket6(protocol byte) []byte {
	p := make([]byte, 40, 80)
	p[0], p[6], p[7] = 0x60, protocol, 64
	from, to := netip.MustParseAddr("fd66:1::1").As16(), at(corp6).Addr().As16()
	copy(p[8:], from[:])
	copy(p[24:], to[:])
	switch protocol {
	case unix.IPPROTO_UDP:
	case unix.IPPROTO_FRAGMENT:
		p = append(p, unix.IPPROTO_UDP, 0, 0, 8, 0, 0, 0, 1) // at 8, the last
	case unix.IPPROTO_ROUTING: // to wan6 first
		hop := netip.MustParseAddr(wan6).As16()
		copy(p[24:], hop[:])
		p = append(p, unix.IPPROTO_UDP, 2, 4, 1, 0, 0, 0, 0)
		p = append(p, to[:]...)
	default:
		p = append(p, unix.IPPROTO_UDP, 0, 1, 4, 0, 0, 0, 0) // padding
	}
	p = append(p, 0x15, 0xb3, 0x1b, 0x58, 0, 8, 0, 0) // UDP from 5555 to 7000
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
	return p
}

func TestPathAttacks(t *testing.T) { tryAttacks(t, pathAttacks) }
