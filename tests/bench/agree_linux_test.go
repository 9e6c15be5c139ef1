package bench

import (
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	hook "github.com/hopgate/hopgate/runtime"
	"github.com/hopgate/hopgate/tests/gen"
	"github.com/hopgate/hopgate/tests/measure"
)

// The engines agree with the reference on rule sets of real size, on verdict and rule: on
// the corners of every rule and on a hundred thousand random requests. The kernel
// judges a packet of each flow in a test run; its rule is the one whose counter has
// moved.
func TestEnginesAgreeAtSize(t *testing.T) {
	mixed, err := gen.MixedPolicy(1000)
	require.NoError(t, err)
	policies := map[string]*compiler.Policy{"mixed_1000": mixed}
	for _, name := range []string{"acl1_1000", "fw1_1000", "ipc1_1000", "acl1_10000", "fw1_10000", "acl1_100000"} {
		policies[name] = classBench(t, name)
	}
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requests := sizeRequests(policy)
			want := newIndexed(policy).decideAll(t, requests)
			for _, counters := range []bool{true, false} {
				diagram, err := compiler.Compile(policy, &compiler.CompileOptions{MergeRules: !counters})
				require.NoError(t, err)
				for i := range requests {
					agree(t, counters, "diagram", want[i], diagram.Decide(&requests[i]), &requests[i])
				}
				agreeInVM(t, diagram, counters, requests, want)
				agreeInKernel(t, diagram, counters, requests, want)
			}
		})
	}
}

// sizeRequests are three corners of each rule (all fields at their first value, all at
// their last, each at one of these) and random requests, each of another flow.
func sizeRequests(p *compiler.Policy) []compiler.Request {
	random := 100_000
	if testing.Short() {
		random = 1000
	}
	rng := rand.New(rand.NewPCG(3, 3))
	var list []compiler.Request
	any := gen.Traffic(4, p, 3*len(p.Rules)+random+random/8) // some are of one flow
	for i := range p.Rules {
		for _, corner := range []func() bool{
			func() bool { return false },
			func() bool { return true },
			func() bool { return rng.IntN(2) == 0 },
		} {
			r := any[len(list)]
			gen.Corner(p.Rules[i].Cond, &r, corner)
			list = append(list, r)
		}
	}
	list = append(list, any[len(list):]...)
	seen := make(map[compiler.Request]bool, len(list))
	kept := list[:0]
	for _, r := range list {
		if gen.Complete(&r) && !seen[r] {
			seen[r] = true
			kept = append(kept, r)
		}
	}
	return kept
}

// agree compares decisions: without counters only verdicts are to be seen.
func agree(t *testing.T, counters bool, engine string, want, got compiler.Decision, r *compiler.Request) {
	if want.Verdict != got.Verdict || counters && want != got {
		require.Equal(t, want, got, "%s: %+v", engine, *r)
	}
}

// agreeInVM asks the program for eBPF for Windows; the engine with the policy's table
// where that has no room for the policy as instructions.
func agreeInVM(t *testing.T, d *compiler.Diagram, counters bool, requests []compiler.Request, want []compiler.Decision) {
	program, err := codegen.Generate(d, &codegen.Options{NoCounters: !counters})
	var table *codegen.Table
	if err != nil {
		require.Greater(t, len(d.Policy.Rules), 5000, "%v", err)
		if table, err = codegen.GenerateTable(d, &codegen.Options{NoCounters: !counters}, codegen.Build{}); err == nil {
			program, err = codegen.GenerateEngine(codegen.Windows)
		}
	}
	require.NoError(t, err)
	instance, err := hook.Load(program)
	require.NoError(t, err)
	if table != nil {
		require.NoError(t, instance.LoadTable(table))
	}
	step := 1
	if counters && len(d.Policy.Rules) > 50_000 {
		step = 4 // the VM looks at all counters for the one that has moved
	}
	for i := 0; i < len(requests); i += step {
		got, err := instance.Eval(&requests[i])
		require.NoError(t, err)
		agree(t, counters, "vm", want[i], got, &requests[i])
	}
}

func agreeInKernel(t *testing.T, d *compiler.Diagram, counters bool, requests []compiler.Request, want []compiler.Decision) {
	measure.NeedsRoot(t)
	compiled, err := measure.Encode(d, codegen.Linux, counters)
	require.NoError(t, err)
	loaded, _, err := compiled.Load("egress", 1)
	require.NoError(t, err)
	defer loaded.Close()
	counted := map[int]uint64{}
	for i := range requests {
		if requests[i].InterfaceType != gen.Loopback {
			continue
		}
		pass, err := measure.Pass(loaded.Programs["egress"], measure.Frame(&requests[i]))
		require.NoError(t, err)
		if pass != (want[i].Verdict != lang.Deny) {
			require.Equal(t, want[i].Verdict, pass, "kernel: %+v", requests[i])
		}
		if !counters {
			continue
		}
		// Each request moves one counter: if it is always the one of the right rule,
		// no other moves.
		rule := want[i].Rule
		counted[rule]++
		if got := counter(t, loaded.Maps[codegen.CountersMap], rule); got != counted[rule] {
			require.Equal(t, counted[rule], got, "kernel, rule %s: %+v", d.Policy.RuleID(rule), requests[i])
		}
	}
}

// counter is the sum of a counter over the CPUs.
func counter(t *testing.T, m *ebpf.Map, rule int) (sum uint64) {
	var values []uint64
	require.NoError(t, m.Lookup(uint32(rule), &values))
	for _, v := range values {
		sum += v
	}
	return sum
}
