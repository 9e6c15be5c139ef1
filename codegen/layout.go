package codegen

import "strings"

// Offsets and sizes in bytes of what the kernel shows a program. They stand here
// and nowhere else.

// bpf_sock_addr_t of eBPF for Windows (ebpf_nethooks.h). Addresses and ports are
// in network byte order, the rest in host order. At the connect hooks msg_src is
// the local end and user the remote one; at recv_accept it is the other way round.
const (
	SockAddrFamily      = 0  // u32: AF_INET or AF_INET6
	SockAddrMsgSrcIP    = 4  // u32 or u32[4]
	SockAddrMsgSrcPort  = 20 // u16
	SockAddrUserIP      = 24 // u32 or u32[4]
	SockAddrUserPort    = 40 // u16
	SockAddrProtocol    = 44 // u32
	SockAddrCompartment = 48 // u32
	SockAddrInterface   = 56 // u64 NET_LUID; 0 at the redirect layer
	SockAddrSize        = 64
)

// Address families as eBPF for Windows numbers them.
const (
	WindowsInet  = 2
	WindowsInet6 = 23
)

// bpf_sock_addr_network_context_t, which helper 65538 fills.
const (
	NetworkContextVersion       = 0  // u32: 1
	NetworkContextInterfaceType = 4  // u32 IANA ifType
	NetworkContextTunnelType    = 8  // u32 IANA tunnelType
	NetworkContextNextHop       = 16 // u64 NET_LUID
	NetworkContextSubInterface  = 24 // u32
	NetworkContextSize          = 32
)

// bpf_sock_addr_test_context_t, what bpf_prog_test_run_opts takes to run a program
// with a network context (ebpf_nethooks.h). Size and total size are both
// TestContextSize.
const (
	TestContextVersion  = 0  // u16: 1
	TestContextLength   = 8  // u64: bytes without trailing padding
	TestContextTotal    = 16 // u64: bytes
	TestContextSockAddr = 24 // bpf_sock_addr_t
	TestContextNetwork  = 88 // bpf_sock_addr_network_context_t
	TestContextSize     = 120
)

// HelperNetworkContext is the id of bpf_sock_addr_get_network_context in eBPF for
// Windows: int (ctx, void *buffer, u32 size); it gives 0, or less on failure.
const HelperNetworkContext = 0xFFFF + 3

// Other helpers of sock_addr programs in eBPF for Windows.
const (
	HelperCurrentPidTgidOld  = 0xFFFF + 1 // u64 (): as HelperCurrentPidTgid
	HelperSetRedirectContext = 0xFFFF + 2 // int (ctx, void *data, u32 size): 0, or less on failure
	HelperCurrentPidTgid     = 19         // u64 (): process id << 32 | thread id
	HelperCurrentLogonID     = 20         // u64 (ctx)
	HelperIsCurrentAdmin     = 21         // s32 (ctx): 1, 0, or less where it is not known
	HelperSocketCookie       = 26         // u64 (ctx)
	HelperProcessStartKey    = 33         // u64 (): of a process, and of no other before it
	HelperThreadCreateTime   = 34         // s64 (): in 100 ns since 1601
)

// AttachType is an attach type of eBPF for Windows for the program type
// BPF_PROG_TYPE_CGROUP_SOCK_ADDR, by its number.
type AttachType uint32

const (
	AttachConnect4              AttachType = 3 // the redirect layer
	AttachConnect6              AttachType = 4
	AttachRecvAccept4           AttachType = 5
	AttachRecvAccept6           AttachType = 6
	AttachConnectAuthorization4 AttachType = 12
	AttachConnectAuthorization6 AttachType = 13
)

// Section is the name of the object-file section for the attach type.
func (a AttachType) Section() string { return attachTypes[a].section }

// GUID identifies the attach type to eBPF for Windows.
func (a AttachType) GUID() string { return attachTypes[a].guid }

// AttachTypeOf finds the attach type of a section; false if it is none of these.
func AttachTypeOf(section string) (AttachType, bool) {
	for a, t := range attachTypes {
		if t.section == section {
			return a, true
		}
	}
	return 0, false
}

// LayerOf finds the attach type that a program of the section is loaded for, to be
// attached or called by others: eBPF for Windows goes by the start of the name.
func LayerOf(section string) (AttachType, bool) {
	for a, t := range attachTypes {
		if strings.HasPrefix(section, t.section) {
			return a, true
		}
	}
	return 0, false
}

var attachTypes = map[AttachType]struct{ section, guid string }{
	AttachConnect4:              {"cgroup/connect4", "a82e37b1-aee7-11ec-9a30-18602489beee"},
	AttachConnect6:              {"cgroup/connect6", "a82e37b2-aee7-11ec-9a30-18602489beee"},
	AttachRecvAccept4:           {"cgroup/recv_accept4", "a82e37b3-aee7-11ec-9a30-18602489beee"},
	AttachRecvAccept6:           {"cgroup/recv_accept6", "a82e37b4-aee7-11ec-9a30-18602489beee"},
	AttachConnectAuthorization4: {"cgroup/connect_authorization4", "6076c13a-f04f-4ff8-8380-908553f22276"},
	AttachConnectAuthorization6: {"cgroup/connect_authorization6", "54b0b6ed-432a-4674-8b27-8d9f5b40c675"},
}

// end is where the context has one end of the connection.
type end struct{ ip, port int16 }

// The stack of a program, as offsets from r10.
const (
	stackContext = -NetworkContextSize     // the network context
	stackFlow    = stackContext - flowSize // on Linux the flow, which decisions get with the network context
	stackKey     = stackFlow - 24          // a map key: u32 index, or prefix length and data
	stackEvent   = stackKey - EventSize    // an event being put together
)
