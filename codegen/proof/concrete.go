package proof

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// Counterexample is a connection that the object judges in another way than the
// policy.
type Counterexample struct {
	Section string // of the object
	Request compiler.Request
	Failed  bool              // the helper fails: there is no network context
	Sets    map[string]string // contents of dynamic sets that it takes: `in { ... }` or `== ...`
	Want    string            // what the policy says
	Got     string            // what the object does
}

func (c *Counterexample) String() string {
	text := fmt.Sprintf("%s: %s", c.Section, describe(&c.Request))
	if c.Failed {
		text += ", no network context"
	}
	for _, name := range slices.Sorted(maps.Keys(c.Sets)) {
		text += fmt.Sprintf(", $%s %s", name, c.Sets[name])
	}
	return fmt.Sprintf("%s: the policy says %s, the object %s", text, c.Want, c.Got)
}

func describe(r *compiler.Request) string {
	return fmt.Sprintf("remote %s, local %s, protocol %d, interface_type %d, tunnel_type %d, next_hop %#x, sub_interface %d, interface %#x, compartment %d",
		r.Remote, r.Local, r.Protocol, r.InterfaceType, r.TunnelType, r.NextHop, r.SubInterface, r.Interface, r.Compartment)
}

// surroundings are what a decision depends on beside the connection and the policy.
type surroundings struct {
	sets    map[*compiler.Set][]compiler.Value // the values that they contain
	devices map[string]bool                    // by deviceMap: whether the connection's is this one
}

// pick takes a connection out of a box: the first time the lowest values, then
// bounds and others at random.
func (p *part) pick(b []set, try uint64) (r compiler.Request, around *surroundings, failed bool) {
	rng := rand.New(rand.NewPCG(try, 1))
	number := func(v variable) uint64 {
		s := b[v]
		if try == 0 {
			return s[0].first
		}
		a := s[rng.IntN(len(s))]
		switch rng.IntN(3) {
		case 0:
			return a.first
		case 1:
			return a.last
		}
		if a.last-a.first == ^uint64(0) {
			return rng.Uint64()
		}
		return a.first + rng.Uint64N(a.last-a.first+1)
	}
	address := func(high, low variable) netip.Addr {
		return compiler.Value{Hi: number(high), Lo: number(low)}.Address()
	}
	r = compiler.Request{
		InterfaceType: uint32(number(interfaceType)), TunnelType: uint32(number(tunnelType)),
		NextHop: number(nextHop), SubInterface: uint32(number(subInterface)), Interface: number(luid),
		Remote:   netip.AddrPortFrom(address(remoteHigh, remoteLow), uint16(number(remotePort))),
		Local:    netip.AddrPortFrom(address(localHigh, localLow), uint16(number(localPort))),
		Protocol: uint8(number(protocol)), Compartment: uint32(number(compartment)),
	}
	failed = true
	for v := interfaceType; v <= subInterface; v++ {
		failed = failed && b[v].contains(v.missing())
	}
	if failed = failed && try%2 == 0; failed {
		r.InterfaceType, r.TunnelType, r.NextHop, r.SubInterface = 0, uint32(tunnelType.missing()), 0, 0
	}
	around = &surroundings{sets: map[*compiler.Set][]compiler.Value{}, devices: map[string]bool{}}
	for name, v := range p.terms.devices {
		around.devices[name] = number(v) == 1
	}
	if p.terms.devices != nil {
		r.Interface = r.NextHop
	}
	for _, s := range p.policy.Sets {
		around.sets[s] = nil
		for f := range compiler.Field(compiler.NumFields) {
			v, ok := p.terms.members[memberKey{f, s}]
			if ok && b[v].contains(1) && (try%4 < 2 || !b[v].contains(0)) {
				around.sets[s] = append(around.sets[s], r.Value(f))
			}
		}
	}
	return r, around, failed
}

