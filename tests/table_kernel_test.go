//go:build linux

package tests

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/runtime"
	"github.com/hopgate/hopgate/tests/gen"
	"github.com/hopgate/hopgate/tests/tracepoint"
)

// TestTableInKernel runs the engine of form table in the Linux kernel and compares
// it with the reference: verdict, rule and audit rule. One engine gets all the
// policies, one after the other.
func TestTableInKernel(t *testing.T) {
	engine, err := codegen.GenerateEngine(codegen.Windows)
	require.NoError(t, err)
	kernel := tracepoint.Load(t, engine, compiler.Connect)
	maps := runtime.KernelTables(kernel.Maps[codegen.TableMap], kernel.Maps[codegen.SetsMap], codegen.Windows)
	policies, requests := 25, 100
	if testing.Short() {
		policies, requests = 10, 50
	}
	for seed := range uint64(policies) {
		rng := rand.New(rand.NewPCG(seed, 3))
		text := gen.Policy(rng, gen.Options{Events: seed%3 == 0, Dynamic: seed%4 == 0, Rules: []int{-1, 1, 5, 50, 200}[seed%5]})
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			p := check(t, "random.hop", text)
			table := table(t, p)
			if seed%2 == 1 {
				table, err = gen.Spread(table)
				require.NoError(t, err)
			}
			require.NoError(t, runtime.LoadTable(maps, table, codegen.TableLoading{}))
			kernel.Hook = p.Hook
			random := gen.NewRequests(p)
			counters := func() []uint64 {
				value, err := maps.Table(p.Hook)
				require.NoError(t, err)
				return codegen.TableCounts(value[codegen.TableCounters:], table.RuleCount())
			}
			about, err := table.Description()
			require.NoError(t, err)
			before := counters()
			for range requests {
				r := random.Random(rng)
				verdict := kernel.Run(&r)
				after := counters()
				rule, audit := tracepoint.Moved(about.Rules, before, after)
				require.Equal(t, p.Eval(&r), compiler.Decision{Verdict: lang.Verdict(verdict), Rule: rule, Audit: audit}, "%+v", r)
				before = after
			}
			read, _, err := runtime.ReadTable(maps, p.Hook)
			require.NoError(t, err)
			readAbout, err := read.Description()
			require.NoError(t, err)
			require.Equal(t, about, readAbout)
		})
	}
}

// TestSwitchInKernel asks the engine on one thread while another switches policies, from
// packed files: every answer is wholly that of one policy.
func TestSwitchInKernel(t *testing.T) {
	engine, err := codegen.GenerateEngine(codegen.Windows)
	require.NoError(t, err)
	kernel := tracepoint.Load(t, engine, compiler.Connect)
	maps := runtime.KernelTables(kernel.Maps[codegen.TableMap], kernel.Maps[codegen.SetsMap], codegen.Windows)

	var policies [2]*compiler.Policy
	var tables [2]*codegen.Table
	for k, v := range []string{"deny", "allow"} {
		var text strings.Builder
		fmt.Fprintf(&text, "policy p%d {\n default %s\n set s dynamic = { %d-%d }\n rule s: allow hard if remote_port in $s\n", k, v, 100*k, 100*k+50)
		for i := range 200 {
			fmt.Fprintf(&text, " rule r%d: %s if remote_port == %d and local_port < %d\n", i, []string{"allow", "deny"}[(i+k)%2], i+200*(1-k), 1000+i)
		}
		policies[k] = check(t, "p.hop", text.String()+"}\n")
		tables[k], err = codegen.ReadPack("p.hgp", table(t, policies[k]).Pack())
		require.NoError(t, err)
	}
	require.NoError(t, runtime.LoadTable(maps, tables[0], codegen.TableLoading{}))
	done := make(chan error)
	go func() {
		for k := range 40 {
			if err := runtime.LoadTable(maps, tables[(k+1)%2], codegen.TableLoading{}); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	rng := rand.New(rand.NewPCG(1, 8))
	for asked := 0; ; asked++ {
		select {
		case err := <-done:
			require.NoError(t, err)
			t.Logf("%d decisions during 40 switches", asked)
			return
		default:
		}
		r := compiler.NoContext()
		r.Remote = netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(rng.IntN(400)))
		r.Local = netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), uint16(rng.IntN(1400)))
		got := lang.Verdict(kernel.Run(&r))
		require.Contains(t, []lang.Verdict{policies[0].Eval(&r).Verdict, policies[1].Eval(&r).Verdict}, got, "%+v", r)
	}
}
