package compiler_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// A built policy means what its text does.
func TestBuilder(t *testing.T) {
	built, err := compiler.New("corp").
		Hook(compiler.Connect).
		Default(lang.Deny).
		FailOpen().
		AuditMode().
		Set("lan-services", "139/tcp", "445/tcp", "$more").
		Set("more", "3389").
		DynamicSet("blocked", "10.0.0.0/8").
		Interface("vpn", "alias", "Corp VPN").
		Rule("loopback").AllowHard(compiler.InterfaceType.Is("loopback")).
		Rule("lan").Log().Audit().Unless(compiler.NextHop.Is("$vpn")).Deny(
		compiler.InterfaceType.NotIn("ethernet", "cellular"), compiler.RemotePort.In("$lan-services")).
		Rule("low").Deny(compiler.RemotePort.Less(1024).Or(compiler.LocalPort.AtMost(7)).Or(compiler.SubInterface.Greater(5).And(compiler.Compartment.AtLeast(2))).Not()).
		Rule("ends").Allow(compiler.Remote.In("10.0.0.1:80/tcp", "192.0.2.0/24"), compiler.Local.IsNot("::1"), compiler.RemoteAddress.NotIn("$blocked")).
		Rule("unknown").Deny(compiler.TunnelType.IsUnknown().And(compiler.Family.IsNot("ipv4"))).
		Rule("rest").Allow().
		Never("leak", lang.Allow, compiler.Protocol.Is("tcp"), compiler.NextHop.IsNot("$vpn")).
		Always("local", lang.AllowHard, compiler.InterfaceType.Is("loopback")).
		Test(lang.AllowHard, "loopback", compiler.Given{Field: "interface_type", Literal: "loopback"}).
		Test(lang.Allow, "", compiler.Given{Field: "next_hop", Literal: "$vpn"}, compiler.Given{Field: "remote", Literal: "10.0.0.9:445/tcp"}).
		Policy()
	require.NoError(t, err)
	written := check(t, `policy corp {
		hook connect
		default deny
		on unknown fail-open
		mode audit
		set lan-services = { 139/tcp, 445/tcp, $more }
		set more = { 3389 }
		set blocked dynamic = { 10.0.0.0/8 }
		interface vpn = alias "Corp VPN"
		rule loopback: allow hard if interface_type == loopback
		rule lan: deny log audit if interface_type not in { ethernet, cellular } and remote_port in $lan-services unless next_hop == $vpn
		rule low: deny if not (remote_port < 1024 or local_port <= 7 or sub_interface > 5 and compartment >= 2)
		rule ends: allow if remote in { 10.0.0.1:80/tcp, 192.0.2.0/24 } and local != ::1 and remote_address not in $blocked
		rule unknown: deny if tunnel_type == unknown and family != ipv4
		rule rest: allow
		assert leak: never allow if protocol == tcp and next_hop != $vpn
		assert local: always allow hard if interface_type == loopback
		test { interface_type = loopback } => allow hard by loopback
		test { next_hop = $vpn, remote = 10.0.0.9:445/tcp } => allow
	}`)
	require.Equal(t, written.String(), built.String())
}

// A built tree is formatted as text that parses and means the same.
func TestBuiltTreesFormat(t *testing.T) {
	b := compiler.New("p").Default(lang.Allow).
		Set("s", "10.0.0.0/8", "2001:db8::/32").
		Rule("r").Unless(compiler.Protocol.Is("udp")).Deny(compiler.Remote.In("$s", "192.0.2.1:80"))
	file, err := b.File()
	require.NoError(t, err)
	policy, err := b.Policy()
	require.NoError(t, err)
	for name, syntax := range map[string]lang.Syntax{"p.hop": lang.DSL, "p.yaml": lang.YAML} {
		again, err := checkFiles(fileSet{name: string(lang.Format(file, syntax))}, name, nil)
		require.NoError(t, err)
		require.Equal(t, policy.String(), again.String())
	}
}