// try judges a connection by the policy and by the instructions; nil if they agree.
// Around nil means the contents of sets that the policy gives.
func (c *checker) try(f *function, r compiler.Request, around *surroundings, failed bool) (*Counterexample, error) {
	policy, contents := c.policy, map[*compiler.Set][]compiler.Range{}
	for _, s := range c.policy.Sets {
		contents[s] = s.Ranges
		if around != nil {
			contents[s] = nil
			values := slices.SortedFunc(slices.Values(around.sets[s]), compiler.Value.Compare)
			for _, v := range slices.Compact(values) {
				contents[s] = append(contents[s], compiler.Range{First: v, Last: v})
			}
		}
	}
	var is map[string]bool
	if around != nil && len(c.policy.Sets)+len(around.devices) > 0 {
		is = around.devices
		policy = c.within(contents, is)
	}
	d := policy.Eval(&r)
	want := c.expected(d.Rule, d.Audit)
	var got answer
	var err error
	if c.table != nil {
		got, err = c.lookUp(f, &r, contents, failed)
	} else {
		got, err = c.execute(f, &r, contents, is, failed)
	}
	if err == nil && (got == want || f.decision != nil && f.decision.early && got.early(want)) {
		return nil, nil
	}
	seen := &Counterexample{Section: f.name(), Request: r, Failed: failed, Want: c.say(want)}
	for s, ranges := range contents {
		if around == nil || len(ranges) == 0 {
			continue
		}
		if seen.Sets == nil {
			seen.Sets = map[string]string{}
		}
		seen.Sets[s.Name] = strings.TrimPrefix(compiler.In{Field: s.Field, Ranges: ranges}.String(), s.Field.String()+" ")
	}
	if err != nil {
		var r *refusal
		if errors.As(err, &r) && !r.wrong {
			return nil, err
		}
		seen.Got = err.Error()
		return seen, nil
	}
	seen.Got = "does " + c.say(got)
	return seen, nil
}

func (c *checker) say(a answer) string {
	if a.open {
		return "nothing yet"
	}
	text := a.verdict.String()
	if a.rule >= 0 {
		text += " by " + c.policy.RuleID(a.rule)
	}
	if a.audit >= 0 {
		text += ", audit " + c.policy.RuleID(a.audit)
	}
	return text
}

// within is the policy with other contents of its dynamic sets, and of which it is
// known whether the connection's device is one of its interfaces.
func (c *checker) within(contents map[*compiler.Set][]compiler.Range, is map[string]bool) *compiler.Policy {
	p, late := c.policy, []*compiler.NamedInterface(nil)
	if !c.windows {
		late = named(p)
	}
	var change func(c compiler.Cond) compiler.Cond
	list := func(parts []compiler.Cond) []compiler.Cond {
		out := make([]compiler.Cond, len(parts))
		for i, c := range parts {
			out[i] = change(c)
		}
		return out
	}
	change = func(c compiler.Cond) compiler.Cond {
		switch c := c.(type) {
		case compiler.All:
			return compiler.All(list(c))
		case compiler.Any:
			return compiler.Any(list(c))
		case compiler.Not:
			return compiler.Not{X: change(c.X)}
		case compiler.InSet:
			s := *c.Set
			s.Ranges = contents[c.Set]
			return compiler.InSet{Field: c.Field, Set: &s}
		case compiler.IsInterface:
			i := slices.Index(late, c.Interface)
			if i < 0 {
				return c
			}
			in := compiler.In{Field: c.Field} // which is unknown where the field is
			if is[namespaceMap] && is[deviceMap(i)] {
				in.Ranges = []compiler.Range{c.Field.Domain()}
			}
			return in
		}
		return c
	}
	q := *p
	q.Rules = append([]compiler.Rule(nil), p.Rules...)
	for i := range q.Rules {
		q.Rules[i].Cond = change(q.Rules[i].Cond)
	}
	return &q
}

// execute runs the instructions on a connection.
func (c *checker) execute(f *function, r *compiler.Request, contents map[*compiler.Set][]compiler.Range, is map[string]bool, failed bool) (answer, error) {
	m := c.machine(f)
	values := inputsOf(r)
	w := *m.view
	fill := func(bytes []symbol) {
		for i, b := range bytes {
			switch v, significance, ok := b.isInput(); {
			case ok:
				bytes[i] = symbol(byte(values[v] >> (8 * significance)))
			case b == garbage:
				bytes[i] = 0xa5
			case b >= process && b < garbage:
				bytes[i] = b - inputs
			}
		}
	}
	w.context = slices.Clone(w.context)
	fill(w.context)
	fill(w.network[:])
	fill(w.process[:])
	m.view = &w
	m.member = func(info mapInfo, key []symbol) symbol {
		if is[info.name] {
			return 1
		}
		for s, ranges := range contents {
			for _, ipv6 := range []bool{false, true} {
				if codegen.SetMapName(s, ipv6) == info.name && contains(ranges, key, s, ipv6) {
					return 1
				}
			}
		}
		return 0
	}
	x := &execution{explorer: &explorer{machine: m, graph: &graph{function: f, maps: c.maps}}, failed: failed}
	x.machine.known = map[lookup]int32{}
	t, err := x.run()
	if err != nil {
		return answer{}, err
	}
	for _, n := range t.events { // constants, so that any connection decodes alike
		if err := c.checkConcrete(n, r); err != nil {
			return answer{}, err
		}
	}
	return c.concreteAnswer(f, t)
}

