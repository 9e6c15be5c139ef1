package baseline

import (
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/tests/classbench"
	"github.com/hopgate/hopgate/tests/gen"
	"github.com/hopgate/hopgate/tests/measure"
)

// What hopgate is compared with decides as the reference does.
func TestBaselinesAreRight(t *testing.T) {
	measure.NeedsRoot(t)
	sets := map[string]*compiler.Policy{}
	for _, name := range []string{"acl1_1000", "fw1_1000", "ipc1_1000"} {
		set, err := classbench.Set(name)
		require.NoError(t, err)
		sets[name] = set
		t.Run("chain/"+name, func(t *testing.T) {
			code, err := EgressChain(set)
			require.NoError(t, err)
			program, err := measure.Load(ebpf.CGroupSKB, ebpf.AttachCGroupInetEgress, code)
			require.NoError(t, err)
			defer program.Close()
			require.NoError(t, measure.Agree(program, set, gen.Traffic(1, set, 2000)))
		})
	}
	mixed, err := gen.MixedPolicy(16)
	require.NoError(t, err)
	sets["mixed"] = mixed
	for name, set := range sets {
		t.Run("C/"+name, func(t *testing.T) {
			first := *set
			first.Rules = first.Rules[:16]
			agreeInC(t, &first, gen.Traffic(1, &first, 2000))
		})
	}
	t.Run("C/ipv6", func(t *testing.T) {
		file, err := lang.Parse("six.hop", []byte(ipv6))
		require.NoError(t, err)
		policy, err := compiler.Check(file, nil)
		require.NoError(t, err)
		rng, random := rand.New(rand.NewPCG(1, 1)), gen.NewRequests(policy)
		var requests []compiler.Request
		for len(requests) < 2000 {
			r := random.Random(rng)
			if r.Family() == 6 && (r.Protocol == 6 || r.Protocol == 17) {
				requests = append(requests, r)
			}
		}
		agreeInC(t, policy, requests)
	})
}

const ipv6 = `policy six {
  default allow
  rule range: deny if remote_address in 2001:db8::5-2001:db8:0:7::9 and protocol == tcp unless remote_port < 1000
  rule wide:  allow if local_address in 2001:db8::/32 or interface_type == wifi
  rule four:  deny if remote_address in 10.0.0.0/8 or family == ipv6 and local_port in { 80, 443-500 }
  rule types: deny if interface_type in { wifi, cellular } and remote_address == 2001:db8::1
}
`

func agreeInC(t *testing.T, p *compiler.Policy, requests []compiler.Request) {
	source, err := gen.C(p, "egress")
	require.NoError(t, err)
	spec, err := Clang(source)
	require.NoError(t, err)
	loaded, err := ebpf.NewCollection(spec)
	require.NoError(t, err)
	defer loaded.Close()
	for _, r := range requests {
		require.NoError(t, loaded.Maps["interface_types"].Put(uint32(1), r.InterfaceType))
		require.NoError(t, measure.Agree(loaded.Programs["egress"], p, []compiler.Request{r}))
	}
}
