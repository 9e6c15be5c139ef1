package bench

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	hook "github.com/hopgate/hopgate/runtime"
	"github.com/hopgate/hopgate/tests/gen"
	"github.com/hopgate/hopgate/tests/measure"
	"github.com/hopgate/hopgate/tests/tracepoint"
)

// BenchmarkForms measures a decision in form code and in form table in the Linux
// kernel, over what an empty program takes there, and loading and switching.
func BenchmarkForms(b *testing.B) {
	for _, name := range []string{"one_rule", "acl1_1000", "fw1_1000", "ipc1_1000", "acl1_10000", "fw1_10000", "fw-like_100000"} {
		policy := classBench(b, name)
		diagram, err := compiler.Compile(policy, nil)
		require.NoError(b, err)
		requests := gen.Traffic(1, policy, 20000)
		b.Run(name+"/code", func(b *testing.B) {
			program, err := codegen.Generate(diagram, nil)
			if err != nil {
				b.Skip(err)
			}
			b.ReportMetric(steps(b, loadInVM(b, program), requests), "instructions/decision")
			b.ReportMetric(0, "ns/op")
			start := time.Now()
			loaded, err := tracepoint.New(b, program, policy.Hook)
			if errors.Is(err, unix.E2BIG) {
				b.Log("the kernel's verifier gives up: more than a million instructions walked")
				return
			}
			require.NoError(b, err)
			b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "load-ms")
			b.ReportMetric(traced(b, loaded, requests)-emptyTracepoint(b, requests), "ns/decision")
		})
		b.Run(name+"/table", func(b *testing.B) {
			engine, err := codegen.GenerateEngine(codegen.Windows)
			require.NoError(b, err)
			table, err := codegen.GenerateTable(tableDiagram(b, policy, false), nil, codegen.Build{})
			require.NoError(b, err)
			start := time.Now()
			loaded := tracepoint.Load(b, engine, policy.Hook)
			b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "load-ms")
			maps := hook.KernelTables(loaded.Maps[codegen.TableMap], loaded.Maps[codegen.SetsMap], codegen.Windows)
			require.NoError(b, hook.LoadTable(maps, table, codegen.TableLoading{}))
			start = time.Now()
			require.NoError(b, hook.LoadTable(maps, table, codegen.TableLoading{}))
			b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "policy-load-ms")
			b.ReportMetric(traced(b, loaded, requests)-emptyTracepoint(b, requests), "ns/decision")
			instance := loadInVM(b, engine)
			require.NoError(b, instance.LoadTable(table))
			b.ReportMetric(steps(b, instance, requests), "instructions/decision")
			b.ReportMetric(float64(table.Nodes()), "nodes")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// TestTableRoom: a table takes fewer trees where a program has no room for them.
func TestTableRoom(t *testing.T) {
	policy := classBench(t, "fw1_10000")
	small, err := compiler.Compile(policy, nil)
	require.NoError(t, err)
	require.Less(t, len(tableDiagram(t, policy, false).IPv4.Trees), len(small.IPv4.Trees))
}

func tableDiagram(b testing.TB, policy *compiler.Policy, merge bool) *compiler.Diagram {
	diagram, err := compiler.Compile(policy, &compiler.CompileOptions{MergeRules: merge, Room: compiler.TableRoom})
	require.NoError(b, err)
	return diagram
}

// traced is the nanoseconds that the kernel says the program takes for the requests,
// which are IPv4: the mean of the quietest of some batches, for the machine may be
// busy.
func traced(b *testing.B, p *tracepoint.Program, requests []compiler.Request) float64 {
	program, _ := p.Context(&requests[0])
	return measured(b, program, func(i int) []byte {
		_, context := p.Context(&requests[i])
		return context
	}, len(requests))
}

func measured(b *testing.B, program *ebpf.Program, context func(i int) []byte, n int) float64 {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	require.NoError(b, err)
	defer stats.Close()
	const batches = 40
	least := math.Inf(1)
	for batch := range batches {
		before, err := program.Stats()
		require.NoError(b, err)
		for i := batch * n / batches; i < (batch+1)*n/batches; i++ {
			_, err := program.Run(&ebpf.RunOptions{Context: context(i)})
			require.NoError(b, err)
		}
		after, err := program.Stats()
		require.NoError(b, err)
		least = min(least, float64((after.Runtime-before.Runtime).Nanoseconds())/float64(after.RunCount-before.RunCount))
	}
	return least
}

func emptyTracepoint(b *testing.B, requests []compiler.Request) float64 {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.RawTracepoint, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
	})
	require.NoError(b, err)
	defer program.Close()
	return measured(b, program, func(int) []byte { return make([]byte, 96) }, len(requests))
}

func loadInVM(b *testing.B, program *codegen.Program) *hook.Instance {
	i, err := hook.Load(program)
	require.NoError(b, err)
	return i
}

// steps is how many instructions the VM executes for a decision.
func steps(b *testing.B, i *hook.Instance, requests []compiler.Request) float64 {
	n := uint64(0)
	for k := range requests {
		_, err := i.Eval(&requests[k])
		require.NoError(b, err)
		n += i.Steps()
	}
	return float64(n) / float64(len(requests))
}

