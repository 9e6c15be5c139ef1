package codegen

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Replies of UDP servers, where Options.LeaveReplies asks for it: an ingress stage
// notes who has sent datagrams, and what goes back to them is left alone as accepted
// TCP connections are. Who sent first decides, so that a peer's answer makes no
// replies of what this host has begun.

// PeersMap is an LRU hash of the peers of UDP ports, with who sent first.
const PeersMap = "hopgate_peers"

// A key of the peers map.
const (
	peerRemote     = 0  // address, an IPv4 one IPv4-mapped
	peerRemotePort = 16 // u16, network byte order
	peerLocalPort  = 18 // u16, network byte order
	peerPad        = 20
	peerNetwork    = 24 // u64 cookie of the network namespace
	peerSize       = 32
)

// Values of the peers map.
const (
	peerSentFirst = 1
	hostSentFirst = 2
)

func peersMap() *ebpf.MapSpec {
	return &ebpf.MapSpec{Name: PeersMap, Type: ebpf.LRUHash, KeySize: peerSize, ValueSize: 4, MaxEntries: 1 << 16}
}

// ingress is the stage of packets that come in. It lets all of them in, and notes
// from whom UDP has come.
func (f *function) ingress() blockID {
	pass := f.straight(noBlock, asm.Mov.Imm(asm.R0, 1))
	note := f.notePeer(peerSentFirst, pass)
	known := f.findPeer(f.branch(asm.JEq, asm.R0, 0, note, pass))
	network := f.straight(known, asm.StoreMem(regStack, stackPeer+peerNetwork, asm.R0, asm.DWord))
	if f.devices {
		network = f.straight(network, asm.Mov.Reg(asm.R1, regContext), asm.FnGetNetnsCookie.Call())
	} else {
		network = f.straight(network, append(loadOfPacket(asm.R1, regContext, "dev"),
			loadMember(asm.R1, asm.R1, "net_device", "nd_net.net"),
			loadMember(asm.R0, asm.R1, "net", "net_cookie"))...)
	}
	ports := func(at int16) blockID {
		return f.longer(at+4, f.straight(network,
			asm.LoadMem(asm.R1, asm.R8, at, asm.Word),
			asm.StoreMem(regStack, stackPeer+peerRemotePort, asm.R1, asm.Word),
			storeImm(stackPeer+peerPad, 0, asm.Word)), pass)
	}
	address := func(from, bytes int16) asm.Instructions {
		code := asm.Instructions{
			storeImm(stackPeer+peerRemote, 0, asm.DWord),
			storeImm(stackPeer+peerRemote+8, -0x10000, asm.Word), // 00 00 ff ff
		}
		for i := int16(0); i < bytes; i += 4 {
			code = append(code,
				asm.LoadMem(asm.R1, asm.R8, from+i, asm.Word),
				asm.StoreMem(regStack, stackPeer+peerRemote+16-bytes+i, asm.R1, asm.Word))
		}
		return code
	}
	udp := func(at int16, next blockID) blockID {
		return f.branch(asm.JEq, asm.R1, linuxProtoUDP, next, pass, asm.LoadMem(asm.R1, asm.R8, at, asm.Byte))
	}
	ipv4 := udp(9, f.straight(ports(20), address(12, 4)...))
	ipv6 := f.longer(40, udp(6, f.straight(ports(40), address(8, 16)...)), pass)
	version := f.branch(asm.JEq, asm.R2, 6, ipv6, pass, asm.RSh.Imm(asm.R2, 4))
	version = f.branch(asm.JEq, asm.R2, 0x45, ipv4, version, asm.LoadMem(asm.R2, asm.R8, 0, asm.Byte))
	return f.straight(f.longer(20, version, pass),
		asm.Mov.Reg(regContext, asm.R1),
		asm.LoadMem(asm.R8, regContext, linuxBuffData, asm.Word),
		asm.LoadMem(asm.R9, regContext, linuxBuffDataEnd, asm.Word))
}

// ifReply goes to pass if the flow is UDP to a peer that sent first. Where the
// stage is an early one the network is not in the flow yet.
func (f *function) ifReply(next, pass blockID) blockID {
	if !f.replies {
		return next
	}
	first := f.branch(asm.JEq, asm.R1, peerSentFirst, pass, next, asm.LoadMem(asm.R1, asm.R0, 0, asm.Word))
	known := f.findPeer(f.branch(asm.JEq, asm.R0, 0, next, first))
	peer := f.straight(known, f.peerOfFlow()...)
	if f.early {
		peer = f.straight(peer,
			asm.LoadMem(asm.R1, regContext, linuxAddrSocket, asm.DWord),
			asm.LoadMem(asm.R1, asm.R1, linuxSockPort, asm.Word),
			asm.HostTo(asm.BE, asm.R1, asm.Half),
			asm.StoreMem(regStack, stackFlow+flowLocalPort, asm.R1, asm.Half),
			asm.Mov.Reg(asm.R1, regContext),
			asm.FnGetNetnsCookie.Call(),
			asm.StoreMem(regStack, stackFlow+flowNetwork, asm.R0, asm.DWord))
	}
	return f.branch(asm.JEq, asm.R1, linuxProtoUDP, peer, next, asm.LoadMem(asm.R1, regStack, stackFlow+flowProtocol, asm.Word))
}

// noteOurs notes that this host has sent first, if the verdict in r7 lets the
// datagram go and the peer has sent nothing yet.
func (f *function) noteOurs(next blockID) blockID {
	if !f.replies {
		return next
	}
	note := f.straight(f.notePeer(hostSentFirst, next), f.peerOfFlow()...)
	udp := f.branch(asm.JEq, asm.R1, linuxProtoUDP, note, next, asm.LoadMem(asm.R1, regStack, stackFlow+flowProtocol, asm.Word))
	return f.branch(asm.JEq, asm.R7, 0, next, udp)
}

// peerOfFlow makes the key of the flow's peer.
func (f *function) peerOfFlow() asm.Instructions {
	var code asm.Instructions
	for _, part := range []struct {
		to, from int16
		size     asm.Size
	}{
		{peerRemote, flowRemote, asm.DWord},
		{peerRemote + 8, flowRemote + 8, asm.DWord},
		{peerRemotePort, flowRemotePort, asm.Half},
		{peerLocalPort, flowLocalPort, asm.Half},
		{peerNetwork, flowNetwork, asm.DWord},
	} {
		code = append(code,
			asm.LoadMem(asm.R1, regStack, stackFlow+part.from, part.size),
			asm.StoreMem(regStack, stackPeer+part.to, asm.R1, part.size))
	}
	return append(code, storeImm(stackPeer+peerPad, 0, asm.Word))
}

// findPeer looks for the peer whose key is on the stack: in r0, or null.
func (f *function) findPeer(next blockID) blockID {
	return f.straight(next,
		loadMap(PeersMap),
		asm.Mov.Reg(asm.R2, regStack),
		asm.Add.Imm(asm.R2, stackPeer),
		asm.FnMapLookupElem.Call())
}

// notePeer notes who sent first, unless that has been noted.
func (f *function) notePeer(first int64, next blockID) blockID {
	return f.straight(next,
		storeImm(stackKey, first, asm.Word),
		loadMap(PeersMap),
		asm.Mov.Reg(asm.R2, regStack),
		asm.Add.Imm(asm.R2, stackPeer),
		asm.Mov.Reg(asm.R3, regStack),
		asm.Add.Imm(asm.R3, stackKey),
		asm.Mov.Imm(asm.R4, linuxNoExist),
		asm.FnMapUpdateElem.Call())
}
