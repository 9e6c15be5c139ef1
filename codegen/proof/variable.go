package proof

import (
	"math"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// variable is a number that a decision depends on. The first ones are fields of the
// connection, addresses as the two halves of their IPv6 form; those that follow
// stand for membership in dynamic sets and for registers where paths join.
type variable int32

const (
	remoteHigh variable = iota
	remoteLow
	localHigh
	localLow
	remotePort
	localPort
	protocol
	compartment
	luid
	interfaceType
	tunnelType
	nextHop
	subInterface
	numFields
)

var variableFields = [numFields]compiler.Field{
	remotePort: compiler.RemotePort, localPort: compiler.LocalPort, protocol: compiler.Protocol,
	compartment: compiler.Compartment, luid: compiler.Interface, interfaceType: compiler.InterfaceType,
	tunnelType: compiler.TunnelType, nextHop: compiler.NextHop, subInterface: compiler.SubInterface,
}

// last is the largest value of a field.
func (v variable) last() uint64 {
	if v <= localLow {
		return math.MaxUint64
	}
	return variableFields[v].Domain().Last.Lo
}

// ofField is the variable of a field that is no address.
func ofField(f compiler.Field) variable {
	for v := remotePort; v < numFields; v++ {
		if variableFields[v] == f {
			return v
		}
	}
	panic("proof: no variable for " + f.String())
}

// network says that the variable comes with the network context.
func (v variable) network() bool { return interfaceType <= v && v <= subInterface }

// missing is what stands for "not available" in a request whose network context
// could not be had.
func (v variable) missing() uint64 {
	if v == tunnelType {
		return math.MaxUint32
	}
	return 0
}

// symbol is a byte that a program handles: a constant, or a byte of an input.
type symbol uint16

const (
	inputs       symbol = 256                          // byte s of variable v is inputs + 8*v + s, s counted from the least significant
	process             = inputs + 8*symbol(numFields) // eight bytes of process and thread id
	garbage             = process + 8                  // a byte that may be anything
	unset               = garbage + 1                  // a byte that was never written
	opaque              = unset + 1                    // a byte of which it is not followed what it is
	flowDevice          = opaque + 1                   // on Linux: the index of the device, four bytes
	flowNetwork         = flowDevice + 4               // and its network namespace, eight bytes
	stateNetwork        = flowNetwork + 8              // the same in the map of the state
	stateDevices        = stateNetwork + 8             // and the index of each named interface
	members             = stateDevices + 4*maxNamed    // members + i is whether the key of lookup i is in its set, 0 or 1
	endSymbols          = math.MaxUint16               // no symbol is above
)

// maxNamed bounds the named interfaces of a policy.
const maxNamed = 4096

func byteOf(v variable, significance int) symbol {
	return inputs + 8*symbol(v) + symbol(significance)
}

// isInput reports the variable and the significance of an input byte.
func (s symbol) isInput() (v variable, significance int, ok bool) {
	if s < inputs || s >= process {
		return 0, 0, false
	}
	return variable((s - inputs) / 8), int(s-inputs) % 8, true
}

// view is the memory that a program is shown.
type view struct {
	context []symbol
	network [codegen.NetworkContextSize]symbol
	process [8]symbol
}

// viewOf describes the memory of a program by the layouts of eBPF for Windows.
func viewOf(hook compiler.Hook, ipv6 bool) *view {
	w := newView(codegen.SockAddrSize)
	source, user := [3]variable{localHigh, localLow, localPort}, [3]variable{remoteHigh, remoteLow, remotePort}
	if hook == compiler.Accept {
		source, user = user, source
	}
	end := func(ip, port int, v [3]variable) {
		if ipv6 {
			putSwapped(w.context[ip:], v[0], 8)
			putSwapped(w.context[ip+8:], v[1], 8)
		} else {
			putSwapped(w.context[ip:], v[1], 4)
		}
		putSwapped(w.context[port:], v[2], 2)
	}
	end(codegen.SockAddrMsgSrcIP, codegen.SockAddrMsgSrcPort, source)
	end(codegen.SockAddrUserIP, codegen.SockAddrUserPort, user)
	family := symbol(codegen.WindowsInet)
	if ipv6 {
		family = codegen.WindowsInet6
	}
	copy(w.context[codegen.SockAddrFamily:], []symbol{family, 0, 0, 0})
	putNumber(w.context[codegen.SockAddrProtocol:], protocol, 4)
	putNumber(w.context[codegen.SockAddrCompartment:], compartment, 4)
	putNumber(w.context[codegen.SockAddrInterface:], luid, 8)
	return w
}

// newView is a context of unknown bytes, with a network context.
func newView(context int) *view {
	w := &view{context: make([]symbol, context)}
	for i := range w.context {
		w.context[i] = garbage
	}
	for i := range w.network {
		w.network[i] = garbage
	}
	for i := range w.process {
		w.process[i] = process + symbol(i)
	}
	copy(w.network[codegen.NetworkContextVersion:], []symbol{1, 0, 0, 0})
	putNumber(w.network[codegen.NetworkContextInterfaceType:], interfaceType, 4)
	putNumber(w.network[codegen.NetworkContextTunnelType:], tunnelType, 4)
	putNumber(w.network[codegen.NetworkContextNextHop:], nextHop, 8)
	putNumber(w.network[codegen.NetworkContextSubInterface:], subInterface, 4)
	return w
}

// putNumber puts a variable into memory in host byte order.
func putNumber(at []symbol, v variable, bytes int) {
	for i := range bytes {
		at[i] = byteOf(v, i)
	}
}

// putSwapped puts a variable into memory in network byte order.
func putSwapped(at []symbol, v variable, bytes int) {
	for i := range bytes {
		at[i] = byteOf(v, bytes-1-i)
	}
}
