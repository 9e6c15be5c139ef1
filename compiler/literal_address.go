package compiler

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// endpoint is `ip:port` or `ip:port/tcp`.
type endpoint struct {
	address   Value
	port      uint16
	transport transport
}

// parseAddresses reads `ip`, `ip/n` or `ip-ip`. An IPv6 range comes without the
// IPv4-mapped block: an IPv6 literal never matches an IPv4 connection.
func parseAddresses(text string) ([]Range, *problem) {
	if lo, hi, ok := strings.Cut(text, "-"); ok {
		return parseAddressRange(text, lo, hi)
	}
	if addr, bits, ok := strings.Cut(text, "/"); ok {
		return parsePrefix(text, addr, bits)
	}
	a, err := parseAddress(text)
	if err != nil {
		return nil, err
	}
	v := AddressValue(a)
	return []Range{{v, v}}, nil
}

func parseAddressRange(text, lo, hi string) ([]Range, *problem) {
	first, err := parseAddress(lo)
	if err != nil {
		return nil, err
	}
	last, err := parseAddress(hi)
	if err != nil {
		if isDigits(hi) && first.Is4() {
			err.hint = fmt.Sprintf("write `%s-%s%s`", lo, lo[:strings.LastIndexByte(lo, '.')+1], hi)
		}
		return nil, err
	}
	if first.Is4() != last.Is4() {
		return nil, wrong(codeMixedFamilies, "write one range for each family", "the range `%s` goes from one address family to the other", text)
	}
	if last.Less(first) {
		return nil, wrong(codeReversedRange, fmt.Sprintf("write `%s-%s`", hi, lo), "the range `%s` ends before it starts", text)
	}
	return familyRanges(Range{AddressValue(first), AddressValue(last)}), nil
}

func parsePrefix(text, addr, length string) ([]Range, *problem) {
	a, err := parseAddress(addr)
	if err != nil && isDigits(addr) {
		err.hint = "an IPv4 prefix has four numbers, as in `10.0.0.0/8`"
	}
	inMapped := err != nil && err.code == codeMappedAddress
	if err != nil && !inMapped {
		return nil, err
	}
	if !isDigits(length) {
		hint := "a prefix is `10.0.0.0/8` or `fd00::/8`; a port goes before the protocol, as in `10.0.0.1:443/tcp`"
		if _, none := parseTransport(text, length); none == nil && a.Is6() {
			i := strings.LastIndexByte(addr, ':')
			hint = fmt.Sprintf("an IPv6 address with a port stands in brackets: `[%s]:%s/%s`", addr[:i], addr[i+1:], length)
		}
		return nil, wrong(codeBadAddress, hint, "`%s` is not a prefix length", length)
	}
	bits, err := parseNumber(length, "a prefix length", uint64(a.BitLen()))
	if err != nil {
		return nil, err
	}
	if inMapped && bits >= 96 {
		return nil, mappedLiteral(text, netip.PrefixFrom(a.Unmap(), int(bits)-96).Masked().String())
	}
	prefix := netip.PrefixFrom(a, int(bits)).Masked()
	if prefix.Addr() != a {
		hint := fmt.Sprintf("write `%s`", prefix)
		if !inMapped {
			hint += fmt.Sprintf(", or `%s` for the one address", a)
		}
		return nil, wrong(codeHostBits, hint, "the prefix `%s` has bits set after its first %d", text, bits)
	}
	return familyRanges(prefixRange(prefix)), nil
}

// prefixRange is all addresses of a masked prefix.
func prefixRange(p netip.Prefix) Range {
	first := AddressValue(p.Addr())
	host := p.Addr().BitLen() - p.Bits()
	last := first
	last.Lo |= 1<<host - 1 // all ones from 64 bits on
	if host > 64 {
		last.Hi |= 1<<(host-64) - 1
	}
	return Range{first, last}
}

// familyRanges is the part of the range that belongs to its first address's
// family.
func familyRanges(r Range) []Range {
	if mapped.Contains(r.First) {
		return []Range{r}
	}
	return r.without(mapped)
}

