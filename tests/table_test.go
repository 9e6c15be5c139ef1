package tests

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/codegen/verifier"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/runtime"
	"github.com/hopgate/hopgate/tests/gen"
)

// emptyEngine is an engine in process that has no policy.
func emptyEngine(t testing.TB) *runtime.Instance {
	program, err := codegen.GenerateEngine(codegen.Windows)
	require.NoError(t, err)
	i, err := runtime.Load(program)
	require.NoError(t, err)
	return i
}

func randomPolicy(t testing.TB, seed uint64, opts gen.Options) *compiler.Policy {
	return check(t, "random.hop", gen.Policy(rand.New(rand.NewPCG(seed, 4)), opts))
}

// TestEngineVerifies: what eBPF for Windows demands of a program, the engine has, its
// loops among it.
func TestEngineVerifies(t *testing.T) {
	program, err := codegen.GenerateEngine(codegen.Windows)
	require.NoError(t, err)
	_, err = verifier.Verify(program)
	require.NoError(t, err)
}

// TestNoTable: an engine without a policy, and one with a table of another layout,
// denies.
func TestNoTable(t *testing.T) {
	i := emptyEngine(t)
	p := check(t, "p.hop", "policy p {\n default allow\n}\n")
	r := compiler.NoContext()
	d, err := i.Eval(&r)
	require.NoError(t, err)
	require.Equal(t, lang.Deny, d.Verdict)

	maps, err := i.TableMaps()
	require.NoError(t, err)
	_, _, err = runtime.ReadTable(maps, compiler.Connect)
	require.ErrorIs(t, err, runtime.ErrNoTable)
	value := valueOf(table(t, p))
	for _, at := range []int{0, 4} { // magic, version
		value[at]++
		require.NoError(t, maps.Switch(compiler.Connect, whole(value)))
		d, err = i.Eval(&r)
		require.NoError(t, err)
		require.Equal(t, lang.Deny, d.Verdict)
		value[at]--
	}
	require.NoError(t, maps.Switch(compiler.Connect, whole(value)))
	d, err = i.Eval(&r)
	require.NoError(t, err)
	require.Equal(t, lang.Allow, d.Verdict)

	linux, err := codegen.GenerateTable(compiled(t, p), &codegen.Options{Target: codegen.Linux}, codegen.Build{})
	require.NoError(t, err)
	require.ErrorContains(t, i.LoadTable(linux), "for target linux")
}

// valueOf is the value of the engine's map for a table.
func valueOf(t *codegen.Table) []byte {
	return codegen.JoinParts(t.Parts(&codegen.TableLoading{Generation: 1}))
}

// whole is a value as one part.
func whole(value []byte) []codegen.TablePart { return []codegen.TablePart{{Data: value}} }

func compiled(t testing.TB, p *compiler.Policy) *compiler.Diagram {
	d, err := compiler.Compile(p, nil)
	require.NoError(t, err)
	return d
}

// TestHalfWrittenTable: as long as some nodes are missing, a decision is the
// policy's or deny.
func TestHalfWrittenTable(t *testing.T) {
	const firstNode, nodeSize = 1536, 64 // docs/table-form.md
	for seed := range uint64(20) {
		p := randomPolicy(t, seed, gen.Options{})
		rng := rand.New(rand.NewPCG(seed, 5))
		i := emptyEngine(t)
		maps, err := i.TableMaps()
		require.NoError(t, err)
		good := table(t, p)
		random := gen.NewRequests(p)
		for range 20 {
			value := valueOf(good)
			from := firstNode + nodeSize*rng.IntN(good.Nodes()+1)
			to := min(from+nodeSize*(1+rng.IntN(8)), firstNode+nodeSize*good.Nodes())
			clear(value[from:max(from, to)])
			require.NoError(t, maps.Switch(p.Hook, whole(value)))
			require.NoError(t, i.JudgeBy(p.Hook))
			for range 100 {
				r := random.Random(rng)
				got, err := i.Eval(&r)
				require.NoError(t, err)
				if want := p.Eval(&r); got.Verdict != lang.Deny {
					require.Equal(t, want.Verdict, got.Verdict, "%+v", r)
				}
			}
		}
	}
}

// FuzzTable gives the engine any bytes for a table: it answers, and never faults.
func FuzzTable(f *testing.F) {
	p := randomPolicy(f, 1, gen.Options{Events: true, Dynamic: true})
	good := valueOf(table(f, p))
	f.Add(good[:4096], uint64(1))
	f.Add([]byte{}, uint64(2))
	engine := emptyEngine(f)
	maps, err := engine.TableMaps()
	require.NoError(f, err)
	random := gen.NewRequests(p)
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		value := make([]byte, codegen.TableValueSize)
		copy(value, data)
		rng := rand.New(rand.NewPCG(seed, 6))
		if seed%2 == 0 { // what comes after the header is anything
			copy(value, good[:1536])
			for at := 1536; at < 64<<10; at += 8 {
				binary.LittleEndian.PutUint64(value[at:], rng.Uint64())
			}
			for range rng.IntN(8) {
				value[8+rng.IntN(1528)] = byte(rng.Uint32())
			}
		}
		hook := compiler.Hook(seed / 2 % 2)
		require.NoError(t, maps.Switch(hook, whole(value)))
		require.NoError(t, engine.JudgeBy(hook))
		for range 100 {
			r := random.Random(rng)
			_, err := engine.Eval(&r)
			require.NoError(t, err)
		}
	})
}

