package proof

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// answer is what can be seen of a decision.
type answer struct {
	verdict lang.Verdict
	rule    int    // index of the rule, or -1 where nothing shows it
	audit   int    // index of the audit rule, or -1
	flaw    string // why it is no answer at all
	open    bool   // it is left to a later stage, on Linux
}

// early reports whether an answer of an early stage fits the one that is due: denied is
// what is denied then, by a rule no later.
func (a answer) early(want answer) bool {
	return a.open || a.verdict == lang.Deny && want.verdict == lang.Deny && a.rule <= want.rule
}

// trace is what a program does after its last test.
type trace struct {
	counted []uint64 // counters, whether or not they were found
	events  []*node
	result  uint64
}

// expected is what a decision must look like. Without counters only an event shows
// the rule.
func (c *checker) expected(rule, audit int) answer {
	p := c.policy
	a := answer{verdict: p.Default, rule: rule, audit: audit}
	if rule < len(p.Rules) {
		a.verdict = p.Rules[rule].Verdict
	}
	if p.AuditMode {
		a.verdict = lang.Allow
	}
	if !c.counters && !c.logged(rule, audit) {
		a.rule, a.audit = -1, -1
	}
	return a
}

func (c *checker) logged(rule, audit int) bool {
	return audit >= 0 || rule < len(c.policy.Rules) && c.policy.Rules[rule].Log
}

// answerOf gives the answer of a tail.
func (c *checker) answerOf(g *graph, tail int32) answer {
	if d := g.function.decision; d != nil {
		a, err := c.answerOfEnd(d, &g.nodes[tail])
		if err != nil {
			return answer{rule: -1, audit: -1, flaw: err.Error()}
		}
		return a
	}
	traces := g.traces(tail, nil)
	if len(traces) == 0 {
		return answer{rule: -1, audit: -1, flaw: "too many ways to go on"}
	}
	first, err := c.judge(g, &traces[0])
	for i := 1; i < len(traces) && err == nil; i++ {
		var other answer
		if other, err = c.judge(g, &traces[i]); err == nil && other != first {
			err = fmt.Errorf("an answer that depends on whether a counter is there")
		}
	}
	if err != nil {
		return answer{rule: -1, audit: -1, flaw: err.Error()}
	}
	return first
}

const maxTraces = 16

// traces follows a tail to its ends.
func (g *graph) traces(id int32, done []trace) []trace {
	n := &g.nodes[id]
	switch n.kind {
	case exitNode:
		return append(done, trace{result: n.value})
	case foundNode:
		done = g.traces(n.kids[0], done)
		if len(done) > maxTraces {
			return nil
		}
		return g.traces(n.kids[1], done)
	}
	start := len(done)
	done = g.traces(n.kids[0], done)
	for i := start; i < len(done); i++ {
		t := &done[i]
		switch n.kind {
		case countNode, skipNode:
			t.counted = append([]uint64{n.value}, t.counted...)
		case eventNode:
			t.events = append([]*node{n}, t.events...)
		}
	}
	return done
}

// judge finds the decision that a trace shows and checks that it shows it whole.
func (c *checker) judge(g *graph, t *trace) (answer, error) {
	rule, audit := -1, -1
	if c.counters {
		for _, k := range t.counted {
			isAudit := k < uint64(len(c.policy.Rules)) && c.policy.Rules[k].Audit
			switch {
			case isAudit && audit < 0:
				audit = int(k)
			case !isAudit && rule < 0:
				rule = int(k)
			default:
				return answer{}, fmt.Errorf("more than one counter")
			}
		}
		if rule < 0 {
			return answer{}, fmt.Errorf("no counter")
		}
	}
	if t.result > uint64(lang.AllowHard) {
		return answer{}, fmt.Errorf("r0 = %d", t.result)
	}
	if len(t.events) > 1 {
		return answer{}, fmt.Errorf("two events")
	}
	if len(t.events) == 1 {
		e, err := c.readEvent(g, t.events[0])
		if err != nil {
			return answer{}, err
		}
		if c.counters && (e.Rule != rule || e.Audit != audit) {
			return answer{}, fmt.Errorf("an event of other rules than were counted")
		}
		rule, audit = e.Rule, e.Audit
	}
	if rule < 0 {
		return answer{verdict: lang.Verdict(t.result), rule: -1, audit: -1}, nil
	}
	if err := c.checkRules(rule, audit); err != nil {
		return answer{}, err
	}
	want := c.expected(rule, audit)
	switch {
	case uint64(want.verdict) != t.result:
		return answer{}, fmt.Errorf("the verdict %s of rule `%s`", lang.Verdict(t.result), c.policy.RuleID(rule))
	case c.logged(rule, audit) != (len(t.events) == 1):
		return answer{}, fmt.Errorf("%d events of rule `%s`", len(t.events), c.policy.RuleID(rule))
	}
	return want, nil
}

