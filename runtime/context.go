package runtime

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// structVersion is the version of bpf_sock_addr_network_context_t and of
// bpf_sock_addr_test_context_t.
const structVersion = 1

// Network is what route selection says about a connection, in host byte order:
// the network context with the local interface. A field that holds one of its
// not-available values (compiler.Field.NotAvailable) is unknown.
type Network struct {
	InterfaceType uint32
	TunnelType    uint32
	NextHop       uint64 // NET_LUID
	SubInterface  uint32
	Interface     uint64 // NET_LUID
}

// NetworkOf is the network part of a request.
func NetworkOf(r *compiler.Request) Network {
	return Network{r.InterfaceType, r.TunnelType, r.NextHop, r.SubInterface, r.Interface}
}

// Apply replaces the network part of a request.
func (n Network) Apply(r *compiler.Request) {
	r.InterfaceType, r.TunnelType, r.NextHop, r.SubInterface, r.Interface =
		n.InterfaceType, n.TunnelType, n.NextHop, n.SubInterface, n.Interface
}

// AuthorizationLayer is the attach type whose programs judge a request: that of
// the hook and of the request's family. IPv4-mapped connections are judged at
// the IPv4 layers, as WFP does.
func AuthorizationLayer(hook compiler.Hook, r *compiler.Request) codegen.AttachType {
	v6 := r.Family() == 6
	switch {
	case hook == compiler.Accept && v6:
		return codegen.AttachRecvAccept6
	case hook == compiler.Accept:
		return codegen.AttachRecvAccept4
	case v6:
		return codegen.AttachConnectAuthorization6
	}
	return codegen.AttachConnectAuthorization4
}

func redirectLayer(r *compiler.Request) codegen.AttachType {
	if r.Family() == 6 {
		return codegen.AttachConnect6
	}
	return codegen.AttachConnect4
}

// layer is what distinguishes the attach types when a context is built.
type layer struct {
	v6       bool
	redirect bool // before route selection: no interface, no network context
	accept   bool // msg_src is the peer; no next hop
}

func layerOf(at codegen.AttachType) layer {
	switch at {
	case codegen.AttachConnect4:
		return layer{redirect: true}
	case codegen.AttachConnect6:
		return layer{redirect: true, v6: true}
	case codegen.AttachRecvAccept4:
		return layer{accept: true}
	case codegen.AttachRecvAccept6:
		return layer{accept: true, v6: true}
	case codegen.AttachConnectAuthorization6:
		return layer{v6: true}
	}
	return layer{}
}

// PutSockAddr writes the bpf_sock_addr_t that a program attached at the layer is
// shown for the request, to b[:codegen.SockAddrSize]. An IPv4 address is written
// to an IPv6 layer in its mapped form; an IPv6 address at an IPv4 layer is an
// error. An address that is not set is written as zero.
func PutSockAddr(b []byte, at codegen.AttachType, r *compiler.Request) error {
	b = b[:codegen.SockAddrSize]
	clear(b)
	l := layerOf(at)
	source, user := r.Local, r.Remote
	if l.accept {
		source, user = r.Remote, r.Local
	}
	family := uint32(codegen.WindowsInet)
	if l.v6 {
		family = codegen.WindowsInet6
	}
	binary.LittleEndian.PutUint32(b[codegen.SockAddrFamily:], family)
	if !putAddress(b[codegen.SockAddrMsgSrcIP:], source.Addr(), l.v6) || !putAddress(b[codegen.SockAddrUserIP:], user.Addr(), l.v6) {
		return fmt.Errorf("local `%s` and remote `%s`: an IPv6 address has no place at %s", r.Local, r.Remote, at.Section())
	}
	binary.BigEndian.PutUint16(b[codegen.SockAddrMsgSrcPort:], source.Port())
	binary.BigEndian.PutUint16(b[codegen.SockAddrUserPort:], user.Port())
	binary.LittleEndian.PutUint32(b[codegen.SockAddrProtocol:], uint32(r.Protocol))
	binary.LittleEndian.PutUint32(b[codegen.SockAddrCompartment:], r.Compartment)
	if !l.redirect {
		binary.LittleEndian.PutUint64(b[codegen.SockAddrInterface:], r.Interface)
	}
	return nil
}

