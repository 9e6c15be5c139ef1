package proof

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// A program for Linux decides in functions that its stages share. Each is followed by
// itself: it sees a flow, and answers with the rule.

// decision is such a function.
type decision struct {
	name    string
	ipv6    bool
	early   bool // is not shown the device and the local end, and may leave the decision to a later stage
	split   bool // stages have another one for IPv4-mapped addresses: compareStages
	network bool // is shown the network context
}

const (
	decisionPrefix = "hopgate_decide"
	earlyPrefix    = decisionPrefix + "_early"
)

// other is the decision for the other family.
func (d *decision) other() string {
	base, family := d.name[:len(d.name)-1], "6"
	if d.ipv6 {
		family = "4"
	}
	return base + family
}

// view describes the flow that a decision is shown.
func (d *decision) view() *view {
	w := newView(codegen.FlowContext + codegen.NetworkContextSize)
	address := func(at int, high, low variable) {
		if d.ipv6 {
			putSwapped(w.context[at:], high, 8)
			putSwapped(w.context[at+8:], low, 8)
			return
		}
		copy(w.context[at:], []symbol{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff})
		putSwapped(w.context[at+12:], low, 4)
	}
	address(codegen.FlowRemote, remoteHigh, remoteLow)
	putSwapped(w.context[codegen.FlowRemotePort:], remotePort, 2)
	putNumber(w.context[codegen.FlowProtocol:], protocol, 4)
	if d.early {
		w.context = w.context[:codegen.EarlyFlowSize]
		return w
	}
	address(codegen.FlowLocal, localHigh, localLow)
	putSwapped(w.context[codegen.FlowLocalPort:], localPort, 2)
	for i := range 4 {
		w.context[codegen.FlowInterface+i] = flowDevice + symbol(i)
	}
	for i := range 8 {
		w.context[codegen.FlowNetwork+i] = flowNetwork + symbol(i)
	}
	if !d.network {
		w.context = w.context[:codegen.FlowContext]
		return w
	}
	copy(w.context[codegen.FlowContext:], w.network[:])
	return w
}

// Whether a device is a named interface shows in a comparison of its index, and in one
// of its network namespace, with what the host has put into the map of the state. Each
// is taken for a lookup of its own.

const namespaceMap = codegen.StateMap + " namespace"

func deviceMap(i int) string { return fmt.Sprintf("%s interface %d", codegen.StateMap, i) }

// devices are the maps that stand for these lookups, which have no keys.
func devices(named int) []mapInfo {
	list := []mapInfo{{name: namespaceMap, isSet: true}}
	for i := range named {
		list = append(list, mapInfo{name: deviceMap(i), isSet: true})
	}
	return list
}

// stateBytes are bytes of the state as a program loads them.
func stateBytes(at int64, n int) []symbol {
	bytes := make([]symbol, n)
	for i := range bytes {
		switch at := int(at) + i; {
		case codegen.StateNetwork <= at && at < codegen.StateNetwork+8:
			bytes[i] = stateNetwork + symbol(at-codegen.StateNetwork)
		case codegen.StateInterfaces <= at && at < codegen.StateInterfaces+4*maxNamed:
			bytes[i] = stateDevices + symbol(at-codegen.StateInterfaces)
		default:
			bytes[i] = garbage
		}
	}
	return bytes
}

// sameDevice gives a comparison of a flow's device with the state as a member: 1 if
// they are the same.
func (m *machine) sameDevice(a, b *value) (value, bool) {
	if a.kind != number || b.kind != number {
		return value{}, false
	}
	if a.bytes[0] >= stateNetwork && a.bytes[0] < members {
		a, b = b, a
	}
	run := func(v *value, first symbol, n int) bool {
		for i, s := range v.bytes {
			if i < n && s != first+symbol(i) || i >= n && s != 0 {
				return false
			}
		}
		return true
	}
	name := ""
	switch i := int(b.bytes[0]) - int(stateDevices); {
	case run(a, flowNetwork, 8) && run(b, stateNetwork, 8):
		name = namespaceMap
	case run(a, flowDevice, 4) && i >= 0 && i%4 == 0 && run(b, b.bytes[0], 4):
		name = deviceMap(i / 4)
	}
	id := slices.IndexFunc(m.maps, func(i mapInfo) bool { return i.name == name })
	if name == "" || id < 0 {
		return value{}, false
	}
	v := constant(0)
	v.bytes[0] = members + symbol(m.lookup(lookup{mapID: int32(id)}))
	if m.member != nil {
		v.bytes[0] = m.member(m.maps[id], nil)
	}
	return v, true
}

// answerOfDecision reads what a decision answers.
func (c *checker) answerOfDecision(result uint64) (rule, audit int, err error) {
	leaf, second := codegen.SplitDecision(result)
	n := len(c.policy.Rules)
	rule, audit = leaf.Rule(), -1
	if rule > n {
		return 0, 0, fmt.Errorf("answer %d", int64(result))
	}
	want, logs := c.policy.Default, false
	if rule < n {
		want, logs = c.policy.Rules[rule].Verdict, c.policy.Rules[rule].Log
	}
	audits := slices.ContainsFunc(c.policy.Rules, func(r compiler.Rule) bool { return r.Audit })
	switch {
	case leaf.Verdict() != uint8(want) || leaf.Logs() != logs:
		return 0, 0, fmt.Errorf("another verdict or log for rule `%s`", c.policy.RuleID(rule))
	case !audits && second != 0:
		return 0, 0, fmt.Errorf("an audit rule where there is none")
	case audits && second < leaf:
		audit = second.Rule()
	}
	return rule, audit, c.checkRules(rule, audit)
}

// answerOfEnd is the answer at an end of a decision.
func (c *checker) answerOfEnd(d *decision, n *node) (answer, error) {
	if n.kind != exitNode {
		return answer{}, errors.New("a counter or an event")
	}
	return c.answerOfExecution(d, &trace{result: n.value})
}

// answerOfExecution is the answer that a decision has come to.
func (c *checker) answerOfExecution(d *decision, t *trace) (answer, error) {
	if len(t.counted)+len(t.events) > 0 {
		return answer{}, errors.New("a counter or an event")
	}
	if d.early && t.result == codegen.DecisionUndecided {
		return answer{rule: -1, audit: -1, open: true}, nil
	}
	rule, audit, err := c.answerOfDecision(t.result)
	if err != nil {
		return answer{}, err
	}
	return c.expected(rule, audit), nil
}
