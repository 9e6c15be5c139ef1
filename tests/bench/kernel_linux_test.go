package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/tests/gen"
)

const cgroups = "/sys/fs/cgroup/unified"

// A host is a network namespace in which every IPv4 address is local, and a cgroup
// that this process is in: packets of any flow can be sent, and go nowhere.
type host struct {
	cgroup string
	socket int
}

func newHost(b testing.TB) *host {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			b.Fatal("must run as root in CI")
		}
		b.Skip("needs root, to load programs and to make a network namespace")
	}
	runtime.LockOSThread() // and never unlock it: the thread ends with its namespace
	require.NoError(b, unix.Unshare(unix.CLONE_NEWNET))
	lo, err := netlink.LinkByName("lo")
	require.NoError(b, err)
	require.NoError(b, netlink.LinkSetUp(lo))
	_, all, _ := net.ParseCIDR("0.0.0.0/0")
	require.NoError(b, netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: all, Type: unix.RTN_LOCAL, Table: 255, Scope: unix.RT_SCOPE_HOST}))

	cgroup := filepath.Join(cgroups, fmt.Sprintf("hopgate-bench-%d", os.Getpid()))
	require.NoError(b, os.MkdirAll(cgroup, 0o755))
	join := func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "cgroup.procs"), strconv.AppendInt(nil, int64(os.Getpid()), 10), 0o644)
	}
	require.NoError(b, join(cgroup))
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	require.NoError(b, err)
	b.Cleanup(func() {
		unix.Close(fd)
		_ = join(cgroups)
		_ = os.Remove(cgroup)
	})
	return &host{cgroup, fd}
}

// cost attaches an egress program, sends a packet for each request, and gives the
// mean nanoseconds that the kernel says the program took.
func (h *host) cost(b testing.TB, egress *ebpf.Program, requests []compiler.Request) float64 {
	l, err := link.AttachCgroup(link.CgroupOptions{Path: h.cgroup, Attach: ebpf.AttachCGroupInetEgress, Program: egress})
	require.NoError(b, err)
	defer l.Close()
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	require.NoError(b, err)
	defer stats.Close()
	before, err := egress.Stats()
	require.NoError(b, err)
	for i := range requests {
		_ = unix.Sendto(h.socket, packet(&requests[i]), 0, &unix.SockaddrInet4{Addr: requests[i].Remote.Addr().As4()}) // EPERM where denied
	}
	after, err := egress.Stats()
	require.NoError(b, err)
	runs := after.RunCount - before.RunCount
	require.NotZero(b, runs)
	return float64((after.Runtime - before.Runtime).Nanoseconds()) / float64(runs)
}

// packet is an IPv4 packet of the request's flow.
func packet(r *compiler.Request) []byte {
	p := make([]byte, 40)
	p[0], p[8], p[9] = 0x45, 64, r.Protocol
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], r.Local.Addr().AsSlice())
	copy(p[16:], r.Remote.Addr().AsSlice())
	binary.BigEndian.PutUint16(p[20:], r.Local.Port())
	binary.BigEndian.PutUint16(p[22:], r.Remote.Port())
	return p
}

func emptyEgress(b testing.TB) *ebpf.Program {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.CGroupSKB, AttachType: ebpf.AttachCGroupInetEgress, License: codegen.License,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
	})
	require.NoError(b, err)
	return p
}

// BenchmarkEgress measures a decision on a packet that no cache has seen, over what
// an empty program takes, and how long compiling and loading take.
func BenchmarkEgress(b *testing.B) {
	for _, name := range []string{"one_rule", "acl1_1000", "fw1_1000", "ipc1_1000", "acl1_10000", "fw1_10000", "acl1_100000"} {
		for _, counters := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/counters=%t", name, counters), func(b *testing.B) {
				policy := classBench(b, name)
				h := newHost(b)
				start := time.Now()
				diagram, err := compiler.Compile(policy, &compiler.CompileOptions{MergeRules: !counters})
				require.NoError(b, err)
				program, err := codegen.Generate(diagram, &codegen.Options{Target: codegen.Linux, NoCounters: !counters})
				require.NoError(b, err)
				var object bytes.Buffer
				require.NoError(b, program.WriteELF(&object))
				compiled := time.Since(start)
				spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object.Bytes()))
				require.NoError(b, err)
				for stage := range spec.Programs {
					if stage != "egress" {
						delete(spec.Programs, stage)
					}
				}
				start = time.Now()
				loaded, err := ebpf.NewCollection(spec)
				require.NoError(b, err)
				defer loaded.Close()
				loading := time.Since(start)
				requests := randomRequests(policy, 20000)
				empty := emptyEgress(b)
				defer empty.Close()
				var sum, floor float64
				for b.Loop() {
					floor += h.cost(b, empty, requests)
					sum += h.cost(b, loaded.Programs["egress"], requests)
				}
				n := float64(b.N)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(sum/n-floor/n, "ns/decision")
				b.ReportMetric(float64(compiled.Microseconds())/1000, "ms/compile")
				b.ReportMetric(float64(loading.Microseconds())/1000, "ms/load")
				for _, f := range program.Functions {
					if f.Name == "egress" {
						b.ReportMetric(float64(len(f.Instructions)), "instructions")
					}
				}
			})
		}
	}
}

func randomRequests(p *compiler.Policy, n int) []compiler.Request {
	rng := rand.New(rand.NewPCG(1, 2))
	random := gen.NewRequests(p)
	var list []compiler.Request
	for len(list) < n {
		r := random.Random(rng)
		if r.Family() == 4 && r.Remote.Addr().Is4() && r.Local.Addr().Is4() && r.Remote.Addr() != netip.IPv4Unspecified() && r.Local.Addr() != netip.IPv4Unspecified() {
			list = append(list, r)
		}
	}
	return list
}