// Mistakes come together, at the end, with the statement they are in.
func TestBuilderErrors(t *testing.T) {
	_, err := compiler.New("Corp").
		Set("empty").
		Set("wrong", "80", "x").
		Interface("vpn", "serial", "5").
		Rule("a").Deny(compiler.InterfaceType.Is("wify")).
		Rule("a").Allow(compiler.RemotePort.In("$empty", "$wrong")).
		Rule("default").Allow(compiler.RemotePort.In()).
		Rule("b").Deny(compiler.Expr{}).
		Rule("not an id").Deny(compiler.NextHop.Is("$nothing"), compiler.Remote.Is("10.0.0.1/8")).
		Never("c", lang.Allow, compiler.Protocol.Less(6)).
		Test(lang.Deny, "nobody", compiler.Given{Field: "remote", Literal: "x"}).
		Policy()
	var found lang.Diagnostics
	require.True(t, errors.As(err, &found))
	require.Equal(t, strings.TrimSpace(`
-: test 1: 'x' is not an address [bad-address]
-: 'Corp' is not an id [bad-id]
-: 'not an id' is not an id [bad-id]
-: no rule may be called 'default' [bad-id]
-: interface 'vpn': an interface has an alias, luid, guid or name, not 'serial' [bad-interface]
-: assert 'c': 'protocol' has no order: compare it with '==', '!=' or 'in' [bad-operator]
-: set 'wrong': 'x' is not a port [bad-port]
-: rule 'a': there are two rules 'a' [duplicate-rule]
-: rule 'default': there is nothing to compare 'remote_port' with [empty]
-: set 'empty': the set 'empty' is empty [empty-set]
-: rule 'not an id': the prefix '10.0.0.1/8' has bits set after its first 8 [host-bits]
-: the policy has no default [missing-default]
-: rule 'not an id': no set or interface is called 'nothing' [undefined-name]
-: rule 'b': '' is not a field [unknown-field]
-: rule 'a': 'wify' is not an interface type [unknown-name]
-: test 1: no rule is called 'nobody' [unknown-rule]
`), strings.ReplaceAll(found.Error(), "`", "'"))
}

// However deep an expression is, it is an error and no more.
func TestBuilderDepth(t *testing.T) {
	e := compiler.Protocol.Is("tcp")
	for range 1_000_000 {
		e = e.Not()
	}
	_, err := compiler.New("p").Default(lang.Deny).Rule("r").Deny(e).Policy()
	require.ErrorContains(t, err, "rule `r`: the condition nests deeper than 400")
}

// A rule that was begun and never given a verdict is not forgotten.
func TestRuleWithoutVerdict(t *testing.T) {
	b := compiler.New("p").Default(lang.Allow)
	b.Rule("r").Log()
	_, err := b.Policy()
	require.EqualError(t, err, "-: rule `r` has no verdict [missing-key]")
}

// What no text can say is an error of the built policy, too, and no panic.
func TestBuildGarbage(t *testing.T) {
	b := compiler.New("x").Default(lang.Verdict(9)).Interface("v", "alias", "two\nlines")
	b.Rule("a").Deny(compiler.Field(99).Is("1"))
	_, err := b.Policy()
	require.EqualError(t, err, "-: interface `v`: the interface's alias has a control character [bad-interface]\n"+
		"-: the default is no verdict [missing-default]\n-: rule `a`: `field-99` is not a field [unknown-field]")
}

// Every exception of a rule holds, not the last alone.
func TestUnlessTwice(t *testing.T) {
	p, err := compiler.New("p").Default(lang.Deny).
		Rule("r").Unless(compiler.Protocol.Is("udp")).Unless(compiler.RemotePort.Is("445")).Allow().
		Policy()
	require.NoError(t, err)
	require.Equal(t, "rule r: allow if not (protocol == udp or remote_port == 445)", p.Rules[0].String())
}
