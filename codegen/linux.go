package codegen

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/hopgate/hopgate/compiler"
)

// Names of the maps that programs for Linux have beside those of every target.
const (
	StateMap   = "hopgate_state"   // array of one value, State
	SocketsMap = "hopgate_sockets" // socket storage: accepted or not, and what connect failed on
	cacheMap   = "hopgate_cache"   // per-CPU array of the last decisions on packets
	flowsMap   = "hopgate_flows"   // array of the flows that have been counted
)

// Flags in the state map.
const StateNoConnectStage = 1 // leave TCP connections to the egress stage

// notYetKnown are the fields that connect and sendmsg hooks, which run before route
// selection, cannot see.
var notYetKnown = []compiler.Field{
	compiler.InterfaceType, compiler.TunnelType, compiler.NextHop, compiler.SubInterface, compiler.Interface,
	compiler.LocalAddress, compiler.LocalPort,
}

// linuxStage is one of the places where the kernel asks.
type linuxStage struct {
	name, section string
	early         bool // decides without what is not yet known
	ipv6          bool // may see IPv6
	hot           bool // its time counts
	code          func(*function) blockID
}

// inlines reports whether the stage has functions in it. To take them there is slower for
// the verifier, which has more to compare where paths meet; and what a counting egress
// does with a decision takes much longer than a call. Without CAP_PERFMON it is refused.
func (s *linuxStage) inlines(opts *Options) bool {
	return s.hot && !opts.DeviceMap && (s.early || opts.NoCounters)
}

var linuxStages = []linuxStage{
	{"connect4", "cgroup/connect4", true, false, true, (*function).connect},
	{"connect6", "cgroup/connect6", true, true, true, (*function).connect},
	{"sendmsg4", "cgroup/sendmsg4", true, false, false, (*function).sendmsg},
	{"sendmsg6", "cgroup/sendmsg6", true, true, false, (*function).sendmsg},
	{"sockops", "sockops", false, true, false, (*function).sockops},
	{"egress", "cgroup_skb/egress", false, true, true, (*function).egress},
}

// ingressStage is there for replies of UDP servers.
var ingressStage = linuxStage{"ingress", "cgroup_skb/ingress", false, true, false, (*function).ingress}

func generateLinux(d *compiler.Diagram, opts *Options) (*Program, error) {
	if err := onlyConnect(d.Policy); err != nil {
		return nil, err
	}
	early, decisions, walked, err := decisions(d, opts)
	if err != nil {
		return nil, err
	}
	return generateStages(d, early, decisions, walked, opts)
}

// generateStages makes a program of decisions and what each takes the verifier. The
// diagrams of the late stages and the early ones say how they are called.
func generateStages(d, early *compiler.Diagram, decisions []asm.Instructions, walked map[string]KernelWalk, opts *Options) (*Program, error) {
	p := &Program{Target: Linux, Policy: d.Policy.Name, Rules: rules(d.Policy), Sets: sets(d.Policy)}
	for _, i := range lateInterfaces(d.Policy) {
		p.Interfaces = append(p.Interfaces, Interface{Name: i.Name, Kind: i.Kind, Value: i.Value})
	}
	common, err := maps(d.Policy, p.Rules, opts)
	if err != nil {
		return nil, err
	}
	p.Maps = append(common, linuxMaps(d.Policy, opts)...)
	inlined := map[string]asm.Instructions{}
	for _, decision := range decisions {
		if inlines(decision) {
			inlined[decision[0].Symbol()] = inline(decision)
		}
	}
	stages := linuxStages
	if opts.LeaveReplies {
		stages = append(slices.Clone(stages), ingressStage)
	}
	for _, stage := range stages {
		write := func(inlined map[string]asm.Instructions) (asm.Instructions, error) {
			f := newFunction(d, stage.ipv6, opts)
			f.inlined = inlined
			if stage.early {
				f.diagram = early
			}
			return f.linuxStage(&stage, decisions)
		}
		code, err := write(nil)
		if err != nil {
			return nil, err
		}
		if err := walkAll(code, walked).fits(p.Policy, stage.name); err != nil {
			return nil, err
		}
		if stage.inlines(opts) {
			if code, err = write(inlined); err != nil {
				return nil, err
			}
		}
		p.Functions = append(p.Functions, Function{Name: stage.name, Section: stage.section, Instructions: code})
	}
	return p, nil
}

// linuxStage writes the code of a stage with the local functions it calls, of which
// some may be decisions.
func (f *function) linuxStage(stage *linuxStage, decisions []asm.Instructions) (asm.Instructions, error) {
	f.sees, f.early, f.packets = flow, stage.early, stage.name == "egress"
	if !stage.ipv6 {
		f.sees = flow.mapped()
	}
	context := "network_context_of_" + stage.name
	f.context = callLocal(context)
	if f.inlined != nil && !f.early {
		f.inlined[context] = inline(f.networkContext(context, stage.section == "sockops"))
	}
	entry := stage.code(f)
	code, err := assemble(f.blocks, entry)
	if err != nil {
		return nil, err
	}
	code[0] = code[0].WithSymbol(stage.name)
	for _, decide := range decisions {
		if calls(code, decide[0].Symbol()) {
			code = append(code, decide...)
		}
	}
	if code, err = withLookups(code, Linux); err != nil {
		return nil, err
	}
	if calls(code, context) {
		code = append(code, f.networkContext(context, stage.section == "sockops")...)
	}
	return code, nil
}

