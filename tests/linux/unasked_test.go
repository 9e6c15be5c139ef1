//go:build linux

package linux

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/runtime"
)

// Packets that could say one destination to the routing and another to the program
// are denied whatever the policy says.
func TestDeniedWithoutAsking(t *testing.T) {
	w := newWorld(t)
	w.route("wan0")
	w.routeBy("wan0", map[string]string{"::/0": wan6})
	tests := map[string]func(t *testing.T) error{
		"IPv4 options":         func(t *testing.T) error { return rawSend(t, unix.IPPROTO_UDP, 0x46, 0) },
		"later fragment":       func(t *testing.T) error { return rawSend(t, unix.IPPROTO_UDP, 0x45, 8) },
		"later TCP fragment":   func(t *testing.T) error { return rawSend(t, unix.IPPROTO_TCP, 0x45, 1) },
		"IPv6 hop-by-hop":      func(t *testing.T) error { return rawSend6(t, unix.IPPROTO_HOPOPTS) },
		"IPv6 routing header":  func(t *testing.T) error { return rawSend6(t, unix.IPPROTO_ROUTING) },
		"IPv6 fragment header": func(t *testing.T) error { return rawSend6(t, unix.IPPROTO_FRAGMENT) },
		"IPv6 destination":     func(t *testing.T) error { return rawSend6(t, unix.IPPROTO_DSTOPTS) },
		"IPv6 mobility":        func(t *testing.T) error { return rawSend6(t, 135) },
		"IPv6 shim":            func(t *testing.T) error { return rawSend6(t, 140) },
		// Its fragment's place is a next header, its payload an address.
		"IPv6 in a frame of IPv4": func(t *testing.T) error { return rawSend(t, unix.IPPROTO_UDP, 0x65, 0x1100) },
		"IPv4 in a frame of IPv6": func(t *testing.T) error {
			p := rawPacket6(unix.IPPROTO_UDP)
			p[0] = 0x45
			return sendRaw6(t, corp6, p)
		},
		"IPv6 to an IPv4-mapped address": func(t *testing.T) error {
			p, to := rawPacket6(unix.IPPROTO_UDP), mapped(at(corp4)).Addr()
			copy(p[24:], to.AsSlice())
			return sendRaw6(t, to.String(), p)
		},
	}
	for name, attempt := range tests {
		require.NoError(t, attempt(t), name)
	}
	for _, opts := range []codegen.Options{{}, {DeviceMap: true}} {
		k := attachWith(t, `policy p { default allow }`, opts, runtime.KernelOptions{})
		for name, attempt := range tests {
			require.ErrorIs(t, attempt(t), unix.EPERM, name)
		}
		require.NoError(t, rawSend(t, unix.IPPROTO_UDP, 0x45, 0))
		require.NoError(t, rawSend6(t, unix.IPPROTO_UDP))
		require.NoError(t, k.Close())
	}
}

// Packets of more than 64 KB, where a device takes them, have a hop-by-hop header of the
// kernel's own over IPv6. They are no less judged.
func TestBigTCP(t *testing.T) {
	w := newWorld(t)
	w.route("wan0")
	wan, err := w.host.LinkByName("wan0")
	require.NoError(t, err)
	require.NoError(t, w.host.LinkSetGSOMaxSize(wan, 200_000))
	fd := socket(t, at(corp6), unix.SOCK_STREAM, 0)
	k := attach(t, "policy p { default allow\n rule port: deny if remote_port == 7000 and local_port == 7001 }", runtime.KernelOptions{})
	require.NoError(t, unix.Connect(fd, sockaddr(at(corp6))))
	sent := func(packet []byte) uint32 {
		got, err := k.Function("egress").Run(&ebpf.RunOptions{Data: packet, Context: skBuff{Ifindex: uint32(wan.Attrs().Index)}})
		require.NoError(t, err)
		return got
	}
	for local, want := range map[uint16]uint32{7001: 0, 7002: 1} {
		r := compiler.Request{Protocol: unix.IPPROTO_TCP, Remote: at(corp6), Local: netip.AddrPortFrom(netip.MustParseAddr("fd66:1::1"), local)}
		p := packet(&r)
		const header = 14 + 40
		p[header-34] = unix.IPPROTO_HOPOPTS
		require.Equal(t, want, sent(slices.Concat(p[:header], []byte{unix.IPPROTO_TCP, 0, 0xc2, 4, 0, 1, 0, 0}, p[header:])))
		require.Zero(t, sent(slices.Concat(p[:header], []byte{unix.IPPROTO_TCP, 0, 1, 4, 0, 1, 0, 0}, p[header:])))
	}
	const bytes = 8 << 20
	require.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 20}))
	for left := bytes; left > 0; {
		n, err := unix.Write(fd, make([]byte, left))
		require.NoError(t, err)
		left -= n
	}
	require.Eventually(t, func() bool { return w.heardTCP.Load() == bytes }, 20*time.Second, time.Millisecond)
}

