package bench

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/tests/gen"
)

const cgroups = "/sys/fs/cgroup/unified"

func needsRoot(b testing.TB) {
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		b.Fatal("must run as root in CI")
	}
	b.Skip("needs root, to load programs and to make a network namespace")
}

// packet is an IPv4 packet of the request's flow.
func packet(r *compiler.Request) []byte {
	p := make([]byte, 40)
	p[0], p[8], p[9] = 0x45, 64, r.Protocol
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], r.Local.Addr().AsSlice())
	copy(p[16:], r.Remote.Addr().AsSlice())
	binary.BigEndian.PutUint16(p[20:], r.Local.Port())
	binary.BigEndian.PutUint16(p[22:], r.Remote.Port())
	return p
}

func randomRequests(p *compiler.Policy, n int) []compiler.Request {
	rng := rand.New(rand.NewPCG(1, 2))
	random := gen.NewRequests(p)
	var list []compiler.Request
	for len(list) < n {
		r := random.Random(rng)
		if r.Family() == 4 && r.Remote.Addr().Is4() && r.Local.Addr().Is4() && r.Remote.Addr() != netip.IPv4Unspecified() && r.Local.Addr() != netip.IPv4Unspecified() {
			list = append(list, r)
		}
	}
	return list
}
