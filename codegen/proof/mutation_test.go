package proof_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/codegen/proof"
	"github.com/hopgate/hopgate/codegen/verifier"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
	"github.com/hopgate/hopgate/tests/gen"
)

// mutant changes one instruction of the code in an object. It returns what it did.
func mutant(rng *rand.Rand, object []byte, at []int) string {
	i := at[rng.IntN(len(at))]
	b := object[i : i+8]
	class, op := b[0]&7, b[0]&0xf0
	jump := (class == 5 || class == 6) && op != 0x80 && op != 0x90
	wide := b[0] == 0x18
	for {
		switch rng.IntN(6) {
		case 0:
			if jump && op != 0 {
				flip := map[byte]byte{0x10: 0x50, 0x50: 0x10, 0x20: 0xb0, 0xb0: 0x20, 0x30: 0xa0, 0xa0: 0x30}
				if to, ok := flip[op]; ok {
					b[0] = b[0]&0x0f | to
					return "jump"
				}
			}
		case 1:
			if imm := b[4:8]; usesImmediate(b) {
				old := binary.LittleEndian.Uint32(imm)
				binary.LittleEndian.PutUint32(imm, old+[]uint32{1, ^uint32(0), 1 << rng.IntN(32), rng.Uint32()}[rng.IntN(4)])
				return "constant"
			}
		case 2:
			if off := b[2:4]; (jump || class == 1 || class == 2 || class == 3) && !wide {
				delta := []uint16{1, ^uint16(0), 2, 4, ^uint16(3), 8}[rng.IntN(6)]
				binary.LittleEndian.PutUint16(off, binary.LittleEndian.Uint16(off)+delta)
				return "offset"
			}
		case 3:
			if rng.IntN(2) == 0 || class == 2 {
				b[1] = b[1]&0xf0 | byte(rng.IntN(10))
			} else {
				b[1] = b[1]&0x0f | byte(rng.IntN(10))<<4
			}
			return "register"
		case 4:
			if class == 7 && op == 0xb0 && b[1] == 0 || class == 4 && b[1]&15 >= 8 { // r0 = verdict, or a leaf
				b[4] ^= byte(1 + rng.IntN(3))
				return "verdict"
			}
		case 5:
			if !wide {
				copy(b, []byte{0x05, 0, 0, 0, 0, 0, 0, 0}) // a jump to the next one
				return "drop"
			}
		}
	}
}

func usesImmediate(b []byte) bool {
	switch class := b[0] & 7; class {
	case 4, 5, 6, 7:
		return b[0]&8 == 0
	case 2:
		return true
	}
	return b[0] == 0x18 && b[1]>>4 == 0
}

// instructions lists the offsets in the file of the instructions of both functions.
func instructions(t testing.TB, object []byte) (at []int) {
	f, err := elf.NewFile(bytes.NewReader(object))
	require.NoError(t, err)
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_EXECINSTR == 0 {
			continue
		}
		for i := uint64(0); i < s.Size; i += 8 {
			at = append(at, int(s.Offset+i))
			if object[s.Offset+i] == 0x18 {
				i += 8
			}
		}
	}
	return at
}

// behaviour runs an object on requests and says what came out.
type behaviour struct {
	policy   *compiler.Policy
	requests []compiler.Request
	want     []string
}

func newBehaviour(t testing.TB, p *compiler.Policy, object []byte, rng *rand.Rand, n int) *behaviour {
	b := &behaviour{policy: p}
	random := gen.NewRequests(p)
	for range n {
		b.requests = append(b.requests, random.Random(rng))
	}
	b.run(t, object, func(s string) bool { b.want = append(b.want, s); return true })
	require.Len(t, b.want, n)
	return b
}

func (b *behaviour) run(t testing.TB, object []byte, visit func(string) bool) (loaded bool) {
	program, err := codegen.ReadObject("mutant.o", object)
	if err != nil {
		return false
	}
	instance, err := runtime.Load(program)
	if err != nil {
		return false
	}
	for i := range b.requests {
		d, err := instance.Eval(&b.requests[i])
		events, eventErr := instance.Events()
		for k := range events {
			events[k].Generation = 0 // which nobody reads of form code
		}
		for k := range events {
			spellContext(&events[k].Request, &b.requests[i])
		}
		if !visit(fmt.Sprint(d, err != nil, events, eventErr != nil)) {
			break
		}
	}
	return true
}

// spellContext leaves the network context out of an event if it is the connection's,
// or unknown: an event has it if a rule that was tried needs it, and may have it. An
// accepted connection has no next hop.
func spellContext(r, of *compiler.Request) {
	none := compiler.NoContext()
	unknown := true
	for _, f := range []compiler.Field{compiler.InterfaceType, compiler.TunnelType, compiler.NextHop, compiler.SubInterface} {
		unknown = unknown && !f.Known(r.Value(f))
	}
	same := r.InterfaceType == of.InterfaceType && r.TunnelType == of.TunnelType && (r.NextHop == of.NextHop || r.NextHop == 0) && r.SubInterface == of.SubInterface
	if unknown || same {
		r.InterfaceType, r.TunnelType, r.NextHop, r.SubInterface = none.InterfaceType, none.TunnelType, none.NextHop, none.SubInterface
	}
}

