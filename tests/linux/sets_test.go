//go:build linux

package linux

import (
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/runtime"
	"github.com/hopgate/hopgate/tests/gen"
)

// TestBigSetsAgree asks the kernel about every corner of large sets.
func TestBigSetsAgree(t *testing.T) {
	d := devices(t)[0]
	n, points := 50_000, 100_000
	if testing.Short() {
		n, points = 5000, 10_000
	}
	rng := rand.New(rand.NewPCG(1, 8))
	p := check(t, `policy sets {
  default allow
  set live dynamic = { 192.0.2.1 }
  rule live: deny if remote_address in $live
}`, &compiler.Options{BindAll: true})
	for _, s := range []struct {
		within      string
		least, most int
	}{{"0.0.0.0/0", 16, 32}, {"2001:db8::/40", 48, 128}} {
		p.Sets[0].Ranges = append(p.Sets[0].Ranges, gen.Ranges(gen.Prefixes(rng, netip.MustParsePrefix(s.within), n/2, s.least, s.most))...)
	}
	p.Sets[0].Ranges = compiler.AddToSet.Apply(nil, p.Sets[0].Ranges)
	k := attachPolicy(t, p, runtime.KernelOptions{})
	egress := k.Function("egress")
	var ends []compiler.Value
	for _, r := range p.Sets[0].Ranges {
		ends = append(ends, r.First, r.Last, gen.Next(r.Last))
	}
	rng.Shuffle(len(ends), func(i, j int) { ends[i], ends[j] = ends[j], ends[i] })
	for i := range points {
		r := compiler.NoContext()
		r.Protocol = 17
		remote := ends[i%len(ends)].Address()
		r.Remote, r.Local = netip.AddrPortFrom(remote, 53), netip.MustParseAddrPort("198.51.100.1:1")
		if remote.Is6() {
			r.Local = netip.MustParseAddrPort("[fd00::1]:1")
		}
		if !completeRequest(&r, d) {
			continue
		}
		got, err := egress.Run(&ebpf.RunOptions{Data: packet(&r), Context: skBuff{Ifindex: d.index}})
		require.NoError(t, err)
		require.Equal(t, p.Eval(&r).Verdict != lang.Deny, got == 1, "%+v", r)
	}
}

// TestChangeSet changes a set in the kernel: by the process that put the policy in
// force, and by way of what it has pinned.
func TestChangeSet(t *testing.T) {
	d := devices(t)[0]
	pin := filepath.Join(bpffs(t), "sets")
	p := check(t, `policy sets {
  default allow
  set live dynamic = { 192.0.2.0/24 }
  rule live: deny if remote_address in $live
}`, &compiler.Options{BindAll: true})
	k := attachPolicy(t, p, runtime.KernelOptions{Pin: pin})
	denied := func(k *runtime.Kernel, to string) bool {
		r := compiler.NoContext()
		r.Protocol, r.Remote, r.Local = 17, netip.MustParseAddrPort(to), netip.MustParseAddrPort("198.51.100.1:1")
		completeRequest(&r, d)
		got, err := k.Function("egress").Run(&ebpf.RunOptions{Data: packet(&r), Context: skBuff{Ifindex: d.index}})
		require.NoError(t, err)
		return got != 1
	}
	require.True(t, denied(k, "192.0.2.7:1") && !denied(k, "203.0.113.1:1"))
	require.NoError(t, k.ChangeSet("live", compiler.AddToSet, []string{"203.0.113.1"}))
	require.True(t, denied(k, "192.0.2.7:1") && denied(k, "203.0.113.1:1"))
	require.NoError(t, runtime.ChangePinnedSet(pin, "live", compiler.RemoveFromSet, []string{"192.0.2.0/25"}))
	require.True(t, !denied(k, "192.0.2.7:1") && denied(k, "192.0.2.200:1") && denied(k, "203.0.113.1:1"))
	require.NoError(t, runtime.ChangePinnedSet(pin, "live", compiler.ReplaceSet, nil))
	require.True(t, !denied(k, "192.0.2.200:1") && !denied(k, "203.0.113.1:1"))
	require.NoError(t, k.Refresh())
	keepsSets(t, k, p, pin, denied)
	require.ErrorContains(t, runtime.ChangePinnedSet(pin, "other", compiler.ReplaceSet, nil), "no dynamic set")
}

// keepsSets changes a set and reloads the policy: the change stays as long as the
// policy's own values of the set do.
func keepsSets(t *testing.T, k *runtime.Kernel, p *compiler.Policy, pin string, denied func(k *runtime.Kernel, to string) bool) {
	require.NoError(t, k.ChangeSet("live", compiler.ReplaceSet, []string{"203.0.113.1"}))
	changed := func(k *runtime.Kernel) bool { return denied(k, "203.0.113.1:1") && !denied(k, "192.0.2.7:1") }
	require.True(t, changed(k))
	require.NoError(t, k.Update(compile(t, p, codegen.Options{})))
	require.True(t, changed(k))

	// Another set comes before it, then another process takes the policy over.
	more := `policy sets {
  default allow
  set first dynamic = { 198.51.100.0/24 }
  set live dynamic = { 192.0.2.0/24 }
  rule first: allow if remote_address in $first
  rule live: deny if remote_address in $live
}`
	program := compile(t, check(t, more, nil), codegen.Options{})
	require.NoError(t, k.Update(program))
	require.True(t, changed(k))
	require.NoError(t, k.Close())
	k = attach(t, more, runtime.KernelOptions{Pin: pin})
	require.True(t, changed(k))

	other := strings.Replace(more, "192.0.2.0/24", "192.0.2.0/25", 1)
	require.NoError(t, k.Update(compile(t, check(t, other, nil), codegen.Options{})))
	require.True(t, denied(k, "192.0.2.7:1") && !denied(k, "203.0.113.1:1"))
	require.NoError(t, k.Update(program))
	require.True(t, denied(k, "192.0.2.200:1"))
}
