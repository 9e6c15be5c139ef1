// Package gen makes random policies and requests for tests that compare engines
// with each other.
package gen

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	"github.com/hopgate/hopgate/lang"
)

// Options shape random policies. The zero value is DSL with up to 200 rules.
type Options struct {
	Syntax lang.Syntax
	Rules  int  // the most rules; 0 means 200, less than 0 none
	Small  bool // few fields and constants, so that Requests.All can try every case
	Events bool // rules with log and audit, sometimes mode audit
	// Dynamic adds sets that can change.
	Dynamic bool
	Asserts bool
}

// Policy is the text of a random policy that Check accepts without an error. Its
// interfaces are not all bound: check it with BindAll where that matters.
func Policy(rng *rand.Rand, opts Options) string {
	g := &generator{Rand: rng, opts: opts, sets: map[kind][]string{}, accept: rng.IntN(4) == 0}
	g.chooseConstants()
	g.chooseFields()
	if opts.Syntax == lang.YAML {
		return g.yaml()
	}
	return g.dsl()
}

// Case is the random policy with a number: the same ones for every engine.
func Case(seed uint64) (file, text string) {
	opts := Options{Events: seed%3 == 0, Dynamic: seed%4 == 0, Rules: []int{-1, 1, 5, 50, 200}[seed%5]}
	file = "random.hop"
	if seed%2 == 1 {
		opts.Syntax, file = lang.YAML, "random.yaml"
	}
	return file, Policy(rand.New(rand.NewPCG(seed, 2)), opts)
}

// kind is what the literals of a field are.
type kind uint8

const (
	interfaceTypes kind = iota
	tunnelTypes
	luids
	indexes
	addresses
	ports
	protocols
	families
	compartments
	ends // addresses with or without a port
)

var fields = []struct {
	name string
	kind kind
}{
	{"interface_type", interfaceTypes}, {"tunnel_type", tunnelTypes}, {"next_hop", luids}, {"sub_interface", indexes},
	{"interface", luids}, {"remote_address", addresses}, {"local_address", addresses}, {"remote_port", ports},
	{"local_port", ports}, {"protocol", protocols}, {"family", families}, {"compartment", compartments},
	{"remote", ends}, {"local", ends},
}

// generator holds what the parts of one policy share.
type generator struct {
	*rand.Rand
	opts      Options
	accept    bool
	fields    []int // usable ones, by index
	constants [ends][]string
	sets      map[kind][]string // names of the sets declared so far
	dynamic   map[string]bool
}

// chooseConstants draws the few values that the policy compares with, so that
// rules overlap.
func (g *generator) chooseConstants() {
	all := [ends][]string{
		interfaceTypes: {"wifi", "ethernet", "loopback", "cellular", "ppp", "tunnel", "prop-virtual", "IF_TYPE_IEEE80211", "ethernetCsmacd", "243", "1", "53", "071", "4294967294"},
		tunnelTypes:    {"none", "teredo", "sixToFour", "gre", "TUNNEL_TYPE_ISATAP", "0", "14", "4294967294"},
		luids:          {"ethernet_32773", "wireless_32768", "iftype53_32768", "0x0006008005000000", "0x0006008005000001", "0x1", "0xfffffffffffffffe"},
		protocols:      {"tcp", "udp", "icmp", "icmpv6", "gre", "sctp", "0", "006", "255"},
		families:       {"ipv4", "ipv6"},
	}
	for range 6 {
		all[indexes] = append(all[indexes], g.number(1, 4294967294))
		all[compartments] = append(all[compartments], g.number(0, 4294967295))
		all[ports] = append(all[ports], g.number(0, 65535))
	}
	all[ports] = append(all[ports], "0", "22", "443", "65535")
	all[compartments] = append(all[compartments], "0", "1")
	all[indexes] = append(all[indexes], "1", "2")
	for range 8 {
		all[addresses] = append(all[addresses], g.address())
	}
	for k, pool := range all {
		n := len(pool)
		if g.opts.Small {
			n = 2
		}
		for _, i := range g.Perm(len(pool))[:min(n, len(pool))] {
			g.constants[k] = append(g.constants[k], pool[i])
		}
	}
}

func (g *generator) number(lo, hi int64) string { return fmt.Sprint(lo + g.Int64N(hi-lo+1)) }

// address is one of addresses that lie close together, at the edges of the
// families, or anywhere.
func (g *generator) address() string {
	switch g.IntN(6) {
	case 0:
		return fmt.Sprintf("10.0.0.%d", g.IntN(8))
	case 1:
		return []string{"0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::fffe:ffff:ffff", "::1:0:0:0", "::1"}[g.IntN(7)]
	case 2:
		return fmt.Sprintf("2001:db8::%x", g.IntN(8))
	case 3:
		return fmt.Sprintf("2001:db8:0:%x::", g.IntN(4))
	case 4:
		var b [4]byte
		for i := range b {
			b[i] = byte(g.IntN(256))
		}
		return netip.AddrFrom4(b).String()
	}
	b := [16]byte{0: 0x20, 1: 0x01}
	for i := 2; i < len(b); i++ {
		b[i] = byte(g.IntN(256))
	}
	return netip.AddrFrom16(b).String()
}

// chooseFields draws the fields that the policy uses: all that the hook has, or
// four.
func (g *generator) chooseFields() {
	n := len(fields)
	if g.opts.Small {
		n = 4
	}
	for _, i := range g.Perm(len(fields)) {
		if len(g.fields) < n && !(g.accept && fields[i].name == "next_hop") {
			g.fields = append(g.fields, i)
		}
	}
}

