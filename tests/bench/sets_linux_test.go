package bench

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	hook "github.com/hopgate/hopgate/runtime"
	"github.com/hopgate/hopgate/tests/gen"
	"github.com/hopgate/hopgate/tests/measure"
)

// Large sets hold what their prefixes say, in the VM and in the kernel: at the ends of
// prefixes, beside these, and at random addresses.
func TestSetsAgreeAtSize(t *testing.T) {
	measure.NeedsRoot(t)
	for _, p := range measure.Sets() {
		if p.N < 30_000 || testing.Short() && p.N > 100_000 {
			continue
		}
		t.Run(fmt.Sprintf("%s, %d of %s", p.Name, p.N, p.Within), func(t *testing.T) {
			within := netip.MustParsePrefix(p.Within)
			rng := rand.New(rand.NewPCG(8, uint64(p.N)))
			prefixes := gen.Prefixes(rng, within, p.N, p.Least, p.Most)
			policy := setPolicy(t, prefixes)
			var to []netip.AddrPort
			for _, prefix := range prefixes[:30_000] {
				last := gen.Last(prefix)
				for _, a := range []netip.Addr{prefix.Addr(), last, prefix.Addr().Prev(), last.Next()} {
					if a.IsValid() && !a.IsUnspecified() {
						to = append(to, netip.AddrPortFrom(a, 9))
					}
				}
			}
			for range 100_000 {
				to = append(to, netip.AddrPortFrom(gen.Address(rng, within), 9))
			}
			diagram, err := compiler.Compile(policy, nil)
			require.NoError(t, err)
			program, err := codegen.Generate(diagram, nil)
			require.NoError(t, err)
			instance, err := hook.Load(program)
			require.NoError(t, err)
			denied := deniedInKernel(t, diagram, to)
			for i := range to {
				r := compiler.NoContext()
				r.Remote, r.Protocol = to[i], 17
				want := policy.Eval(&r)
				got, err := instance.Eval(&r)
				require.NoError(t, err)
				if got != want || denied[i] != (want.Verdict == lang.Deny) {
					require.Failf(t, "engines differ", "%s: reference %+v, vm %+v, kernel denies: %t", to[i], want, got, denied[i])
				}
			}
		})
	}
}

func setPolicy(t *testing.T, prefixes []netip.Prefix) *compiler.Policy {
	file, err := lang.Parse("set.hop", []byte("policy set {\n default allow\n set s dynamic = {}\n rule s: deny if remote_address in $s\n}"))
	require.NoError(t, err)
	policy, err := compiler.Check(file, nil)
	require.NoError(t, err)
	policy.Sets[0].Ranges = gen.Ranges(prefixes)
	return policy
}

// deniedInKernel connects a socket to each address.
func deniedInKernel(t *testing.T, d *compiler.Diagram, to []netip.AddrPort) []bool {
	compiled, err := measure.Encode(d, codegen.Linux, true)
	require.NoError(t, err)
	stage := "connect4"
	if to[0].Addr().Is6() {
		stage = "connect6"
	}
	loaded, _, err := compiled.Load(stage, 1)
	require.NoError(t, err)
	defer loaded.Close()
	host, err := measure.NewHost()
	require.NoError(t, err)
	defer func() { require.NoError(t, host.Close()) }()
	denied, err := host.Denied(loaded.Programs[stage], to)
	require.NoError(t, err)
	return denied
}

// BenchmarkSets measures what the rows of the table of sets show.
func BenchmarkSets(b *testing.B) {
	measure.NeedsRoot(b)
	for _, p := range measure.Sets() {
		b.Run(fmt.Sprintf("%s/%d", p.Within, p.N), func(b *testing.B) {
			for b.Loop() {
				c, err := measure.Set(p)
				require.NoError(b, err)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(c.Connect, "ns/decision")
				b.ReportMetric(c.Trie, "ns/LPM")
				b.ReportMetric(c.Trie/c.Connect, "LPM/table")
				b.ReportMetric(float64(c.Build.Microseconds())/1000, "ms/build")
				b.ReportMetric(float64(c.Load.Microseconds())/1000, "ms/load")
				b.ReportMetric(float64(c.Bytes)/1e6, "MB")
			}
		})
	}
}
