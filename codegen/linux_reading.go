package codegen

import (
	"errors"
	"math"

	"github.com/cilium/ebpf/asm"

	"github.com/hopgate/hopgate/compiler"
)

// Names of maps of programs for Linux that no host looks at.
const (
	CacheMap = cacheMap
	FlowsMap = flowsMap
)

// Where a decision of a program for Linux finds what it judges, and what it answers,
// for those who check objects.
const (
	FlowRemote     = flowRemote
	FlowLocal      = flowLocal
	FlowLocalPort  = flowLocalPort
	FlowRemotePort = flowRemotePort
	FlowProtocol   = flowProtocol
	FlowInterface  = flowInterface
	FlowNetwork    = flowNetwork
	FlowContext    = flowContext
	EarlyFlowSize  = flowInterface // that an early decision sees

	StateNetwork    = stateNetwork
	StateInterfaces = stateInterfaces

	DecisionUndecided = math.MaxUint64 + 1 + decisionUndecided // of an early decision: left to a later stage
	DecisionBroken    = math.MaxUint64 + 1 + decisionBroken
)

// SplitDecision takes the answer of a decision apart: the leaf of the rule, and that
// of the audit rule, which counts if it is the lower one.
func SplitDecision(answer uint64) (rule, audit Leaf) {
	return Leaf(answer), Leaf(answer >> 32)
}

// Leaf is what a program knows of a rule that it has found.
type Leaf uint32

func (l Leaf) Rule() int      { return int(l >> leafShift) }
func (l Leaf) Verdict() uint8 { return uint8(l & leafVerdict) }
func (l Leaf) Logs() bool     { return l&leafLog != 0 }

// Calls says how the stages of a program for Linux call its decisions.
type Calls struct {
	EarlyAlike, Alike bool // one decision is for both families: of the early stages, of the others
	Network4          bool // the decision for IPv4 is given the network context
	Network6          bool
	Decisions         []asm.Instructions // functions, of which stages may have copies in them
}

// Stages gives the program with the stages that every policy of some kind has, around any
// decisions: what is in them depends on the calls, on the options, and on whether the policy
// has sets, named interfaces, audit rules, rules that log and `mode audit`.
func Stages(p *compiler.Policy, opts *Options, calls Calls) (*Program, error) {
	if (calls.Network4 || calls.Network6) && len(p.Rules) == 0 {
		return nil, errors.New("no rule asks for the network context")
	}
	diagram := func(network4, network6, alike bool) *compiler.Diagram {
		d := &compiler.Diagram{Policy: p, IPv4: anyGraph(p, network4), IPv6: anyGraph(p, network6)}
		if !alike {
			d.IPv6.Trees = append(d.IPv6.Trees, compiler.RuleLeaf(len(p.Rules)))
		}
		return d
	}
	walked := map[string]KernelWalk{}
	for _, d := range calls.Decisions {
		walked[d[0].Symbol()] = KernelWalk{}
	}
	return generateStages(diagram(calls.Network4, calls.Network6, calls.Alike), diagram(false, false, calls.EarlyAlike), calls.Decisions, walked, opts)
}

// anyGraph is a graph that tests the network context, or nothing.
func anyGraph(p *compiler.Policy, network bool) compiler.Graph {
	rest := compiler.RuleLeaf(len(p.Rules))
	if !network {
		return compiler.Graph{Trees: []compiler.NodeID{rest}, Audit: rest}
	}
	test := compiler.Node{Var: compiler.Var{Field: compiler.InterfaceType}, Starts: []uint64{0, 1}, Kids: []compiler.NodeID{compiler.RuleLeaf(0), rest}}
	return compiler.Graph{Nodes: []compiler.Node{test}, Trees: []compiler.NodeID{0}, Audit: rest}
}