// TestSheets: a table of many sheets decides as one of a single sheet, and leaves nothing to
// smaller ones that come after it.
func TestSheets(t *testing.T) {
	i := emptyEngine(t)
	maps, err := i.TableMaps()
	require.NoError(t, err)
	for seed := range uint64(8) {
		p := randomPolicy(t, seed, gen.Options{Dynamic: true, Rules: 60})
		small := table(t, p)
		large, err := gen.Spread(small)
		require.NoError(t, err)
		rng, random := rand.New(rand.NewPCG(seed, 11)), gen.NewRequests(p)
		for _, table := range []*codegen.Table{large, small, small} {
			before, err := maps.Generation(p.Hook)
			require.NoError(t, err)
			require.NoError(t, i.LoadTable(table))
			now, err := maps.Generation(p.Hook)
			require.NoError(t, err)
			require.Equal(t, before+1, now)
			for range 200 {
				r := random.Random(rng)
				got, err := i.Eval(&r)
				require.NoError(t, err)
				require.Equal(t, p.Eval(&r), got, "seed %d: %+v", seed, r)
			}
			read, _, err := runtime.ReadTable(maps, p.Hook)
			require.NoError(t, err)
			require.Equal(t, table.Nodes(), read.Nodes())
		}
		value, err := maps.Table(p.Hook)
		require.NoError(t, err)
		require.Len(t, value, codegen.TableValueSize)
	}
}

// TestSwitchTables judges while policies are switched: every decision is wholly that of
// the one or the other.
func TestSwitchTables(t *testing.T) {
	policies := [2]*compiler.Policy{}
	for k := range policies {
		seed := uint64(100 * k)
		for policies[k] == nil || policies[k].Hook != compiler.Connect || len(policies[k].Rules) < 20 {
			policies[k] = randomPolicy(t, seed, gen.Options{Dynamic: true, Rules: 100})
			seed++
		}
	}
	tables := [2]*codegen.Table{table(t, policies[0]), table(t, policies[1])}
	i := emptyEngine(t)
	require.NoError(t, i.LoadTable(tables[0]))
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for g := range uint64(2) {
		wait.Add(1)
		go func() {
			defer wait.Done()
			rng := rand.New(rand.NewPCG(g, 7))
			random := gen.NewRequests(policies[g])
			for {
				select {
				case <-stop:
					return
				default:
				}
				r := random.Random(rng)
				got, err := i.Eval(&r)
				if err != nil || got != policies[0].Eval(&r) && got != policies[1].Eval(&r) {
					t.Errorf("%+v: %+v, %v", r, got, err)
					return
				}
			}
		}()
	}
	for k := range 300 {
		require.NoError(t, i.LoadTable(tables[k%2]))
	}
	close(stop)
	wait.Wait()
}

// TestHookWhileTablesChange: a decision is told of by the policy that made it.
func TestHookWhileTablesChange(t *testing.T) {
	engine, err := codegen.GenerateEngine(codegen.Windows)
	require.NoError(t, err)
	hook := runtime.NewHook(nil)
	link, err := hook.Attach(engine, nil)
	require.NoError(t, err)
	others := ""
	for i := range 99 {
		others += fmt.Sprintf(" rule r%d: deny if remote_port == %d\n", i, 1000+i)
	}
	tables := [2]*codegen.Table{
		table(t, check(t, "few.hop", "policy few {\n default allow\n rule few: deny if remote_port == 1\n}\n")),
		table(t, check(t, "many.hop", "policy many {\n default allow\n"+others+" rule many: deny if remote_port == 1\n}\n")),
	}
	require.NoError(t, link.Instance().LoadTable(tables[0]))
	done := make(chan error)
	go func() {
		var err error
		for k := 0; k < 300 && err == nil; k++ {
			err = link.Instance().LoadTable(tables[(k+1)%2])
		}
		done <- err
	}()
	r := compiler.NoContext()
	r.Protocol, r.Remote, r.Local = 6, netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("198.51.100.1:1")
	for {
		select {
		case err := <-done:
			require.NoError(t, err)
			return
		default:
			_, result := hook.Connect(&r)
			require.Equal(t, result.Calls[0].Policy, result.Calls[0].Rule)
		}
	}
}
