package proof_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/codegen/proof"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/tests/gen"
)

func check(t testing.TB, text string) *compiler.Policy {
	file, err := lang.Parse("policy.hop", []byte(text))
	require.NoError(t, err, text)
	p, err := compiler.Check(file, &compiler.Options{BindAll: true})
	require.NoError(t, err, text)
	return p
}

func object(t testing.TB, p *compiler.Policy, counters bool) []byte {
	d, err := compiler.Compile(p, &compiler.CompileOptions{MergeRules: !counters})
	require.NoError(t, err)
	program, err := codegen.Generate(d, &codegen.Options{NoCounters: !counters})
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, program.WriteELF(&b))
	return b.Bytes()
}

// limit is what a proof may cost. With counters there must be one; without them some
// policies take long, and are only tested then.
func limit(counters bool) int {
	if counters {
		return 0
	}
	return 4 * proof.DefaultEffort
}

// TestRandomPolicies proves what random policies compile to.
func TestRandomPolicies(t *testing.T) {
	policies := 120
	if testing.Short() {
		policies = 20
	}
	for seed := range uint64(policies) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			opts := gen.Options{Events: seed%3 == 0, Dynamic: seed%4 == 0, Rules: []int{-1, 1, 5, 20, 50, 200}[seed%6]}
			p := check(t, gen.Policy(rng, opts))
			for _, counters := range []bool{true, false} {
				t0 := time.Now()
				o := object(t, p, counters)
				t1 := time.Since(t0)
				r, err := proof.Check(p, o, limit(counters))
				require.NoError(t, err)
				t.Logf("rules %d counters %v compile %v check %v: %s", len(p.Rules), counters, t1.Round(time.Millisecond), r.Duration.Round(time.Millisecond), r)
				if counters {
					require.Equal(t, proof.Proved, r.Status, r)
				} else {
					require.NotEqual(t, proof.Refuted, r.Status, r)
				}
			}
		})
	}
}
