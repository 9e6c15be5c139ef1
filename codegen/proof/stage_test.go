package proof

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// Stages are the same for every policy of a kind. Those of all kinds are followed here on
// symbols, both ways at each test of what the kernel says: each decision must be shown
// the right bytes, and each of its answers must become what denies or permits.

// Symbols of what stages read, by offset. Other bytes are opaque.
const (
	ofContext symbol = 10_000
	ofPacket  symbol = 11_000
	ofNetwork symbol = 12_000
	toShown   symbol = 13_000 // the context's address, put aside on the stack
)

// Offsets of what the kernel shows (linux/bpf.h, linux/ip.h, linux/ipv6.h).
const (
	addrIP4, addrIP6, addrPort, addrProtocol                = 4, 8, 24, 36
	opsRemote4, opsLocal4, opsRemote6, opsLocal6, opsRemote = 24, 28, 32, 48, 66
	opsLocal                                                = 68
	buffProtocol, buffData                                  = 16, 76
	version4, frame4, frame6                                = 0x45, 0x0008, 0xdd86
	jumbo                                                   = 0x04c20006 // TCP, 8 bytes; the option, 4 bytes
	protocolMPTCP                                           = 262
)

// walker follows one stage.
type walker struct {
	t       *testing.T
	section string
	machine
	asks    map[string]bool   // decisions that ask for the network context
	copies  map[int]localCopy // of functions, in the stage, by where they begin
	answers []uint64          // of decisions of this stage
	seen    map[string]bool
	ends    []walked
}

// walked is a path through a stage.
type walked struct {
	slot    int
	state   state
	facts   []string // what it has found of bytes it knows
	decided string   // the decision that was called
	answer  uint64
	counted []uint64
	event   []symbol
	bound   bool   // the socket has been bound to no interface
	noPlace bool   // its storage could not be had
	noState bool   // nor what the host has to say
	missing bool   // the network context could not be had
	ended   uint64 // with
}

func (w *walker) follow(p walked) {
	w.read = &footprint{}
	for {
		w.slot = p.slot
		if c, ok := w.copies[p.slot]; ok {
			p.slot += c.size
			for _, q := range w.call(p, &instruction{callee: c.name}) {
				for r := 6; r <= 9; r++ {
					q.state.registers[r] = value{}
				}
				w.follow(q)
			}
			return
		}
		in := &w.code[p.slot]
		if _, jumps := in.target(p.slot); jumps {
			key := p.key()
			if w.seen[key] {
				return
			}
			w.seen[key] = true
		}
		p.slot++
		s := &p.state
		switch class := in.code & 7; {
		case in.code == classJump|opExit:
			n, ok := s.registers[0].constant()
			require.True(w.t, ok, "%s ends with what is no constant", w.section)
			p.ended = n
			w.ends = append(w.ends, p)
			return
		case in.code == classJump|opCall:
			for _, q := range w.call(p, in) {
				w.follow(q)
			}
			return
		case class == classJump || class == classJump32:
			for _, q := range w.jump(p, in) {
				w.follow(q)
			}
			return
		case class == classLoad:
			w.load(s, in)
		case class == classStoreRegister || class == classStore:
			w.store(&p, in)
		case class == classLoadImmediate:
			s.registers[in.dst] = constant(uint64(in.imm))
			if in.mapName != "" {
				s.registers[in.dst] = value{kind: toMap, id: w.mapNumber(in.mapName)}
			}
			p.slot++
		default:
			if err := w.compute(s, in); err != nil { // with an address that the kernel gave
				s.registers[in.dst] = unknown()
			}
		}
	}
}

// key tells paths apart that may end in different ways.
func (p *walked) key() string {
	b := fmt.Appendln(nil, p.slot, p.facts, p.decided, p.answer, p.counted, p.event, p.bound, p.noPlace, p.noState, p.missing, p.state.registers)
	for _, s := range p.state.stack {
		b = binary.LittleEndian.AppendUint16(b, uint16(s))
	}
	return string(b)
}

func unknown() value {
	v := value{kind: number}
	for i := range v.bytes {
		v.bytes[i] = opaque
	}
	return v
}

func (w *walker) mapNumber(name string) int32 {
	return int32(slices.IndexFunc(w.maps, func(m mapInfo) bool { return m.name == name }))
}

