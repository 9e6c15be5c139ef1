package proof_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hopgate/hopgate/codegen/proof"
	"github.com/hopgate/hopgate/tests/gen"
)

// BenchmarkCheck reports the time of the proof beside that of the compile.
func BenchmarkCheck(b *testing.B) {
	for _, rules := range []int{50, 200, 1000} {
		p := check(b, gen.Policy(rand.New(rand.NewPCG(2, 3)), gen.Options{Rules: rules}))
		b.Run(fmt.Sprintf("compile-%d", len(p.Rules)), func(b *testing.B) {
			for b.Loop() {
				object(b, p, true)
			}
		})
		o := object(b, p, true)
		b.Run(fmt.Sprintf("proof-%d", len(p.Rules)), func(b *testing.B) {
			for b.Loop() {
				r, err := proof.Check(p, o, 0)
				if err != nil || r.Status != proof.Proved {
					b.Fatal(r, err)
				}
			}
		})
	}
}
