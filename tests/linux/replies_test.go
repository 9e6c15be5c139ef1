//go:build linux

package linux

import (
	"math"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/runtime"
)

var leaveReplies = codegen.Options{LeaveReplies: true}

func attachWith(t testing.TB, text string, opts codegen.Options, kernel runtime.KernelOptions) *runtime.Kernel {
	kernel.Cgroup = cgroup
	k, err := runtime.AttachKernel(compile(t, check(t, text, nil), opts), &kernel)
	require.NoError(t, err)
	t.Cleanup(func() { _ = k.Close() })
	return k
}

// datagrams gives a UDP socket with an address.
func datagrams(t testing.TB, domain int, address string) int {
	fd := socketOf(t, domain, unix.SOCK_DGRAM, 0)
	require.NoError(t, unix.Bind(fd, sockaddr(netip.MustParseAddrPort(address))))
	require.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
	return fd
}

// outsideDatagrams gives one that is not judged.
func outsideDatagrams(t testing.TB, domain int, address string) int {
	require.NoError(t, enter(cgroupRoot()))
	defer func() { require.NoError(t, enter(cgroup)) }()
	return datagrams(t, domain, address)
}

func sendFrom(fd int, to string) error {
	return unix.Sendto(fd, []byte("x"), 0, sockaddr(netip.MustParseAddrPort(to)))
}

func receive(t testing.TB, fd int) {
	_, _, err := unix.Recvfrom(fd, make([]byte, 8), 0)
	require.NoError(t, err)
}

// deniesAtEgress does so since whether the device is Wi-Fi is not known before. Unlike what an early stage denies, this is remembered.
const deniesAtEgress = `policy p { default deny
  rule other: allow if interface_type == wifi }`

// What a UDP server sends to clients that came to it is left alone where that is
// asked for, and nothing else is.
func TestRepliesOfUDPServers(t *testing.T) {
	t.Run("denied early", func(t *testing.T) { testReplies(t, `policy none { default deny }`) })
	t.Run("denied at egress", func(t *testing.T) { testReplies(t, deniesAtEgress) })
}

func testReplies(t *testing.T, none string) {
	for _, c := range []struct {
		name           string
		domain         int
		server, client string
		stranger       string
		seen           string // the client, as the server sees it
	}{
		{"IPv4", unix.AF_INET, "127.0.0.1:7010", "127.0.0.1:7011", "127.0.0.1:7012", "127.0.0.1:7011"},
		{"IPv6", unix.AF_INET6, "[::1]:7010", "[::1]:7011", "[::1]:7012", "[::1]:7011"},
		{"IPv4-mapped", unix.AF_INET6, "[::ffff:127.0.0.1]:7010", "[::ffff:127.0.0.1]:7011", "[::ffff:127.0.0.1]:7012", "[::ffff:127.0.0.1]:7011"},
		{"any address", unix.AF_INET6, "[::]:7010", "[::ffff:127.0.0.1]:7011", "[::ffff:127.0.0.1]:7012", "[::ffff:127.0.0.1]:7011"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, client := datagrams(t, c.domain, c.server), outsideDatagrams(t, c.domain, c.client)
			to := netip.MustParseAddrPort(c.server)
			if to.Addr().IsUnspecified() {
				to = netip.MustParseAddrPort("[::ffff:127.0.0.1]:7010")
			}
			come := func() {
				require.NoError(t, sendFrom(client, to.String()))
				receive(t, server)
			}
			judged := attach(t, `policy none { default deny }`, runtime.KernelOptions{})
			come()
			require.ErrorIs(t, sendFrom(server, c.seen), unix.EPERM)
			require.NoError(t, judged.Close())

			k := attachWith(t, none, leaveReplies, runtime.KernelOptions{})
			require.ErrorIs(t, sendFrom(server, c.seen), unix.EPERM, "before the client came")
			come()
			for range 3 {
				require.NoError(t, sendFrom(server, c.seen))
				receive(t, client)
			}
			require.ErrorIs(t, sendFrom(server, c.stranger), unix.EPERM)
			other := datagrams(t, c.domain, c.stranger)
			require.ErrorIs(t, sendFrom(other, c.seen), unix.EPERM, "from another port")

			require.NoError(t, k.Update(compile(t, check(t, none, nil), leaveReplies)))
			require.NoError(t, sendFrom(server, c.seen), "after a reload")
			require.NoError(t, unix.Connect(server, sockaddr(netip.MustParseAddrPort(c.seen))))
			require.NoError(t, sendOn(server), "connected")

			require.NoError(t, k.Update(compile(t, check(t, none, nil), codegen.Options{})))
			require.ErrorIs(t, sendOn(server), unix.EPERM, "no longer asked for")
		})
	}
}