// load reads what is known, from context, stack and packet.
func (w *walker) load(s *state, in *instruction) {
	base, n := s.registers[in.src], accessBytes(in.code)
	v := constant(0)
	at := int(base.offset) + int(in.offset)
	for i := range n {
		switch {
		case base.kind == toContext:
			v.bytes[i] = ofContext + symbol(at+i)
		case base.kind == toStack:
			require.NotEqual(w.t, unset, s.stack[stackSize+at+i], "%s, instruction %d reads what was not written", w.section, w.slot)
			v.bytes[i] = s.stack[stackSize+at+i]
		case base.kind == number && base.bytes[0] == ofContext+buffData && strings.HasPrefix(w.section, "cgroup_skb"):
			v.bytes[i] = ofPacket + symbol(int(in.offset)+i)
		default:
			v.bytes[i] = opaque
		}
	}
	if v.bytes[0] == toShown {
		v = value{kind: toContext}
	}
	s.registers[in.dst] = v
}

func (w *walker) store(p *walked, in *instruction) {
	s := &p.state
	base := s.registers[in.dst]
	if in.code&0xe0 == modeAtomic {
		if base.kind == toValue && w.maps[w.lookups[base.id].mapID].name == codegen.CountersMap {
			one, _ := s.registers[in.src].constant()
			require.Equal(w.t, uint64(1), one)
			p.counted = append(slices.Clone(p.counted), keyOf(&w.lookups[base.id]))
		} else {
			s.registers[0] = unknown() // what was in the cache's entry
		}
		return
	}
	if base.kind != toStack {
		return // into a value of a map
	}
	v := constant(uint64(in.imm))
	if in.code&7 == classStoreRegister {
		switch v = s.registers[in.src]; v.kind {
		case toContext:
			v.bytes[0] = toShown
		case number:
		default:
			v = unknown()
		}
	}
	copy(s.stack[stackSize+int(base.offset)+int(in.offset):], v.bytes[:accessBytes(in.code)])
}

func keyOf(l *lookup) uint64 {
	n := uint64(0)
	for i := range 4 {
		n |= uint64(l.key[i]) << (8 * i)
	}
	return n
}

// jump goes the way that constants say, else both, and notes what that says of the kinds
// of a packet and of a protocol.
func (w *walker) jump(p walked, in *instruction) []walked {
	target, _ := in.target(w.slot)
	taken := p
	taken.slot = target
	op := in.code & 0xf0
	if op == jumpAlways {
		return []walked{taken}
	}
	a, b := p.state.registers[in.dst], constant(uint64(in.imm))
	if in.code&sourceRegister != 0 {
		b = p.state.registers[in.src]
	}
	x, known := a.constant()
	y, knownToo := b.constant()
	if known && knownToo {
		if holds(op, x, y, in.code&7 == classJump) {
			return []walked{taken}
		}
		return []walked{p}
	}
	if a.kind == toMaybe && knownToo && y == 0 {
		id := a.id
		there, gone := &p, &taken
		if op == jumpNotEqual {
			there, gone = gone, there
		}
		replaceAll(&there.state, id, value{kind: toValue, id: id})
		replaceAll(&gone.state, id, constant(0))
		switch w.maps[w.lookups[id].mapID].name {
		case codegen.SocketsMap:
			gone.noPlace = true
		case codegen.StateMap:
			gone.noState = true
		}
		return []walked{p, taken}
	}
	if knownToo && a.kind == number && a.bytes[0] >= ofContext && slices.Contains([]uint64{version4, frame4, frame6, jumbo, protocolMPTCP, 0, 0xffff}, y) {
		switch op {
		case jumpEqual:
			taken.facts = append(slices.Clone(p.facts), fact(a.bytes[:], y))
		case jumpNotEqual:
			p.facts = append(slices.Clone(p.facts), fact(a.bytes[:], y))
		}
	}
	return []walked{p, taken}
}

// fact is that bytes, in either order, are a number.
func fact(bytes []symbol, n uint64) string {
	if end := slices.Index(bytes, 0); end > 0 {
		bytes = bytes[:end]
	}
	return fmt.Sprintf("%d to %d are %d", slices.Min(bytes), slices.Max(bytes), n)
}

