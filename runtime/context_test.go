package runtime

import (
	"encoding/hex"
	"math"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

func request(local, remote string) compiler.Request {
	return compiler.Request{
		InterfaceType: 71, TunnelType: 3, NextHop: 0x0047008000000000, SubInterface: 9, Interface: 0x0006008005000000,
		Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote), Protocol: 17, Compartment: 5,
	}
}

func TestPutSockAddr(t *testing.T) {
	const tail = "11000000" + "05000000" + "00000000" + "0000000580000600" // protocol, compartment, padding, interface
	const tailBeforeRoute = "11000000" + "05000000" + "00000000" + "0000000000000000"
	v4 := request("10.0.0.1:1025", "192.0.2.9:443")
	v6 := request("[2001:db8::1]:1025", "[2001:db8::9]:443")
	mapped := request("[::ffff:10.0.0.1]:1025", "[::ffff:192.0.2.9]:443")
	end := map[string]string{
		"local4":  "0a000001" + "000000000000000000000000" + "0401" + "0000",
		"remote4": "c0000209" + "000000000000000000000000" + "01bb" + "0000",
		"local6":  "20010db8000000000000000000000001" + "0401" + "0000",
		"remote6": "20010db8000000000000000000000009" + "01bb" + "0000",
		"mapped1": "00000000000000000000ffff0a000001" + "0401" + "0000",
		"mapped9": "00000000000000000000ffffc0000209" + "01bb" + "0000",
	}
	for _, test := range []struct {
		name    string
		at      codegen.AttachType
		request compiler.Request
		want    string
	}{
		{"connect, IPv4", codegen.AttachConnectAuthorization4, v4, "02000000" + end["local4"] + end["remote4"] + tail},
		{"connect, IPv6", codegen.AttachConnectAuthorization6, v6, "17000000" + end["local6"] + end["remote6"] + tail},
		{"accept, IPv4: the peer is the source", codegen.AttachRecvAccept4, v4, "02000000" + end["remote4"] + end["local4"] + tail},
		{"accept, IPv6: the peer is the source", codegen.AttachRecvAccept6, v6, "17000000" + end["remote6"] + end["local6"] + tail},
		{"redirect, IPv4: no interface yet", codegen.AttachConnect4, v4, "02000000" + end["local4"] + end["remote4"] + tailBeforeRoute},
		{"redirect, IPv6: no interface yet", codegen.AttachConnect6, v6, "17000000" + end["local6"] + end["remote6"] + tailBeforeRoute},
		{"mapped addresses at an IPv4 layer", codegen.AttachConnectAuthorization4, mapped, "02000000" + end["local4"] + end["remote4"] + tail},
		{"IPv4 addresses at an IPv6 layer", codegen.AttachConnectAuthorization6, v4, "17000000" + end["mapped1"] + end["mapped9"] + tail},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := make([]byte, codegen.SockAddrSize)
			got[sockAddrPadding] = 0xee // what stood there before
			require.NoError(t, PutSockAddr(got, test.at, &test.request))
			require.Equal(t, test.want, hex.EncodeToString(got))
		})
	}
	require.ErrorContains(t, PutSockAddr(make([]byte, 64), codegen.AttachConnectAuthorization4, &v6), "cgroup/connect_authorization4")
}

// sockAddrPadding is a byte of the structure that belongs to no field.
const sockAddrPadding = 22

func TestPutNetworkContext(t *testing.T) {
	r := request("10.0.0.1:1", "10.0.0.2:2")
	b := make([]byte, codegen.NetworkContextSize)

	require.True(t, PutNetworkContext(b, codegen.AttachConnectAuthorization4, &r))
	require.Equal(t, "01000000"+"47000000"+"03000000"+"00000000"+"0000000080004700"+"09000000"+"00000000", hex.EncodeToString(b))

	require.True(t, PutNetworkContext(b, codegen.AttachRecvAccept6, &r))
	require.Equal(t, "01000000"+"47000000"+"03000000"+"00000000"+"0000000000000000"+"09000000"+"00000000", hex.EncodeToString(b),
		"there is no next hop at recv_accept")

	require.False(t, PutNetworkContext(b, codegen.AttachConnect4, &r), "there is no network context before route selection")
}

// The not-available values reach the program in the spelling of the request.
func TestNotAvailableIsRaw(t *testing.T) {
	b := make([]byte, codegen.NetworkContextSize)
	zero := compiler.NoContext()
	PutNetworkContext(b, codegen.AttachConnectAuthorization4, &zero)
	require.Equal(t, "01000000"+"00000000"+"ffffffff"+"00000000"+"0000000000000000"+"00000000"+"00000000", hex.EncodeToString(b))

	ones := compiler.Request{InterfaceType: math.MaxUint32, TunnelType: math.MaxUint32, NextHop: math.MaxUint64, SubInterface: math.MaxUint32}
	PutNetworkContext(b, codegen.AttachConnectAuthorization4, &ones)
	require.Equal(t, "01000000"+"ffffffff"+"ffffffff"+"00000000"+"ffffffffffffffff"+"ffffffff"+"00000000", hex.EncodeToString(b))
}

func TestSockAddrRequest(t *testing.T) {
	for _, at := range []codegen.AttachType{codegen.AttachConnectAuthorization4, codegen.AttachRecvAccept4, codegen.AttachConnectAuthorization6, codegen.AttachRecvAccept6} {
		for _, r := range []compiler.Request{request("10.0.0.1:1025", "192.0.2.9:443"), request("[2001:db8::1]:1025", "[2001:db8::9]:443")} {
			b := make([]byte, codegen.SockAddrSize)
			if PutSockAddr(b, at, &r) != nil {
				continue
			}
			want := compiler.NoContext()
			want.Local, want.Remote, want.Protocol, want.Compartment, want.Interface = r.Local, r.Remote, r.Protocol, r.Compartment, r.Interface
			require.Equal(t, want, SockAddrRequest(b, at), at.Section())
		}
	}
}

func TestAuthorizationLayer(t *testing.T) {
	mapped := request("0.0.0.0:0", "[::ffff:192.0.2.9]:443")
	v6 := request("[::]:0", "[2001:db8::9]:443")
	require.Equal(t, codegen.AttachConnectAuthorization4, AuthorizationLayer(compiler.Connect, &mapped))
	require.Equal(t, codegen.AttachConnectAuthorization6, AuthorizationLayer(compiler.Connect, &v6))
	require.Equal(t, codegen.AttachRecvAccept4, AuthorizationLayer(compiler.Accept, &mapped))
	require.Equal(t, codegen.AttachRecvAccept6, AuthorizationLayer(compiler.Accept, &v6))
}
