package tests

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/codegen/proof"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/runtime"
	"github.com/hopgate/hopgate/tests/gen"
)

// bigSets is a policy whose dynamic set and whose constant one are large.
func bigSets(t testing.TB, rng *rand.Rand, n int) *compiler.Policy {
	p := check(t, "sets.hop", `policy sets {
  default allow
  set live dynamic = { 192.0.2.1 }
  rule live: deny if remote_address in $live
  rule constant: deny if local_address in { 192.0.2.1 } unless protocol == tcp
  rule either: allow hard if local_address in $live
}`)
	var prefixes []netip.Prefix
	for _, s := range []struct {
		within      string
		least, most int
	}{{"0.0.0.0/0", 16, 32}, {"10.1.0.0/16", 24, 32}, {"2000::/3", 32, 64}, {"2001:db8::/48", 56, 128}} {
		prefixes = append(prefixes, gen.Prefixes(rng, netip.MustParsePrefix(s.within), n/4, s.least, s.most)...)
	}
	p.Sets[0].Ranges = gen.Ranges(prefixes[:len(prefixes)*3/4])
	p.Rules[1].Cond = compiler.All{
		compiler.In{Field: compiler.LocalAddress, Ranges: gen.Ranges(prefixes[len(prefixes)/4:])},
		p.Rules[1].Cond.(compiler.All)[1],
	}
	return p
}

// corners are the addresses at the ends of ranges and beside them.
func corners(ranges []compiler.Range) []netip.Addr {
	var list []netip.Addr
	for _, r := range ranges {
		before := r.First
		if before.Lo--; r.First.Lo == 0 {
			before.Hi--
		}
		for _, v := range []compiler.Value{before, r.First, r.Last, gen.Next(r.Last)} {
			list = append(list, v.Address())
		}
	}
	return list
}

// TestBigSetsAgree asks the reference, the diagram and the program about every
// corner of large sets.
func TestBigSetsAgree(t *testing.T) {
	n, points := 40_000, 150_000
	if testing.Short() {
		n, points = 4000, 10_000
	}
	rng := rand.New(rand.NewPCG(1, 8))
	p := bigSets(t, rng, n)
	walk, counted := diagram(t, p), program(t, p, true)
	ends := [2][]netip.Addr{}
	for _, a := range append(corners(p.Sets[0].Ranges), corners(p.Rules[1].Cond.(compiler.All)[0].(compiler.In).Ranges)...) {
		family := 0
		if a.Is6() {
			family = 1
		}
		ends[family] = append(ends[family], a)
	}
	asked := map[compiler.Decision]int{}
	for i := range points {
		of := ends[i%2]
		r := compiler.NoContext()
		r.Remote = netip.AddrPortFrom(of[i/2%len(of)], uint16(i))
		r.Local = netip.AddrPortFrom(of[rng.IntN(len(of))], 443)
		r.Protocol = []uint8{6, 17}[rng.IntN(2)]
		want := p.Eval(&r)
		asked[want]++
		got, err := walk(&r)
		require.NoError(t, err)
		require.Equal(t, want, got, "diagram: %+v", r)
		got, err = counted.Eval(&r)
		require.NoError(t, err)
		require.Equal(t, want, got, "program: %+v", r)
	}
	require.Len(t, asked, 4, "%v", asked)
}

// TestChangeSet changes a dynamic set of a program that runs.
func TestChangeSet(t *testing.T) {
	p := check(t, "sets.hop", `policy sets {
  default allow
  set live dynamic = { 192.0.2.0/24, 2001:db8::/32 }
  set ports dynamic = {}
  rule live: deny if remote_address in $live
  rule ports: deny if remote_port in $ports
}`)
	i := program(t, p, true)
	denied := func(to string) bool {
		r := compiler.NoContext()
		r.Remote = netip.MustParseAddrPort(to)
		d, err := i.Eval(&r)
		require.NoError(t, err)
		return d.Verdict == lang.Deny
	}
	require.True(t, denied("192.0.2.7:1") && denied("[2001:db8::1]:1"))
	require.NoError(t, i.ChangeSet("live", compiler.RemoveFromSet, []string{"192.0.2.7"}))
	require.True(t, !denied("192.0.2.7:1") && denied("192.0.2.8:1") && denied("[2001:db8::1]:1"))
	require.NoError(t, i.ChangeSet("live", compiler.AddToSet, []string{"198.51.100.1-198.51.100.9", "fd00::/8"}))
	require.True(t, denied("198.51.100.9:1") && denied("192.0.2.8:1") && denied("[fd12::1]:1"))
	require.NoError(t, i.ChangeSet("live", compiler.ReplaceSet, []string{"203.0.113.0/24"}))
	require.True(t, denied("203.0.113.9:1") && !denied("192.0.2.8:1") && !denied("[2001:db8::1]:1"))
	require.NoError(t, i.ChangeSet("ports", compiler.AddToSet, []string{"25", "1000-2000"}))
	require.True(t, denied("8.8.8.8:1500") && denied("[::1]:25") && !denied("8.8.8.8:26"))

	require.ErrorContains(t, i.ChangeSet("other", compiler.ReplaceSet, nil), "no dynamic set `other`")
	require.ErrorContains(t, i.ChangeSet("ports", compiler.AddToSet, []string{"25/tcp"}), "cannot hold `25/tcp`")
	require.ErrorContains(t, i.ChangeSet("live", compiler.AddToSet, []string{"10.0.0.1/8"}), "10.0.0.0/8")
	require.True(t, denied("203.0.113.9:1"), "after errors")
}

