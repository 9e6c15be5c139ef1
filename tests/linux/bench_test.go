//go:build linux

package linux

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/runtime"
	"github.com/hopgate/hopgate/tests/gen"
)

// A load makes the kernel ask one stage n times.
type load struct {
	stage string // function
	name  string
	run   func(b *testing.B, n int)
}

var loads = []load{
	{"connect4", "connect", func(b *testing.B, n int) {
		fd := socketOf(b, unix.AF_INET, unix.SOCK_DGRAM, 0)
		for i := range n {
			_ = unix.Connect(fd, destination(i))
		}
	}},
	{"sockops", "sockops", func(b *testing.B, n int) {
		for i := range n {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			require.NoError(b, err)
			_ = unix.Connect(fd, destination(i))
			_ = unix.Close(fd)
		}
	}},
	{"egress", "egress cached", func(b *testing.B, n int) {
		fd := socketOf(b, unix.AF_INET, unix.SOCK_DGRAM, 0)
		for range n {
			_ = unix.Sendto(fd, []byte("x"), 0, destination(1))
		}
	}},
	{"egress", "egress new flow", func(b *testing.B, n int) {
		for n > 0 {
			fd := socketOf(b, unix.AF_INET, unix.SOCK_DGRAM, 0)
			for i := 0; i < 0x2000 && n > 0; i, n = i+1, n-1 {
				_ = unix.Sendto(fd, []byte("x"), 0, destination(i))
			}
		}
	}},
	{"egress", "egress uncached", func(b *testing.B, n int) {
		// Many more flows than the cache holds, all of them counted before.
		fd := socketOf(b, unix.AF_INET, unix.SOCK_DGRAM, 0)
		require.NoError(b, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
		require.NoError(b, unix.Bind(fd, &unix.SockaddrInet4{Port: 4000}))
		for i := range n {
			_ = unix.Sendto(fd, []byte("x"), 0, destination(i&0x7ff))
		}
	}},
	{"egress", "egress uncached TCP", func(b *testing.B, n int) {
		listener := outside(b)
		require.NoError(b, unix.Listen(listener, 1))
		address, err := unix.Getsockname(listener)
		require.NoError(b, err)
		var clients [0x200]int
		for i := range clients {
			clients[i], err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			require.NoError(b, err)
			defer unix.Close(clients[i])
			require.NoError(b, unix.SetsockoptInt(clients[i], unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
			require.NoError(b, unix.Connect(clients[i], address))
			accepted, _, err := unix.Accept(listener)
			require.NoError(b, err)
			defer unix.Close(accepted)
		}
		for i := range n {
			_ = sendOn(clients[i%len(clients)])
		}
	}},
}

// destination is one of many in 10.0.0.0/8.
func destination(i int) unix.Sockaddr {
	x := uint32(i) * 2654435761
	return &unix.SockaddrInet4{Port: int(x>>8&0x7fff) + 1, Addr: [4]byte{10, byte(x), byte(x >> 9), byte(x >> 17)}}
}

// here makes 10.0.0.0/8 this namespace's own.
func here(b testing.TB) {
	_, network, err := net.ParseCIDR("10.0.0.0/8")
	require.NoError(b, err)
	route := &netlink.Route{LinkIndex: 1, Dst: network, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST}
	require.NoError(b, netlink.RouteAdd(route))
	b.Cleanup(func() { _ = netlink.RouteDel(route) })
}

// perDecision runs the load several times and gives the least that the kernel spent
// in the program, in nanoseconds for each of n: what else runs on the machine only
// adds to it.
func perDecision(b *testing.B, program *ebpf.Program, l load, n int) float64 {
	least := math.Inf(1)
	for range 10 {
		before, err := program.Stats()
		require.NoError(b, err)
		l.run(b, n/10)
		after, err := program.Stats()
		require.NoError(b, err)
		least = min(least, float64(after.Runtime-before.Runtime)/float64(n/10))
	}
	return least
}

// empty attaches a program that allows everything.
func empty(b *testing.B, stage string) *ebpf.Program {
	kinds := map[string]struct {
		kind   ebpf.ProgramType
		attach ebpf.AttachType
	}{
		"connect4": {ebpf.CGroupSockAddr, ebpf.AttachCGroupInet4Connect},
		"sockops":  {ebpf.SockOps, ebpf.AttachCGroupSockOps},
		"egress":   {ebpf.CGroupSKB, ebpf.AttachCGroupInetEgress},
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: kinds[stage].kind, AttachType: kinds[stage].attach, License: codegen.License,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
	})
	require.NoError(b, err)
	l, err := link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: kinds[stage].attach, Program: program})
	require.NoError(b, err)
	b.Cleanup(func() { _ = l.Close(); _ = program.Close() })
	return program
}

