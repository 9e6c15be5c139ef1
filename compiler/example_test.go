package compiler_test

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// A policy in Go, without text.
func ExampleNew() {
	policy, err := compiler.New("corp").
		Default(lang.Deny).
		Interface("vpn", "alias", "Corp VPN").
		Set("gateway", "203.0.113.10:51820/udp", "[2001:db8::10]:51820/udp").
		Rule("loopback").AllowHard(compiler.InterfaceType.Is("loopback")).
		Rule("no-smb").Log().Deny(compiler.InterfaceType.Is("wifi"), compiler.RemotePort.In("139/tcp", "445/tcp")).
		Rule("gateway").Allow(compiler.Remote.In("$gateway")).
		Rule("vpn").Unless(compiler.RemotePort.Less(1024)).Allow(compiler.NextHop.Is("$vpn")).
		Policy()
	if err != nil {
		fmt.Println(err)
		return
	}
	request, err := policy.RequestFromText("interface_type = wifi, remote = 10.0.0.9:445/tcp")
	if err != nil {
		fmt.Println(err)
		return
	}
	decision := policy.Eval(&request)
	fmt.Println(decision.Verdict, "by", policy.RuleID(decision.Rule))
	// Output:
	// deny by no-smb
}

// Mistakes are reported at the end, all together.
func ExampleBuilder_Policy() {
	_, err := compiler.New("corp").
		Default(lang.Deny).
		Rule("typo").Deny(compiler.InterfaceType.Is("wify")).
		Rule("range").Deny(compiler.RemotePort.In("90-80")).
		Policy()
	fmt.Println(err)
	// Output:
	// -: rule `range`: the range `90-80` ends before it starts [reversed-range]
	// -: rule `typo`: `wify` is not an interface type [unknown-name]
}

// A built policy can be written down, in either syntax.
func ExampleBuilder_File() {
	file, err := compiler.New("corp").
		Default(lang.Allow).
		Rule("no-telnet").Unless(compiler.InterfaceType.In("ethernet", "loopback")).Deny(compiler.RemotePort.Is("23/tcp")).
		File()
	if err != nil {
		fmt.Println(err)
		return
	}
	os.Stdout.Write(lang.Format(file, lang.DSL))
	// Output:
	// policy corp {
	//   default allow
	//
	//   rule no-telnet: deny if remote_port == 23/tcp unless interface_type in { ethernet, loopback }
	// }
}

// Conditions join by And, Or and Not.
func ExampleExpr() {
	inside := compiler.NextHop.Is("$vpn").Or(compiler.InterfaceType.Is("loopback"))
	fmt.Println(compiler.Protocol.Is("tcp").And(inside.Not()))
	// Output:
	// protocol == tcp and not (next_hop == $vpn or interface_type == loopback)
}

// Text is parsed, then checked, then asked.
func ExampleCheck() {
	file, err := lang.Parse("corp.hop", []byte(`
policy corp {
  default allow
  rule no-smb: deny if interface_type == wifi and remote_port == 445/tcp
}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	policy, err := compiler.Check(file, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	request := compiler.NoContext()
	request.Remote = netip.MustParseAddrPort("10.0.0.9:445")
	request.Protocol = 6
	decision := policy.Eval(&request)
	fmt.Printf("%s: %s by %s\n", policy.RequestText(&request), decision.Verdict, policy.RuleID(decision.Rule))
	// Output:
	// interface_type = unknown, remote = 10.0.0.9:445, protocol = tcp: deny by no-smb
}
