package codegen

import (
	"math"
	"slices"

	"github.com/cilium/ebpf/asm"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// function is one entry point in the making.
type function struct {
	diagram  *compiler.Diagram
	policy   *compiler.Policy
	target   Target
	ipv6     bool // addresses are IPv6 ones, possibly IPv4-mapped
	sees     connection
	early    bool            // before route selection: there is no network context
	context  asm.Instruction // asks for the network context: r1 the context, r2 the buffer, r3 its size
	counters bool
	events   bool
	audit    bool
	replies  bool          // Options.LeaveReplies
	devices  bool          // Options.DeviceMap
	packets  bool          // on Linux: the stage sees packets, which others than the process that runs may have sent
	table    bool          // an engine of the table form: no diagram, and counters are in the table
	frame    int16         // of an engine: where the stack of a decision begins
	hook     compiler.Hook // whose table
	blocks   []block

	// On Linux: paths that meet tell the verifier nothing of where they come from.
	meetsAnew bool
	inlined   map[string]asm.Instructions // local functions that the stage has in it, by name

	settled blockID // r9, and with audit rules r8, hold the outcome
	broken  blockID // something that cannot be: deny

	// undecided leaves the decision to a later stage.
	undecided blockID
}

func newFunction(d *compiler.Diagram, ipv6 bool, opts *Options) *function {
	return &function{
		diagram: d, policy: d.Policy, target: opts.Target, ipv6: ipv6, sees: sockAddr(d.Policy.Hook),
		counters: !opts.NoCounters, replies: opts.LeaveReplies, devices: opts.DeviceMap, events: writesEvents(d.Policy), audit: hasAudit(d.Policy),
	}
}

func (f *function) add(b block) blockID {
	f.blocks = append(f.blocks, b)
	return blockID(len(f.blocks) - 1)
}

// straight adds code that goes on to next.
func (f *function) straight(next blockID, code ...asm.Instruction) blockID {
	return f.add(block{code: code, next: next})
}

// generate writes the entry point.
func (f *function) generate() (asm.Instructions, error) {
	f.broken = f.straight(noBlock, asm.Mov.Imm(asm.R0, int32(lang.Deny)))
	f.context = f.target.call(helperNetworkContext)
	f.settled = f.settle(f.answerBlock())
	entry := f.decide()
	start := asm.Instructions{asm.Mov.Reg(regContext, asm.R1)}
	if f.events {
		start = append(start, f.sees.network.unknown(true)...)
	}
	return assemble(f.blocks, f.straight(entry, start...))
}

// decide goes to the code of the graph of the connection's family.
func (f *function) decide() blockID {
	body := f.body
	if f.target == Linux {
		body = f.callDecision
	}
	switch {
	case f.table:
		return f.byTable()
	case !f.ipv6:
		return body(&f.diagram.IPv4, f.sees)
	case sameGraphs(f.diagram):
		return body(&f.diagram.IPv6, f.sees)
	}
	return f.splitMapped(body(&f.diagram.IPv4, f.sees.mapped()), body(&f.diagram.IPv6, f.sees))
}

// splitMapped goes to ipv4 for an IPv4-mapped remote address, else to ipv6.
func (f *function) splitMapped(ipv4, ipv6 blockID) blockID {
	remote := f.sees.remote
	prefix := f.add(block{
		code:  asm.Instructions{asm.LoadMem(regValue, f.sees.base, remote.ip+8, asm.Word), asm.HostTo(asm.BE, regValue, asm.Word)},
		jump:  jump{op: asm.JEq, dst: regValue, imm: 0xffff},
		taken: ipv4, next: ipv6,
	})
	return f.add(block{
		code:  f.sees.loadHalf(regValue, remote.ip),
		jump:  jump{op: asm.JEq, wide: true, dst: regValue},
		taken: prefix, next: ipv6,
	})
}

// body is the code of one graph.
type body struct {
	*function
	graph      *compiler.Graph
	connection connection
	homes      []home
	trees      comparisons
	memo       map[point]blockID
	first      []int  // by tree: the lowest rule it leads to
	reads      []read // where the network context is asked for
	leaves     []blockID
	ways       []int // by node: that lead to it; only with meetsAnew
}

// home is a register that holds a variable throughout.
type home struct {
	v   compiler.Var
	reg asm.Register
}

// point is a point in the decision: at a node or leaf, at a comparison of a node's
// variable, at the end of a tree, or, with none of these, before it.
type point struct {
	tree       int  // of Graph.Trees; len(Trees) is the audit rules'
	read       bool // the network context has been asked for
	node       compiler.NodeID
	comparison target
	atNode     bool
	compares   bool
	join       bool
}

func (f *function) body(g *compiler.Graph, c connection) blockID {
	b := &body{function: f, graph: g, connection: c, trees: newComparisons(g)}
	b.memo = make(map[point]blockID, cap(b.trees.list)+len(g.Nodes))
	f.blocks = slices.Grow(f.blocks, cap(b.trees.list))
	b.homes = b.chooseHomes()
	b.first = firstRules(g)
	if f.meetsAnew {
		b.ways = waysTo(g)
	}
	entry := b.start()
	b.setAhead()
	return entry
}

// start loads what the trees test and goes to the first.
func (b *body) start() blockID {
	root := point{node: b.graph.Trees[0], atNode: true, read: b.target == Linux || b.readUpFront()}
	first := asm.R2
	if root.read && b.target == Windows {
		first = asm.R6 // callContext loads the others
	}
	loads := append(b.noRule(), b.loadHomes(first, asm.R9)...)
	entry := b.straight(b.at(root), loads...)
	switch {
	case b.target == Linux:
		return b.findState(entry)
	case root.read:
		return b.callContext(entry)
	}
	b.finishReads()
	return entry
}

// chooseHomes gives registers to the variables that most nodes test. Those from
// the network context, where it is asked for on the way, stay on the stack. The
// register of the rule that decides comes last: while it is free, it can be set early.
func (b *body) chooseHomes() []home {
	count := map[compiler.Var]int{}
	calls := false
	fromStart := b.target == Linux || b.readUpFront()
	var vars []compiler.Var
	for i := range b.graph.Nodes {
		v := b.graph.Nodes[i].Var
		if v.Set != nil {
			calls = true
			continue
		}
		if v.Interface != nil {
			continue
		}
		if fromStart || !b.connection.fromContext(v.Field) {
			if count[v]++; count[v] == 2 {
				vars = append(vars, v)
			}
		}
	}
	slices.SortStableFunc(vars, func(x, y compiler.Var) int { return count[y] - count[x] })
	var free []asm.Register
	if !b.testsInterfaces() {
		free = append(free, regState)
	}
	if !b.audit {
		free = append(free, asm.R8)
	}
	if !calls {
		free = append(free, asm.R2, asm.R3, asm.R4, asm.R5)
	}
	if !b.audit && len(b.graph.Trees) == 1 {
		free = append(free, regLeaf)
	}
	var homes []home
	for i, v := range vars[:min(len(vars), len(free))] {
		homes = append(homes, home{v, free[i]})
	}
	return homes
}

// loadHomes loads the homes among the registers from first to last.
func (b *body) loadHomes(first, last asm.Register) asm.Instructions {
	var code asm.Instructions
	for _, h := range b.homes {
		if first <= h.reg && h.reg <= last {
			code = append(code, b.connection.load(h.v, h.reg)...)
		}
	}
	return code
}

func (b *body) home(v compiler.Var) (asm.Register, bool) {
	for _, h := range b.homes {
		if h.v == v {
			return h.reg, true
		}
	}
	return regValue, false
}

// at gives the block for a point.
func (b *body) at(p point) blockID {
	if id, ok := b.memo[p]; ok {
		return id
	}
	var id blockID
	switch rule, leaf := p.node.Rule(); {
	case p.atNode && leaf:
		id = b.leaf(p, rule)
	case p.atNode:
		id = b.node(p)
	default:
		id = b.comparison(p)
	}
	b.memo[p] = id
	return id
}

// node loads what the node tests and starts the comparisons.
func (b *body) node(p point) blockID {
	n := &b.graph.Nodes[p.node]
	if n.Var.Set != nil {
		return b.membership(p, n)
	}
	if n.Var.Interface != nil {
		return b.isInterface(p, n)
	}
	if b.connection.fromContext(n.Var.Field) && !p.read {
		return b.readContext(p)
	}
	first := b.to(p, b.trees.lower(n))
	var loads asm.Instructions
	if b.meetsAnew && b.ways[p.node] >= fewWays {
		loads = b.loadHomes(asm.R2, asm.R9)
	}
	if _, ok := b.home(n.Var); !ok {
		loads = append(loads, b.connection.load(n.Var, regValue)...)
	}
	if len(loads) == 0 {
		return first
	}
	return b.straight(first, loads...)
}

// to gives the block for where a comparison leads.
func (b *body) to(from point, t target) blockID {
	if node, ok := t.node(); ok {
		return b.at(point{tree: from.tree, read: from.read, node: node, atNode: true})
	}
	return b.at(point{tree: from.tree, read: from.read, comparison: t, compares: true})
}

func (b *body) comparison(p point) blockID {
	c := b.trees.list[p.comparison]
	v := b.trees.vars[p.comparison]
	reg, _ := b.home(v)
	out := block{jump: jump{op: c.op, dst: reg}, taken: b.to(p, c.yes), next: b.to(p, c.no)}
	if width(v) == 32 {
		out.jump.imm = int32(uint32(c.value))
		return b.add(out)
	}
	out.jump.wide = true
	if c.value <= math.MaxInt32 {
		out.jump.imm = int32(c.value)
		return b.add(out)
	}
	out.code = asm.Instructions{asm.LoadImm(regConst, int64(c.value), asm.DWord)}
	out.jump.reg, out.jump.src = true, regConst
	return b.add(out)
}

// loadMap puts a map into r1, where helpers take it.
func loadMap(name string) asm.Instruction {
	return asm.LoadMapPtr(asm.R1, 0).WithReference(name)
}

// ruleSource is the place in the policy that the rule comes from.
func (b *body) ruleSource(rule int) SourceLine {
	source := SourceLine{Text: "rule " + b.policy.RuleID(rule)}
	if rule < len(b.policy.Rules) {
		if r := &b.policy.Rules[rule]; r.Source != nil {
			source.File = r.Source.Name
			source.Line, source.Column = r.Source.Position(r.Start)
		}
	}
	return source
}

// answer is what the hook is told when the rule decides.
func (f *function) answer(rule int) lang.Verdict {
	switch {
	case f.policy.AuditMode:
		return lang.Allow
	case rule == len(f.policy.Rules):
		return f.policy.Default
	}
	return f.policy.Rules[rule].Verdict
}

// storeImm writes a constant to the stack. asm.StoreImm refuses eight bytes.
func storeImm(offset int16, value int64, size asm.Size) asm.Instruction {
	return asm.Instruction{
		OpCode: asm.OpCode(asm.StClass).SetMode(asm.MemMode).SetSize(size),
		Dst:    regStack, Offset: offset, Constant: value,
	}
}
