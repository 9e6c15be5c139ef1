package codegen

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
)

// hostile makes ranges that are dense in places at many scales.
func hostile(rng *rand.Rand, n int, width int) []compiler.Range {
	var points []compiler.Value
	var spread func(v compiler.Value, free, n int)
	spread = func(v compiler.Value, free, n int) {
		if n <= 0 || free <= 0 {
			points = append(points, v)
			return
		}
		bits := min(free, 1+rng.IntN(16))
		keep := n - rng.IntN(1+n/4) - 1 // in one place; the others anywhere
		at := shifted(rng.Uint64N(1<<bits), free-bits)
		spread(compiler.Value{Hi: v.Hi | at.Hi, Lo: v.Lo | at.Lo}, free-bits, keep)
		for range n - keep {
			at := shifted(rng.Uint64N(1<<bits), free-bits)
			points = append(points, compiler.Value{Hi: v.Hi | at.Hi, Lo: v.Lo | at.Lo})
		}
	}
	spread(compiler.Value{}, width, n)
	slices.SortFunc(points, compiler.Value.Compare)
	points = slices.Compact(points)
	var ranges []compiler.Range
	for i := 0; i+1 < len(points); i += 2 {
		r := compiler.Range{First: points[i], Last: minus(points[i+1], compiler.Number(1))}
		if k := len(ranges); k > 0 && minus(r.First, ranges[k-1].Last) == compiler.Number(1) {
			ranges[k-1].Last = r.Last
			continue
		}
		ranges = append(ranges, r)
	}
	return ranges
}

func shifted(n uint64, by int) compiler.Value {
	if by >= 64 {
		return compiler.Value{Hi: n << (by - 64)}
	}
	return compiler.Value{Hi: n >> 1 >> (63 - by), Lo: n << by}
}

// Every set comes back from its table, and no lookup goes down farther than programs
// do: depth is the deepest of some sets made to be deep.
func TestSetTableRoundTrip(t *testing.T) {
	deepest := map[bool]int{}
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 1))
		n := 1 << rng.IntN(16)
		for _, wide := range []bool{false, true} {
			field, width := compiler.SubInterface, 32
			if wide {
				field, width = compiler.RemoteAddress, 128
			} else if seed%3 == 0 {
				field, width = compiler.NextHop, 64
			}
			ranges := hostile(rng, n, width)
			if wide { // IPv4-mapped ones have a table of their own
				ranges = slices.DeleteFunc(ranges, compiler.IsMapped)
			}
			table := setTable{bounds: setBounds(field, ranges, wide), wide: wide}
			table.build()
			deepest[wide] = max(deepest[wide], table.deep)
			blocks, err := SetTable(field, ranges, wide)
			require.NoError(t, err)
			got, back, err := TableRanges(blocks, wide)
			require.NoError(t, err)
			require.Equal(t, field, got)
			require.Equal(t, len(ranges), len(back))
			require.True(t, slices.Equal(ranges, back))
		}
	}
	t.Logf("deepest: narrow %d, wide %d", deepest[false], deepest[true])
}

func TestSetTableCorners(t *testing.T) {
	all := compiler.RemoteAddress.Domain()
	for name, c := range map[string]struct {
		field  compiler.Field
		ipv6   bool
		ranges []compiler.Range
	}{
		"empty":          {compiler.RemotePort, false, nil},
		"every port":     {compiler.SubInterface, false, []compiler.Range{compiler.SubInterface.Domain()}},
		"every address":  {compiler.RemoteAddress, true, []compiler.Range{all}},
		"the last LUID":  {compiler.NextHop, false, []compiler.Range{{First: compiler.Number(math.MaxUint64), Last: compiler.Number(math.MaxUint64)}}},
		"first and last": {compiler.RemoteAddress, true, []compiler.Range{{}, {First: all.Last, Last: all.Last}}},
	} {
		t.Run(name, func(t *testing.T) {
			blocks, err := SetTable(c.field, c.ranges, c.ipv6)
			require.NoError(t, err)
			_, back, err := TableRanges(blocks, c.ipv6)
			require.NoError(t, err)
			require.Equal(t, c.ranges, back)
		})
	}
}

// The IPv4 addresses of a range that reaches over both families.
func TestSetTableOfBothFamilies(t *testing.T) {
	blocks, err := SetTable(compiler.RemoteAddress, []compiler.Range{compiler.RemoteAddress.Domain()}, false)
	require.NoError(t, err)
	_, back, err := TableRanges(blocks, false)
	require.NoError(t, err)
	first, last := netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("255.255.255.255")
	require.Equal(t, []compiler.Range{{First: compiler.AddressValue(first), Last: compiler.AddressValue(last)}}, back)
}

// A damaged table is an error, never a panic.
func TestDamagedSetTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	blocks, err := SetTable(compiler.SubInterface, hostile(rng, 1000, 32), false)
	require.NoError(t, err)
	for range 20000 {
		damaged := slices.Clone(blocks[:1+rng.IntN(len(blocks))])
		for range 1 + rng.IntN(4) {
			damaged[rng.IntN(len(damaged))] = byte(rng.Uint32())
		}
		_, _, _ = TableRanges(damaged, rng.IntN(2) == 0)
	}
}

func BenchmarkSetTable(b *testing.B) {
	for _, n := range []int{1000, 100_000, 1_000_000} {
		rng := rand.New(rand.NewPCG(1, 1))
		var ranges []compiler.Range
		for at := uint64(0); len(ranges) < n; {
			at += 2 + rng.Uint64N(1<<33/uint64(n)-2)/2
			ranges = append(ranges, compiler.Range{First: compiler.Number(at), Last: compiler.Number(at)})
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var blocks []byte
			for b.Loop() {
				blocks, _ = SetTable(compiler.SubInterface, ranges, false)
			}
			b.ReportMetric(float64(len(blocks))/float64(n), "bytes/range")
		})
	}
}
