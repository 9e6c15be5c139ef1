package lang

import (
	"slices"
	"strings"
)

//go:generate go run gen/main.go

// registry is a table of names for numbers.
type registry struct {
	names   []registryName // by name
	display []registryName // by number: the one name to show for it
}

// registryName is a name and the numbers it stands for; nearly always one.
type registryName struct {
	name    string
	numbers []uint32
}

func (r *registry) numbers(name string) ([]uint32, bool) {
	i, ok := slices.BinarySearchFunc(r.names, name, func(n registryName, s string) int { return strings.Compare(n.name, s) })
	if !ok {
		return nil, false
	}
	return slices.Clone(r.names[i].numbers), true
}

func (r *registry) name(number uint32) string {
	for _, n := range r.display {
		if n.numbers[0] == number {
			return n.name
		}
	}
	return ""
}

func (r *registry) list() []string {
	names := make([]string, len(r.names))
	for i, n := range r.names {
		names[i] = n.name
	}
	return names
}

// InterfaceTypes gives the IANA ifType numbers a name stands for. It knows IANA's
// names (ethernetCsmacd), the Windows SDK's (IF_TYPE_IEEE80211) and short ones
// (wifi; cellular, which is two numbers). Case matters.
func InterfaceTypes(name string) ([]uint32, bool) { return interfaceTypes.numbers(name) }

// InterfaceTypeName gives the name to show for an IANA ifType, or "".
func InterfaceTypeName(number uint32) string { return interfaceTypes.name(number) }

// InterfaceTypeNames lists every name InterfaceTypes knows, sorted.
func InterfaceTypeNames() []string { return interfaceTypes.list() }

// TunnelTypes gives the IANA tunnelType numbers a name stands for. It knows
// IANA's names (sixToFour), the Windows SDK's (TUNNEL_TYPE_TEREDO) and short ones
// (6to4; none, which is 0). Case matters.
func TunnelTypes(name string) ([]uint32, bool) { return tunnelTypes.numbers(name) }

// TunnelTypeName gives the name to show for an IANA tunnelType, or "".
func TunnelTypeName(number uint32) string { return tunnelTypes.name(number) }

// TunnelTypeNames lists every name TunnelTypes knows, sorted.
func TunnelTypeNames() []string { return tunnelTypes.list() }

// protocols are those of IANA's protocol-numbers registry that a connection
// policy is likely to name.
var protocols = [...]struct {
	name   string
	number uint8
}{
	{"icmp", 1}, {"igmp", 2}, {"ipip", 4}, {"tcp", 6}, {"udp", 17}, {"dccp", 33}, {"ipv6", 41}, {"gre", 47}, {"esp", 50}, {"ah", 51},
	{"icmpv6", 58}, {"ospf", 89}, {"pim", 103}, {"vrrp", 112}, {"l2tp", 115}, {"sctp", 132}, {"udplite", 136},
}

// Protocol gives the IP protocol number of a name.
func Protocol(name string) (uint8, bool) {
	for _, p := range protocols {
		if p.name == name {
			return p.number, true
		}
	}
	return 0, false
}

// ProtocolName gives the name of an IP protocol, or "" for one without.
func ProtocolName(number uint8) string {
	for _, p := range protocols {
		if p.number == number {
			return p.name
		}
	}
	return ""
}

// ProtocolNames lists every name Protocol knows, in order of the number.
func ProtocolNames() []string {
	names := make([]string, len(protocols))
	for i, p := range protocols {
		names[i] = p.name
	}
	return names
}