// BenchmarkSwitch measures, from a packed policy in memory on, when another policy is in
// force, which another thread looks for, and when the call returns: no decision by the
// old one is under way any more then, which is what the kernel waits for.
func BenchmarkSwitch(b *testing.B) {
	engine, err := codegen.GenerateEngine(codegen.Linux)
	require.NoError(b, err)
	spec, err := engine.CollectionSpec()
	require.NoError(b, err)
	made := map[string]*ebpf.Map{}
	for _, name := range []string{codegen.TableMap, codegen.SetsMap} {
		made[name], err = ebpf.NewMap(spec.Maps[name])
		require.NoError(b, err)
		defer made[name].Close()
	}
	maps := hook.KernelTables(made[codegen.TableMap], made[codegen.SetsMap], codegen.Linux)
	for _, name := range []string{"one_rule", "acl1_1000", "fw1_10000", "fw-like_100000"} {
		table, err := codegen.GenerateTable(tableDiagram(b, classBench(b, name), false), &codegen.Options{Target: codegen.Linux}, codegen.Build{})
		require.NoError(b, err)
		packed := table.Pack()
		b.Run(name, func(b *testing.B) {
			seen, returned := math.Inf(1), math.Inf(1)
			for b.Loop() {
				before, err := maps.Generation(compiler.Connect)
				require.NoError(b, err)
				inForce := make(chan time.Time)
				go func() {
					for {
						if now, err := maps.Generation(compiler.Connect); err != nil || now != before {
							inForce <- time.Now()
							return
						}
					}
				}()
				start := time.Now()
				read, err := codegen.ReadPack(name, packed)
				require.NoError(b, err)
				require.NoError(b, hook.LoadTable(maps, read, codegen.TableLoading{}))
				returned = min(returned, float64(time.Since(start).Microseconds()))
				seen = min(seen, float64((<-inForce).Sub(start).Microseconds()))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(seen/1000, "in-force-ms")
			b.ReportMetric(returned/1000, "returned-ms")
			b.ReportMetric(float64(len(packed)>>10), "KiB")
		})
	}
}

// BenchmarkEgressForms measures what BenchmarkEgress does for both forms, by turns, and how
// long a policy takes until it is in force in all stages: the first time with the engine,
// and by one update.
func BenchmarkEgressForms(b *testing.B) {
	measure.NeedsRoot(b)
	for _, name := range []string{"one_rule", "acl1_1000", "fw1_1000", "ipc1_1000", "acl1_10000", "fw1_10000"} {
		b.Run(name, func(b *testing.B) {
			policy := classBench(b, name)
			table, err := codegen.GenerateTable(tableDiagram(b, policy, true), &codegen.Options{Target: codegen.Linux, NoCounters: true}, codegen.Build{})
			require.NoError(b, err)
			program := compileLinux(b, policy, false)
			kernel := attachAnything(b)
			requests := gen.Traffic(1, policy, 20000)
			egress := func() float64 {
				nanos, err := measure.OverEmptyEgress(requests, kernel.Function("egress"))
				require.NoError(b, err)
				return nanos[0]
			}
			code, walk, engine, update := math.Inf(1), math.Inf(1), math.Inf(1), math.Inf(1)
			timed := func(least *float64, load func() error) {
				start := time.Now()
				require.NoError(b, load())
				*least = min(*least, float64(time.Since(start).Microseconds())/1000)
			}
			for b.Loop() {
				require.NoError(b, kernel.Update(program))
				code = min(code, egress())
				timed(&engine, func() error { return kernel.LoadTable(table) })
				timed(&update, func() error { return kernel.LoadTable(table) })
				walk = min(walk, egress())
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(code, "code-ns")
			b.ReportMetric(walk, "table-ns")
			b.ReportMetric(engine, "engine-ms")
			b.ReportMetric(update, "update-ms")
		})
	}
}

// BenchmarkLoadEngine measures how long the kernel takes to load the engine for Linux: its
// maps, and its programs as run loads them, side by side.
func BenchmarkLoadEngine(b *testing.B) {
	engine, err := codegen.GenerateEngine(codegen.Linux)
	require.NoError(b, err)
	spec, err := engine.CollectionSpec()
	require.NoError(b, err)
	cache := btf.NewCache()
	_, err = cache.Kernel()
	require.NoError(b, err)
	opts := ebpf.CollectionOptions{Cache: cache, Programs: ebpf.ProgramOptions{LogDisabled: true}}
	part := func(programs map[string]*ebpf.ProgramSpec, with ebpf.CollectionOptions) *ebpf.Collection {
		c, err := ebpf.NewCollectionWithOptions(&ebpf.CollectionSpec{Maps: spec.Maps, Programs: programs, Types: spec.Types, ByteOrder: spec.ByteOrder}, with)
		if err != nil {
			panic(err)
		}
		return c
	}
	least, leastMaps := math.Inf(1), math.Inf(1)
	for b.Loop() {
		start := time.Now()
		maps := part(nil, opts)
		leastMaps = min(leastMaps, float64(time.Since(start).Microseconds())/1000)
		with := opts
		with.MapReplacements = maps.Maps
		loaded := make(chan *ebpf.Collection, len(spec.Programs))
		for name, program := range spec.Programs {
			go func() { loaded <- part(map[string]*ebpf.ProgramSpec{name: program}, with) }()
		}
		var all []*ebpf.Collection
		for range spec.Programs {
			all = append(all, <-loaded)
		}
		least = min(least, float64(time.Since(start).Microseconds())/1000)
		for _, c := range append(all, maps) {
			c.Close()
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(least, "least-ms")
	b.ReportMetric(leastMaps, "maps-ms")
}
