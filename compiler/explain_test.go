package compiler_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/tests/gen"
)

const explained = `policy p {
	default deny
	interface vpn = luid "iftype53_7"
	set many = { 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43, 45, 47 }
	rule loopback: allow hard if interface_type == loopback
	rule watch: deny audit if protocol == tcp
	rule smb: deny if interface_type == wifi and remote_port in { 139, 445 } and protocol == tcp
	rule either: allow if remote_port == 80 or remote_address in 10.0.0.0/8 or next_hop == $vpn
	rule except: deny if remote_port in $many unless next_hop in { $vpn, unknown }
	rule always: allow unless remote == 192.0.2.1:7/udp
}`

func TestExplain(t *testing.T) {
	policy := check(t, explained)
	for _, test := range []struct{ request, want string }{
		{"interface_type = loopback", `
loopback decides: allow-hard: interface_type == loopback is true: it is loopback`},
		{"interface_type = wifi, remote = 192.0.2.7:445/tcp", `
loopback does not match: interface_type == loopback is false: it is wifi
watch would decide, but is audited: deny: protocol == tcp is true: it is tcp
smb decides: deny: interface_type == wifi is true: it is wifi; remote_port in { 139, 445 } is true: it is 445; protocol == tcp is true: it is tcp`},
		{"remote = 192.0.2.7:445/tcp", `
loopback does not match, its condition is unknown: interface_type == loopback is unknown
watch would decide, but is audited: deny: protocol == tcp is true: it is tcp
smb decides: deny, its condition is unknown: interface_type == wifi is unknown`},
		{"interface_type = 6, remote = 192.0.2.7:5, next_hop = ethernet_1", `
loopback does not match: interface_type == loopback is false: it is ethernet
watch does not match: protocol == tcp is false: it is 0
smb does not match: interface_type == wifi is false: it is ethernet
either does not match: remote_port == 80 is false: it is 5; remote_address in 10.0.0.0/8 is false: it is 192.0.2.7; next_hop == $vpn is false: it is ethernet_1
except decides: deny: remote_port in { 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43,… is true: it is 5; next_hop in { $vpn, unknown } is false: it is ethernet_1`},
		{"interface_type = 6, remote = 192.0.2.1:7/udp", `
loopback does not match: interface_type == loopback is false: it is ethernet
watch does not match: protocol == tcp is false: it is udp
smb does not match: interface_type == wifi is false: it is ethernet
either does not match, its condition is unknown: next_hop == $vpn is unknown
except does not match: next_hop in { $vpn, unknown } is true: it is unknown
always does not match: remote_address == 192.0.2.1 is true: it is 192.0.2.1; remote_port == 7 is true: it is 7; protocol == udp is true: it is udp
default decides: deny`},
	} {
		request, err := policy.RequestFromText(test.request)
		require.NoError(t, err)
		steps := policy.Explain(&request)
		var lines []string
		for _, s := range steps {
			lines = append(lines, s.String())
		}
		require.Equal(t, strings.TrimPrefix(test.want, "\n"), strings.Join(lines, "\n"), test.request)
		decision := policy.Eval(&request)
		require.Equal(t, decision.Rule, steps[len(steps)-1].Index)
	}
}

// An explanation ends where evaluation does, and names a reason for each step
// that is not the same on all connections.
func TestExplainAgreesWithEval(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 5))
		policy, err := checkFiles(fileSet{"p.hop": gen.Policy(rng, gen.Options{Rules: 30, Events: true, Dynamic: true})}, "p.hop", nil)
		require.NoError(t, err)
		coverage := compiler.NewCoverage(policy)
		requests := gen.NewRequests(policy)
		for range 100 {
			r := requests.Random(rng)
			coverage.Add(&r)
			steps := policy.Explain(&r)
			require.Equal(t, policy.Eval(&r).Rule, steps[len(steps)-1].Index)
			for _, s := range steps[:len(steps)-1] {
				require.Equal(t, compiler.EvalCond(policy.Rules[s.Index].Cond, &r), s.Value)
			}
		}
	}
}

func TestCoverage(t *testing.T) {
	policy := check(t, `policy p {
		default deny
		rule web: allow if remote_port in { 80, 443 } and not interface_type == wifi
		rule dns: allow if remote_port == 53
		rule late: deny if protocol == icmp }`)
	coverage := compiler.NewCoverage(policy)
	require.Zero(t, coverage.Ratio())
	for _, text := range []string{
		"interface_type = ethernet, remote_port = 80",
		"interface_type = wifi, remote_port = 443",
		"remote_port = 80",
		"remote_port = 53",
	} {
		request, err := policy.RequestFromText(text)
		require.NoError(t, err)
		coverage.Add(&request)
	}
	require.Equal(t, []compiler.RuleCoverage{
		{Rule: "web", Decided: 1, Atoms: []compiler.AtomCoverage{
			{Cond: "remote_port in { 80, 443 }", Match: 1, Miss: 1},
			{Cond: "interface_type == wifi", Match: 1, Miss: 2},
		}},
		{Rule: "dns", Decided: 1, Atoms: []compiler.AtomCoverage{{Cond: "remote_port == 53", Match: 1, Miss: 2}}},
		{Rule: "late", Atoms: []compiler.AtomCoverage{{Cond: "protocol == icmp", Miss: 2}}},
		{Rule: "default", Decided: 2},
	}, coverage.Rules)
	require.InDelta(t, 10.0/12, coverage.Ratio(), 1e-9)
}
