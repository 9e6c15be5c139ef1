package codegen

import "encoding/binary"

// Offsets and sizes in bytes of what the Linux kernel shows a program
// (linux/bpf.h). Addresses are in network byte order.

// struct bpf_sock_addr, of connect and sendmsg programs.
const (
	linuxAddrIP4      = 4
	linuxAddrIP6      = 8  // u32[4]
	linuxAddrPort     = 24 // u32, network byte order in the low half
	linuxAddrProtocol = 36 // u32
	linuxAddrSocket   = 64 // struct bpf_sock *
)

// struct bpf_sock_ops.
const (
	linuxOpsOp         = 0
	linuxOpsNewState   = 8 // args[1] of STATE_CB
	linuxOpsFamily     = 20
	linuxOpsRemoteIP4  = 24
	linuxOpsLocalIP4   = 28
	linuxOpsRemoteIP6  = 32
	linuxOpsLocalIP6   = 48
	linuxOpsRemotePort = 64 // u32, network byte order in the high half
	linuxOpsLocalPort  = 68 // u32, host byte order
	linuxOpsFlags      = 84
	linuxOpsSocket     = 184 // struct bpf_sock *
)

// Values of bpf_sock_ops.op, and the flag that asks for STATE_CB.
const (
	linuxConnectOp      = 3  // BPF_SOCK_OPS_TCP_CONNECT_CB
	linuxAcceptedOp     = 5  // BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB
	linuxStateOp        = 10 // BPF_SOCK_OPS_STATE_CB
	linuxStateFlag      = 1 << 2
	linuxSynSent        = 2 // BPF_TCP_SYN_SENT
	linuxClose          = 7
	linuxListen         = 10
	linuxInet           = 2 // AF_INET
	linuxSockRaw        = 3 // SOCK_RAW
	linuxProtoTCP       = 6
	linuxProtoUDP       = 17
	linuxProtoMPTCP     = 262 // IPPROTO_MPTCP: TCP on the wire
	linuxSolSocket      = 1
	linuxBindToIfindex  = 62         // SO_BINDTOIFINDEX
	linuxNoInterface    = 0x7fffffff // an ifindex that no interface has
	linuxNoExist        = 1          // BPF_NOEXIST
	linuxStorageCreate  = 1          // BPF_SK_STORAGE_GET_F_CREATE
	linuxNoPrealloc     = 1          // BPF_F_NO_PREALLOC
	linuxMmapable       = 1 << 10    // BPF_F_MMAPABLE: values begin with a page, and so with a cache line
	linuxInnerMap       = 1 << 12    // BPF_F_INNER_MAP: arrays of different lengths may take each other's place
	linuxDropAndTellTCP = 2          // NET_XMIT_CN of a program at egress: drop, and TCP counts it as congestion
)

// struct __sk_buff, of egress programs.
const (
	linuxBuffProtocol = 16 // of the frame, network byte order
	linuxBuffIfindex  = 40
	linuxBuffData     = 76 // packet pointers
	linuxBuffDataEnd  = 80
	linuxBuffSocket   = 168 // struct bpf_sock *
)

// Values of __sk_buff.protocol as programs load them.
const (
	linuxFrameIPv4 = 0x0008
	linuxFrameIPv6 = 0xdd86
)

// struct bpf_sock, all u32.
const (
	linuxSockBound    = 0 // ifindex the socket is bound to
	linuxSockType     = 8
	linuxSockProtocol = 12
	linuxSockPort     = 44 // the local one, host byte order
	linuxSockState    = 72
)

// A flow is a connection as all stages on Linux see it: what a decision depends on,
// and so the key of what is remembered of one. Addresses and ports are in network
// byte order, an IPv4 address is IPv4-mapped.
const (
	flowRemote     = 0
	flowLocal      = 16
	flowLocalPort  = 32 // u16
	flowRemotePort = 34 // u16
	flowProtocol   = 36 // u32
	flowInterface  = 40 // u32 ifindex, and a u32 of the state map's generation and the kind of the device
	flowNetwork    = 48 // u64 cookie of the network namespace
	flowSize       = 56
	flowContext    = flowSize // the network context, for decisions that ask for it
)

// An entry of the cache map. There are few of them: what makes a miss slow are lines
// of the processor's cache that have not been touched for long.
const (
	cacheHead = 0 // u64: a count in steps of 4, and flags
	cacheFlow = 8
	cacheSize = cacheFlow + flowSize // a line
	cacheBits = 7                    // of the index

	cacheBusy = 1 // while the entry is written
	cachePass = 2 // the verdict
)

// The value of the state map.
const (
	stateGeneration = 0  // u32
	stateFlags      = 4  // u32
	stateNetwork    = 8  // u64
	stateSeed       = 16 // u64
	stateInterfaces = 24 // u32 ifindex of each named interface
)

func stateSize(interfaces int) uint32 { return uint32(stateInterfaces+4*interfaces+7) &^ 7 }

// State is the value of the state map: what programs for Linux are told while they
// run.
type State struct {
	Generation uint32   // counts changes of what decisions depend on beside the flow, such as sets
	Flags      uint32   // StateNoConnectStage
	Network    uint64   // cookie of the namespace that the named interfaces are in
	Seed       uint64   // random
	Interfaces []uint32 // ifindex of each of Program.Interfaces; 0 for one that is not there
}

// Bytes is the state as the map has it.
func (s *State) Bytes() []byte {
	b := make([]byte, stateSize(len(s.Interfaces)))
	binary.NativeEndian.PutUint32(b[stateGeneration:], s.Generation)
	binary.NativeEndian.PutUint32(b[stateFlags:], s.Flags)
	binary.NativeEndian.PutUint64(b[stateNetwork:], s.Network)
	binary.NativeEndian.PutUint64(b[stateSeed:], s.Seed)
	for i, index := range s.Interfaces {
		binary.NativeEndian.PutUint32(b[stateInterfaces+4*i:], index)
	}
	return b
}

// What a socket's storage says of it.
const (
	SocketDirection = 0 // u32: 0, SocketAccepted or socketConnects
	socketBound     = 4 // u32: the interface it was bound to before it was aborted
	socketAborted   = 8 // u32: 1 while the binding is one that makes connect fail
	socketSize      = 12

	SocketAccepted = 1
	socketConnects = 2 // noted only without CAP_PERFMON
)

// The stack of a program for Linux, below what all targets have. The pointers are
// to the socket and the cache's entry, and, while an inlined decision has its register, to
// the context.
const (
	stackSocket   = stackEvent - 8
	stackEntry    = stackSocket - 8
	stackOption   = stackEntry - 8 // value of a socket option
	stackPeer     = stackOption - peerSize
	stackAside    = stackSocket
	stackProtocol = stackOption // of the packet's socket
)
