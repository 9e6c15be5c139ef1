package tests

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/tests/gen"
)

// meaning is a policy's diagram in a form that does not depend on its text. Rules
// become boxes in one way only, so that policies of one meaning, rule by rule,
// have one diagram.
func meaning(t *testing.T, p *compiler.Policy) string {
	d, err := compiler.Compile(p.Enforced(), nil) // audit rules are tested as written
	require.NoError(t, err)
	s := fmt.Sprint(p.Name, p.Hook, p.Default, p.AuditMode, p.FailOpen)
	for _, r := range p.Rules {
		s += fmt.Sprint(r.ID, r.Verdict, r.Log, r.Audit, ";")
	}
	for _, test := range p.Tests {
		s += fmt.Sprintf("%+v %s %s;", test.Request, test.Expect, test.By)
	}
	for _, g := range []compiler.Graph{d.IPv4, d.IPv6} {
		s += fmt.Sprint(g.Trees, g.Audit)
		for _, n := range g.Nodes {
			s += fmt.Sprint("\n", n.Var, n.Starts, n.Kids)
		}
	}
	return s
}

// Formatting, into the other spelling and back, never changes what a policy means,
// and formatting again changes nothing.
func TestFormatKeepsTheMeaning(t *testing.T) {
	policies := uint64(150)
	if testing.Short() {
		policies = 30
	}
	for seed := range policies {
		rng := rand.New(rand.NewPCG(seed, 5))
		opts := gen.Options{Events: seed%2 == 0, Dynamic: seed%3 == 0, Asserts: seed%4 == 0, Rules: []int{-1, 3, 30}[seed%3]}
		names := map[lang.Syntax]string{lang.DSL: "random.hop", lang.YAML: "random.yaml"}
		from, to := lang.DSL, lang.YAML
		if seed%2 == 1 {
			from, to = to, from
		}
		opts.Syntax = from
		text := gen.Policy(rng, opts)
		want := meaning(t, check(t, names[from], text))
		for _, syntax := range []lang.Syntax{from, to, to, from} {
			file, err := lang.Parse(names[from], []byte(text))
			require.NoError(t, err, "seed %d\n%s", seed, text)
			formatted := string(lang.Format(file, syntax))
			require.Equal(t, want, meaning(t, check(t, names[syntax], formatted)), "seed %d\n%s", seed, formatted)
			if syntax == from {
				again, err := lang.Parse(names[syntax], []byte(formatted))
				require.NoError(t, err)
				require.Equal(t, formatted, string(lang.Format(again, syntax)), "seed %d: formatting twice", seed)
			}
			text, from = formatted, syntax
		}
	}
}
