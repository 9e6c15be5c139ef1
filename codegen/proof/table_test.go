package proof_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/codegen/proof"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
	"github.com/hopgate/hopgate/tests/gen"
)

func table(t testing.TB, p *compiler.Policy, counters bool) *codegen.Table {
	d, err := compiler.Compile(p, &compiler.CompileOptions{MergeRules: !counters})
	require.NoError(t, err)
	table, err := codegen.GenerateTable(d, &codegen.Options{NoCounters: !counters}, codegen.Build{})
	require.NoError(t, err)
	return table
}

// TestRandomTables proves the tables of random policies.
func TestRandomTables(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			p := check(t, gen.Policy(rng, gen.Options{Events: seed%3 == 0, Dynamic: seed%4 == 0, Rules: []int{-1, 1, 5, 20, 50, 200}[seed%6]}))
			for _, counters := range []bool{true, false} {
				o := table(t, p, counters)
				if seed%4 == 1 {
					var err error
					o, err = gen.Spread(o)
					require.NoError(t, err)
				}
				r := proof.CheckTable(p, o, limit(counters))
				t.Log(r)
				if counters {
					require.Equal(t, proof.Proved, r.Status, r)
				} else {
					require.NotEqual(t, proof.Refuted, r.Status, r)
				}
			}
		})
	}
}

// TestTableMutants changes one number at a time in tables. None that decides in another
// way may be proved.
func TestTableMutants(t *testing.T) {
	const policies, mutants = 20, 40
	program, err := codegen.GenerateEngine(codegen.Windows)
	require.NoError(t, err)
	engine, err := runtime.Load(program)
	require.NoError(t, err)
	changed, refused := 0, 0
	for seed := range uint64(policies) {
		rng := rand.New(rand.NewPCG(seed, 21))
		p := check(t, gen.Policy(rng, gen.Options{Events: seed%2 == 0, Dynamic: seed%4 == 0, Rules: []int{4, 8, 30}[seed%3]}))
		original := table(t, p, seed%5 != 4).Pack()
		requests := gen.NewRequests(p)
		list := make([]compiler.Request, 100)
		for i := range list {
			list[i] = requests.Random(rng)
		}
		want := decisions(t, engine, original, list)
		for range mutants {
			m := tableMutant(rng, original)
			packed, err := codegen.ReadPack("mutant", m)
			if err != nil {
				continue
			}
			r := proof.CheckTable(p, packed, 2*proof.DefaultEffort)
			got := decisions(t, engine, m, list)
			if got == want || got == "" {
				continue
			}
			require.NotEqual(t, proof.Proved, r.Status, "seed %d: proved, and yet it behaves in another way", seed)
			if changed++; r.Status != proof.Tested {
				refused++
			} else {
				t.Logf("survives: %s", r)
			}
		}
	}
	t.Logf("%d mutants behave in another way, %d are refused", changed, refused)
	require.GreaterOrEqual(t, float64(refused), 0.97*float64(changed)) // of a hundred or so
}

// tableMutant changes a number in the header or a node of a packed policy, and the sum
// over the file so that it is not simply damaged.
func tableMutant(rng *rand.Rand, original []byte) []byte {
	const head, flags, asks, uncounted = 8 + 4 + sha256.Size, 8, 1, 4
	m := bytes.Clone(original)
	image := head + 4 + int(binary.LittleEndian.Uint32(m[head:]))
	size := int(binary.LittleEndian.Uint32(m[image:]))
	image += 4
	for {
		place := rng.IntN(size/4) * 4
		at := m[image+place:]
		old := binary.LittleEndian.Uint32(at)
		if old == 0 && rng.IntN(50) > 0 {
			continue
		}
		change := []uint32{old + 1, old - 1, old ^ 1<<rng.IntN(32), old + 64, rng.Uint32(), 0}
		changed := change[rng.IntN(len(change))]
		if place == flags { // a table that does not count, or tells events more, is one of the same policy
			changed = changed&^(uncounted|asks&^old) | old&uncounted
		}
		binary.LittleEndian.PutUint32(at, changed)
		sum := sha256.Sum256(m[head:])
		copy(m[head-sha256.Size:], sum[:])
		return m
	}
}

// decisions is what an engine with the table answers, verdicts and events; nothing if it
// takes no such table.
func decisions(t testing.TB, engine *runtime.Instance, packed []byte, requests []compiler.Request) string {
	table, err := codegen.ReadPack("mutant", packed)
	require.NoError(t, err)
	if err := engine.LoadTable(table); err != nil {
		return ""
	}
	text := ""
	for i := range requests {
		d, err := engine.Eval(&requests[i])
		events, eventErr := engine.Events()
		for k := range events {
			events[k].Generation = 0 // of the load, not of the table
		}
		text += fmt.Sprint(d, err != nil, events, eventErr != nil, "\n")
	}
	return text
}
