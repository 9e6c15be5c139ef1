package codegen

import (
	"cmp"
	"slices"
	"sync"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/hopgate/hopgate/compiler"
)

// A graph becomes a global function, long (struct hopgate_flow *), which several
// stages share. The kernel's verifier takes it by itself. And it reads memory of
// which the verifier keeps no account, other than of the stack. Stages whose time counts
// have a copy of it in them where that is possible: a call takes some 10 ns.
//
// The function returns the rule as leafValue, with audit rules those in the upper
// half, or one of these. Where nobody asks whether it is broken, it is a leaf that denies.
const (
	decisionUndecided = -1
	decisionBroken    = -8
)

// judged is the connection as a decision finds it, in r6.
var judged = connection{
	base:        asm.R6,
	remote:      end{flowRemote, flowRemotePort},
	local:       end{flowLocal, flowLocalPort},
	whole:       true,
	protocol:    flowProtocol,
	compartment: absent,
	luid:        absent,
	network:     networkPlace{asm.R6, flowContext},
}

// decisionName names the function of a graph.
func (f *function) decisionName(g *compiler.Graph) string {
	name := "hopgate_decide"
	if f.early {
		name += "_early"
	}
	if g == &f.diagram.IPv4 {
		return name + "4"
	}
	return name + "6"
}

// asksNetwork reports whether a decision tests the network context; that of a table
// may.
func (f *function) asksNetwork() bool {
	return f.table || asksNetwork(&f.diagram.IPv4, flow) || asksNetwork(&f.diagram.IPv6, flow)
}

// asksNetwork reports whether a graph tests the network context.
func asksNetwork(g *compiler.Graph, c connection) bool {
	return slices.ContainsFunc(g.Nodes, func(n compiler.Node) bool { return n.Var.Interface == nil && c.fromContext(n.Var.Field) })
}

// decision writes the function of one graph of a diagram, which is an early one or
// the whole, and gives what it takes the verifier. Where that would walk it many times
// over, variables are loaded again where paths meet.
func decision(d *compiler.Diagram, ipv6, early bool, opts *Options) (asm.Instructions, KernelWalk, error) {
	code, err := decide(d, ipv6, early, false, opts)
	if err != nil {
		return nil, KernelWalk{}, err
	}
	most := tangled * len(code)
	if walk := walkOf(code, most); walk.Steps < most {
		return code, walk, nil
	}
	code, err = decide(d, ipv6, early, true, opts)
	return code, walkOf(code, walkTo), err
}

// tangled is how often the verifier may come by an instruction on average.
const tangled = 8

// fewWays is how many ways may lead to a node that loads nothing again.
const fewWays = 4

// waysTo counts the ways that lead to each node.
func waysTo(g *compiler.Graph) []int {
	ways := make([]int, len(g.Nodes))
	for i := range g.Nodes {
		for _, k := range g.Nodes[i].Kids {
			if k >= 0 {
				ways[k]++
			}
		}
	}
	return ways
}

func decide(d *compiler.Diagram, ipv6, early, meetsAnew bool, opts *Options) (asm.Instructions, error) {
	f := newFunction(d, ipv6, opts)
	f.early, f.meetsAnew = early, meetsAnew
	g, c := &d.IPv4, judged.mapped()
	if ipv6 {
		g, c = &d.IPv6, judged
	}
	// A stage that has the decision in it must not be walked once for each rule found.
	f.giveDecision(append(c.hiddenZero(asm.R1, asm.R2), asm.Add.Reg(asm.R0, asm.R1))...)
	entry := f.branch(asm.JEq, asm.R1, 0, f.broken, f.body(g, c), asm.Mov.Reg(asm.R6, asm.R1))
	code, err := assemble(f.blocks, entry)
	if err != nil {
		return nil, err
	}
	size := uint32(flowContext)
	switch {
	case early:
		size = flowInterface
	case asksNetwork(g, c):
		size += NetworkContextSize
	}
	asGlobal(code, f.decisionName(g), long(), pointerTo("hopgate_flow", size))
	return code, nil
}

// giveDecision is how a function that decides ends: with the rule in r0, some code, and
// the audit rule.
func (f *function) giveDecision(code ...asm.Instruction) {
	f.broken = f.straight(noBlock, asm.Mov.Imm(asm.R0, decisionBroken))
	f.undecided = f.straight(noBlock, asm.Mov.Imm(asm.R0, decisionUndecided))
	result := append(asm.Instructions{asm.Mov.Reg32(asm.R0, regLeaf)}, code...)
	if f.audit {
		result = append(result, asm.LSh.Imm(regAudit, 32), asm.Or.Reg(asm.R0, regAudit))
	}
	f.settled = f.straight(noBlock, result...)
}

func long() btf.Type { return &btf.Int{Name: "long", Size: 8, Encoding: btf.Signed} }

// pointerTo is the type of a pointer to a structure of words.
func pointerTo(name string, size uint32) btf.Type {
	words := &btf.Array{Index: &btf.Int{Name: "u32", Size: 4}, Type: &btf.Int{Name: "u64", Size: 8}, Nelems: size / 8}
	return &btf.Pointer{Target: &btf.Struct{Name: name, Size: size, Members: []btf.Member{{Name: "words", Type: words}}}}
}