func replaceAll(s *state, id int32, v value) {
	for r := range s.registers {
		if s.registers[r].kind == toMaybe && s.registers[r].id == id {
			s.registers[r] = v
		}
	}
}

// Helpers of Linux.
const (
	linuxLookup, linuxUpdate, linuxStorage, linuxSetsockopt, linuxRing = 1, 2, 107, 49, 130
)

// result is what comes of a call.
func (p walked) result(r0 value) walked {
	for r := 1; r <= 5; r++ {
		p.state.registers[r] = value{}
	}
	p.state.registers[0] = r0
	return p
}

// decide gives what may come of a decision on the flow that r1 points to.
func (w *walker) decide(p walked, name string) []walked {
	require.Empty(w.t, p.decided, "%s decides twice", w.section)
	at := p.state.registers[1]
	require.Equal(w.t, toStack, at.kind, "%s shows %s no flow, instruction %d", w.section, name, p.slot)
	flow := p.state.stack[stackSize+int(at.offset):][:codegen.FlowContext]
	w.checkFlow(&p, name, int(at.offset))
	p.facts = nil // from here on all flows are alike
	for i := range flow {
		flow[i] = opaque
	}
	var list []walked
	for _, answer := range w.answers {
		q := p.result(constant(answer))
		q.decided, q.answer = name, answer
		list = append(list, q)
	}
	return list
}

// localCopy is a function that a stage has in it.
type localCopy struct {
	name string
	size int
}

// findCopies finds functions in a stage: what returns goes to the end there. Of decisions
// that are the same it finds the one for IPv6, which may be shown all addresses.
func (w *walker) findCopies(early bool, functions map[string][]instruction) {
	w.copies = map[int]localCopy{}
	for _, name := range slices.Sorted(maps.Keys(functions)) {
		if early != strings.HasPrefix(name, earlyPrefix) {
			continue
		}
		code := slices.Clone(functions[name][:len(functions[name])-1])
		for i := range code {
			if code[i].code == classJump|opExit {
				code[i] = instruction{code: classJump32 | jumpAlways, imm: int64(len(code) - 1 - i)}
			}
		}
		for i := 0; i+len(code) <= len(w.code); i++ {
			if slices.Equal(w.code[i:i+len(code)], code) {
				w.copies[i] = localCopy{name, len(code)}
			}
		}
	}
}

// decides reports whether a decision is made in the stage.
func (w *walker) decides(name string) bool {
	for _, c := range w.copies {
		if c.name == name {
			return true
		}
	}
	return slices.ContainsFunc(w.code, func(in instruction) bool { return in.callee == name })
}

// call gives what may come of a call.
func (w *walker) call(p walked, in *instruction) []walked {
	arguments := p.state.registers
	switch {
	case strings.HasPrefix(in.callee, decisionPrefix):
		return w.decide(p, in.callee)
	case strings.HasPrefix(in.callee, "network_context_of"):
		size, _ := arguments[3].constant()
		require.Equal(w.t, toContext, arguments[1].kind)
		require.Equal(w.t, uint64(codegen.NetworkContextSize), size)
		there, gone := p.result(constant(0)), p.result(constant(^uint64(0)))
		for i := range codegen.NetworkContextSize {
			there.state.stack[stackSize+int(arguments[2].offset)+i] = ofNetwork + symbol(i)
			gone.state.stack[stackSize+int(arguments[2].offset)+i] = garbage
		}
		gone.missing = true
		return []walked{there, gone}
	case in.callee != "":
		return []walked{p.result(unknown())}
	}
	switch in.imm {
	case linuxLookup, linuxStorage:
		l := lookup{mapID: arguments[1].id}
		if in.imm == linuxLookup {
			copy(l.key[:], p.state.stack[stackSize+int(arguments[2].offset):][:w.maps[l.mapID].key])
		} else {
			l.key[0] = symbol(1000 + w.slot)
		}
		return []walked{p.result(value{kind: toMaybe, id: w.lookup(l)})}
	case linuxSetsockopt:
		option, _ := arguments[3].constant()
		to := p.state.stack[stackSize+int(arguments[4].offset):][:4]
		p.bound = p.bound || option == 62 && slices.Equal(to, []symbol{0xff, 0xff, 0xff, 0x7f})
	case linuxRing:
		require.Empty(w.t, p.event)
		p.event = slices.Clone(p.state.stack[stackSize+int(arguments[2].offset):][:codegen.EventSize])
	}
	return []walked{p.result(unknown())}
}

