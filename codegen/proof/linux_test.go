package proof_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/codegen/proof"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/tests/gen"
)

// unbound reads a policy whose named interfaces are for the host to look up.
func unbound(t testing.TB, text string) *compiler.Policy {
	file, err := lang.Parse("policy.hop", []byte(text))
	require.NoError(t, err, text)
	p, err := compiler.Check(file, nil)
	require.NoError(t, err, text)
	return p
}

func linuxObject(t testing.TB, p *compiler.Policy, opts codegen.Options) []byte {
	opts.Target = codegen.Linux
	d, err := compiler.Compile(p, &compiler.CompileOptions{MergeRules: opts.NoCounters, FreeInterfaces: true})
	require.NoError(t, err)
	program, err := codegen.Generate(d, &opts)
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, program.WriteELF(&b))
	return b.Bytes()
}

// TestRandomLinuxPolicies proves what random policies compile to for Linux.
func TestRandomLinuxPolicies(t *testing.T) {
	policies := 120
	if testing.Short() {
		policies = 20
	}
	late := 0
	for seed := range uint64(policies) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 5))
			p := unbound(t, gen.Policy(rng, gen.Options{Events: seed%3 == 0, Dynamic: seed%4 == 0, Rules: []int{-1, 1, 5, 20, 50, 200}[seed%6]}))
			if p.Hook != compiler.Connect {
				t.Log("hook accept")
				return
			}
			for _, opts := range []codegen.Options{{}, {NoCounters: true}, {LeaveReplies: true}, {DeviceMap: true}} {
				began := time.Now()
				o := linuxObject(t, p, opts)
				compiled := time.Since(began)
				r, err := proof.Check(p, o, limit(!opts.NoCounters))
				require.NoError(t, err)
				t.Logf("rules %d %+v compile %v check %v: %s, late %d", len(p.Rules), opts, compiled.Round(time.Millisecond), r.Duration.Round(time.Millisecond), r, r.Late)
				late += r.Late
				if !opts.NoCounters {
					require.Equal(t, proof.Proved, r.Status, r)
				} else {
					require.NotEqual(t, proof.Refuted, r.Status, r)
					require.NotEqual(t, proof.Refused, r.Status, r)
				}
			}
		})
	}
	t.Logf("late %d", late)
}
