package proof_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/codegen/proof"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime/vm"
	"github.com/hopgate/hopgate/tests/gen"
)

// linuxBehaviour is what decisions of an object for Linux answer to flows.
type linuxBehaviour struct {
	lookups asm.Instructions // as for Windows, which the machine can run
	flows   []linuxFlow
	state   []byte
	want    []string
}

// nothingYet is how the answer of an early decision ends that leaves it open.
const nothingYet = " -1, audit -1, false"

type linuxFlow struct {
	ipv6  bool
	bytes []byte
}

func newLinuxBehaviour(t testing.TB, p *compiler.Policy, text string, original []byte, rng *rand.Rand, n int) *linuxBehaviour {
	b := &linuxBehaviour{}
	late := slices.DeleteFunc(slices.Clone(p.Interfaces), func(i *compiler.NamedInterface) bool { return i.Bound })
	state := codegen.State{Network: 7}
	for i := range late {
		state.Interfaces = append(state.Interfaces, uint32(2+i))
	}
	b.state = state.Bytes()
	windows, err := codegen.ReadObject("windows.o", object(t, check(t, text), true))
	require.NoError(t, err)
	b.lookups = slices.Concat(localFunctions(windows, "hopgate_in_")...)
	requests := gen.NewRequests(p)
	for range n {
		r := requests.Random(rng)
		b.flows = append(b.flows, linuxFlow{r.Family() == 6, flowOf(&r, uint32(1+rng.IntN(2+len(late))), uint64(7+rng.IntN(8)/7))})
	}
	b.run(t, original, func(s string) bool { b.want = append(b.want, s); return true })
	require.NotEmpty(t, b.want)
	return b
}

// flowOf is a connection as decisions are shown it.
func flowOf(r *compiler.Request, index uint32, network uint64) []byte {
	b := make([]byte, codegen.FlowContext+codegen.NetworkContextSize)
	little, big := binary.LittleEndian, binary.BigEndian
	remote, local := r.Remote.Addr().As16(), r.Local.Addr().As16()
	copy(b[codegen.FlowRemote:], remote[:])
	copy(b[codegen.FlowLocal:], local[:])
	big.PutUint16(b[codegen.FlowRemotePort:], r.Remote.Port())
	big.PutUint16(b[codegen.FlowLocalPort:], r.Local.Port())
	little.PutUint32(b[codegen.FlowProtocol:], uint32(r.Protocol))
	little.PutUint32(b[codegen.FlowInterface:], index)
	little.PutUint64(b[codegen.FlowNetwork:], network)
	context := b[codegen.FlowContext:]
	little.PutUint32(context[codegen.NetworkContextInterfaceType:], r.InterfaceType)
	little.PutUint32(context[codegen.NetworkContextTunnelType:], r.TunnelType)
	little.PutUint64(context[codegen.NetworkContextNextHop:], r.NextHop)
	little.PutUint32(context[codegen.NetworkContextSubInterface:], r.SubInterface)
	return b
}

// run calls visit with each answer of each decision, which says whether to go on; false
// means that the object cannot be read.
func (b *linuxBehaviour) run(t testing.TB, object []byte, visit func(string) bool) bool {
	program, err := codegen.ReadObject("mutant.o", object)
	if err != nil {
		return false
	}
	list := localFunctions(program, "hopgate_decide")
	shared := !slices.ContainsFunc(list, func(d asm.Instructions) bool { return d[0].Symbol() == "hopgate_decide4" })
	known := slices.DeleteFunc(program.Maps, func(m *ebpf.MapSpec) bool { return m.Type == ebpf.SkStorage })
	all, err := vm.NewMaps(known)
	if err != nil {
		return false
	}
	require.NoError(t, all[codegen.StateMap].Update(make([]byte, 4), b.state, 0))
	for _, m := range known {
		for _, kv := range m.Contents {
			if name, ok := kv.Value.(string); ok {
				require.NoError(t, all[m.Name].SetMap(kv.Key.([]byte), all[name]))
			}
		}
	}
	for _, code := range list {
		name := code[0].Symbol()
		run, err := vm.Load(append(slices.Clone(code), b.lookups...), &vm.Environment{Maps: all, ReadOnlyContext: true, MaxSteps: 100_000})
		if err != nil {
			return false
		}
		machine := vm.NewMachine()
		for _, f := range b.flows {
			flow := f.bytes
			if early := strings.Contains(name, "early"); early {
				flow = flow[:codegen.EarlyFlowSize]
			} else if f.ipv6 != strings.HasSuffix(name, "6") && !(shared && !f.ipv6) {
				continue
			}
			if strings.HasSuffix(name, "4") && f.ipv6 {
				continue
			}
			answer, err := machine.Run(run, flow, nil)
			rule, audit := codegen.SplitDecision(answer)
			audited := -1
			if audit < rule {
				audited = audit.Rule()
			}
			if !visit(fmt.Sprintf("%s %d, audit %d, %v", name, int32(rule), audited, err != nil)) {
				return true
			}
		}
	}
	return true
}

// localFunctions gives the code of the local functions whose names start so, by name.
func localFunctions(p *codegen.Program, prefix string) []asm.Instructions {
	found := map[string]asm.Instructions{}
	for _, f := range p.Functions {
		name := ""
		for _, ins := range f.Instructions {
			if s := ins.Symbol(); s != "" {
				name = s
				delete(found, name)
			}
			if strings.HasPrefix(name, prefix) {
				found[name] = append(found[name], ins)
			}
		}
	}
	var list []asm.Instructions
	for _, name := range slices.Sorted(maps.Keys(found)) {
		list = append(list, found[name])
	}
	return list
}

