package tests

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/runtime"
	"github.com/hopgate/hopgate/tests/gen"
)

// objects, if given, is a folder to write the objects of the random policies to, so
// that another verifier can be asked about them (docs/verification.md).
var objects = flag.String("objects", "", "write the objects of random policies to this `folder`")

// An engine answers requests by one policy. Every engine must agree with the
// reference, Policy.Eval.
type engine func(r *compiler.Request) (compiler.Decision, error)

// diagram walks the decision diagram.
func diagram(t testing.TB, p *compiler.Policy) engine {
	d, err := compiler.Compile(p, nil)
	require.NoError(t, err)
	return func(r *compiler.Request) (compiler.Decision, error) { return d.Decide(r), nil }
}

// program compiles the policy, by way of the object file, and loads it.
func program(t testing.TB, p *compiler.Policy, counters bool) *runtime.Instance {
	d, err := compiler.Compile(p, &compiler.CompileOptions{MergeRules: !counters})
	require.NoError(t, err)
	prog, err := codegen.Generate(d, &codegen.Options{NoCounters: !counters})
	require.NoError(t, err)
	return loaded(t, prog, fmt.Sprintf("counters-%t", counters))
}

// loaded loads a program by way of its object file.
func loaded(t testing.TB, p *codegen.Program, name string) *runtime.Instance {
	var object bytes.Buffer
	require.NoError(t, p.WriteELF(&object))
	if *objects != "" {
		file := strings.ReplaceAll(t.Name(), "/", "-") + "-" + name + ".o"
		require.NoError(t, os.WriteFile(filepath.Join(*objects, file), object.Bytes(), 0o644))
	}
	read, err := codegen.ReadObject(name, object.Bytes())
	require.NoError(t, err)
	i, err := runtime.Load(read)
	require.NoError(t, err)
	return i
}

// tabled loads the engine of form table, by way of the object file, and gives it the
// policy.
func tabled(t testing.TB, p *compiler.Policy) *runtime.Instance {
	prog, err := codegen.GenerateEngine(codegen.Windows)
	require.NoError(t, err)
	i := loaded(t, prog, "engine")
	require.NoError(t, i.LoadTable(table(t, p)))
	return i
}

func table(t testing.TB, p *compiler.Policy) *codegen.Table {
	d, err := compiler.Compile(p, nil)
	require.NoError(t, err)
	table, err := codegen.GenerateTable(d, nil, codegen.Build{})
	require.NoError(t, err)
	return table
}

// events are what an engine must have written for a decision.
func wantEvent(p *compiler.Policy, d compiler.Decision) bool {
	return d.Audit >= 0 || d.Rule < len(p.Rules) && p.Rules[d.Rule].Log
}

func check(t testing.TB, name, text string) *compiler.Policy {
	file, err := lang.Parse(name, []byte(text))
	require.NoError(t, err, text)
	p, err := compiler.Check(file, &compiler.Options{BindAll: true})
	require.NoError(t, err, text)
	return p
}

// TestEnginesAgree compares the engines on a million requests to random policies:
// verdict, rule, audit rule and events.
func TestEnginesAgree(t *testing.T) {
	policies, requests := 250, 4000
	if testing.Short() {
		policies, requests = 30, 500
	}
	for seed := range uint64(policies) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			file, text := gen.Case(seed)
			agree(t, check(t, file, text), rand.New(rand.NewPCG(seed, 3)), requests)
		})
	}
}

func agree(t *testing.T, p *compiler.Policy, rng *rand.Rand, requests int) {
	walk := diagram(t, p)
	counted, plain, table := program(t, p, true), program(t, p, false), tabled(t, p)
	random := gen.NewRequests(p)
	for range requests {
		r := random.Random(rng)
		want := p.Eval(&r)
		got, err := walk(&r)
		require.NoError(t, err)
		require.Equal(t, want, got, "diagram: %+v", r)
		got, err = counted.Eval(&r)
		require.NoError(t, err)
		require.Equal(t, want, got, "program: %+v", r)
		requireEvent(t, p, counted, want, &r)
		got, err = table.Eval(&r)
		require.NoError(t, err)
		require.Equal(t, want, got, "table: %+v", r)
		requireEvent(t, p, table, want, &r)
		got, err = plain.Eval(&r)
		require.NoError(t, err)
		require.Equal(t, want.Verdict, got.Verdict, "program without counters: %+v", r)
		requireEvent(t, p, plain, want, &r)
	}
}

func requireEvent(t *testing.T, p *compiler.Policy, i *runtime.Instance, want compiler.Decision, r *compiler.Request) {
	events, err := i.Events()
	require.NoError(t, err)
	if !wantEvent(p, want) {
		require.Empty(t, events, "%+v", r)
		return
	}
	require.Len(t, events, 1, "%+v", r)
	e := events[0]
	require.Equal(t, want.Rule, e.Rule, "%+v", r)
	require.Equal(t, want.Audit, e.Audit, "%+v", r)
	require.Equal(t, want.Verdict, e.Answer, "%+v", r)
	require.Equal(t, r.Remote.Port(), e.Request.Remote.Port())
	require.Equal(t, r.Remote.Addr().Unmap(), e.Request.Remote.Addr())
	require.Equal(t, r.Local.Addr().Unmap(), e.Request.Local.Addr())
	require.Equal(t, r.Protocol, e.Request.Protocol)
}
