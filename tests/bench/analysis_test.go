package bench

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// overlapping is a policy of a thousand rules over sets whose ranges overlap.
func overlapping(b *testing.B) *compiler.Policy {
	rng := rand.New(rand.NewPCG(3, 3))
	var text strings.Builder
	text.WriteString("policy overlapping {\n default allow\n")
	address := func(n uint32) netip.Addr {
		return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	}
	for i := range 40 {
		fmt.Fprintf(&text, " set s%d = {", i)
		for range 30 {
			first := rng.Uint32N(3 << 30)
			fmt.Fprintf(&text, "%s-%s,", address(first), address(first+rng.Uint32N(1<<28)))
		}
		text.WriteString("}\n")
	}
	for i := range 1000 {
		fmt.Fprintf(&text, " rule r%d: %s if remote_address in $s%d and local_address in $s%d and remote_port in {%d-65000}\n",
			i, []string{"allow", "deny"}[i%2], rng.IntN(40), rng.IntN(40), rng.IntN(60000))
	}
	file, err := lang.Parse("overlapping.hop", []byte(text.String()+"}\n"))
	require.NoError(b, err)
	p, err := compiler.Check(file, nil)
	require.NoError(b, err)
	return p
}

// analysed are the policies of a thousand rules that the analyses are measured on.
func analysed(b *testing.B, each func(b *testing.B, p *compiler.Policy)) {
	for _, name := range []string{"acl1_1000", "fw1_1000", "ipc1_1000", "acl1_10000"} {
		p := classBench(b, name)
		b.Run(name, func(b *testing.B) { each(b, p) })
	}
	b.Run("overlapping", func(b *testing.B) { each(b, overlapping(b)) })
}

func BenchmarkLint(b *testing.B) {
	analysed(b, func(b *testing.B, p *compiler.Policy) {
		for b.Loop() {
			b.ReportMetric(float64(len(compiler.Lint(p, nil))), "findings")
		}
	})
}

func BenchmarkLintPedantic(b *testing.B) {
	analysed(b, func(b *testing.B, p *compiler.Policy) {
		for b.Loop() {
			b.ReportMetric(float64(len(compiler.Lint(p, &compiler.LintOptions{Pedantic: true}))), "findings")
		}
	})
}

// BenchmarkProve decides a claim that fails, one that has a reason to hold, and one
// about every rule.
func BenchmarkProve(b *testing.B) {
	analysed(b, func(b *testing.B, p *compiler.Policy) {
		q := *p
		for _, text := range []string{"allow if remote_port == 23", "deny if remote_port == 80 and local_port == 80 and protocol == gre", "allow hard"} {
			a, err := lang.ParseClaim("claim", false, []byte(text))
			require.NoError(b, err)
			checked, err := compiler.Check(&lang.File{Default: &lang.VerdictWord{}}, &compiler.Options{Asserts: []*lang.Assert{a}})
			require.NoError(b, err)
			q.Asserts = append(q.Asserts, checked.Asserts...)
		}
		for b.Loop() {
			undecided := 0
			for _, proof := range compiler.Prove(&q) {
				if proof.Undecided() {
					undecided++
				}
			}
			b.ReportMetric(float64(undecided), "undecided")
		}
	})
}

func BenchmarkDiff(b *testing.B) {
	for _, change := range []struct {
		name string
		make func(p *compiler.Policy)
	}{
		{"none", func(*compiler.Policy) {}},
		{"one-verdict", func(p *compiler.Policy) { p.Rules[len(p.Rules)/2].Verdict = lang.AllowHard }},
		{"moved", func(p *compiler.Policy) {
			n := len(p.Rules)
			p.Rules = slices.Insert(slices.Delete(slices.Clone(p.Rules), n/2, n/2+1), 0, p.Rules[n/2])
		}},
		{"default", func(p *compiler.Policy) { p.Default = lang.Deny }},
		{"all-verdicts", func(p *compiler.Policy) {
			for i := range p.Rules {
				p.Rules[i].Verdict = lang.Allow - p.Rules[i].Verdict
			}
		}},
	} {
		b.Run(change.name, func(b *testing.B) {
			analysed(b, func(b *testing.B, p *compiler.Policy) {
				q := *p
				q.Rules = slices.Clone(p.Rules)
				change.make(&q)
				for b.Loop() {
					c, err := compiler.Diff(p, &q, nil)
					require.NoError(b, err)
					b.ReportMetric(float64(len(c.Differences)), "pairs")
					b.ReportMetric(map[bool]float64{true: 1}[c.Undecided], "undecided")
				}
			})
		})
	}
}
