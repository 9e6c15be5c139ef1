// Package scenario runs a story of one host's connections through the
// authorization hook: the host moves between networks, opens and closes
// connections, and every decision is compared with what the story expects.
//
//	networks:
//	  office: {interface_type: ethernet, next_hop: ethernet_32773}
//	  cafe: {interface_type: wifi, next_hop: wireless_32768}
//	steps:
//	  - network: office
//	  - connect: {remote: '10.0.0.9:445/tcp'}
//	    flow: files
//	    expect: allow
//	    by: default
//	  - network: cafe
//	    expect: {files: deny}
//	  - redirect: {from: '203.0.113.80:443', to: '127.0.0.1:8080'}
//	  - accept: {remote: '10.0.0.7:50000/tcp', local: '10.0.0.2:22'}
//	  - close: 2
package scenario

import (
	"net/netip"

	"github.com/hopgate/hopgate/lang"
)

// Scenario is a parsed scenario file.
type Scenario struct {
	Source   *lang.Source
	Networks []Network
	Steps    []Step
}

// Network is a place in the net that the host can be at. Fields that are not
// given are unknown there.
type Network struct {
	lang.Span
	Name  string
	Given []lang.Given // interface_type, tunnel_type, next_hop, sub_interface, interface
}

// Action is what a step does.
type Action uint8

const (
	Move     Action = iota // to another network; live outbound connections are judged again
	Connect                // open an outbound connection
	Accept                 // get an inbound connection
	Redirect               // from now on, connections to one destination go to another
	Close                  // a connection
)

func (a Action) String() string { return actions[a] }

var actions = [...]string{"network", "connect", "accept", "redirect", "close"}

// Step is one step of the story.
type Step struct {
	lang.Span
	Action  Action
	Network int          // Move: index in Networks
	Given   []lang.Given // Connect, Accept: the request; fields that are given stay as they are on every network
	Flow    string       // Connect, Accept, Close: the connection's name, or its number among all, from 1
	From    Destination  // Redirect
	To      Destination  // Redirect
	Expect  []Expectation
}

// Destination is an address, or an address and a port. Port 0 in From is any
// port, and in To leaves the port as it is.
type Destination = netip.AddrPort

// Expectation is what a step says of one connection. A step with expectations
// expects no other live connection to be dropped.
type Expectation struct {
	lang.Span
	Flow    string
	Verdict *lang.Verdict // nil: any
	By      string        // the rule; "" for any
}