// An answer does not make replies of what this host has begun: a policy that comes to
// deny it stops it.
func TestAnswersMakeNoReplies(t *testing.T) {
	k := attachWith(t, `policy p { default allow }`, leaveReplies, runtime.KernelOptions{})
	client, server := datagrams(t, unix.AF_INET, "127.0.0.1:7011"), outsideDatagrams(t, unix.AF_INET, "127.0.0.1:7010")
	for range 2 {
		require.NoError(t, sendFrom(client, "127.0.0.1:7010"))
		receive(t, server)
		require.NoError(t, sendFrom(server, "127.0.0.1:7011"))
		receive(t, client)
	}
	require.NoError(t, k.Update(compile(t, check(t, `policy p { default deny }`, nil), leaveReplies)))
	require.ErrorIs(t, sendFrom(client, "127.0.0.1:7010"), unix.EPERM)
	require.NoError(t, k.Update(compile(t, check(t, deniesAtEgress, nil), leaveReplies)))
	require.ErrorIs(t, sendFrom(client, "127.0.0.1:7010"), unix.EPERM, "decided at egress")
}

// BenchmarkReplies gives the nanoseconds of a datagram at both stages, of a client and
// of a server, with replies judged and left alone.
func BenchmarkReplies(b *testing.B) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	require.NoError(b, err)
	defer stats.Close()
	server := datagrams(b, unix.AF_INET, "127.0.0.1:7010")
	client := outsideDatagrams(b, unix.AF_INET, "127.0.0.1:7011")
	toServer := sockaddr(netip.MustParseAddrPort("127.0.0.1:7010"))
	toClient := sockaddr(netip.MustParseAddrPort("127.0.0.1:7011"))
	for _, opts := range []codegen.Options{{}, leaveReplies} {
		name := map[bool]string{false: "judge", true: "leave"}[opts.LeaveReplies]
		program := compile(b, check(b, `policy p { default allow
  rule no: deny if remote_port == 9 and interface_type == wifi }`, nil), opts)
		k, err := runtime.AttachKernel(program, &runtime.KernelOptions{Cgroup: cgroup})
		require.NoError(b, err)
		b.Run(name, func(b *testing.B) {
			least := map[string]float64{}
			buffer := make([]byte, 8)
			for range 10 {
				before := spent(b, k)
				for range 2000 {
					require.NoError(b, unix.Sendto(client, []byte("x"), 0, toServer))
					_, _, err := unix.Recvfrom(server, buffer, 0)
					require.NoError(b, err)
					require.NoError(b, unix.Sendto(server, []byte("x"), 0, toClient))
					_, _, err = unix.Recvfrom(client, buffer, 0)
					require.NoError(b, err)
				}
				for stage, n := range spent(b, k) {
					if _, ok := least[stage]; !ok {
						least[stage] = math.Inf(1)
					}
					least[stage] = min(least[stage], (n-before[stage])/2000)
				}
			}
			for stage, n := range least {
				b.ReportMetric(n, "ns/"+stage)
			}
			b.ReportMetric(0, "ns/op")
		})
		require.NoError(b, k.Close())
	}
}

// spent is the time in nanoseconds in the programs for packets.
func spent(b *testing.B, k *runtime.Kernel) map[string]float64 {
	all := map[string]float64{}
	for _, stage := range []string{"egress", "ingress"} {
		if program := k.Function(stage); program != nil {
			s, err := program.Stats()
			require.NoError(b, err)
			all[stage] = float64(s.Runtime)
		}
	}
	return all
}