func (g *generator) pick(words []string) string { return words[g.IntN(len(words))] }

// word is a random literal of the kind: no set, and only such as a dynamic set
// can hold if plain.
func (g *generator) word(k kind, plain bool) string {
	switch k {
	case addresses:
		return g.addresses()
	case ports:
		w := g.span(ports, 65535)
		if !plain && g.IntN(3) == 0 {
			w += g.pick([]string{"/tcp", "/udp"})
		}
		return w
	case indexes, compartments:
		return g.span(k, 4294967295)
	case ends:
		if plain || g.IntN(2) == 0 {
			return g.addresses()
		}
		addr := g.pick(g.constants[addresses])
		if strings.Contains(addr, ":") {
			addr = "[" + addr + "]"
		}
		return addr + ":" + g.pick(g.constants[ports]) + g.pick([]string{"", "/tcp", "/udp"})
	}
	return g.pick(g.constants[k])
}

// span is a number, or a range between constants.
func (g *generator) span(k kind, limit uint64) string {
	a := g.pick(g.constants[k])
	if g.IntN(3) > 0 {
		return a
	}
	b := g.pick(g.constants[k])
	if g.IntN(8) == 0 {
		b = fmt.Sprint(limit)
	}
	var x, y uint64
	fmt.Sscan(a, &x)
	fmt.Sscan(b, &y)
	return fmt.Sprintf("%d-%d", min(x, y), max(x, y))
}

// addresses is an address, a prefix or a range.
func (g *generator) addresses() string {
	a := netip.MustParseAddr(g.pick(g.constants[addresses]))
	switch g.IntN(4) {
	case 0:
		p, _ := a.Prefix(g.IntN(a.BitLen() + 1))
		if a.Is6() && p.Addr().Is4In6() {
			return a.String()
		}
		return p.String()
	case 1:
		b := netip.MustParseAddr(g.pick(g.constants[addresses]))
		if a.Is4() != b.Is4() {
			return a.String()
		}
		if b.Less(a) {
			a, b = b, a
		}
		return a.String() + "-" + b.String()
	}
	return a.String()
}

// canBeUnknown reports whether fields of the kind have the literal `unknown`.
func (k kind) canBeUnknown() bool {
	return k == interfaceTypes || k == tunnelTypes || k == luids || k == indexes
}

// hasOrder reports whether fields of the kind are compared by `<`.
func (k kind) hasOrder() bool { return k == ports || k == indexes || k == compartments }

// value is anything that may stand in a comparison.
func (g *generator) value(k kind) string {
	switch g.IntN(8) {
	case 0:
		if k.canBeUnknown() {
			return "unknown"
		}
	case 1:
		if k == luids {
			return g.pick([]string{"$vpn", "$office"})
		}
	case 2, 3:
		if sets := g.sets[k]; len(sets) > 0 {
			return "$" + g.pick(sets)
		}
	}
	return g.word(k, false)
}

func (g *generator) values(k kind) []string {
	list := make([]string, 1+g.IntN(4))
	for i := range list {
		list[i] = g.value(k)
	}
	return list
}

// expr is a condition in DSL.
func (g *generator) expr(depth int) string {
	if depth == 0 || g.IntN(3) == 0 {
		return g.compare()
	}
	switch g.IntN(4) {
	case 0:
		return "not (" + g.expr(depth-1) + ")"
	case 1:
		return "(" + g.expr(depth-1) + " or " + g.expr(depth-1) + ")"
	}
	return "(" + g.expr(depth-1) + " and " + g.expr(depth-1) + ")"
}

func (g *generator) compare() string {
	f := fields[g.fields[g.IntN(len(g.fields))]]
	switch g.IntN(5) {
	case 0:
		if f.kind.hasOrder() {
			return f.name + g.pick([]string{" < ", " <= ", " > ", " >= "}) + g.pick(g.constants[f.kind])
		}
	case 1:
		return f.name + " " + g.pick([]string{"not ", ""}) + "in { " + strings.Join(g.values(f.kind), ", ") + " }"
	}
	return f.name + g.pick([]string{" == ", " != ", " in ", " == "}) + g.value(f.kind)
}

func (g *generator) rules() int {
	most := g.opts.Rules
	if most == 0 {
		most = 200
	}
	if most < 0 {
		return 0
	}
	if g.IntN(3) == 0 {
		most = min(most, 3)
	}
	return g.IntN(most + 1)
}

func (g *generator) verdict() lang.Verdict { return lang.Verdict(g.IntN(3)) }

// set is a declared set.
type set struct {
	name    string
	dynamic bool
	values  []string
}

// declareSets makes up to two sets a kind; later ones may name earlier ones.
func (g *generator) declareSets() []set {
	g.dynamic = map[string]bool{}
	var sets []set
	for k := interfaceTypes; k <= ends; k++ {
		for range g.IntN(3) {
			s := set{name: fmt.Sprintf("set-%d", len(sets)), dynamic: g.opts.Dynamic && k != families && g.IntN(2) == 0}
			for range 1 + g.IntN(5) {
				s.values = append(s.values, g.element(k, s.dynamic))
			}
			g.dynamic[s.name] = s.dynamic
			sets = append(sets, s)
			g.sets[k] = append(g.sets[k], s.name)
		}
	}
	return sets
}

func (g *generator) element(k kind, dynamic bool) string {
	if dynamic {
		return g.word(k, true)
	}
	if inner := g.sets[k]; len(inner) > 0 && g.IntN(4) == 0 {
		if name := g.pick(inner); !g.dynamic[name] {
			return "$" + name
		}
	}
	return g.word(k, false)
}