// checkFlow compares what a decision is shown with what the kernel shows the stage.
func (w *walker) checkFlow(p *walked, name string, at int) {
	flow := p.state.stack[stackSize+at:]
	context := func(from, n int) (list []symbol) {
		for i := range n {
			list = append(list, ofContext+symbol(from+i))
		}
		return list
	}
	packet := func(from, n int) (list []symbol) {
		for i := range n {
			list = append(list, ofPacket+symbol(from+i))
		}
		return list
	}
	prefix := []symbol{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}
	zero := make([]symbol, 16)
	is := func(from int, alternatives ...[]symbol) int {
		i := slices.IndexFunc(alternatives, func(want []symbol) bool { return slices.Equal(flow[from:from+len(want)], want) })
		require.GreaterOrEqual(w.t, i, 0, "%s shows %s at %d: %v", w.section, name, from, flow[from:from+16])
		return i
	}
	early, ipv4 := strings.HasPrefix(name, earlyPrefix), strings.HasSuffix(name, "4")
	switch {
	case early:
		if strings.HasSuffix(w.section, "4") {
			is(codegen.FlowRemote, slices.Concat(prefix, context(addrIP4, 4)))
		} else {
			is(codegen.FlowRemote, context(addrIP6, 16))
			w.checkSplit(p, ipv4, ofContext+addrIP6)
		}
		is(codegen.FlowRemotePort, context(addrPort, 2))
		if is(codegen.FlowProtocol, context(addrProtocol, 4), []symbol{6, 0, 0, 0}) == 1 {
			require.Contains(w.t, p.facts, fact(context(addrProtocol, 4), protocolMPTCP))
		}
		return
	case w.section == "sockops":
		remote := is(codegen.FlowRemote, slices.Concat(prefix, context(opsRemote4, 4)), context(opsRemote6, 16))
		is(codegen.FlowLocal, [][]symbol{slices.Concat(prefix, context(opsLocal4, 4)), context(opsLocal6, 16)}[remote])
		is(codegen.FlowRemotePort, context(opsRemote, 2))
		is(codegen.FlowLocalPort, []symbol{ofContext + opsLocal + 1, ofContext + opsLocal})
		is(codegen.FlowProtocol, []symbol{6, 0, 0, 0})
		if remote == 1 {
			w.checkSplit(p, ipv4, ofContext+opsRemote6)
		}
	default:
		remote := is(codegen.FlowRemote, slices.Concat(prefix, packet(16, 4)), packet(24, 16))
		is(codegen.FlowLocal, [][]symbol{slices.Concat(prefix, packet(12, 4)), packet(8, 16)}[remote])
		if slices.Contains(p.facts, fact(packet(40, 4), jumbo)) {
			is(codegen.FlowLocalPort, packet(48, 4))
			is(codegen.FlowProtocol, []symbol{6, 0, 0, 0})
		} else {
			is(codegen.FlowLocalPort, packet([]int{20, 40}[remote], 4), zero[:4])
			is(codegen.FlowProtocol, append(packet([]int{9, 6}[remote], 1), 0, 0, 0))
		}
		require.Contains(w.t, p.facts, fact(context(buffProtocol, 4), []uint64{frame4, frame6}[remote]))
		require.Equal(w.t, remote == 0, slices.Contains(p.facts, fact(packet(0, 1), version4)), "%s takes the version for another", w.section)
		if remote == 1 {
			w.checkSplit(p, ipv4, ofPacket+24)
		} else if w.decides(decisionPrefix + "4") {
			require.True(w.t, ipv4, "%s shows %s an IPv4 address", w.section, name)
		}
	}
	if w.asks[name] {
		w.checkNetwork(p, flow[codegen.FlowContext:])
	}
}

// checkSplit makes sure that only mapped addresses go to the decision for IPv4.
func (w *walker) checkSplit(p *walked, ipv4 bool, first symbol) {
	if ipv4 {
		require.Contains(w.t, p.facts, fact([]symbol{first, first + 7}, 0))
		require.Contains(w.t, p.facts, fact([]symbol{first + 8, first + 11}, 0xffff))
	}
}

