package compiler_test

import (
	"math"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
)

const requestPolicy = `policy p {
	default deny
	interface vpn = luid "iftype53_7"
	rule r: deny if next_hop == $vpn or interface_type == wifi }`

func TestRequests(t *testing.T) {
	policy := check(t, requestPolicy)
	unknown := compiler.Request{TunnelType: math.MaxUint32, Remote: netip.MustParseAddrPort("0.0.0.0:0"), Local: netip.MustParseAddrPort("0.0.0.0:0")}
	for _, test := range []struct {
		text, json string
		want       func(r *compiler.Request)
		canonical  string
	}{
		{"", `{}`, func(r *compiler.Request) {}, "interface_type = unknown, next_hop = unknown, remote = 0.0.0.0"},
		{
			"interface_type = wifi, tunnel_type = 0, remote = 10.0.0.9:445, protocol = tcp",
			`{"interface_type":"wifi","tunnel_type":0,"remote":"10.0.0.9:445","protocol":"tcp"}`,
			func(r *compiler.Request) {
				r.InterfaceType, r.TunnelType, r.Protocol = 71, 0, 6
				r.Remote = netip.MustParseAddrPort("10.0.0.9:445")
			},
			"interface_type = wifi, tunnel_type = none, next_hop = unknown, remote = 10.0.0.9:445, protocol = tcp",
		},
		{
			"next_hop=$vpn,interface=0x0006008005000001,remote=[2001:db8::1]:53/udp,local_port=7,sub_interface=3,compartment=2",
			` { "next_hop" : "$vpn", "interface": "0x0006008005000001", "remote":"[2001:db8::1]:53\/udp", "local_port":7, "sub_interface":"3", "compartment":"2" } `,
			func(r *compiler.Request) {
				r.NextHop, r.Interface, r.SubInterface, r.Compartment, r.Protocol = 53<<48|7<<24, 0x0006008005000001, 3, 2, 17
				r.Remote, r.Local = netip.MustParseAddrPort("[2001:db8::1]:53"), netip.MustParseAddrPort("[::]:7")
			},
			"interface_type = unknown, next_hop = $vpn, sub_interface = 3, interface = 0x0006008005000001, remote = [2001:db8::1]:53, local_port = 7, protocol = udp, compartment = 2",
		},
		{
			"remote = ::ffff:10.0.0.9, interface_type = cellular", `{"remote":"::ffff:10.0.0.9","interface_type":"cellular"}`,
			func(r *compiler.Request) {
				r.InterfaceType, r.Remote = 243, netip.MustParseAddrPort("10.0.0.9:0")
			},
			"interface_type = wwanPP, next_hop = unknown, remote = 10.0.0.9",
		},
		{
			"family = ipv6, local = fe80::1", `{"family":"ipv6","local":"fe80::1"}`,
			func(r *compiler.Request) {
				r.Remote, r.Local = netip.MustParseAddrPort("[::]:0"), netip.MustParseAddrPort("[fe80::1]:0")
			},
			"interface_type = unknown, next_hop = unknown, remote = ::, local = fe80::1",
		},
		{
			"remote_port = 445/tcp, protocol = tcp, remote_address = 10.0.0.9", `{"remote_port":"445/tcp","protocol":6,"remote_address":"10.0.0.9"}`,
			func(r *compiler.Request) {
				r.Protocol, r.Remote = 6, netip.MustParseAddrPort("10.0.0.9:445")
			},
			"interface_type = unknown, next_hop = unknown, remote = 10.0.0.9:445, protocol = tcp",
		},
	} {
		want := unknown
		test.want(&want)
		got, err := policy.RequestFromText(test.text)
		require.NoError(t, err, test.text)
		require.Equal(t, want, got, test.text)
		got, err = policy.RequestFromJSON([]byte(test.json))
		require.NoError(t, err, test.json)
		require.Equal(t, want, got, test.json)
		require.Equal(t, test.canonical, policy.RequestText(&got))
		got, err = policy.RequestFromText(test.canonical)
		require.NoError(t, err)
		require.Equal(t, want, got, test.canonical)
	}
}

