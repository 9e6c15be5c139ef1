package bench

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	hook "github.com/hopgate/hopgate/runtime"
	"github.com/hopgate/hopgate/tests/measure"
)

// BenchmarkEgress measures policies in the kernel as the command in tests/bench/table
// does, which prints them beside goals and other programs.
func BenchmarkEgress(b *testing.B) {
	measure.NeedsRoot(b)
	for _, name := range []string{"one_rule", "acl1_1000", "fw1_1000", "ipc1_1000", "acl1_10000", "fw1_10000", "acl1_100000"} {
		b.Run(name, func(b *testing.B) {
			policy := classBench(b, name)
			var cost *measure.Cost
			for b.Loop() {
				var err error
				cost, err = measure.Policy(policy)
				require.NoError(b, err)
			}
			milliseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(cost.Egress, "ns/decision")
			b.ReportMetric(cost.Counted, "ns/counted")
			b.ReportMetric(cost.Connect, "ns/connect")
			b.ReportMetric(milliseconds(cost.Compile), "ms/compile")
			b.ReportMetric(milliseconds(cost.LoadEgress), "ms/load")
			b.ReportMetric(float64(cost.Instructions), "instructions")
		})
	}
}

func compileLinux(b testing.TB, policy *compiler.Policy, counters bool) *codegen.Program {
	compiled, err := measure.Compile(policy, codegen.Linux, counters, 1)
	require.NoError(b, err)
	return compiled.Program
}

// attachAnything puts a policy in force in a cgroup that nobody is in, so that the
// kernel's types have been read before something is measured.
func attachAnything(b testing.TB) *hook.Kernel {
	cgroup, err := os.MkdirTemp(measure.Cgroups, "hopgate-bench-")
	require.NoError(b, err)
	b.Cleanup(func() { _ = os.Remove(cgroup) })
	file, err := lang.Parse("any.hop", []byte("policy any { default allow }"))
	require.NoError(b, err)
	policy, err := compiler.Check(file, nil)
	require.NoError(b, err)
	kernel, err := hook.AttachKernel(compileLinux(b, policy, true), &hook.KernelOptions{Cgroup: cgroup})
	require.NoError(b, err)
	b.Cleanup(func() { _ = kernel.Close() })
	return kernel
}
