package proof_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen/proof"
	"github.com/hopgate/hopgate/tests/gen"
)

func TestScale(t *testing.T) {
	for _, n := range []int{200, 1000} {
		for seed := range uint64(3) {
			rng := rand.New(rand.NewPCG(seed, 3))
			p := check(t, gen.Policy(rng, gen.Options{Rules: n, Events: seed == 1}))
			for _, counters := range []bool{true, false} {
				t0 := time.Now()
				o := object(t, p, counters)
				t1 := time.Since(t0)
				r, err := proof.Check(p, o, 10*time.Second)
				require.NoError(t, err)
				t.Logf("rules %d counters %v compile %v check %v: %s", len(p.Rules), counters, t1.Round(time.Millisecond), r.Duration.Round(time.Millisecond), r)
			}
		}
	}
}
