package gen

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// Every policy that comes out is a valid one, and its own text means the same.
func TestPoliciesAreValid(t *testing.T) {
	for _, opts := range []Options{
		{},
		{Syntax: lang.YAML},
		{Events: true, Dynamic: true, Asserts: true},
		{Syntax: lang.YAML, Events: true, Dynamic: true, Asserts: true},
		{Rules: 6, Small: true},
		{Syntax: lang.YAML, Rules: 6, Small: true},
		{Rules: -1},
	} {
		name := map[lang.Syntax]string{lang.DSL: "random.hop", lang.YAML: "random.yaml"}[opts.Syntax]
		for seed := range uint64(25) {
			rng := rand.New(rand.NewPCG(seed, 7))
			text := Policy(rng, opts)
			policy := check(t, name, text)
			again := check(t, "again.hop", policy.String())
			requests := NewRequests(policy)
			for range 100 {
				r := requests.Random(rng)
				want, got := policy.Eval(&r), again.Eval(&r)
				require.Equal(t, want, got, "%+v seed %d: %+v", opts, seed, r)
				read, err := policy.RequestFromText(policy.RequestText(&r))
				require.NoError(t, err)
				require.Equal(t, want, policy.Eval(&read), "%s", policy.RequestText(&r))
			}
		}
	}
}

func check(t *testing.T, name, text string) *compiler.Policy {
	t.Helper()
	file, err := lang.Parse(name, []byte(text))
	require.NoError(t, err)
	policy, err := compiler.Check(file, &compiler.Options{BindAll: true})
	require.NoError(t, err)
	return policy
}

// All meets every case that conditions can tell apart, which random requests show.
func TestAllIsExhaustive(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 3))
		policy := check(t, "random.hop", Policy(rng, Options{Rules: 5, Small: true}))
		requests := NewRequests(policy)
		seen := map[string]bool{}
		n := 0
		for r := range requests.All() {
			seen[truths(policy, &r)] = true
			n++
		}
		require.Equal(t, requests.Count(), n)
		for range 2000 {
			r := requests.Random(rng)
			require.True(t, seen[truths(policy, &r)], "seed %d", seed)
		}
	}
}

// truths are the values of all conditions on a request.
func truths(p *compiler.Policy, r *compiler.Request) string {
	text := ""
	for i := range p.Rules {
		text += fmt.Sprint(compiler.EvalCond(p.Rules[i].Cond, r), " ")
	}
	return text
}

// Traffic comes to an end for a policy that no IPv4 connection meets.
func TestTrafficOfIPv6Policy(t *testing.T) {
	policy := check(t, "ipv6.hop", NastyPolicy(rand.New(rand.NewPCG(1, 1)), 20, Nasty()["ipv6"]))
	requests := Traffic(1, policy, 100)
	require.Len(t, requests, 100)
	for _, r := range requests {
		require.Equal(t, 4, r.Family())
	}
}
