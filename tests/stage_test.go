package tests

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/tests/gen"
)

// notYetKnown are the fields that a Linux connect hook lacks.
var notYetKnown = []compiler.Field{
	compiler.InterfaceType, compiler.TunnelType, compiler.NextHop, compiler.SubInterface, compiler.Interface,
	compiler.LocalAddress, compiler.LocalPort,
}

// An early hook denies only what the whole policy denies however the missing
// fields turn out, by a rule no later than the one that decides then.
func TestEarlyDenialIsFinal(t *testing.T) {
	early := 0
	for seed := range uint64(120) {
		rng := rand.New(rand.NewPCG(seed, 9))
		text := gen.Policy(rng, gen.Options{Rules: []int{1, 5, 50, 200}[seed%4]})
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			p := check(t, "random.hop", text)
			d, err := compiler.Compile(p, nil)
			require.NoError(t, err)
			staged := d.Without(notYetKnown...)
			requests := gen.NewRequests(p)
			for range 1000 {
				r, other := requests.Random(rng), requests.Random(rng)
				got := staged.Decide(&r)
				if got.Rule == p.Undecided() {
					continue
				}
				early++
				if other.Family() != r.Family() {
					other.Local = r.Local // both ends are of one family
				}
				other.Remote, other.Protocol, other.Compartment = r.Remote, r.Protocol, r.Compartment
				for _, completion := range []*compiler.Request{&r, &other} {
					want := p.Eval(completion)
					require.Equal(t, lang.Deny, want.Verdict, "%+v", completion)
					require.LessOrEqual(t, got.Rule, want.Rule)
				}
			}
		})
	}
	require.NotZero(t, early)
}

// What the missing fields cannot save is denied early, by the first rule that could
// be the one; a connection that some interface may carry is left to the later hook.
func TestEarlyDenial(t *testing.T) {
	p := check(t, "corp.hop", `policy corp {
  default allow
  interface vpn = name "wg0"
  rule smb-wifi: deny if remote_port == 445 and interface_type == wifi
  rule smb:      deny if remote_port == 445
  rule corp:     deny if remote_address == 10.0.0.0/8 unless next_hop == $vpn
}`)
	d, err := compiler.Compile(p, nil)
	require.NoError(t, err)
	staged := d.Without(notYetKnown...)
	for remote, rule := range map[string]string{
		"192.0.2.1:445": "smb-wifi", "10.0.0.1:445": "smb-wifi", "[2001:db8::1]:445": "smb-wifi",
		"10.0.0.1:80": "", "192.0.2.1:80": "", "[2001:db8::1]:80": "",
	} {
		r, err := p.RequestFromJSON(fmt.Appendf(nil, `{"remote":%q,"protocol":"tcp"}`, remote))
		require.NoError(t, err)
		got := staged.Decide(&r)
		if rule == "" {
			require.Equal(t, p.Undecided(), got.Rule, remote)
			continue
		}
		require.Equal(t, rule, p.RuleID(got.Rule), remote)
	}
}

// What an early hook needs of a policy in which every second rule asks for the
// interface is small.
func TestEarlyDenialIsShort(t *testing.T) {
	p := check(t, "mixed.hop", gen.Mixed(rand.New(rand.NewPCG(1, 1)), 1000))
	d, err := compiler.Compile(p, nil)
	require.NoError(t, err)
	require.Less(t, 3*len(d.Without(notYetKnown...).IPv4.Nodes), len(d.IPv4.Nodes))
}
