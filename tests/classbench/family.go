package classbench

import (
	"fmt"
	"math/rand/v2"

	"github.com/hopgate/hopgate/compiler"
)

// A Family is a kind of rule set, as Taylor and Turner tell them apart: how its rules are
// spread over protocols, classes of ports and pairs of prefix lengths, and how much of the
// address space they share. Numbers are weights.
type Family struct {
	Name          string
	Protocols     []Protocol
	Local, Remote Ports // of TCP and UDP; other rules leave ports wide
	Lengths       []Lengths
	// Nested is the share of prefixes that lie in or around one drawn before: their
	// tree branches the less, the higher (the paper's "address nesting and branching").
	Nested float64
	// Near is the share of rules whose remote end lies in the local end's /16 (the
	// paper's "correlation").
	Near float64
}

// Protocol is one value of the protocol field, or any.
type Protocol struct {
	Weight int
	Number int // -1 is any
}

// Ports are the paper's five classes of port ranges.
type Ports struct {
	Wildcard  int
	High      int // 1024-65535
	Low       int // 0-1023
	Arbitrary int
	Exact     int
}

// Lengths are ranges of prefix lengths of a rule's two ends.
type Lengths struct {
	Weight        int
	Local, Remote [2]int
}

// Families are the paper's: access control lists, firewalls, IP chains. The weights follow
// the three seeds that testdata comes from.
func Families() []Family {
	host, network, site, wide, any := [2]int{32, 32}, [2]int{17, 31}, [2]int{9, 16}, [2]int{1, 8}, [2]int{0, 0}
	return []Family{
		{
			Name:      "acl",
			Protocols: []Protocol{{87, 6}, {8, -1}, {4, 1}, {1, 17}},
			Local:     Ports{Wildcard: 100},
			Remote:    Ports{Wildcard: 25, Arbitrary: 14, Exact: 61},
			Lengths: []Lengths{
				{70, host, host}, {15, host, network}, {9, network, host}, {2, network, site}, {2, network, wide}, {1, network, network}, {1, wide, any},
			},
			Nested: 0.6, Near: 0.1,
		},
		{
			Name:      "fw",
			Protocols: []Protocol{{58, 6}, {32, 17}, {5, 47}, {4, 1}, {1, -1}},
			Local:     Ports{Wildcard: 76, High: 8, Low: 1, Exact: 15},
			Remote:    Ports{Wildcard: 30, High: 8, Low: 1, Exact: 61},
			Lengths: []Lengths{
				{38, any, host}, {20, wide, host}, {13, host, any}, {9, host, host}, {8, host, wide}, {3, network, any},
				{3, host, network}, {2, wide, any}, {2, network, wide}, {1, any, wide}, {1, any, any},
			},
			Nested: 0.5, Near: 0.05,
		},
		{
			Name:      "ipc",
			Protocols: []Protocol{{38, 17}, {35, -1}, {25, 6}, {1, 1}, {1, 50}},
			Local:     Ports{Wildcard: 80, High: 1, Arbitrary: 2, Exact: 17},
			Remote:    Ports{Wildcard: 57, High: 6, Arbitrary: 2, Exact: 35},
			Lengths: []Lengths{
				{32, host, host}, {16, network, host}, {12, network, network}, {8, host, network}, {6, any, host}, {4, network, site},
				{4, network, any}, {3, site, host}, {3, wide, host}, {2, host, any}, {2, any, network}, {2, host, site}, {1, network, wide}, {1, site, network},
			},
			Nested: 0.7, Near: 0.2,
		},
	}
}

// Policy makes a policy of n different rules of the family. A rule that is wide in
// both addresses comes only after the first nine tenths, as it would in practice.
func (f *Family) Policy(seed uint64, n int) (*compiler.Policy, error) {
	g := &generator{Family: f, Rand: rand.New(rand.NewPCG(seed, uint64(n)))}
	seen := make(map[string]bool, n)
	rules := make([]string, 0, n)
	for len(rules) < n {
		if r := g.rule(len(rules) < n*9/10); !seen[r] {
			seen[r] = true
			rules = append(rules, r)
		}
	}
	return Policy(fmt.Sprintf("%s_%d_%d", f.Name, n, seed), rules)
}

// generator draws the rules of one set.
type generator struct {
	*Family
	*rand.Rand
	drawn [2][]uint32 // addresses of local and remote prefixes so far
}

// pick chooses an index by weight.
func (g *generator) pick(n int, weight func(int) int) int {
	all := 0
	for i := range n {
		all += weight(i)
	}
	left := g.IntN(all)
	for i := 0; ; i++ {
		if left -= weight(i); left < 0 {
			return i
		}
	}
}

func (g *generator) rule(narrow bool) string {
	lengths := g.Lengths[g.pick(len(g.Lengths), func(i int) int { return g.Lengths[i].Weight })]
	for narrow && lengths.Local[1] < 9 && lengths.Remote[1] < 9 {
		lengths = g.Lengths[g.pick(len(g.Lengths), func(i int) int { return g.Lengths[i].Weight })]
	}
	local := g.address(0)
	remote := g.address(1)
	if g.Float64() < g.Near {
		remote = local&0xffff0000 | remote&0xffff
	}
	protocol := g.Protocols[g.pick(len(g.Protocols), func(i int) int { return g.Protocols[i].Weight })].Number
	mask, ports := 0xff, [2]string{"0 : 65535", "0 : 65535"}
	switch protocol {
	case 6, 17:
		ports = [2]string{g.ports(g.Local), g.ports(g.Remote)}
	case -1:
		protocol, mask = 0, 0
	}
	return fmt.Sprintf("@%s\t%s\t%s\t%s\t0x%02x/0x%02X", g.prefix(local, lengths.Local), g.prefix(remote, lengths.Remote), ports[0], ports[1], protocol, mask)
}

// address is a new one, or shares a random number of its first bits with one before.
func (g *generator) address(end int) uint32 {
	a := g.Uint32()
	if drawn := g.drawn[end]; len(drawn) > 0 && g.Float64() < g.Nested {
		free := uint32(1)<<g.IntN(17) - 1
		a = drawn[g.IntN(len(drawn))]&^free | a&free
	}
	g.drawn[end] = append(g.drawn[end], a)
	return a
}

func (g *generator) prefix(a uint32, lengths [2]int) string {
	length := lengths[0] + g.IntN(lengths[1]-lengths[0]+1)
	a &^= uint32(1<<(32-length) - 1)
	return fmt.Sprintf("%d.%d.%d.%d/%d", a>>24, a>>16&255, a>>8&255, a&255, length)
}

func (g *generator) ports(p Ports) string {
	first, last := 0, 65535
	weights := [...]int{p.Wildcard, p.High, p.Low, p.Arbitrary, p.Exact}
	switch g.pick(len(weights), func(i int) int { return weights[i] }) {
	case 1:
		first = 1024
	case 2:
		last = 1023
	case 3:
		first = g.IntN(65000)
		last = first + 1 + g.IntN(65535-first)
	case 4:
		// Services are few and low: a quarter are any port.
		first = g.IntN(1024)
		if g.IntN(4) == 0 {
			first = g.IntN(65536)
		}
		last = first
	}
	return fmt.Sprintf("%d : %d", first, last)
}
