package bench

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/tests/measure"
)

// BenchmarkSets measures what the rows of the table of sets show.
func BenchmarkSets(b *testing.B) {
	needsRoot(b)
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