// parseAddress reads one address.
func parseAddress(text string) (netip.Addr, *problem) {
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return a, badAddress(text)
	case a.Zone() != "":
		return a, wrong(codeAddressZone, fmt.Sprintf("write `%s` and test the interface apart, as in `next_hop == $NAME`", a.WithZone("")),
			"`%s` has a zone, which a policy cannot test", text)
	case a.Is4In6():
		return a, mappedLiteral(text, a.Unmap().String())
	}
	return a, nil
}

func mappedLiteral(text, v4 string) *problem {
	return wrong(codeMappedAddress, fmt.Sprintf("write `%s`", v4), "`%s` is an IPv4-mapped address, which is the IPv4 address everywhere", text)
}

// badAddress says what keeps the text from being an address.
func badAddress(text string) *problem {
	if octets := strings.Split(text, "."); len(octets) == 4 && !slices.ContainsFunc(octets, func(o string) bool { return !isDigits(o) }) {
		for i, octet := range octets {
			n, err := strconv.Atoi(octet)
			if err != nil || n > 255 {
				return wrong(codeBadAddress, "", "`%s` is not an address: the octet `%s` is more than 255", text, octet)
			}
			octets[i] = strconv.Itoa(n)
		}
		return wrong(codeLeadingZero, fmt.Sprintf("write `%s`", strings.Join(octets, ".")),
			"`%s` has an octet with a leading zero, which some programs read as octal", text)
	}
	hint := ""
	switch {
	case strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]"):
		hint = "brackets go with a port only: write `" + strings.Trim(text, "[]") + "`"
	case strings.Count(text, ".") < 3 && isDigits(strings.ReplaceAll(text, ".", "")) && strings.Contains(text, "."):
		hint = "an IPv4 address is four numbers, and a prefix says how many bits count: `10.0.0.0/8`"
	case text == "any" || text == "all":
		hint = "leave the test out: without it every address matches"
	case isDigits(text):
		hint = "a port is tested with remote_port or local_port"
	case strings.ContainsFunc(text, isHostLetter) && !strings.Contains(text, ":"):
		hint = "host names are not looked up: write the address"
	}
	return wrong(codeBadAddress, hint, "`%s` is not an address", text)
}

// isHostLetter reports whether r is a letter that no hexadecimal number has.
func isHostLetter(r rune) bool { return r >= 'g' && r <= 'z' || r >= 'G' && r <= 'Z' }

// splitEndpoint parts `ip:port/proto` or `[v6]:port/proto` into address and port;
// ok is false for a plain address, prefix or range.
func splitEndpoint(text string) (addr, port string, ok bool) {
	if strings.HasPrefix(text, "[") {
		addr, port, ok = strings.Cut(text[1:], "]:")
		return addr, port, ok
	}
	if strings.Count(text, ":") != 1 {
		return "", "", false
	}
	return strings.Cut(text, ":")
}

// parseEndpoint reads what splitEndpoint has parted.
func parseEndpoint(text, addr, port string) (endpoint, *problem) {
	if strings.ContainsAny(addr, "-/") {
		return endpoint{}, wrong(codeBadEndpoint, "test the addresses and the port apart", "`%s` joins more than one address with a port", text)
	}
	a, err := parseAddress(addr)
	if err != nil {
		return endpoint{}, err
	}
	if a.Is4() && strings.HasPrefix(text, "[") {
		return endpoint{}, wrong(codeBadEndpoint, fmt.Sprintf("write `%s:%s`", addr, port), "brackets are for IPv6 addresses, `%s` is IPv4", addr)
	}
	r, t, err := parsePorts(port)
	if err != nil {
		return endpoint{}, err
	}
	if r.First != r.Last {
		return endpoint{}, wrong(codeBadEndpoint, "test the address and the ports apart", "`%s` joins an address with more than one port", text)
	}
	return endpoint{AddressValue(a), uint16(r.First.Lo), t}, nil
}