// Whoever may choose addresses of this host finds no two flows that are counted as one:
// once these were, with every seed.
func TestFlowsAreCountedApart(t *testing.T) {
	d := devices(t)[0]
	k := attachPolicy(t, check(t, "policy p { default allow }", nil), runtime.KernelOptions{})
	for _, ends := range [][2]string{{"[2001:db8::1]:1", "[2001:db8:1::1]:1"}, {"[2001:db8::81]:1", "[2001:db8:1::80:0:81]:1"}} {
		r := compiler.Request{Protocol: 17, Remote: netip.MustParseAddrPort(ends[0]), Local: netip.MustParseAddrPort(ends[1])}
		d.describe(&r)
		_, err := k.Function("egress").Run(&ebpf.RunOptions{Data: packet(&r), Context: skBuff{Ifindex: d.index}})
		require.NoError(t, err)
	}
	require.Equal(t, map[string]uint64{"default": 2}, counts(t, k))
}

// A flow that goes on by another device is logged again, also by a policy that looks at
// no device.
func TestEachDeviceIsLogged(t *testing.T) {
	k := attachPolicy(t, check(t, "policy p { default allow\n rule seen: allow log if remote_port == 1 }", nil), runtime.KernelOptions{})
	all := devices(t)
	r := compiler.Request{Protocol: 17, Remote: netip.MustParseAddrPort("10.0.0.1:1"), Local: netip.MustParseAddrPort("10.1.0.1:1")}
	for range 2 {
		for _, d := range all {
			d.describe(&r)
			_, err := k.Function("egress").Run(&ebpf.RunOptions{Data: packet(&r), Context: skBuff{Ifindex: d.index}})
			require.NoError(t, err)
		}
	}
	require.Equal(t, map[string]uint64{"seen": uint64(len(all))}, counts(t, k))
}

// Flows that differ in one thing alone do not share what is remembered of them.
func TestCacheKeepsFlowsApart(t *testing.T) {
	d := devices(t)[0]
	p := check(t, `policy p {
  default allow
  rule remote: deny if remote_address in { 10.0.0.1, 2001:db8::1 }
  rule port: deny if remote_port == 2
  rule local: deny if local_address in { 10.1.0.1, 2001:db8:1::1 }
  rule from: deny if local_port == 2
  rule lite: deny if protocol == 136
}`, nil)
	k := attachPolicy(t, p, runtime.KernelOptions{})
	egress := k.Function("egress")
	rng := rand.New(rand.NewPCG(1, 12))
	remotes := [2][]string{{"10.0.0.1", "10.0.0.2", "10.4.0.1"}, {"2001:db8::1", "2001:db8::2", "2001:db9::1"}}
	locals := [2][]string{{"10.1.0.1", "10.1.0.2", "10.5.0.1"}, {"2001:db8:1::1", "2001:db8:1::2", "2001:db9:1::1"}}
	for range 30_000 {
		family := rng.IntN(2)
		end := func(of [2][]string) netip.AddrPort {
			return netip.AddrPortFrom(netip.MustParseAddr(of[family][rng.IntN(3)]), uint16(1+rng.IntN(3)))
		}
		r := compiler.Request{Protocol: []uint8{17, 136}[rng.IntN(2)], Remote: end(remotes), Local: end(locals)}
		d.describe(&r)
		got, err := egress.Run(&ebpf.RunOptions{Data: packet(&r), Context: skBuff{Ifindex: d.index}})
		require.NoError(t, err)
		require.Equal(t, p.Eval(&r).Verdict != lang.Deny, got == 1, "%+v", r)
	}
}