// checkRules makes sure that there are rules of the indices, in their roles.
func (c *checker) checkRules(rule, audit int) error {
	n := len(c.policy.Rules)
	if rule > n || rule < n && c.policy.Rules[rule].Audit {
		return fmt.Errorf("a decision by rule %d", rule)
	}
	if audit >= n || audit >= 0 && !c.policy.Rules[audit].Audit || audit >= rule {
		return fmt.Errorf("audit rule %d before rule %d", audit, rule)
	}
	return nil
}

// readEvent decodes an event twice, with two bytes that differ in every bit for each
// byte of input, and so learns where every byte comes from.
func (c *checker) readEvent(g *graph, n *node) (*codegen.Event, error) {
	var decoded [2]codegen.Event
	for i, flip := range []byte{0, 0xff} {
		bytes := make([]byte, len(n.event)/2)
		for j := range bytes {
			s := symbol(binary.LittleEndian.Uint16([]byte(n.event[2*j:])))
			switch {
			case s >= garbage:
				return nil, fmt.Errorf("byte %d of the event is not known", j)
			case s > 0xff:
				bytes[j] = byte(s-inputs) ^ flip
			default:
				bytes[j] = byte(s)
			}
		}
		if len(bytes) != codegen.EventSize {
			return nil, fmt.Errorf("an event of %d bytes", len(bytes))
		}
		e, err := codegen.DecodeEvent(bytes)
		if err != nil {
			return nil, err
		}
		decoded[i] = e
		if err := c.checkEvent(g, n, &e, flip); err != nil {
			return nil, err
		}
	}
	if decoded[0].Rule != decoded[1].Rule || decoded[0].Audit != decoded[1].Audit {
		return nil, fmt.Errorf("an event whose rule is not a constant")
	}
	return &decoded[0], nil
}

// checkEvent compares an event with the connection that it should show.
func (c *checker) checkEvent(g *graph, n *node, e *codegen.Event, flip byte) error {
	if err := c.checkRules(e.Rule, e.Audit); err != nil {
		return err
	}
	number := func(v variable, bytes int) uint64 {
		x := uint64(0)
		for i := range bytes {
			x |= uint64(byte(byteOf(v, i)-inputs)^flip) << (8 * i)
		}
		return x
	}
	address := func(high, low variable) netip.Addr {
		v := compiler.Value{Hi: number(high, 8), Lo: number(low, 8)}
		if !g.function.ipv6() {
			v = compiler.Value{Lo: 0xffff_0000_0000 | number(low, 4)}
		}
		return v.Address()
	}
	r := &e.Request
	verdict := c.policy.Default
	if e.Rule < len(c.policy.Rules) {
		verdict = c.policy.Rules[e.Rule].Verdict
	}
	pid := uint32(0)
	for i := range 4 {
		pid |= uint32(byte(process-inputs)+byte(4+i)^flip) << (8 * i)
	}
	for _, check := range []struct {
		what string
		ok   bool
	}{
		{"verdict", e.Verdict == verdict},
		{"generation", e.Generation == 0},
		{"answer", e.Answer == c.expected(e.Rule, e.Audit).verdict},
		{"process", e.Process == pid},
		{"protocol", uint64(r.Protocol) == number(protocol, 1)},
		{"compartment", uint64(r.Compartment) == number(compartment, 4)},
		{"interface", r.Interface == number(luid, 8)},
		{"remote port", uint64(r.Remote.Port()) == number(remotePort, 2)},
		{"local port", uint64(r.Local.Port()) == number(localPort, 2)},
		{"remote address", r.Remote.Addr().Unmap() == address(remoteHigh, remoteLow)},
		{"local address", r.Local.Addr().Unmap() == address(localHigh, localLow)},
	} {
		if !check.ok {
			return fmt.Errorf("an event with another %s", check.what)
		}
	}
	for v, got := range map[variable]uint64{
		interfaceType: uint64(r.InterfaceType), tunnelType: uint64(r.TunnelType),
		nextHop: r.NextHop, subInterface: uint64(r.SubInterface),
	} {
		field := variableFields[v]
		bytes := 4
		if v == nextHop {
			bytes = 8
		}
		known := n.asked == answered && got == number(v, bytes)
		unknown := n.asked != answered && slices.Contains(field.NotAvailable(), compiler.Number(got))
		if !known && !unknown {
			return fmt.Errorf("an event with another %s", field)
		}
	}
	return nil
}