var linuxMutants = flag.Int("linux-mutants", 4000, "how many mutants of programs for Linux are made")

// TestLinuxMutants changes one instruction at a time in the decisions of programs for
// Linux, and around them. What is around them is compared, so that every change of it is
// refused. Of the mutants of decisions that answer in another way none may be proved to
// be as good as the original, and nearly all must be shown to be wrong. One that only
// leaves open what an early stage could deny is right, and counted as such.
func TestLinuxMutants(t *testing.T) {
	var total tally
	total.ofPolicies(t, *linuxMutants, mutateLinux)
	t.Logf("%d mutants, of which %d behave in another way %v; refused %d; survivors %d; proved equal %d",
		total.mutants, total.changed, total.kinds, total.proof, total.changed-total.proof, total.equal)
	require.GreaterOrEqual(t, float64(total.proof), 0.99*float64(total.changed))
}

func mutateLinux(t *testing.T, seed uint64, mutants int, total *tally) {
	rng := rand.New(rand.NewPCG(seed, 9))
	opts := gen.Options{Events: seed%2 == 0, Dynamic: seed%4 == 0, Rules: []int{4, 8, 16}[seed%3]}
	var p *compiler.Policy
	var text string
	for n := uint64(0); p == nil || p.Hook != compiler.Connect; n++ {
		text = gen.Policy(rand.New(rand.NewPCG(seed, 11+n)), opts)
		p = unbound(t, text)
	}
	around := codegen.Options{NoCounters: seed%5 == 4, DeviceMap: seed%7 == 6, LeaveReplies: seed%6 == 5}
	called := around
	called.DeviceMap = true // no stage has a copy of a decision in it, which would have to change with it
	total.ofLinux(t, p, text, rng, mutants/4, linuxObject(t, p, around), false)
	total.ofLinux(t, p, text, rng, mutants-mutants/4, linuxObject(t, p, called), true)
}

// ofLinux makes mutants of an object's decisions, or of all else.
func (total *tally) ofLinux(t *testing.T, p *compiler.Policy, text string, rng *rand.Rand, mutants int, original []byte, decides bool) {
	before, err := proof.Check(p, original, 0)
	require.NoError(t, err)
	require.Equal(t, proof.Proved, before.Status, before)
	decisions, around := linuxInstructions(t, original)
	b := newLinuxBehaviour(t, p, text, original, rng, 300)
	at := around
	if decides {
		at = decisions
	}
	for range mutants {
		m := bytes.Clone(original)
		what := mutant(rng, m, at)
		if bytes.Equal(m, original) {
			continue
		}
		r, err := proof.Check(p, m, 10*proof.DefaultEffort)
		refused := err != nil || r.Status == proof.Refuted || r.Status == proof.Refused
		changed := !decides || b.differs(t, m, false)
		noticed := refused || r.Late != before.Late
		by := ""
		if noticed {
			by = "proof"
		}
		total.note(what, by, changed, !refused && r.Status == proof.Proved)
		if changed && !noticed {
			t.Logf("survives, %s: %s", what, r)
		}
		if changed && !noticed && (!decides || b.differs(t, m, true)) {
			require.NotEqual(t, proof.Proved, r.Status, "proved, and yet it behaves in another way: %s", b.difference(t, original, m))
		}
	}
}

// linuxInstructions lists the offsets in the file of the instructions of decisions, and
// of all others.
func linuxInstructions(t testing.TB, object []byte) (decisions, around []int) {
	f, err := elf.NewFile(bytes.NewReader(object))
	require.NoError(t, err)
	symbols, err := f.Symbols()
	require.NoError(t, err)
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC {
			continue
		}
		for i := s.Value; i < s.Value+s.Size; i += 8 {
			at := f.Sections[s.Section].Offset + i
			switch {
			case strings.HasPrefix(s.Name, "hopgate_decide"):
				decisions = append(decisions, int(at))
			case bytes.Equal(object[at:at+2], []byte{0xb7, 2}) && object[at+8] == 0x85: // perhaps the number of a type, which loaders put in
			default:
				around = append(around, int(at))
			}
			if object[at] == 0x18 {
				i += 8
			}
		}
	}
	return decisions, around
}

// differs reports whether the object answers anything else than the original; with
// leftOpen, anything else that is not just left to a later stage.
func (b *linuxBehaviour) differs(t testing.TB, object []byte, leftOpen bool) bool {
	i, differs := 0, false
	read := b.run(t, object, func(s string) bool {
		differs = i >= len(b.want) || s != b.want[i] && !(leftOpen && strings.Contains(s, "early") && strings.HasSuffix(s, nothingYet))
		i++
		return !differs
	})
	return differs || !read || i != len(b.want)
}

// difference shows what was changed and what came of it.
func (b *linuxBehaviour) difference(t testing.TB, original, mutant []byte) string {
	text := ""
	for i := range original {
		if original[i] != mutant[i] {
			text += fmt.Sprintf("byte %#x was %02x, is %02x\n", i, original[i], mutant[i])
		}
	}
	i := 0
	b.run(t, mutant, func(s string) bool {
		if i < len(b.want) && s != b.want[i] {
			text += fmt.Sprintf("was %s\n is %s\n", b.want[i], s)
			return false
		}
		i++
		return true
	})
	return text
}
