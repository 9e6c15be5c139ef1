package proof_test

import (
	"math/rand/v2"
	goruntime "runtime"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/codegen/proof"
	"github.com/hopgate/hopgate/tests/classbench"
	"github.com/hopgate/hopgate/tests/gen"
)

// The least limit with which an object is proved is the same each time, whatever else
// runs: objects record the outcome, and the same policy has the same bytes everywhere.
func TestEffort(t *testing.T) {
	defer goruntime.GOMAXPROCS(goruntime.GOMAXPROCS(0))
	p := unbound(t, gen.Mixed(rand.New(rand.NewPCG(1, 1)), 20))
	for i := range p.Rules {
		p.Rules[i].Audit = i%4 == 0
	}
	for name, o := range map[string][]byte{
		"windows": object(t, p, false), "linux": linuxObject(t, p, codegen.Options{}),
	} {
		t.Run(name, func(t *testing.T) {
			proved := func(limit int) bool {
				r, err := proof.Check(p, o, limit)
				require.NoError(t, err)
				require.Contains(t, []proof.Status{proof.Proved, proof.Tested}, r.Status, r)
				return r.Status == proof.Proved
			}
			least := 1 + sort.Search(1<<18, func(i int) bool { return proved(1 + i) })
			for cpus := 1; cpus <= 8; cpus *= 2 {
				goruntime.GOMAXPROCS(cpus)
				require.True(t, proved(least), least)
				require.False(t, proved(least-1), least)
			}
		})
	}
}

// What is given by default proves a thousand rules.
func TestDefaultEffort(t *testing.T) {
	for _, name := range []string{"acl1_1000", "fw1_1000", "ipc1_1000"} {
		p, err := classbench.Set(name)
		require.NoError(t, err)
		for _, counters := range []bool{false, true} {
			r, err := proof.Check(p, object(t, p, counters), proof.DefaultEffort)
			require.NoError(t, err)
			require.Equal(t, proof.Proved, r.Status, r)
		}
	}
}