func onlyConnect(p *compiler.Policy) error {
	if p.Hook != compiler.Connect {
		return fmt.Errorf("policy `%s` is for hook %s: target linux has hook connect only [unsupported-hook]", p.Name, p.Hook)
	}
	return nil
}

// flow is the connection as the stages put it on the stack.
var flow = connection{
	base:        regStack,
	remote:      end{stackFlow + flowRemote, stackFlow + flowRemotePort},
	local:       end{stackFlow + flowLocal, stackFlow + flowLocalPort},
	whole:       true,
	protocol:    stackFlow + flowProtocol,
	compartment: absent,
	luid:        absent,
	network:     networkPlace{regStack, stackContext},
}

func linuxMaps(p *compiler.Policy, opts *Options) []*ebpf.MapSpec {
	word := &btf.Int{Name: "u32", Size: 4}
	specs := []*ebpf.MapSpec{
		{Name: StateMap, Type: ebpf.Array, KeySize: 4, ValueSize: stateSize(len(lateInterfaces(p))), MaxEntries: 1},
		{
			Name: SocketsMap, Type: ebpf.SkStorage, KeySize: 4, ValueSize: socketSize, Flags: linuxNoPrealloc,
			Key: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed},
			Value: &btf.Struct{Name: "hopgate_socket", Size: socketSize, Members: []btf.Member{
				{Name: "direction", Type: word, Offset: 8 * SocketDirection},
				{Name: "bound", Type: word, Offset: 8 * socketBound},
				{Name: "aborted", Type: word, Offset: 8 * socketAborted},
			}},
		},
		{Name: cacheMap, Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: cacheSize << cacheBits, MaxEntries: 1},
	}
	if !opts.NoCounters || writesEvents(p) {
		specs = append(specs, &ebpf.MapSpec{Name: flowsMap, Type: ebpf.Array, KeySize: 4, ValueSize: flowsLine, MaxEntries: 1 << flowsBits, Flags: linuxMmapable})
	}
	if opts.DeviceMap {
		specs = append(specs, devicesMap())
	}
	if opts.LeaveReplies {
		specs = append(specs, peersMap())
	}
	return specs
}

// lateInterfaces are the named interfaces that the host looks up.
func lateInterfaces(p *compiler.Policy) []*compiler.NamedInterface {
	var late []*compiler.NamedInterface
	for _, i := range p.Interfaces {
		if !i.Bound {
			late = append(late, i)
		}
	}
	return late
}

// describeInterface asks for the network context, for an event: on Linux a decision
// may have been made by the device's index alone.
func (f *function) describeInterface(next blockID) blockID {
	if f.target != Linux || f.early {
		return next
	}
	return f.describeNetwork(next, f.context)
}

// branch adds code that ends in a comparison of a register with a constant.
func (f *function) branch(op asm.JumpOp, dst asm.Register, imm int32, taken, next blockID, code ...asm.Instruction) blockID {
	return f.add(block{code: code, jump: jump{op: op, wide: true, dst: dst, imm: imm}, taken: taken, next: next})
}

// oneOf goes to taken if the register holds one of the values.
func (f *function) oneOf(dst asm.Register, values []int32, taken, next blockID) blockID {
	for _, v := range slices.Backward(values) {
		next = f.branch(asm.JEq, dst, v, taken, next)
	}
	return next
}

// lookup finds the value under the u32 key that code leaves in r1.
func lookup(name string, code ...asm.Instruction) asm.Instructions {
	return append(code,
		asm.StoreMem(regStack, stackKey, asm.R1, asm.Word),
		loadMap(name),
		asm.Mov.Reg(asm.R2, regStack),
		asm.Add.Imm(asm.R2, stackKey),
		asm.FnMapLookupElem.Call())
}

// storage finds what is noted of the socket in r7: in r0, or null.
func storage(flags int32) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R2, asm.R7),
		loadMap(SocketsMap),
		asm.Mov.Imm(asm.R3, 0),
		asm.Mov.Imm(asm.R4, flags),
		asm.FnSkStorageGet.Call(),
	}
}

// withState finds the state: in r0.
func (f *function) withState(next blockID) blockID {
	return f.branch(asm.JEq, asm.R0, 0, f.broken, next, lookup(StateMap, asm.Mov.Imm(asm.R1, 0))...)
}

// addGeneration puts r9 into the flow with the state's generation added, and with an
// engine's that of its table.
func (f *function) addGeneration(next blockID) blockID {
	add := func(at int16) asm.Instructions {
		return asm.Instructions{
			asm.LoadMem(asm.R1, asm.R0, at, asm.Word),
			asm.LSh.Imm(asm.R1, 32),
			asm.Add.Reg(asm.R9, asm.R1),
		}
	}
	next = f.straight(next, asm.StoreMem(regStack, stackFlow+flowInterface, asm.R9, asm.DWord))
	if f.table {
		next = f.findTable(f.straight(next, add(headerGeneration)...))
	}
	return f.withState(f.straight(next, add(stateGeneration)...))
}

