package bench

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	hook "github.com/hopgate/hopgate/runtime"
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

// Ranges that overlap in two fields make neither long paths nor programs that the kernel
// refuses.
func TestOverlapsInTwoFields(t *testing.T) {
	measure.NeedsRoot(t)
	for _, kind := range []string{"ports", "addresses", "narrow-ports"} {
		for _, n := range []int{1000, 5000} {
			t.Run(fmt.Sprintf("%s/%d", kind, n), func(t *testing.T) {
				diagram, err := compiler.Compile(nasty(t, n, gen.Nasty()[kind]), nil)
				require.NoError(t, err)
				require.Less(t, diagram.IPv4.Plan.Depth, 100, "%s", diagram.IPv4.Plan)
				compiled, err := measure.Encode(diagram, codegen.Linux, true)
				require.NoError(t, err)
				loaded, _, err := compiled.Load("", 1)
				require.NoError(t, err)
				loaded.Close()
			})
		}
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
	program, err := codegen.Generate(diagram, &codegen.Options{Target: codegen.Linux})
	require.NoError(t, err)
	for _, f := range program.Functions {
		require.Less(t, len(f.Instructions), 1500+most*len(policy.Rules), "%s, %s", f.Name, diagram.IPv4.Plan)
	}
}

// What is too large for a target is an error that names the limit and says what would
// help.
func TestTooLarge(t *testing.T) {
	policy := nasty(t, 4000, gen.Nasty()["four-ranges"])
	diagram, err := compiler.Compile(policy, nil)
	require.NoError(t, err)
	_, err = codegen.Generate(diagram, nil)
	require.ErrorContains(t, err, "is too large for target windows")
	require.ErrorContains(t, err, "the limit is 65536 [too-large]: use larger prefixes and ranges, fewer rules, or --no-counters")

	measure.NeedsRoot(t)
	cgroup, err := os.MkdirTemp(measure.Cgroups, "hopgate-bench-")
	require.NoError(t, err)
	defer os.Remove(cgroup)
	_, err = hook.AttachKernel(compileLinux(t, policy, true), &hook.KernelOptions{Cgroup: cgroup})
	require.ErrorContains(t, err, "is too large for its verifier")
	require.ErrorContains(t, err, "a million steps at most [too-large]: use rules that overlap less, larger prefixes and ranges, or --no-counters")
}