func contains(ranges []compiler.Range, key []symbol, s *compiler.Set, ipv6 bool) bool {
	var v compiler.Value
	for _, b := range key[4:] {
		v.Hi, v.Lo = v.Hi<<8|v.Lo>>56, v.Lo<<8|uint64(b)
	}
	if !ipv6 && (s.Field == compiler.RemoteAddress || s.Field == compiler.LocalAddress) {
		v = compiler.Value{Lo: 0xffff_0000_0000 | v.Lo}
	}
	for _, r := range ranges {
		if r.Contains(v) {
			return true
		}
	}
	return false
}

func inputsOf(r *compiler.Request) (values [numFields]uint64) {
	remote, local := r.Value(compiler.RemoteAddress), r.Value(compiler.LocalAddress)
	values = [numFields]uint64{remoteHigh: remote.Hi, remoteLow: remote.Lo, localHigh: local.Hi, localLow: local.Lo}
	for v := remotePort; v < numFields; v++ {
		values[v] = r.Value(variableFields[v]).Lo
	}
	return values
}

// execution runs a function on constants.
type execution struct {
	*explorer
	failed bool
}

const maxExecution = 1_000_000

func (x *execution) run() (*trace, error) {
	t := &trace{}
	s := start()
	x.read = &footprint{}
	for slot, steps := 0, 0; ; steps++ {
		if slot < 0 || slot >= len(x.code) || steps > maxExecution {
			return nil, x.wrong("does not end")
		}
		x.slot = slot
		in := &x.code[slot]
		slot++
		var err error
		switch class := in.code & 7; {
		case class == classStoreRegister && in.code&0xe0 == modeAtomic:
			err = x.count(s, in, t)
		case class != classJump && class != classJump32:
			if err = x.step(s, in); in.code == 0x18 {
				slot++
			}
		case in.code&0xf0 == opExit:
			v, err := x.get(s, 0)
			if err != nil {
				return nil, err
			}
			n, known := v.constant()
			if !known {
				return nil, x.wrong("returns an address")
			}
			t.result = n
			if x.decision == nil {
				t.result = uint64(uint32(n))
			}
			return t, nil
		case in.code&0xf0 == opCall:
			err = x.callHelper(s, in, t)
		case in.code&0xf0 == jumpAlways:
			slot, _ = in.target(slot - 1)
		default:
			slot, err = x.branch(s, in, slot)
		}
		if err != nil {
			return nil, err
		}
	}
}

func (x *execution) branch(s *state, in *instruction, slot int) (int, error) {
	a, err := x.get(s, in.dst)
	if err != nil {
		return 0, err
	}
	b := constant(uint64(in.imm))
	if in.code&sourceRegister != 0 {
		source, err := x.get(s, in.src)
		if err != nil {
			return 0, err
		}
		b = *source
	}
	number := func(v *value) (uint64, bool) {
		if v.kind != 0 && v.kind != 1 { // an address is no small number
			return 1 << 40, true
		}
		return v.constant()
	}
	if v, ok := x.sameDevice(a, &b); ok {
		a, b = &v, constant(1)
	}
	m, known := number(a)
	n, knownToo := number(&b)
	if !known || !knownToo {
		return 0, x.wrong("tests bytes that may be anything")
	}
	if holds(in.code&0xf0, m, n, in.code&7 == classJump) {
		slot, _ = in.target(slot - 1)
	}
	return slot, nil
}

func (x *execution) count(s *state, in *instruction, t *trace) error {
	base, err := x.get(s, in.dst)
	if err != nil {
		return err
	}
	added, err := x.get(s, in.src)
	if err != nil {
		return err
	}
	if one, _ := added.constant(); base.kind != toValue || base.offset+int64(in.offset) != 0 || !x.maps[x.lookups[base.id].mapID].counters ||
		in.imm != 0 || accessBytes(in.code) != 8 || one != 1 {
		return x.wrong("does not add one to a counter of 64 bits")
	}
	key := uint64(0)
	for i := range 4 {
		key |= uint64(x.lookups[base.id].key[i]) << (8 * i)
	}
	t.counted = append(t.counted, key)
	return nil
}