// BenchmarkStages gives the nanoseconds that a decision takes at each stage over an
// empty program there. At sockops that is a connect with all its callbacks.
func BenchmarkStages(b *testing.B) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	require.NoError(b, err)
	defer stats.Close()
	here(b)
	for _, l := range loads {
		n := 200_000
		if l.stage == "sockops" {
			n = 10_000
		}
		base := 0.0
		b.Run(l.name+"/empty", func(b *testing.B) {
			base = perDecision(b, empty(b, l.stage), l, n)
			b.ReportMetric(base, "ns/decision")
			b.ReportMetric(0, "ns/op")
		})
		for _, rules := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/rules=%d", l.name, rules), func(b *testing.B) {
				p := check(b, gen.Mixed(rand.New(rand.NewPCG(1, 1)), rules), nil)
				k, err := runtime.AttachKernel(compile(b, p, codegen.Options{}), &runtime.KernelOptions{Cgroup: cgroup})
				require.NoError(b, err)
				defer k.Close()
				b.ReportMetric(perDecision(b, k.Function(l.stage), l, n)-base, "ns/decision")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkLoad gives the time from the policy's diagram to programs in force.
func BenchmarkLoad(b *testing.B) {
	for _, rules := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("rules=%d", rules), func(b *testing.B) {
			program := compile(b, check(b, gen.Mixed(rand.New(rand.NewPCG(1, 1)), rules), nil), codegen.Options{})
			k, err := runtime.AttachKernel(program, &runtime.KernelOptions{Cgroup: cgroup})
			require.NoError(b, err)
			defer k.Close()
			for b.Loop() {
				require.NoError(b, k.Update(program))
			}
		})
	}
}

// BenchmarkTraffic gives connects and datagrams a second with and without a policy,
// and what a denied connect takes.
func BenchmarkTraffic(b *testing.B) {
	here(b)
	listener := socketOf(b, unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(b, unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(b, unix.Listen(listener, 1000))
	address, err := unix.Getsockname(listener)
	require.NoError(b, err)
	connect := func(b *testing.B) {
		for b.Loop() {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			require.NoError(b, err)
			require.NoError(b, unix.Connect(fd, address))
			accepted, _, err := unix.Accept(listener)
			require.NoError(b, err)
			require.NoError(b, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
			_ = unix.Close(fd)
			_ = unix.Close(accepted)
		}
	}
	datagram := func(b *testing.B) {
		fd := socketOf(b, unix.AF_INET, unix.SOCK_DGRAM, 0)
		to := &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}
		for b.Loop() {
			_ = unix.Sendto(fd, []byte("x"), 0, to)
		}
	}
	b.Run("connect/without", connect)
	b.Run("datagram/without", datagram)
	p := check(b, gen.Mixed(rand.New(rand.NewPCG(1, 1)), 1000), nil)
	k, err := runtime.AttachKernel(compile(b, p, codegen.Options{}), &runtime.KernelOptions{Cgroup: cgroup})
	require.NoError(b, err)
	b.Run("connect/rules=1000", connect)
	b.Run("datagram/rules=1000", datagram)
	require.NoError(b, k.Close())
	k, err = runtime.AttachKernel(compile(b, check(b, `policy no { default allow
  rule no: deny if remote_port == 9 and interface_type == loopback }`, nil), codegen.Options{}), &runtime.KernelOptions{Cgroup: cgroup})
	require.NoError(b, err)
	defer k.Close()
	b.Run("denied connect", func(b *testing.B) {
		for b.Loop() {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			require.NoError(b, err)
			require.ErrorIs(b, unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}), unix.EHOSTUNREACH)
			_ = unix.Close(fd)
		}
	})
}
