package tests

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/tests/gen"
)

// smallPolicies are random policies of which every case can be tried. Interfaces
// are bound.
func smallPolicies(t *testing.T, stream uint64, opts gen.Options, each func(t *testing.T, rng *rand.Rand, p *compiler.Policy, requests []compiler.Request)) {
	n := 300
	if testing.Short() {
		n = 60
	}
	opts.Small = true
	reached := map[string]int{}
	for seed := range uint64(n) {
		rng := rand.New(rand.NewPCG(seed, stream))
		text := gen.Policy(rng, opts)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			p := check(t, "random.hop", text)
			all := gen.NewRequests(p)
			if all.Count() > 8000 {
				return
			}
			var requests []compiler.Request
			for r := range all.All() {
				requests = append(requests, r)
			}
			for feature := range features {
				if strings.Contains(text, feature) {
					reached[feature]++
				}
			}
			each(t, rng, p, requests)
			if t.Failed() {
				t.Log(text)
			}
		})
	}
	t.Log(reached)
	if testing.Short() {
		return
	}
	for feature, needs := range features {
		if needs == nil || needs(opts) {
			require.Greater(t, reached[feature], 10, "policies with `%s`", feature)
		}
	}
}

// features are pieces of text, each of which many of the policies must have, where
// the options allow it.
var features = map[string]func(gen.Options) bool{
	"on unknown fail-open": nil, "on unknown fail-closed": nil, "hook accept": nil, "$vpn": nil, "$office": nil,
	"== unknown": nil, "unless": nil, "not (": nil, " or ": nil, " and ": nil, "allow hard": nil, "not in {": nil, ">= ": nil,
	"/tcp": nil, "family ": nil, "remote_address ": nil, "local ": nil, "interface_type ": nil, "sub_interface ": nil,
	"$set-":      nil,
	" audit":     func(o gen.Options) bool { return o.Events },
	" log":       func(o gen.Options) bool { return o.Events },
	"mode audit": func(o gen.Options) bool { return o.Events },
	"assert ":    func(o gen.Options) bool { return o.Asserts },
}

// violates is what language.md says of an assert and one connection.
func violates(p *compiler.Policy, a *compiler.Assert, r *compiler.Request) bool {
	c := compiler.EvalCond(a.Cond, r)
	unknownCounts := a.Always == (a.Verdict == lang.Deny)
	if c == compiler.False || c == compiler.Maybe && !unknownCounts {
		return false
	}
	got := p.Enforced().Eval(r).Verdict
	is := got == a.Verdict || a.Verdict == lang.Allow && got == lang.AllowHard
	return is != a.Always
}

// Every proof holds for every connection, and every counterexample is one.
func TestProveAgainstEveryRequest(t *testing.T) {
	proved, failed := 0, 0
	smallPolicies(t, 21, gen.Options{Rules: 7, Asserts: true, Events: true}, func(t *testing.T, _ *rand.Rand, p *compiler.Policy, requests []compiler.Request) {
		for _, proof := range compiler.Prove(p) {
			require.False(t, proof.Undecided())
			bad := 0
			for i := range requests {
				if violates(p, proof.Assert, &requests[i]) {
					bad++
				}
			}
			require.Equal(t, bad == 0, proof.Holds, "%s: %d violations", proof.Assert, bad)
			if proof.Holds {
				proved++
				continue
			}
			failed++
			c := proof.Counterexample
			require.True(t, violates(p, proof.Assert, &c.Request), "%s: %+v", proof.Assert, c.Request)
			require.Equal(t, p.Enforced().Eval(&c.Request), c.Decision)
		}
	})
	require.Greater(t, proved, 20)
	require.Greater(t, failed, 20)
}
