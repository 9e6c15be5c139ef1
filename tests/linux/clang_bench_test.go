//go:build linux

package linux

import (
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
	"github.com/hopgate/hopgate/tests/baseline"
	"github.com/hopgate/hopgate/tests/gen"
	"github.com/hopgate/hopgate/tests/measure"
)

// BenchmarkClang compares connect and egress, without counters, with the same policy as C
// compiled by clang -O2, over an empty program, and says from which size on the kernel
// refuses the C.
func BenchmarkClang(b *testing.B) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	require.NoError(b, err)
	defer stats.Close()
	here(b)
	for _, l := range []load{loads[0], loads[2], loads[4]} {
		base := 0.0
		b.Run(l.name+"/empty", func(b *testing.B) { base = report(b, empty(b, l.stage), l, 0) })
		for _, rules := range []int{10, 30, 50, 100, 1000} {
			p, err := gen.MixedPolicy(rules)
			require.NoError(b, err)
			b.Run(fmt.Sprintf("%s/rules=%d/hopgate", l.name, rules), func(b *testing.B) {
				k, err := runtime.AttachKernel(compile(b, p, codegen.Options{NoCounters: true}), &runtime.KernelOptions{Cgroup: cgroup})
				require.NoError(b, err)
				defer k.Close()
				report(b, k.Function(l.stage), l, base)
			})
			b.Run(fmt.Sprintf("%s/rules=%d/C", l.name, rules), func(b *testing.B) {
				program, err := clang(p, l.stage)
				if measure.Refused(err) != "" {
					b.ReportMetric(1, "refused")
					b.ReportMetric(0, "ns/op")
					return
				}
				require.NoError(b, err)
				defer program.Close()
				defer attachC(b, program, l.stage).Close()
				report(b, program, l, base)
			})
		}
	}
}

func attachC(t testing.TB, program *ebpf.Program, stage string) link.Link {
	at := map[string]ebpf.AttachType{"connect4": ebpf.AttachCGroupInet4Connect, "egress": ebpf.AttachCGroupInetEgress}[stage]
	attached, err := link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: at, Program: program})
	require.NoError(t, err)
	return attached
}

// The C of a connect stage denies what the stage denies: with the fields that it sees,
// whatever the others are.
func TestClangConnect(t *testing.T) {
	here(t)
	denied := func() (all []string) {
		for net := range byte(8) {
			for _, port := range []int{80, 81} {
				fd := socketOf(t, unix.AF_INET, unix.SOCK_DGRAM, 0)
				if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{10, net, 0, 1}}); err != nil {
					require.ErrorIs(t, err, unix.EPERM)
					all = append(all, fmt.Sprintf("10.%d:%d", net, port))
				}
			}
		}
		return all
	}
	for verdict, want := range map[string][]string{"allow": {"10.4:80", "10.6:80", "10.6:81"}, "deny": {"10.0:80", "10.0:81", "10.4:80", "10.6:80", "10.6:81"}} {
		p := check(t, `policy p {
  default `+verdict+`
  rule a: allow if remote_address in 10.1.0.0/16 and interface_type == wifi
  rule b: deny if remote_address in 10.1.0.0/16
  rule c: deny if remote_address in 10.2.0.0/16 and interface_type == ethernet
  rule d: deny if remote_address in 10.3.0.0/16 and local_address in 10.0.0.0/8
  rule e: deny if remote_address in 10.4.0.0/16 and remote_port == 80/udp
  rule f: deny if remote_address in 10.5.0.0/16 and remote_port == 80/tcp
  rule g: deny if remote_address in 10.6.0.0/16
  rule h: deny if remote_address in 10.7.0.0/16 unless interface_type == wifi
  rule i: allow if remote_address in { 10.2.0.0/15, 10.4.0.0/15, 10.7.0.0/16 }
}`, nil)
		program, err := clang(p, "connect4")
		require.NoError(t, err)
		attached := attachC(t, program, "connect4")
		require.Equal(t, want, denied(), "C, default %s", verdict)
		require.NoError(t, attached.Close())
		require.NoError(t, program.Close())

		k, err := runtime.AttachKernel(compile(t, p, codegen.Options{}), &runtime.KernelOptions{Cgroup: cgroup})
		require.NoError(t, err)
		require.Equal(t, want, denied(), "hopgate, default %s", verdict)
		require.NoError(t, k.Close())
	}
}

func report(b *testing.B, program *ebpf.Program, l load, base float64) float64 {
	spent := perDecision(b, program, l, 200_000)
	b.ReportMetric(spent-base, "ns/decision")
	b.ReportMetric(0, "ns/op")
	return spent
}

// clang loads the program of a stage that clang makes of the policy in C.
func clang(p *compiler.Policy, stage string) (*ebpf.Program, error) {
	source, err := gen.C(p, stage)
	if err != nil {
		return nil, err
	}
	spec, err := baseline.Clang(source)
	if err != nil {
		return nil, err
	}
	loaded, err := ebpf.NewCollectionWithOptions(spec, measure.Quiet())
	if err != nil {
		return nil, err
	}
	defer loaded.Close()
	if types := loaded.Maps["interface_types"]; types != nil {
		if err := types.Put(uint32(1), uint32(gen.Loopback)); err != nil {
			return nil, err
		}
	}
	return loaded.Programs[stage].Clone()
}