// callDecision calls the function of a graph and goes to where the result leads.
func (f *function) callDecision(g *compiler.Graph, c connection) blockID {
	name := f.decisionName(g)
	code := asm.Instructions{asm.Mov.Reg(asm.R1, regStack), asm.Add.Imm(asm.R1, stackFlow)}
	if f.inlined[name] != nil {
		code = append(code, hideAddress()...)
	}
	call := f.straight(f.takeDecision(), append(code, f.callOrInline(name)...)...)
	if !asksNetwork(g, c) {
		return call
	}
	return f.describeNetwork(call, f.callOrInline(f.context.Reference())...)
}

// hideAddress comes before an inlined decision. What it reads by the address in r1 the
// verifier does not know, as it does not know the address: it would walk the decision for
// each flow that it tells from others, and remember of the flow what comparisons say. The
// word is the first of the context, of which all are 32 bits.
func hideAddress() asm.Instructions {
	return append(connection{base: regContext}.hiddenZero(asm.R2, asm.R3),
		asm.And.Imm(asm.R2, 8), // an offset of 0 or 8 that keeps the alignment
		asm.Add.Reg(asm.R1, asm.R2))
}

// callOrInline calls a local function, or has its code if the stage has that in it: then
// all registers but r6 are the function's.
func (f *function) callOrInline(name string) asm.Instructions {
	inlined := f.inlined[name]
	if inlined == nil {
		return asm.Instructions{callLocal(name)}
	}
	code := append(asm.Instructions{asm.StoreMem(regStack, stackAside, regContext, asm.DWord)}, inlined...)
	return append(code, asm.LoadMem(regContext, regStack, stackAside, asm.DWord))
}

// inlines reports whether stages can have a decision in them. They cannot if it calls, or
// reads in many places: each one of the stack makes the verifier go through all of a stage
// once more.
func inlines(decision asm.Instructions) bool {
	const mostLoads = 64
	loads := 0
	for i := range decision {
		op := decision[i].OpCode
		if op.Class() == asm.LdXClass {
			loads++
		}
		if op.JumpOp() == asm.Call {
			return false
		}
	}
	return loads <= mostLoads
}

// inline gives the code of a function for the place where it is called from: what returns
// goes to its end instead.
func inline(function asm.Instructions) asm.Instructions {
	code := slices.Clone(function[:len(function)-1]) // the last returns
	code[0].Metadata = asm.Metadata{}                // it is no function
	left := slots(code)
	for i := range code {
		left -= int(code[i].Size() / asm.InstructionSize)
		if code[i].OpCode.JumpOp() == asm.Exit {
			code[i] = farJump(left)
		}
	}
	return code
}

// takeDecision goes to where the result of a decision in r0 leads.
func (f *function) takeDecision() blockID {
	take := asm.Instructions{asm.Mov.Reg32(regLeaf, asm.R0)}
	if f.audit {
		take = append(take, asm.Mov.Reg(regAudit, asm.R0), asm.ArSh.Imm(regAudit, 32))
	}
	decided := f.straight(f.settled, take...)
	if f.early {
		decided = f.branch(asm.JEq, asm.R0, decisionUndecided, f.undecided, decided)
	}
	if f.table || len(f.policy.Sets)+len(lateInterfaces(f.policy)) > 0 {
		decided = f.branch(asm.JEq, asm.R0, decisionBroken, f.broken, decided)
	}
	return decided
}

// describeNetwork puts the network context, asked for so, into its place.
func (f *function) describeNetwork(next blockID, ask ...asm.Instruction) blockID {
	failed := f.straight(next, f.sees.network.unknown(false)...)
	return f.branch(asm.JEq, asm.R0, 0, next, failed, f.askNetwork(ask...)...)
}

// decisions are the functions of the graphs of the early stages and the others, and
// what each takes the verifier. It also gives the diagram of the early stages, which it
// makes beside the functions of the others.
func decisions(whole *compiler.Diagram, opts *Options) (early *compiler.Diagram, all []asm.Instructions, walked map[string]KernelWalk, err error) {
	all = make([]asm.Instructions, 4)
	var walks [4]KernelWalk
	var errs [4]error
	var functions sync.WaitGroup
	families := func(first int, d *compiler.Diagram) {
		for i, ipv6 := range []bool{false, true} {
			functions.Go(func() { all[first+i], walks[first+i], errs[first+i] = decision(d, ipv6, first == 0, opts) })
		}
	}
	families(2, whole)
	early = whole.Without(notYetKnown...)
	families(0, early)
	functions.Wait()
	if err := cmp.Or(errs[:]...); err != nil {
		return nil, nil, nil, err
	}
	walked = map[string]KernelWalk{}
	for i, code := range all {
		walked[code[0].Symbol()] = walks[i]
	}
	return early, all, walked, nil
}

// testsInterfaces reports whether the graph compares with an interface that the
// host looks up.
func (b *body) testsInterfaces() bool {
	return slices.ContainsFunc(b.graph.Nodes, func(n compiler.Node) bool { return n.Var.Interface != nil })
}

// findState puts the address of the state into regState if the graph needs it.
func (b *body) findState(next blockID) blockID {
	if !b.testsInterfaces() {
		return next
	}
	return b.withState(b.straight(next, asm.Mov.Reg(regState, asm.R0)))
}