func TestRequestErrors(t *testing.T) {
	policy := check(t, requestPolicy)
	for json, want := range map[string]string{
		``:                                        "expected a JSON object, found the end",
		`[]`:                                      "expected a JSON object at column 1, found `[]`",
		`{"remote":"10.0.0.1"`:                    "expected `,` or `}`, found the end",
		`{"remote":"10.0.0.1"} {}`:                "expected nothing after the object at column 23, found `{}`",
		`{"remote":"10.0.0.1",}`:                  "expected a field's name in quotes at column 22, found `}`",
		`{"remote" "10.0.0.1"}`:                   "expected `:` at column 11, found `\"10.0.0.1\"}`",
		`{"remote_port":443,"remote_port":443}`:   "`remote_port` is given twice",
		`{"remote_port":1e3}`:                     "`1e3` is not a port: write `1000`",
		`{"remote_port":-1}`:                      "`-1` is not a port: write a number or a range, as in `443`, `443/tcp` or `8000-8080/tcp`",
		`{"remote_port":010}`:                     "`010` is not a JSON number",
		`{"remote_port":null}`:                    "expected a string or a number for `remote_port` at column 16, found `null}`",
		`{"remote_port":[1]}`:                     "expected a string or a number for `remote_port` at column 16, found `[1]}`",
		`{"remote_port":"80-90"}`:                 "`80-90` is not one port",
		`{"remote_prot":1}`:                       "`remote_prot` is not a field: did you mean `remote_port`?",
		`{"Remote":"10.0.0.1"}`:                   "`Remote` is not a field: did you mean `remote`?",
		`{"next_hop":5}`:                          "`5` is not an interface LUID: write `0x...`, `ethernet_32773`, `iftype53_32768`, or name the interface and write `$NAME`",
		`{"next_hop":"$vnp"}`:                     "no interface is called `vnp`: did you mean `vpn`?",
		`{"interface_type":"vpn"}`:                "no interface type tells a VPN: WireGuard, Wintun and OpenVPN adapters report 53, TAP adapters 6: name the adapter, `interface vpn = alias \"...\"`, and write `next_hop == $vpn`",
		`{"remote":"10.0.0.1","local":"::1"}`:     "`local_address` is of another address family than what stands before it: remote and local are of one family",
		`{"remote":"10.0.0.1:1","remote_port":2}`: "`remote_port` is given two values: a connection has one value a field",
		`{"remote":"10.0.0.0/8"}`:                 "`10.0.0.0/8` is not one address: a connection has one",
		`{"remote":"fe80::1%eth0"}`:               "`fe80::1%eth0` has a zone, which a policy cannot test: write `fe80::1` and test the interface apart, as in `next_hop == $NAME`",
		`{"remote":"\x"}`:                         "invalid character 'x' in string escape code",
		`{"remote":"`:                             "expected the end of the string, found the end",
		`{"remote":"\`:                            "expected the end of the string, found the end",
		"{\"remote\":\"\n\"}":                     "a control character inside a string at column 12",
	} {
		_, err := policy.RequestFromJSON([]byte(json))
		require.EqualError(t, err, want, "%s", json)
	}
	_, err := policy.RequestFromText("remote = 10.0.0.1 protocol = tcp")
	require.ErrorContains(t, err, "expected")
	_, err = policy.ParseRequest([]compiler.Given{{Field: "remote_port", Literal: strings.Repeat("9", 1000)}})
	require.ErrorContains(t, err, "is too long for a value")
}

// No text makes the reader panic, and what it takes can be written and read
// again.
func FuzzRequestFromJSON(f *testing.F) {
	policy := check(f, requestPolicy)
	f.Add(`{"interface_type":"wifi","tunnel_type":0,"remote":"10.0.0.9:445/tcp","protocol":"tcp"}`)
	f.Add(`{"next_hop":"$vpn","remote":"[::1]:5","local_port":7,"family":"ipv6"}`)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := policy.RequestFromJSON([]byte(text))
		if err != nil {
			return
		}
		again, err := policy.RequestFromText(policy.RequestText(&r))
		require.NoError(t, err)
		require.Equal(t, policy.Eval(&r), policy.Eval(&again))
	})
}

func BenchmarkRequestFromJSON(b *testing.B) {
	policy := check(b, requestPolicy)
	text := []byte(`{"interface_type":"wifi","tunnel_type":0,"remote":"10.0.0.9:445","protocol":"tcp"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := policy.RequestFromJSON(text); err != nil {
			b.Fatal(err)
		}
	}
}
