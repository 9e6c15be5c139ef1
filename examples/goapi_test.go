package examples

import (
	"fmt"
	"log"
	"net/netip"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/runtime"
)

// A program that embeds hopgate: it makes a policy, compiles it, and puts it in
// force in a hook in its own process. A connection that was fine on Ethernet is
// dropped when the host moves to Wi-Fi.
func Example_goAPI() {
	policy, err := compiler.New("laptop").
		Default(lang.Allow).
		Rule("no-smb").Log().Deny(compiler.InterfaceType.Is("wifi"), compiler.RemotePort.Is("445/tcp")).
		Policy()
	if err != nil {
		log.Fatal(err)
	}
	diagram, err := compiler.Compile(policy, nil)
	if err != nil {
		log.Fatal(err)
	}
	program, err := codegen.Generate(diagram, &codegen.Options{Target: codegen.Windows})
	if err != nil {
		log.Fatal(err)
	}

	hook := runtime.NewHook(nil)
	link, err := hook.Attach(program, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer link.Close()

	dock := runtime.Network{InterfaceType: 6, NextHop: 0x0006008005000000}
	cafe := runtime.Network{InterfaceType: 71, NextHop: 0x0047008000000000}

	request := compiler.Request{Remote: netip.MustParseAddrPort("10.0.0.9:445"), Protocol: 6}
	dock.Apply(&request)
	flow, result := hook.Connect(&request)
	fmt.Println(result.Verdict, "by", result.Decider().Rule)

	for _, result := range hook.SetNetwork(cafe) {
		fmt.Println(result.Stage, result.Verdict, "by", result.Decider().Rule)
	}
	fmt.Println("live:", flow.Live())
	// Output:
	// allow by default
	// reauthorize deny by no-smb
	// live: false
}

// What check finds in a file is an error with a position, and can be shown as the
// command does.
func Example_findings() {
	file, err := lang.Parse("corp.hop", []byte("policy corp {\n  default allow\n  rule wifi: deny if interface_type == wify\n}\n"))
	if err != nil {
		log.Fatal(err)
	}
	_, err = compiler.Check(file, nil)
	fmt.Println(err)
	// Output:
	// corp.hop:3:40: `wify` is not an interface type [unknown-name]
}
