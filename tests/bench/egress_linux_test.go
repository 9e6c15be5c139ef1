package bench

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	hook "github.com/hopgate/hopgate/runtime"
)

// BenchmarkEgress measures a decision on a packet of a flow that has not been seen
// before, over what an empty program takes, how long compiling takes, from the
// checked policy to the bytes of an object, and how long until all programs for
// Linux are loaded and in force.
func BenchmarkEgress(b *testing.B) {
	needsRoot(b)
	for _, name := range []string{"one_rule", "acl1_1000", "fw1_1000", "ipc1_1000", "acl1_10000", "fw1_10000", "acl1_100000"} {
		for _, counters := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/counters=%t", name, counters), func(b *testing.B) {
				policy := classBench(b, name)
				kernel := attachAnything(b)
				var program *codegen.Program
				compiled, loaded, sum, n := math.Inf(1), math.Inf(1), 0.0, 0.0
				packets := packets(randomRequests(policy, 20000))
				for b.Loop() {
					start := time.Now()
					program = compileLinux(b, policy, counters)
					require.NoError(b, program.WriteELF(&bytes.Buffer{}))
					compiled = min(compiled, time.Since(start).Seconds())
					start = time.Now()
					require.NoError(b, kernel.Update(program))
					loaded = min(loaded, time.Since(start).Seconds())
					sum += nanoseconds(b, kernel.Function("egress"), packets) - nanoseconds(b, emptyEgress(b), packets)
					n++
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(sum/n, "ns/decision")
				b.ReportMetric(compiled*1000, "ms/compile")
				b.ReportMetric(loaded*1000, "ms/load")
				for _, f := range program.Functions {
					if f.Name == "egress" {
						b.ReportMetric(float64(len(f.Instructions)), "instructions")
					}
				}
			})
		}
	}
}

func compileLinux(b testing.TB, policy *compiler.Policy, counters bool) *codegen.Program {
	diagram, err := compiler.Compile(policy, &compiler.CompileOptions{MergeRules: !counters})
	require.NoError(b, err)
	program, err := codegen.Generate(diagram, &codegen.Options{Target: codegen.Linux, NoCounters: !counters})
	require.NoError(b, err)
	return program
}

// attachAnything puts a policy in force in a cgroup that nobody is in, so that the
// kernel's types have been read before something is measured.
func attachAnything(b testing.TB) *hook.Kernel {
	cgroup, err := os.MkdirTemp(cgroups, "hopgate-bench-")
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

// packets are Ethernet frames of the requests' flows.
func packets(requests []compiler.Request) [][]byte {
	var list [][]byte
	for i := range requests {
		header := make([]byte, 14)
		header[12], header[13] = 0x08, 0x00
		list = append(list, append(header, packet(&requests[i])...))
	}
	return list
}

// nanoseconds runs an egress program on each packet (BPF_PROG_TEST_RUN) and gives
// what the kernel's statistics say that it took on average, in the best of some
// batches. No packet comes twice, which the processor would learn.
func nanoseconds(b testing.TB, egress *ebpf.Program, packets [][]byte) float64 {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	require.NoError(b, err)
	defer stats.Close()
	const batches = 10
	least := math.Inf(1)
	for i := range batches {
		before, err := egress.Stats()
		require.NoError(b, err)
		for _, packet := range packets[i*len(packets)/batches : (i+1)*len(packets)/batches] {
			_, err := egress.Run(&ebpf.RunOptions{Data: packet, Repeat: 1})
			require.NoError(b, err)
		}
		after, err := egress.Stats()
		require.NoError(b, err)
		least = min(least, float64(after.Runtime-before.Runtime)/float64(after.RunCount-before.RunCount))
	}
	return least
}

func emptyEgress(b *testing.B) *ebpf.Program {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.CGroupSKB, AttachType: ebpf.AttachCGroupInetEgress, License: codegen.License,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
	})
	require.NoError(b, err)
	b.Cleanup(func() { _ = p.Close() })
	return p
}