// isInterface compares the device with the one that has the interface's name now,
// in the namespace of whoever keeps the state.
func (b *body) isInterface(p point, n *compiler.Node) blockID {
	yes, no := b.to(p, toNode(n.Kids[1])), b.to(p, toNode(n.Kids[0]))
	same := func(at, flowAt int16, size asm.Size, next blockID) blockID {
		return b.add(block{
			code: asm.Instructions{
				asm.LoadMem(regConst, regState, at, size),
				asm.LoadMem(regValue, b.connection.base, flowAt, size),
			},
			jump: jump{op: asm.JEq, wide: true, dst: regValue, reg: true, src: regConst}, taken: next, next: no,
		})
	}
	i := slices.Index(lateInterfaces(b.policy), n.Var.Interface)
	return same(stateInterfaces+4*int16(i), flowInterface, asm.Word, same(stateNetwork, flowNetwork, asm.DWord, yes))
}

// mappedPrefix writes what stands before an IPv4 address in a flow.
func mappedPrefix() asm.Instructions {
	var code asm.Instructions
	for _, at := range []int16{flowRemote, flowLocal} {
		code = append(code,
			storeImm(stackFlow+at, 0, asm.DWord),
			storeImm(stackFlow+at+8, -0x10000, asm.Word)) // 00 00 ff ff
	}
	return code
}

// copyToFlow copies words of the context.
func copyToFlow(to, from, bytes int16) asm.Instructions {
	var code asm.Instructions
	for i := int16(0); i < bytes; i += 4 {
		code = append(code,
			asm.LoadMem(asm.R1, regContext, from+i, asm.Word),
			asm.StoreMem(regStack, stackFlow+to+i, asm.R1, asm.Word))
	}
	return code
}

// asksDevice reports whether it matters what device a flow leaves by.
func (f *function) asksDevice() bool { return f.asksNetwork() || f.asksNamespace() }

// asksNamespace reports whether it matters in what network namespace that is. Those of
// containers may have the same addresses, and each wants its events.
func (f *function) asksNamespace() bool {
	return f.table || f.replies || f.events || len(lateInterfaces(f.policy)) > 0
}

// flowDevice puts the device in r8 into the flow, but for the index, which it leaves in
// the lower half of r9. An index may be used again, so that the upper half, which
// addGeneration adds to, is of what kinds of devices are told apart by.
func (f *function) flowDevice() asm.Instructions {
	const device, kind = asm.R8, asm.R9
	index := loadMember(asm.R1, device, "net_device", "ifindex")
	if f.packets {
		index = asm.LoadMem(asm.R1, regContext, linuxBuffIfindex, asm.Word)
	}
	code := asm.Instructions{asm.Mov.Imm(kind, 0)}
	if f.asksNetwork() {
		code = append(readAddress(kind, device, "net_device", "rtnl_link_ops"), asm.Mul.Imm(kind, goldenRatio))
		code = append(code, readAddress(asm.R1, device, "net_device", "dev.type")...)
		code = append(code,
			asm.Add.Reg(kind, asm.R1),
			asm.Mul.Imm(kind, goldenRatio),
			loadMember(asm.R1, device, "net_device", "type"),
			asm.Add.Reg(kind, asm.R1),
			asm.LSh.Imm(kind, 32))
	}
	code = append(code, index, asm.Or.Reg(kind, asm.R1))
	if !f.asksNamespace() {
		return append(code, storeImm(stackFlow+flowNetwork, 0, asm.DWord))
	}
	return append(code,
		loadMember(asm.R1, device, "net_device", "nd_net.net"),
		loadMember(asm.R1, asm.R1, "net", "net_cookie"),
		asm.StoreMem(regStack, stackFlow+flowNetwork, asm.R1, asm.DWord))
}

// anyDevice is flowDevice where the device does not matter.
func anyDevice() asm.Instructions {
	return asm.Instructions{storeImm(stackFlow+flowNetwork, 0, asm.DWord), asm.Mov.Imm(asm.R9, 0)}
}

// countFlow counts the decision in regLeaf and writes its event. With once that
// happens only if the flow has not been counted yet.
func (f *function) countFlow(once bool, next blockID) blockID {
	if !f.counters && !f.events {
		return next
	}
	count := f.settle(next)
	known := count
	if once {
		known = next
	}
	note := f.noteFlow(count, known)
	if !f.table {
		return note
	}
	audited := f.add(block{jump: jump{op: asm.JLT, dst: regAudit, reg: true, src: regLeaf}, taken: note, next: next})
	silent := f.branch(asm.JNE, asm.R1, 0, note, audited, asm.Mov.Reg(asm.R1, regLeaf), asm.And.Imm(asm.R1, leafLog))
	return f.ifFlag(flagNoCounters, silent, note)
}