// checkNetwork makes sure that a decision is given the network context, or all unknown.
func (w *walker) checkNetwork(p *walked, context []symbol) {
	for _, f := range []struct{ at, bytes int }{
		{codegen.NetworkContextInterfaceType, 4}, {codegen.NetworkContextTunnelType, 4},
		{codegen.NetworkContextNextHop, 8}, {codegen.NetworkContextSubInterface, 4},
	} {
		for i := range f.bytes {
			want := ofNetwork + symbol(f.at+i)
			if p.missing {
				want = 0
				if f.at == codegen.NetworkContextTunnelType {
					want = 0xff
				}
			}
			require.Equal(w.t, want, context[f.at+i], "%s, network context", w.section)
		}
	}
}

// TestStages follows the stages of policies of every kind.
func TestStages(t *testing.T) {
	for kind := 0; kind < 1<<7; kind += 7 { // every kind takes long
		has := func(bit int) bool { return kind>>bit&1 != 0 }
		text := "policy p {\n  default allow\n"
		if has(0) {
			text += "  mode audit\n"
		}
		if has(1) {
			text += "  set s dynamic = { 10.0.0.1 }\n  rule set: allow if remote in $s\n"
		}
		log, device, family := "", "", ""
		if has(2) {
			log = "log "
		}
		if has(3) {
			device = " and interface_type == wifi"
		}
		if has(6) {
			text += "  interface vpn = name \"wg0\"\n"
			device += " and next_hop != $vpn"
		}
		if has(4) {
			family = " and family == ipv4"
		}
		text += "  rule a: deny " + log + "if remote_port == 80" + device + family + "\n  rule b: allow hard if remote_port == 81\n  rule c: deny if remote_port == 82\n"
		if has(5) {
			text += "  rule d: deny audit if remote_port in { 80, 82, 443 }\n  rule e: deny if remote_port == 443\n"
		}
		for _, opts := range []codegen.Options{{}, {NoCounters: true, LeaveReplies: has(6)}, {DeviceMap: true, LeaveReplies: has(6)}} {
			walkStages(t, text+"}", &opts)
		}
	}
}

func walkStages(t *testing.T, text string, opts *codegen.Options) {
	file, err := lang.Parse("policy.hop", []byte(text))
	require.NoError(t, err, text)
	p, err := compiler.Check(file, nil)
	require.NoError(t, err, text)
	d, err := compiler.Compile(p, &compiler.CompileOptions{FreeInterfaces: true})
	require.NoError(t, err)
	opts.Target = codegen.Linux
	program, err := codegen.Generate(d, opts)
	require.NoError(t, err)
	var object bytes.Buffer
	require.NoError(t, program.WriteELF(&object))
	r, err := Check(p, object.Bytes(), 0)
	require.NoError(t, err)
	require.Equal(t, Proved, r.Status, r)

	c := &checker{policy: p, program: program, result: &Result{}, counters: !opts.NoCounters}
	o, err := readLinux(object.Bytes())
	require.NoError(t, err)
	asks, functions := map[string]bool{}, map[string][]instruction{}
	for _, f := range o.decisions {
		asks[f.decision.name] = asksNetwork(f)
		functions[f.decision.name] = f.code
	}
	if opts.NoCounters { // what egress has in it is a function only where it counts
		counting, err := codegen.Generate(d, &codegen.Options{Target: codegen.Linux})
		require.NoError(t, err)
		var object bytes.Buffer
		require.NoError(t, counting.WriteELF(&object))
		other, err := readLinux(object.Bytes())
		require.NoError(t, err)
		if f := other.functions["network_context_of_egress"]; f != nil {
			functions["network_context_of_egress"] = f.decode()
		}
	}
	for section, stage := range o.stages {
		code := stage.decode()
		w := &walker{
			t: t, section: section, seen: map[string]bool{}, asks: asks,
			machine: machine{function: &function{code: code}, view: newView(256), known: map[lookup]int32{}},
		}
		for _, m := range program.Maps {
			w.maps = append(w.maps, mapInfo{name: m.Name, key: int(m.KeySize)})
		}
		early := !strings.HasPrefix(section, "cgroup_skb") && section != "sockops"
		w.findCopies(early, functions)
		w.answers = answersOf(p, early)
		w.follow(walked{state: *start()})
		for i := range w.ends {
			c.checkWalked(t, w, &w.ends[i], early)
		}
	}
}

