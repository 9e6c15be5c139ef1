package gen

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// Mixed is the text of a policy of n rules such as a large site has: each tests a
// remote prefix, most a port or a range, a protocol, an interface type and some a
// local prefix. One in a hundred is for IPv6.
func Mixed(rng *rand.Rand, n int) string {
	var b strings.Builder
	b.WriteString("policy mixed {\n  default allow\n")
	for i := range n {
		verdict := [...]string{"deny", "allow"}[i%2]
		fmt.Fprintf(&b, "  rule r%d: %s if ", i, verdict)
		if i%100 == 99 {
			fmt.Fprintf(&b, "remote_address in 2001:db8:%x::/48", rng.IntN(1<<16))
		} else {
			b.WriteString("remote_address in " + prefix(rng, 16+4*rng.IntN(5)))
		}
		if rng.IntN(4) > 0 {
			fmt.Fprintf(&b, " and remote_port in %s", portRange(rng))
		}
		if rng.IntN(2) == 0 {
			fmt.Fprintf(&b, " and protocol == %s", [...]string{"tcp", "udp"}[rng.IntN(2)])
		}
		if rng.IntN(2) == 0 {
			fmt.Fprintf(&b, " and interface_type == %s", [...]string{"wifi", "ethernet", "ppp", "cellular"}[rng.IntN(4)])
		}
		if i%100 != 99 && rng.IntN(5) == 0 {
			b.WriteString(" and local_address in " + prefix(rng, 24))
		}
		b.WriteByte('\n')
	}
	b.WriteString("}\n")
	return b.String()
}

// MixedPolicy is Mixed, checked: for each size always the same.
func MixedPolicy(n int) (*compiler.Policy, error) {
	file, err := lang.Parse("mixed.hop", []byte(Mixed(rand.New(rand.NewPCG(1, 1)), n)))
	if err != nil {
		return nil, err
	}
	return compiler.Check(file, nil)
}

// prefix is an IPv4 prefix in 10.0.0.0/8.
func prefix(rng *rand.Rand, length int) string {
	a := 10<<24 | rng.Uint32()&0xffffff&^(1<<(32-length)-1)
	return fmt.Sprintf("%d.%d.%d.%d/%d", a>>24, a>>16&255, a>>8&255, a&255, length)
}

func portRange(rng *rand.Rand) string {
	first := rng.IntN(60000)
	if rng.IntN(3) > 0 {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, first+rng.IntN(5000))
}
