package compiler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hopgate/hopgate/lang"
)

// lookUp gives the numbers that a name stands for: an interface type's, a tunnel
// type's or a protocol's.
func lookUp(kind Field, name string) ([]uint32, *problem) {
	switch kind {
	case InterfaceType:
		if numbers, ok := lang.InterfaceTypes(name); ok {
			return numbers, nil
		}
		if strings.EqualFold(name, "vpn") {
			return nil, wrong(codeVPNInterfaceType, "name the adapter, `interface vpn = alias \"...\"`, and write `next_hop == $vpn`",
				"no interface type tells a VPN: WireGuard, Wintun and OpenVPN adapters report 53, TAP adapters 6")
		}
	case TunnelType:
		if numbers, ok := lang.TunnelTypes(name); ok {
			return numbers, nil
		}
	case Protocol:
		if n, ok := lang.Protocol(name); ok {
			return []uint32{uint32(n)}, nil
		}
	}
	return nil, wrong(codeUnknownName, nameHint(kind, name), "`%s` is not %s", name, kind.kindName())
}

// nameHint guesses the name that was meant, of the field or of another one.
func nameHint(kind Field, name string) string {
	names := map[Field][]string{
		InterfaceType: lang.InterfaceTypeNames(),
		TunnelType:    lang.TunnelTypeNames(),
		Protocol:      lang.ProtocolNames(),
	}
	if short := shortFor(name); kind == InterfaceType && short != "" {
		return "write `" + short + "`"
	}
	if hint := didYouMean(name, append(names[kind], "unknown")); hint != "" {
		return hint
	}
	for _, other := range []Field{InterfaceType, TunnelType, Protocol} {
		if slices.Contains(names[other], name) {
			return fmt.Sprintf("`%s` is %s", name, other.kindName())
		}
	}
	if first, last, ok := strings.Cut(name, "-"); ok && isDigits(first) && isDigits(last) {
		return "there are no ranges of these: list the values"
	}
	if hint := numberHint(name); hint != "" {
		return hint
	}
	switch kind {
	case InterfaceType:
		return "write a number, an IANA ifType name such as `ieee80211`, or a short one: ethernet, wifi, loopback, ppp, tunnel, prop-virtual, cellular"
	case TunnelType:
		return "write a number, `none`, or an IANA tunnelType name such as `teredo`"
	}
	return "write one of " + strings.Join(names[Protocol], ", ") + ", or a number"
}

// shortFor is the type of interface that others call by this name, or "".
func shortFor(name string) string {
	switch strings.ToLower(name) {
	case "wlan", "wireless":
		return "wifi"
	case "eth", "lan", "wired":
		return "ethernet"
	case "lo", "localhost":
		return "loopback"
	case "mobile", "lte", "5g":
		return "cellular"
	}
	return ""
}

// didYouMean is a hint at the nearest candidate, or none.
func didYouMean(word string, candidates []string) string {
	if s := lang.Suggest(word, candidates); s != "" {
		return "did you mean `" + s + "`?"
	}
	return ""
}

// nameOf is the preferred spelling of a field's value: `wifi`, `tcp`,
// `ethernet_32773`, `10.0.0.9`.
func nameOf(f Field, v Value) string {
	name := ""
	switch f {
	case InterfaceType:
		name = lang.InterfaceTypeName(uint32(v.Lo))
	case TunnelType:
		name = lang.TunnelTypeName(uint32(v.Lo))
	case Protocol:
		name = lang.ProtocolName(uint8(v.Lo))
	case Family:
		name = fmt.Sprintf("ipv%d", v.Lo)
	case NextHop, Interface:
		name = luidText(v.Lo)
	case RemoteAddress, LocalAddress:
		name = v.Address().String()
	}
	if name == "" {
		name = fmt.Sprint(v.Lo)
	}
	return name
}