// answersOf lists what decisions of a policy may answer: each rule, with and without each
// audit rule before it, and what is no rule.
func answersOf(p *compiler.Policy, early bool) []uint64 {
	const none = 7
	leaf := func(i int) uint64 {
		if i == len(p.Rules) {
			return uint64(i<<3) | uint64(p.Default)
		}
		n := uint64(i<<3) | uint64(p.Rules[i].Verdict)
		if p.Rules[i].Log {
			n |= 4
		}
		return n
	}
	audits := []uint64{0}
	for i := range p.Rules {
		if p.Rules[i].Audit {
			audits[0] = uint64(len(p.Rules))<<3 | none
			audits = append(audits, leaf(i))
		}
	}
	var list []uint64
	if len(p.Sets)+len(named(p)) > 0 {
		list = append(list, codegen.DecisionBroken)
	}
	if early {
		list = append(list, codegen.DecisionUndecided)
	}
	for i := range len(p.Rules) + 1 {
		if i < len(p.Rules) && p.Rules[i].Audit || early && leaf(i)&3 != uint64(lang.Deny) {
			continue
		}
		for _, a := range audits {
			list = append(list, a<<32|leaf(i))
		}
	}
	return list
}

// checkWalked compares the end of a path with the answer that a decision gave.
func (c *checker) checkWalked(t *testing.T, w *walker, p *walked, early bool) {
	say := fmt.Sprintf("%s: %s answers %d, facts %v, returns %d", w.section, p.decided, int64(p.answer), p.facts, p.ended)
	denied := early && p.ended == 0 || w.section == "sockops" && (p.bound || p.noPlace) || strings.HasPrefix(w.section, "cgroup_skb") && (p.ended == 0 || p.ended == 2)
	require.Less(t, p.ended, uint64(3), say)
	switch {
	case p.noState:
		require.True(t, denied, say)
		return
	case p.decided == "":
		require.Empty(t, p.counted, say)
		require.Empty(t, p.event, say)
		require.False(t, p.bound && early, say)
		return
	case p.answer == codegen.DecisionUndecided:
		require.Equal(t, uint64(1), p.ended, say)
		return
	case p.answer == codegen.DecisionBroken:
		require.True(t, denied, say)
		return
	}
	rule, audit, err := c.answerOfDecision(p.answer)
	require.NoError(t, err)
	want := c.expected(rule, audit)
	if want.verdict == lang.Deny || early {
		require.True(t, denied, say)
	} else {
		require.True(t, p.ended == 1 && !p.bound, say)
	}
	for _, k := range p.counted {
		require.Contains(t, []uint64{uint64(rule), uint64(audit)}, k, say)
	}
	if p.event == nil {
		return
	}
	require.True(t, c.logged(rule, audit), say)
	event := make([]byte, len(p.event))
	for i, s := range p.event {
		if s <= 0xff {
			event[i] = byte(s)
		}
	}
	require.Equal(t, uint32(rule), binary.LittleEndian.Uint32(event), say)
	require.Equal(t, int32(audit), int32(binary.LittleEndian.Uint32(event[4:])), say)
}

// decode gives the instructions of a stretch.
func (s *stretch) decode() []instruction {
	code := make([]instruction, len(s.bytes)/8)
	for i := 0; i < len(code); i++ {
		b := s.bytes[8*i:]
		code[i] = instruction{
			code: b[0], dst: b[1] & 15, src: b[1] >> 4, offset: int16(binary.LittleEndian.Uint16(b[2:])),
			imm: int64(int32(binary.LittleEndian.Uint32(b[4:]))),
		}
		name := s.names[uint64(8*i)]
		if b[0] == loadConstant {
			code[i].imm = int64(uint64(uint32(code[i].imm)) | uint64(binary.LittleEndian.Uint32(b[12:]))<<32)
			code[i].mapName = name
			i++
		} else {
			code[i].callee = name
		}
	}
	return code
}
