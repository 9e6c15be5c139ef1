package bench

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/tests/classbench"
	"github.com/hopgate/hopgate/tests/gen"
	"github.com/hopgate/hopgate/tests/measure"
)

// A policy's diagram and program stay linear in its rules, whatever these are, and
// still mean the same: rule sets of families and seeds that nothing was tuned for, and
// ranges that overlap in several fields.
func TestSizeIsBounded(t *testing.T) {
	for _, family := range classbench.Families() {
		for _, n := range []int{100, 1000, 10_000} {
			for seed := range uint64(3) {
				if n > 1000 && (seed > 0 || testing.Short()) {
					continue
				}
				t.Run(fmt.Sprintf("%s-like/%d/%d", family.Name, n, seed), func(t *testing.T) {
					t.Parallel()
					policy, err := family.Policy(seed, n)
					require.NoError(t, err)
					isBounded(t, policy, 12)
				})
			}
		}
	}
	for name, condition := range gen.Nasty() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			isBounded(t, nasty(t, 1000, condition), 150)
		})
	}
}

// Ranges that overlap in two fields make no long paths.
func TestOverlapsInTwoFields(t *testing.T) {
	for _, kind := range []string{"ports", "addresses", "narrow-ports"} {
		for _, n := range []int{1000, 5000} {
			t.Run(fmt.Sprintf("%s/%d", kind, n), func(t *testing.T) {
				diagram, err := compiler.Compile(nasty(t, n, gen.Nasty()[kind]), nil)
				require.NoError(t, err)
				require.Less(t, diagram.IPv4.Plan.Depth, 100, "%s", diagram.IPv4.Plan)
			})
		}
	}
}

// What the kernel's verifier takes is known beforehand, to a tenth of it, and it takes
// all kinds of policies, which decide in it as they should.
func TestKernelWalk(t *testing.T) {
	measure.NeedsRoot(t)
	policies := map[string]*compiler.Policy{}
	for _, name := range []string{"one_rule", "acl1_1000", "fw1_1000", "ipc1_1000", "fw1_10000", "acl1_10000"} {
		policies[name] = classBench(t, name)
	}
	mixed, err := gen.MixedPolicy(1000)
	require.NoError(t, err)
	policies["mixed"] = mixed
	for kind, n := range map[string]int{"ports": 5000, "addresses": 1000, "narrow-ports": 1000, "three-ranges": 1000, "four-ranges": 300, "either-or": 100, "unless": 300, "dynamic-sets": 100, "ipv6": 1000} {
		policies[kind] = nasty(t, n, gen.Nasty()[kind])
	}
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			compiled, err := measure.Compile(policy, codegen.Linux, false, 1)
			require.NoError(t, err)
			loaded, _, err := compiled.Load("", 1)
			require.NoError(t, err)
			defer loaded.Close()
			for i := range compiled.Program.Functions {
				f := &compiled.Program.Functions[i]
				info, err := loaded.Programs[f.Name].Info()
				require.NoError(t, err)
				walked, _ := info.VerifiedInstructions()
				about := f.KernelWalk().Steps
				require.InDelta(t, walked, about, float64(walked/10+250), "%s", f.Name)
			}
			if name != "mixed" && name != "dynamic-sets" && name != "ipv6" { // a test run has one interface, no sets, and packets of IPv4
				require.NoError(t, measure.Agree(loaded.Programs["egress"], policy, gen.Traffic(1, policy, 2000)))
			}
		})
	}
}

func nasty(t *testing.T, n int, condition func(*rand.Rand) string) *compiler.Policy {
	file, err := lang.Parse("nasty.hop", []byte(gen.NastyPolicy(rand.New(rand.NewPCG(1, uint64(n))), n, condition)))
	require.NoError(t, err)
	policy, err := compiler.Check(file, &compiler.Options{BindAll: true})
	require.NoError(t, err)
	return policy
}

// isBounded compiles a policy for Linux. It may take so many instructions a rule in
// each program.
func isBounded(t *testing.T, policy *compiler.Policy, most int) {
	diagram, err := compiler.Compile(policy, nil)
	require.NoError(t, err)
	rng, random := rand.New(rand.NewPCG(5, 5)), gen.NewRequests(policy)
	for i := range 300 {
		r := random.Random(rng)
		if i%2 == 0 {
			gen.Matching(rng, policy.Rules[rng.IntN(len(policy.Rules))].Cond, &r)
		}
		if r.Remote.Addr().Is4() != r.Local.Addr().Is4() {
			continue // there is no such connection
		}
		require.Equal(t, policy.Eval(&r), diagram.Decide(&r), "%+v", r)
	}
	require.Less(t, diagram.IPv4.Plan.Tests(), most*len(policy.Rules))
	program, err := codegen.Generate(diagram, &codegen.Options{Target: codegen.Linux})
	if errors.Is(err, codegen.ErrTooLarge) {
		return // a linear size may still be too much
	}
	require.NoError(t, err)
	for _, f := range program.Functions {
		require.Less(t, len(f.Instructions), 1500+most*len(policy.Rules), "%s, %s", f.Name, diagram.IPv4.Plan)
	}
}

// What is too large for a target is an error that names the limit and says what would
// help.
func TestTooLarge(t *testing.T) {
	policy := nasty(t, 2500, gen.Nasty()["four-ranges"])
	diagram, err := compiler.Compile(policy, nil)
	require.NoError(t, err)
	_, err = codegen.Generate(diagram, nil)
	require.ErrorContains(t, err, "is too large for target windows")
	require.ErrorContains(t, err, "the limit is 65536 [too-large]: use larger prefixes and ranges, fewer rules, or --no-counters")

	policy = nasty(t, 1000, gen.Nasty()["either-or"])
	diagram, err = compiler.Compile(policy, nil)
	require.NoError(t, err)
	_, err = codegen.Generate(diagram, &codegen.Options{Target: codegen.Linux})
	require.ErrorIs(t, err, codegen.ErrTooLarge)
	require.ErrorContains(t, err, "is too large for target linux: on a path of sockops the kernel's verifier would leave")
	require.ErrorContains(t, err, "branches to come back to, its limit is 8192 [too-large]: use --form table, --no-counters, fewer tests of dynamic sets, or rules that overlap less")
}