// putAddress writes an address in network byte order; false for an IPv6 address
// where only 4 bytes are meant for it.
func putAddress(b []byte, a netip.Addr, v6 bool) bool {
	if !a.IsValid() {
		return true
	}
	if v6 {
		full := a.As16()
		copy(b, full[:])
		return true
	}
	a = a.Unmap()
	if !a.Is4() {
		return false
	}
	short := a.As4()
	copy(b, short[:])
	return true
}

// SockAddrRequest reads back what PutSockAddr wrote; the network context is
// unknown, but for the interface. IPv4-mapped addresses become IPv4.
func SockAddrRequest(b []byte, at codegen.AttachType) compiler.Request {
	l := layerOf(at)
	source := sockAddrEnd(b, codegen.SockAddrMsgSrcIP, codegen.SockAddrMsgSrcPort, l.v6)
	user := sockAddrEnd(b, codegen.SockAddrUserIP, codegen.SockAddrUserPort, l.v6)
	r := compiler.NoContext()
	r.Local, r.Remote = source, user
	if l.accept {
		r.Local, r.Remote = user, source
	}
	r.Protocol = uint8(binary.LittleEndian.Uint32(b[codegen.SockAddrProtocol:]))
	r.Compartment = binary.LittleEndian.Uint32(b[codegen.SockAddrCompartment:])
	r.Interface = binary.LittleEndian.Uint64(b[codegen.SockAddrInterface:])
	return r
}

func sockAddrEnd(b []byte, address, port int, v6 bool) netip.AddrPort {
	var a netip.Addr
	if v6 {
		a = netip.AddrFrom16([16]byte(b[address:])).Unmap()
	} else {
		a = netip.AddrFrom4([4]byte(b[address:]))
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[port:]))
}

// PutNetworkContext writes the bpf_sock_addr_network_context_t that helper 65538
// gives at the layer, to b[:codegen.NetworkContextSize]. Values are written raw,
// not-available ones in the spelling the request carries. It reports false where
// the layer has no network context. There is no next hop at recv_accept: the
// driver writes 0 there.
func PutNetworkContext(b []byte, at codegen.AttachType, r *compiler.Request) bool {
	l := layerOf(at)
	if l.redirect {
		return false
	}
	b = b[:codegen.NetworkContextSize]
	clear(b)
	binary.LittleEndian.PutUint32(b[codegen.NetworkContextVersion:], structVersion)
	binary.LittleEndian.PutUint32(b[codegen.NetworkContextInterfaceType:], r.InterfaceType)
	binary.LittleEndian.PutUint32(b[codegen.NetworkContextTunnelType:], r.TunnelType)
	if !l.accept {
		binary.LittleEndian.PutUint64(b[codegen.NetworkContextNextHop:], r.NextHop)
	}
	binary.LittleEndian.PutUint32(b[codegen.NetworkContextSubInterface:], r.SubInterface)
	return true
}

// TestContext is the bpf_sock_addr_test_context_t for a test run of a program of
// the layer with the request and its network context.
func TestContext(at codegen.AttachType, r *compiler.Request) ([]byte, error) {
	b := make([]byte, codegen.TestContextSize)
	binary.LittleEndian.PutUint16(b[codegen.TestContextVersion:], structVersion)
	binary.LittleEndian.PutUint64(b[codegen.TestContextLength:], codegen.TestContextSize)
	binary.LittleEndian.PutUint64(b[codegen.TestContextTotal:], codegen.TestContextSize)
	if !PutNetworkContext(b[codegen.TestContextNetwork:], at, r) {
		return nil, fmt.Errorf("%s has no network context", at.Section())
	}
	return b, PutSockAddr(b[codegen.TestContextSockAddr:], at, r)
}

// checkTestContext says what is wrong with the versions of a test context.
func checkTestContext(b []byte) error {
	version := binary.LittleEndian.Uint16(b[codegen.TestContextVersion:])
	size := binary.LittleEndian.Uint64(b[codegen.TestContextLength:])
	total := binary.LittleEndian.Uint64(b[codegen.TestContextTotal:])
	if version != structVersion || size != codegen.TestContextSize || total != codegen.TestContextSize {
		return fmt.Errorf("test context of version %d, size %d, total size %d: want %d, %d, %d",
			version, size, total, structVersion, codegen.TestContextSize, codegen.TestContextSize)
	}
	if v := binary.LittleEndian.Uint32(b[codegen.TestContextNetwork+codegen.NetworkContextVersion:]); v != structVersion {
		return fmt.Errorf("network context of version %d: want %d", v, structVersion)
	}
	return nil
}
