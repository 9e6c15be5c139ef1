//go:build linux

package linux

import (
	"net"
	"net/netip"
	"os"
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/runtime"
)

// The corporate network is reached through the tunnel, and refused at once when the
// route goes elsewhere; what the policy does not speak of passes.
func TestCorpOnlyThroughTunnel(t *testing.T) {
	w := newWorld(t)
	events := make(chan codegen.Event, 100)
	k := attach(t, corpPolicy, runtime.KernelOptions{Event: func(_ *codegen.Program, e *codegen.Event) { events <- *e }})
	leaks := w.watch()
	for _, corp := range []string{corp4, corp6} {
		w.route("vpn0")
		require.NoError(t, connect(t, at(corp)))
		require.NoError(t, send(t, at(corp)))
		w.route("wan0")
		require.ErrorIs(t, connect(t, at(corp)), unix.EHOSTUNREACH)
		require.ErrorIs(t, send(t, at(corp)), unix.EPERM)
	}
	require.NoError(t, connect(t, at(wan4)))
	require.NoError(t, connect(t, at(wan6)))
	require.NoError(t, send(t, at(wan4)))
	leaks.none(t)
	require.EqualValues(t, 4, counts(t, k)["corp"])

	wan, err := w.host.LinkByName("wan0")
	require.NoError(t, err)
	for range 4 {
		e := <-events
		require.Equal(t, codegen.DeviceLUID(6, uint32(wan.Attrs().Index)), e.Request.NextHop)
		require.Equal(t, uint16(port), e.Request.Remote.Port())
		require.EqualValues(t, os.Getpid(), e.Process)
	}
}

// After a refused connect the socket is as it was: it connects once the route is
// right, and to others meanwhile. So it is when the cgroup has two policies.
func TestSocketConnectsAfterRefusal(t *testing.T) {
	w := newWorld(t)
	for _, corp := range []string{corp4, corp6, corp4, corp6} {
		attach(t, corpPolicy, runtime.KernelOptions{})
		fd := socket(t, at(corp), unix.SOCK_STREAM, 0)
		w.route("wan0")
		require.ErrorIs(t, unix.Connect(fd, sockaddr(at(corp))), unix.EHOSTUNREACH)
		bound, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX)
		require.NoError(t, err)
		require.Zero(t, bound)
		w.route("vpn0")
		require.NoError(t, unix.Connect(fd, sockaddr(at(corp))))
	}
}

// A live connection stops when its route moves to the wrong interface, and goes on
// when it moves back.
func TestLiveFlowFollowsItsRoute(t *testing.T) {
	w := newWorld(t)
	attach(t, corpPolicy, runtime.KernelOptions{})
	w.route("vpn0")
	c, err := net.Dial("tcp", netip.MustParseAddrPort(corp4+":7000").String())
	require.NoError(t, err)
	defer c.Close()
	write := func() {
		_, err := c.Write([]byte("hello"))
		require.NoError(t, err)
	}
	write()
	require.Eventually(t, func() bool { return w.heardTCP.Load() == 5 }, 5*time.Second, time.Millisecond)
	leaks := w.watch()
	w.route("wan0")
	write()
	time.Sleep(300 * time.Millisecond)
	require.EqualValues(t, 5, w.heardTCP.Load())
	leaks.none(t)
	w.route("vpn0")
	require.Eventually(t, func() bool { return w.heardTCP.Load() == 10 }, 10*time.Second, time.Millisecond)
}

