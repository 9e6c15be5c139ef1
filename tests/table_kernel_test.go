//go:build linux

package tests

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/runtime"
	"github.com/hopgate/hopgate/tests/gen"
)

// TestTableInKernel runs the engine of form table in the Linux kernel and compares
// it with the reference: verdict, rule and audit rule. One engine gets all the
// policies, one after the other.
func TestTableInKernel(t *testing.T) {
	engine, err := codegen.GenerateEngine(codegen.Windows)
	require.NoError(t, err)
	kernel := loadInKernel(t, engine, compiler.Connect)
	maps := runtime.KernelTables(kernel.Maps[codegen.TableMap], kernel.Maps[codegen.TableSetsMap])
	policies, requests := 25, 100
	if testing.Short() {
		policies, requests = 10, 50
	}
	for seed := range uint64(policies) {
		rng := rand.New(rand.NewPCG(seed, 3))
		text := gen.Policy(rng, gen.Options{Events: seed%3 == 0, Dynamic: seed%4 == 0, Rules: []int{-1, 1, 5, 50, 200}[seed%5]})
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			p := check(t, "random.hop", text)
			table := table(t, p)
			require.NoError(t, runtime.LoadTable(maps, table))
			kernel.hook = p.Hook
			random := gen.NewRequests(p)
			counters := func() []uint64 {
				value, err := maps.Table(p.Hook)
				require.NoError(t, err)
				counts := make([]uint64, len(table.Rules))
				for i := range counts {
					counts[i] = binary.LittleEndian.Uint64(value[codegen.TableCounters+8*i:])
				}
				return counts
			}
			before := counters()
			for range requests {
				r := random.Random(rng)
				verdict := kernel.run(&r)
				after := counters()
				rule, audit := moved(table.Rules, before, after)
				require.Equal(t, p.Eval(&r), compiler.Decision{Verdict: lang.Verdict(verdict), Rule: rule, Audit: audit}, "%+v", r)
				before = after
			}
			read, _, err := runtime.ReadTable(maps, p.Hook)
			require.NoError(t, err)
			require.Equal(t, table.Rules, read.Rules)
		})
	}
}
