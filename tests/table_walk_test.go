package tests

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/tests/gen"
)

// anyTable is a table as docs/table-form.md has it, with nodes that no policy has led
// to: any slots, any numbers, kids that are any later nodes or leaves.
type anyTable struct {
	value []byte
	trees [2][]anyTree // IPv4, IPv6
}

type anyTree struct{ root, lowest uint32 }

const (
	tableFlags, tableNodes, tableLists, firstNode = 8, 1040, 16, 1536
	nodeSize, nodeCells, nodeKids                 = 64, 24, 32
	leafBit, noTree                               = 1 << 31, math.MaxUint32
)

// newAnyTable fills a table that has some rules.
func newAnyTable(rng *rand.Rand, base []byte, rules int, slots func() (slot, value uint32)) *anyTable {
	t := &anyTable{value: slices.Clone(base)}
	nodes := 1 + rng.IntN(40)
	clear(t.value[firstNode : firstNode+nodeSize*256])
	t.put(tableFlags, 1) // reads the network context, counts
	t.put(tableNodes, uint32(nodes))
	reference := func(after int) uint32 {
		if after+1 < nodes && rng.IntN(3) > 0 {
			one, _ := slots()
			two, _ := slots()
			return uint32(firstNode/nodeSize+after+1+rng.IntN(min(6, nodes-after-1)))<<12 | one<<7 | two<<2
		}
		return leafBit | uint32(rng.IntN(rules)<<3|rng.IntN(3))
	}
	for i := range nodes {
		at := firstNode + nodeSize*i
		last := make([]uint32, 6)
		for k := range last {
			switch _, value := slots(); rng.IntN(4) {
			case 0:
				last[k] = math.MaxUint32
			case 1:
				last[k] = value
			case 2:
				last[k] = value - min(value, 1)
			default:
				last[k] = rng.Uint32()
			}
		}
		slices.Sort(last[:3])
		slices.Sort(last[3:])
		for k := range last {
			t.put(at+4*k, last[k])
		}
		t.put(at+nodeCells, rng.Uint32())
		t.put(at+nodeCells+4, rng.Uint32())
		for k := range 8 {
			t.put(at+nodeKids+4*k, reference(i))
		}
	}
	below := map[uint32]uint32{}
	for list := range t.trees {
		for range 1 + rng.IntN(8) {
			root := reference(rng.IntN(nodes) - 1)
			t.trees[list] = append(t.trees[list], anyTree{root, t.lowest(root, below)})
		}
		slices.SortFunc(t.trees[list], func(a, b anyTree) int { return cmp.Compare(a.lowest, b.lowest) })
		at := tableLists + 128*list
		for i := range 16 {
			tree := anyTree{noTree, noTree}
			if i < len(t.trees[list]) {
				tree = t.trees[list][i]
			}
			t.put(at+8*i, tree.root)
			t.put(at+8*i+4, tree.lowest)
		}
	}
	return t
}

func (t *anyTable) put(at int, n uint32) { binary.LittleEndian.PutUint32(t.value[at:], n) }

func (t *anyTable) get(at uint32) uint32 { return binary.LittleEndian.Uint32(t.value[at:]) }

func placeOf(reference uint32) uint32 { return reference >> 12 * nodeSize }

// lowest is the lowest leaf below a reference; below has those of nodes by place.
func (t *anyTable) lowest(reference uint32, below map[uint32]uint32) uint32 {
	if reference >= leafBit {
		return reference
	}
	place := placeOf(reference)
	low, ok := below[place]
	if !ok {
		low = noTree
		for k := range uint32(8) {
			low = min(low, t.lowest(t.get(place+nodeKids+4*k), below))
		}
		below[place] = low
	}
	return low
}

// walk is the lowest leaf that the trees lead to.
func (t *anyTable) walk(list int, slots [32]uint32) uint32 {
	lowest := uint32(noTree)
	for _, tree := range t.trees[list] {
		reference := tree.root
		for reference < leafBit {
			place, cell := placeOf(reference), uint32(0)
			for k := range uint32(3) {
				if slots[reference>>7&31] > t.get(place+4*k) {
					cell += 4
				}
				if slots[reference>>2&31] > t.get(place+12+4*k) {
					cell++
				}
			}
			reference = t.get(place + nodeKids + 4*(t.get(place+nodeCells+4*(cell/8))>>(cell%8*4)&7))
		}
		lowest = min(lowest, reference)
	}
	return lowest
}

// slotsOf is what the engine writes into its slots for a connection.
func slotsOf(r *compiler.Request) (s [32]uint32) {
	luid := func(at int, n uint64) { s[at], s[at+1] = uint32(n), uint32(n>>32) }
	address := func(at int, f compiler.Field) {
		v := r.Value(f)
		if r.Family() == 6 {
			s[at], s[at+1], s[at+2] = uint32(v.Hi>>32), uint32(v.Hi), uint32(v.Lo>>32)
		}
		s[at+3] = uint32(v.Lo)
	}
	s[0], s[1], s[2], s[3] = r.InterfaceType, r.TunnelType, r.SubInterface, r.Compartment
	luid(4, r.NextHop)
	luid(6, r.Interface)
	s[8], s[10], s[11] = uint32(r.Protocol), uint32(r.Remote.Port()), uint32(r.Local.Port())
	address(12, compiler.RemoteAddress)
	address(16, compiler.LocalAddress)
	return s
}

// TestEngineWalks: the engine comes where docs/table-form.md says it does, with nodes of any
// contents, not only those that policies have. What is proved of a policy's table holds of
// its decisions only if the engine does that.
func TestEngineWalks(t *testing.T) {
	const tables, connections = 30, 100
	engine := emptyEngine(t)
	maps, err := engine.TableMaps()
	require.NoError(t, err)
	for seed := range uint64(tables) {
		rng := rand.New(rand.NewPCG(seed, 8))
		p := randomPolicy(t, seed%7, gen.Options{Rules: 30})
		random := gen.NewRequests(p)
		requests := make([]compiler.Request, connections)
		for i := range requests {
			requests[i] = random.Random(rng)
			if p.Hook == compiler.Accept { // there is no next hop
				requests[i].NextHop = 0
			}
		}
		table := newAnyTable(rng, valueOf(table(t, p)), len(p.Rules)+1, func() (slot, value uint32) {
			slot = uint32(rng.IntN(20))
			s := slotsOf(&requests[rng.IntN(connections)])
			return slot, s[slot]
		})
		require.NoError(t, maps.Switch(p.Hook, whole(table.value)))
		require.NoError(t, engine.JudgeBy(p.Hook))
		for i := range requests {
			list := 0
			if requests[i].Family() == 6 {
				list = 1
			}
			leaf := table.walk(list, slotsOf(&requests[i])) &^ leafBit
			got, err := engine.Eval(&requests[i])
			require.NoError(t, err)
			require.Equal(t, lang.Verdict(leaf&3), got.Verdict, "seed %d: %+v", seed, requests[i])
		}
	}
}
