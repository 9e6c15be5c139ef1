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

// BenchmarkClang compares egress, without counters, with the same policy as C compiled by
// clang -O2, over an empty program, and says from which size on the kernel refuses
// the C.
func BenchmarkClang(b *testing.B) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	require.NoError(b, err)
	defer stats.Close()
	here(b)
	for _, l := range []load{loads[2], loads[4]} {
		base := 0.0
		b.Run(l.name+"/empty", func(b *testing.B) { base = report(b, empty(b, l.stage), l, 0) })
		for _, rules := range []int{10, 30, 50, 100} {
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
				attached, err := link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: ebpf.AttachCGroupInetEgress, Program: program})
				require.NoError(b, err)
				defer attached.Close()
				report(b, program, l, base)
			})
		}
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