// differs reports whether the object does anything else than the original on some
// request.
func (b *behaviour) differs(t testing.TB, object []byte) bool {
	i, differs := 0, false
	loaded := b.run(t, object, func(s string) bool {
		differs = s != b.want[i]
		i++
		return !differs
	})
	return differs || !loaded
}

// difference shows what was changed and what came of it.
func (b *behaviour) difference(t testing.TB, original, mutant []byte) string {
	text := ""
	for i := range original {
		if original[i] != mutant[i] {
			text += fmt.Sprintf("byte %#x was %02x, is %02x\n", i, original[i], mutant[i])
		}
	}
	i := 0
	loaded := b.run(t, mutant, func(s string) bool {
		if s != b.want[i] {
			text += fmt.Sprintf("%+v\nwas %s\n is %s\n", b.requests[i], b.want[i], s)
			return false
		}
		i++
		return true
	})
	return text + fmt.Sprintf("loaded: %v", loaded)
}

// TestMutants changes one instruction at a time in compiled policies. Of the mutants
// that behave in another way none may be proved, which is what compile --proof require
// goes by, and nearly all must be refused by the verifier or shown to be wrong, which
// is what it goes by otherwise.
func TestMutants(t *testing.T) {
	var total tally
	total.ofPolicies(t, 10000, mutate)
	t.Logf("%d mutants, of which %d behave in another way %v; refused by the verifier %d, by the proof %d; survivors %d; proved equal %d",
		total.mutants, total.changed, total.kinds, total.verifier, total.proof, total.changed-total.verifier-total.proof, total.equal)
	require.GreaterOrEqual(t, float64(total.verifier+total.proof), 0.99*float64(total.changed))
}

type tally struct {
	sync.Mutex
	mutants, changed, verifier, proof, equal int
	kinds                                    map[string]int // of changes, to mutants that behave in another way
}

// note counts a mutant, by what refused it if anything did.
func (total *tally) note(what, refusedBy string, changed, equal bool) {
	total.Lock()
	defer total.Unlock()
	total.mutants++
	if equal {
		total.equal++
	}
	if !changed {
		return
	}
	total.changed++
	if total.kinds == nil {
		total.kinds = map[string]int{}
	}
	total.kinds[what]++
	switch refusedBy {
	case "verifier":
		total.verifier++
	case "proof":
		total.proof++
	}
}

// ofPolicies makes the mutants of forty policies.
func (total *tally) ofPolicies(t *testing.T, mutants int, mutate func(t *testing.T, seed uint64, mutants int, total *tally)) {
	const policies = 40
	if testing.Short() {
		mutants = 1000
	}
	t.Run("policies", func(t *testing.T) {
		for seed := range uint64(policies) {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				mutate(t, seed, mutants/policies, total)
			})
		}
	})
}

func mutate(t *testing.T, seed uint64, mutants int, total *tally) {
	rng := rand.New(rand.NewPCG(seed, 9))
	p := check(t, gen.Policy(rand.New(rand.NewPCG(seed, 11)), gen.Options{Events: seed%2 == 0, Dynamic: seed%4 == 0, Rules: []int{4, 8, 16}[seed%3]}))
	original := object(t, p, seed%5 != 4)
	at := instructions(t, original)
	b := newBehaviour(t, p, original, rng, 300)
	for range mutants {
		m := bytes.Clone(original)
		what := mutant(rng, m, at)
		refusedBy, result := refuse(p, m)
		changed := !bytes.Equal(m, original) && b.differs(t, m)
		total.note(what, refusedBy, changed, result.Status == proof.Proved && refusedBy == "")
		if changed && refusedBy == "" {
			t.Logf("survives, %s: %s", what, result)
			require.NotEqual(t, proof.Proved, result.Status, "proved, and yet it behaves in another way: %s", b.difference(t, original, m))
		}
	}
}

// refuse says what refuses an object, if anything does.
func refuse(p *compiler.Policy, object []byte) (by string, r *proof.Result) {
	program, err := codegen.ReadObject("mutant.o", object)
	if err != nil {
		return "verifier", &proof.Result{}
	}
	if _, err := verifier.Verify(program); err != nil {
		return "verifier", &proof.Result{}
	}
	r, err = proof.Check(p, object, proof.DefaultEffort)
	if err != nil || r.Status == proof.Refuted || r.Status == proof.Refused {
		return "proof", r
	}
	return "", r
}
