package tests

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
	"github.com/hopgate/hopgate/runtime/vm"
	"github.com/hopgate/hopgate/tests/gen"
)

// spy runs a program's functions and counts what they ask of the helper for the
// network context. The helper fails on demand, and the context may not be written.
type spy struct {
	functions map[codegen.AttachType]*vm.Program
	machine   *vm.Machine
	network   [codegen.NetworkContextSize]byte
	fails     bool
	calls     int
}

func newSpy(t *testing.T, p *codegen.Program) *spy {
	s := &spy{functions: map[codegen.AttachType]*vm.Program{}, machine: vm.NewMachine()}
	env := &vm.Environment{
		Maps: map[string]*vm.Map{}, ReadOnlyContext: true,
		Helpers: map[int32]vm.Helper{
			codegen.HelperNetworkContext: s.networkContext,
			codegen.HelperCurrentPidTgid: func(*vm.Machine, uint64, uint64, uint64, uint64, uint64) (uint64, error) { return 0, nil },
		},
	}
	for _, spec := range p.Maps {
		m, err := vm.NewMap(spec)
		require.NoError(t, err)
		env.Maps[spec.Name] = m
		for _, kv := range spec.Contents {
			if inner, ok := kv.Value.(string); ok { // which stands before it
				require.NoError(t, m.SetMap(kv.Key.([]byte), env.Maps[inner]))
			}
		}
	}
	for _, f := range p.Functions {
		at, ok := codegen.AttachTypeOf(f.Section)
		require.True(t, ok)
		code, err := vm.Load(f.Instructions, env)
		require.NoError(t, err)
		s.functions[at] = code
	}
	return s
}

func (s *spy) networkContext(m *vm.Machine, r1, r2, r3, _, _ uint64) (uint64, error) {
	s.calls++
	if !m.IsContext(r1) || r3 != codegen.NetworkContextSize {
		return 0, errors.New("bad arguments")
	}
	if s.fails {
		return ^uint64(0), m.Write(r2, make([]byte, codegen.NetworkContextSize))
	}
	return 0, m.Write(r2, s.network[:])
}

func (s *spy) run(t *testing.T, p *compiler.Policy, r *compiler.Request) uint64 {
	at := runtime.AuthorizationLayer(p.Hook, r)
	context := make([]byte, codegen.SockAddrSize)
	require.NoError(t, runtime.PutSockAddr(context, at, r))
	runtime.PutNetworkContext(s.network[:], at, r)
	s.calls = 0
	r0, err := s.machine.Run(s.functions[at], context, nil)
	require.NoError(t, err)
	return r0
}

// readsContext reports whether the diagram tests the network context on the way to
// its decision. A forest that tests it anywhere may ask up front.
func readsContext(d *compiler.Diagram, r *compiler.Request) bool {
	g := &d.IPv4
	if r.Family() == 6 {
		g = &d.IPv6
	}
	reads := len(g.Trees) > 1
	for _, n := range append([]compiler.NodeID{g.Audit}, g.Trees...) {
		for n >= 0 {
			node := &g.Nodes[n]
			switch node.Var.Field {
			case compiler.InterfaceType, compiler.TunnelType, compiler.NextHop, compiler.SubInterface:
				reads = true
			}
			n = node.Next(node.Var.Value(r))
		}
	}
	return reads
}

// The helper is called at most once, never where nothing on the way reads what it
// gives, and its failure makes the four fields unknown. Programs return 0, 1 or 2
// and do not write the context.
func TestNetworkContextIsReadOnlyWhereNeeded(t *testing.T) {
	called, avoided := 0, 0
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 3))
		p := check(t, "random.hop", gen.Policy(rng, gen.Options{Rules: 1 + int(seed), Events: seed%2 == 0, Dynamic: seed%3 == 0}))
		d, err := compiler.Compile(p, nil)
		require.NoError(t, err)
		program, err := codegen.Generate(d, nil)
		require.NoError(t, err)
		s := newSpy(t, program)
		random := gen.NewRequests(p)
		for range 500 {
			r := random.Random(rng)
			s.fails = false
			require.Equal(t, uint64(p.Eval(&r).Verdict), s.run(t, p, &r))
			require.LessOrEqual(t, s.calls, 1)
			called += s.calls
			if !readsContext(d, &r) {
				require.Zero(t, s.calls, "%+v", r)
				avoided++
			}
			s.fails = true
			blind := r
			none := compiler.NoContext()
			blind.InterfaceType, blind.TunnelType, blind.NextHop, blind.SubInterface = none.InterfaceType, none.TunnelType, none.NextHop, none.SubInterface
			require.Equal(t, uint64(p.Eval(&blind).Verdict), s.run(t, p, &r))
			require.LessOrEqual(t, s.calls, 1)
		}
	}
	require.NotZero(t, called)
	require.NotZero(t, avoided)
}

// Lists of no rule, of few and of very many give what the reference gives.
func TestRuleListsOfEverySize(t *testing.T) {
	for _, rules := range []int{0, 1, 2, 1000, 5000} {
		t.Run(fmt.Sprint(rules), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(rules), 4))
			text := gen.Mixed(rng, rules)
			if rules > 1000 {
				text = hosts(rng, rules) // so many mixed rules are more than eBPF for Windows takes
			}
			p := check(t, "many.hop", text)
			require.Len(t, p.Rules, rules)
			agree(t, p, rng, 2000)
		})
	}
}

// hosts is the text of a policy of a rule for each of n services.
func hosts(rng *rand.Rand, n int) string {
	var b strings.Builder
	b.WriteString("policy hosts {\n  default deny\n")
	for i := range n {
		fmt.Fprintf(&b, "  rule r%d: %s if remote == 10.%d.%d.%d:%d/tcp\n", i, [...]string{"allow", "deny"}[i%2], rng.IntN(4), rng.IntN(256), rng.IntN(256), 1+rng.IntN(65535))
	}
	b.WriteString("}\n")
	return b.String()
}
