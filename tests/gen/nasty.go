package gen

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
)

// Nasty are kinds of conditions of which many in one policy are hard to compile: their
// ranges overlap in several fields. Interfaces i0 to i199 and dynamic sets s0 to s199
// may occur.
func Nasty() map[string]func(rng *rand.Rand) string {
	return map[string]func(*rand.Rand) string{
		"addresses": func(r *rand.Rand) string {
			return fmt.Sprintf("if remote_address in %s and local_address in %s", anyAddresses(r), anyAddresses(r))
		},
		"ports": func(r *rand.Rand) string {
			return fmt.Sprintf("if remote_port in %s and local_port in %s", anyPorts(r), anyPorts(r))
		},
		"narrow-ports": func(r *rand.Rand) string {
			return fmt.Sprintf("if remote_port in %s and local_port in %s", fewPorts(r), fewPorts(r))
		},
		"three-ranges": func(r *rand.Rand) string {
			return fmt.Sprintf("if remote_port in %s and local_port in %s and remote_address in %s", anyPorts(r), anyPorts(r), anyAddresses(r))
		},
		"four-ranges": func(r *rand.Rand) string {
			return fmt.Sprintf("if remote_port in %s and local_port in %s and remote_address in %s and local_address in %s", anyPorts(r), anyPorts(r), anyAddresses(r), anyAddresses(r))
		},
		"negated": func(r *rand.Rand) string {
			return fmt.Sprintf("if not (remote_address in %s and remote_port in %s) and local_port != %d", anyAddresses(r), anyPorts(r), r.IntN(65536))
		},
		"unless": func(r *rand.Rand) string {
			return fmt.Sprintf("if remote_address in %s unless remote_port in %s or local_address in %s", anyAddresses(r), anyPorts(r), anyAddresses(r))
		},
		"either-or": func(r *rand.Rand) string {
			return fmt.Sprintf("if (remote_address in %s or remote_port in %s) and (local_address in %s or local_port in %s) and (protocol == tcp or interface_type == %d)",
				anyAddresses(r), anyPorts(r), anyAddresses(r), anyPorts(r), 1+r.IntN(200))
		},
		"interfaces": func(r *rand.Rand) string {
			return fmt.Sprintf("if next_hop == $i%d and remote_address in %s", r.IntN(200), anyAddresses(r))
		},
		"dynamic-sets": func(r *rand.Rand) string {
			return fmt.Sprintf("if remote in $s%d and remote_port in %s", r.IntN(200), anyPorts(r))
		},
		"ipv6": func(r *rand.Rand) string {
			return fmt.Sprintf("if remote_address in 2001:db8:%x::-2001:db8:%x:: and local_address in 2001:db8:%x::/48", r.IntN(0x8000), 0x8000+r.IntN(0x8000), r.IntN(0x10000))
		},
	}
}

// NastyPolicy is the text of a policy of n rules with conditions of one kind.
func NastyPolicy(rng *rand.Rand, n int, condition func(*rand.Rand) string) string {
	var b strings.Builder
	b.WriteString("policy nasty {\n  default allow\n")
	for i := range 200 {
		fmt.Fprintf(&b, "  interface i%d = alias \"interface %d\"\n  set s%d dynamic = { 10.0.%d.0/24 }\n", i, i, i, i)
	}
	for i := range n {
		fmt.Fprintf(&b, "  rule r%d: %s %s\n", i, [...]string{"deny", "allow"}[i%2], condition(rng))
	}
	b.WriteString("}\n")
	return b.String()
}

func anyAddresses(r *rand.Rand) string {
	a, b := r.Uint32(), r.Uint32()
	return fmt.Sprintf("%s-%s", address4(min(a, b)), address4(max(a, b)))
}

func address4(a uint32) netip.Addr { return v4(a).Address() }

func anyPorts(r *rand.Rand) string {
	a, b := r.IntN(65536), r.IntN(65536)
	return fmt.Sprintf("%d-%d", min(a, b), max(a, b))
}

func fewPorts(r *rand.Rand) string {
	a := r.IntN(60000)
	return fmt.Sprintf("%d-%d", a, a+r.IntN(5000))
}