// A named interface is the device that has the name now: none while there is none,
// another after it has been made again or renamed.
func TestNamedInterfaceIsFollowed(t *testing.T) {
	w := newWorld(t)
	attach(t, corpPolicy, runtime.KernelOptions{})
	onOneCPU(t) // what is remembered is the processor's
	fd := socket(t, at(corp4), unix.SOCK_DGRAM, 0)
	reachable := func() bool { return unix.Sendto(fd, []byte("x"), 0, sockaddr(at(corp4))) == nil }
	w.route("vpn0")
	require.True(t, reachable())

	old, err := w.host.LinkByName("vpn0")
	require.NoError(t, err)
	require.NoError(t, w.host.LinkDel(old))
	made := w.tunnel()
	require.NotEqual(t, old.Attrs().Index, made.Attrs().Index)
	w.route("vpn0")
	require.Eventually(t, reachable, 5*time.Second, time.Millisecond)
	require.True(t, reachable()) // and remembered here

	require.NoError(t, w.host.LinkSetDown(made))
	require.NoError(t, w.host.LinkSetName(made, "other0"))
	t.Cleanup(func() { _ = netlink.LinkDel(made) })
	w.bringUp(w.host, "other0", "10.66.2.1/24", "fd66:2::1/64")
	w.route("other0")
	for deadline := time.Now().Add(5 * time.Second); reachable(); {
		require.True(t, time.Now().Before(deadline))
	}
}

// The route moves back and forth a hundred times a second under connects and
// datagrams; nothing leaves by the wrong interface.
func TestFlappingRouteLeaksNothing(t *testing.T) {
	w := newWorld(t)
	attach(t, corpPolicy, runtime.KernelOptions{})
	w.route("vpn0")
	leaks := w.watch()
	stop := make(chan struct{})
	done := make(chan struct{}, 3)
	try := func(f func(to netip.AddrPort)) {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- struct{}{}
				return
			default:
				f(at([]string{corp4, corp6}[i%2]))
			}
		}
	}
	one4, one6 := socket(t, at(corp4), unix.SOCK_DGRAM, 0), socket(t, at(corp6), unix.SOCK_DGRAM, 0)
	go try(func(to netip.AddrPort) {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			to = netip.AddrPortFrom(netip.AddrFrom16(to.Addr().As16()), to.Port())
			_ = unix.Connect(fd, sockaddr(to))
			time.Sleep(100 * time.Microsecond)
			_ = unix.Close(fd)
		}
	})
	go try(func(to netip.AddrPort) {
		fd := one4
		if to.Addr().Is6() {
			fd = one6
		}
		_ = unix.Sendto(fd, []byte("x"), 0, sockaddr(to))
	})
	live, err := net.Dial("tcp", corp4+":7000")
	require.NoError(t, err)
	defer live.Close()
	go try(func(netip.AddrPort) {
		_ = live.SetWriteDeadline(time.Now().Add(time.Millisecond))
		_, _ = live.Write([]byte("hello"))
	})
	for i := range 300 {
		w.route([]string{"wan0", "vpn0"}[i%2])
		time.Sleep(10 * time.Millisecond)
	}
	close(stop)
	for range 3 {
		<-done
	}
	leaks.none(t)
	require.NotZero(t, w.heardUDP.Load())
	require.NotZero(t, w.heardTCP.Load())
}

// A process is named if it has sent what is denied: not if a timer of TCP has interrupted
// it to send a packet of somebody else's.
func TestProcessHasSent(t *testing.T) {
	w := newWorld(t)
	events := make(chan uint32, 16)
	attach(t, corpPolicy, runtime.KernelOptions{Event: func(_ *codegen.Program, e *codegen.Event) { events <- e.Process }})
	moved := func() int {
		w.route("vpn0")
		fd := socket(t, at(corp4), unix.SOCK_STREAM, 0)
		require.NoError(t, unix.Connect(fd, sockaddr(at(corp4))))
		w.route("wan0")
		return fd
	}
	require.NoError(t, sendOn(moved()))
	require.EqualValues(t, os.Getpid(), <-events)

	fd := moved()
	require.NoError(t, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 1))
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
	var busy sync.WaitGroup // so that the timer interrupts this process
	var ended atomic.Bool
	for range goruntime.NumCPU() {
		busy.Go(func() {
			for !ended.Load() {
			}
		})
	}
	require.Zero(t, <-events)
	ended.Store(true)
	busy.Wait()
}