func (x *execution) callHelper(s *state, in *instruction, t *trace) error {
	if in.callee != "" && in.src == 1 {
		return x.callMembership(s, in)
	}
	if in.src != 0 {
		return x.strange("calls a function of its own")
	}
	switch in.imm {
	case helperLookup:
		if err := x.callLookup(s); err != nil {
			return err
		}
		s.registers[0].kind = toValue
		return nil
	case helperPidTgid:
		x.clobber(s, value{kind: number, bytes: x.view.process})
		return nil
	case helperRing:
		n, err := x.callRing(s)
		t.events = append(t.events, &n)
		return err
	case helperNetwork:
		buffer, err := x.get(s, 2)
		if err != nil {
			return err
		}
		size, err := x.get(s, 3)
		if err != nil {
			return err
		}
		n, known := size.constant()
		if !known || n == 0 || n > uint64(len(x.view.network)) || s.registers[1].kind != toContext || s.asked != never {
			return x.wrong("asks for the network context in a wrong way")
		}
		bytes := x.view.network
		s.asked = answered
		result := constant(0)
		if x.failed {
			s.asked, result = failed, constant(^uint64(0))
			for i := range bytes {
				bytes[i] = symbol(0xa5 ^ i)
			}
		}
		if err := x.store(s, buffer, 0, bytes[:n]); err != nil {
			return err
		}
		x.clobber(s, result)
		return nil
	}
	return x.strange("calls helper %d", in.imm)
}

// checkConcrete compares an event with the connection it was written for.
func (c *checker) checkConcrete(n *node, r *compiler.Request) error {
	e, err := codegen.DecodeEvent(eventBytes(n))
	if err != nil {
		return err
	}
	got := e.Request
	if n.asked == answered {
		if got.InterfaceType != r.InterfaceType || got.TunnelType != r.TunnelType || got.NextHop != r.NextHop || got.SubInterface != r.SubInterface {
			return fmt.Errorf("writes an event with another network context")
		}
	}
	same := func(a, b netip.AddrPort) bool {
		return a.Port() == b.Port() && compiler.AddressValue(a.Addr()) == compiler.AddressValue(b.Addr())
	}
	if !same(got.Remote, r.Remote) || !same(got.Local, r.Local) || got.Protocol != r.Protocol || got.Interface != r.Interface || got.Compartment != r.Compartment {
		return fmt.Errorf("writes an event of another connection")
	}
	return nil
}

func eventBytes(n *node) []byte {
	bytes := make([]byte, len(n.event)/2)
	for i := range bytes {
		bytes[i] = byte(binary.LittleEndian.Uint16([]byte(n.event[2*i:])))
	}
	return bytes
}

// concreteAnswer is the decision that an execution showed.
func (c *checker) concreteAnswer(f *function, t *trace) (answer, error) {
	if f.decision != nil {
		return c.answerOfExecution(f.decision, t)
	}
	shown := trace{counted: t.counted, result: t.result}
	a := answer{rule: -1, audit: -1}
	if t.result > 2 {
		return a, fmt.Errorf("returns %d", t.result)
	}
	if c.counters {
		for _, k := range shown.counted {
			if k < uint64(len(c.policy.Rules)) && c.policy.Rules[k].Audit {
				a.audit = int(k)
			} else {
				a.rule = int(k)
			}
		}
	}
	for _, n := range t.events {
		e, err := codegen.DecodeEvent(eventBytes(n))
		if err != nil {
			return a, err
		}
		if c.counters && (e.Rule != a.rule || e.Audit != a.audit) {
			return a, fmt.Errorf("writes an event of other rules than it counts")
		}
		a.rule, a.audit = e.Rule, e.Audit
		if e.Answer != c.expected(e.Rule, e.Audit).verdict {
			return a, fmt.Errorf("writes an event with another answer")
		}
	}
	if a.rule >= 0 {
		if err := c.checkRules(a.rule, a.audit); err != nil {
			return a, err
		}
		if logged := c.logged(a.rule, a.audit); logged != (len(t.events) == 1) {
			return a, fmt.Errorf("writes %d events for rule `%s`", len(t.events), c.policy.RuleID(a.rule))
		}
	}
	if len(t.counted) > 2 || c.counters && a.rule < 0 {
		return a, fmt.Errorf("counts %d rules", len(t.counted))
	}
	a.verdict = verdict(t.result)
	return a, nil
}