// A range of a set may reach over both families: 0.0.0.0/0 and ::/0 are one range.
func TestSetsOfBothFamilies(t *testing.T) {
	const text = "policy sets {\n default allow\n set live dynamic = { %s }\n rule live: deny if remote_address in $live\n}"
	for _, values := range [][]string{{"0.0.0.0/0", "::/0"}, {"255.255.255.0/24", "::1:0:0:0/80"}, {"0.0.0.0/8", "::fffe:0:0/96"}} {
		t.Run(strings.Join(values, " "), func(t *testing.T) {
			p := check(t, "sets.hop", fmt.Sprintf(text, strings.Join(values, ", ")))
			started, changed := program(t, p, true), program(t, check(t, "sets.hop", fmt.Sprintf(text, "")), true)
			for _, value := range values {
				require.NoError(t, changed.ChangeSet("live", compiler.AddToSet, []string{value}))
			}
			for _, to := range []string{"0.0.0.0", "0.255.255.255", "8.8.8.8", "255.255.255.0", "255.255.255.255", "::", "::fffe:0:0", "::fffe:ffff:ffff", "::1:0:0:0", "::2:0:0:0", "2001:db8::1"} {
				r := compiler.NoContext()
				r.Remote = netip.AddrPortFrom(netip.MustParseAddr(to), 443)
				for _, i := range []*runtime.Instance{started, changed} {
					got, err := i.Eval(&r)
					require.NoError(t, err)
					require.Equal(t, p.Eval(&r), got, to)
				}
			}
			d, err := compiler.Compile(p, nil)
			require.NoError(t, err)
			made, err := codegen.Generate(d, &codegen.Options{})
			require.NoError(t, err)
			var object bytes.Buffer
			require.NoError(t, made.WriteELF(&object))
			found, err := proof.Check(p, object.Bytes(), 0)
			require.NoError(t, err)
			require.Equal(t, proof.Proved, found.Status, "%s", found)
		})
	}
}

// TestManyLists makes rules with as many lists of ranges as there are widths of a
// table's digits.
func TestManyLists(t *testing.T) {
	for _, n := range []int{0, 1, 20, 24, 25, 511, 512, 513, 5000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(n), 9))
			p := check(t, "list.hop", "policy list {\n default allow\n rule one: deny if sub_interface == 7\n}")
			var ranges []compiler.Range
			for at := uint64(0); len(ranges) < n; {
				at += 2 + rng.Uint64N(1<<19)
				last := at + rng.Uint64N(1<<18)
				ranges = append(ranges, compiler.Range{First: compiler.Number(at), Last: compiler.Number(last)})
				at = last + 1
			}
			p.Rules[0].Cond = compiler.In{Field: compiler.SubInterface, Ranges: ranges}
			i := program(t, p, true)
			for try := range 4000 {
				r := compiler.NoContext()
				r.SubInterface = rng.Uint32()
				if n > 0 && try%2 == 0 {
					near := ranges[rng.IntN(n)]
					r.SubInterface = uint32(near.First.Lo) + uint32(rng.IntN(3)) - 1
					if try%4 == 0 {
						r.SubInterface = uint32(near.Last.Lo) + uint32(rng.IntN(3)) - 1
					}
				}
				got, err := i.Eval(&r)
				require.NoError(t, err)
				require.Equal(t, p.Eval(&r), got, "%+v", r)
			}
		})
	}
}
