package codegen

import (
	"math"

	"github.com/cilium/ebpf/asm"

	"github.com/hopgate/hopgate/compiler"
)

// leafValue packs what is known of a rule once it has been found, so that the rest
// of the program need not look anything up: verdict in bits 0-1, log in bit 2,
// index above. Of two, the smaller is the earlier rule.
func leafValue(p *compiler.Policy, rule int) int32 {
	if rule == len(p.Rules) {
		return int32(rule<<leafShift) | int32(p.Default)
	}
	r := &p.Rules[rule]
	v := int32(rule<<leafShift) | int32(r.Verdict)
	if r.Log {
		v |= leafLog
	}
	return v
}

const (
	leafVerdict = 3
	leafLog     = 4
	leafShift   = 3
)

// leaf notes the rule that a tree has led to and goes on.
func (b *body) leaf(p point, rule int) blockID {
	if rule == b.policy.Undecided() {
		return b.undecided
	}
	value := leafValue(b.policy, rule)
	source := b.ruleSource(rule)
	set := func(reg asm.Register, next blockID) blockID {
		id := b.straight(next, asm.Mov.Imm32(reg, value).WithSource(source))
		b.leaves = append(b.leaves, id)
		return id
	}
	switch trees := len(b.graph.Trees); {
	case p.tree == trees:
		if rule == len(b.policy.Rules) {
			value |= leafVerdict | leafLog // no audit rule: after every rule
		}
		return set(regAudit, b.settled)
	case (p.tree > 0 || b.hidesPaths()) && rule == len(b.policy.Rules):
		return b.enter(p.tree+1, p.read)
	case p.tree > 0 || b.hidesPaths():
		return set(regValue, b.keepLower(p))
	case trees == 1 && !b.counters && !b.events && b.target == Windows:
		return b.straight(noBlock, asm.Mov.Imm(asm.R0, int32(b.answer(rule))).WithSource(source))
	}
	next := 1
	for next < len(b.graph.Trees) && b.first[next] >= rule {
		next++
	}
	return set(regLeaf, b.enter(next, p.read))
}

// setAhead lets a comparison that alone leads to a leaf note its rule beforehand, which
// saves a jump: where the comparison leads elsewhere, nothing reads the register before
// another leaf sets it.
func (b *body) setAhead() {
	ways, from := make([]int, len(b.blocks)), make([]blockID, len(b.blocks))
	for i := range b.blocks {
		to := []blockID{b.blocks[i].next}
		if b.blocks[i].jump.op != asm.Ja {
			to = append(to, b.blocks[i].taken)
		}
		for _, id := range to {
			if id != noBlock {
				ways[id]++
				from[id] = blockID(i)
			}
		}
	}
	homes := map[asm.Register]bool{}
	for _, h := range b.homes {
		homes[h.reg] = true
	}
	ahead := map[blockID]bool{}
	for _, id := range b.leaves {
		p, leaf := &b.blocks[from[id]], &b.blocks[id]
		if ways[id] != 1 || ahead[from[id]] || !homes[p.jump.dst] || homes[leaf.code[0].Dst] || p.jump.op == asm.Ja {
			continue
		}
		ahead[from[id]] = true
		p.code = append(p.code, leaf.code...)
		if p.taken == id {
			p.taken = leaf.next
		} else {
			p.next = leaf.next
		}
	}
}

// keepLower takes the rule in regValue, which a tree has led to, unless one before
// it has been found, and goes on to the next tree.
func (b *body) keepLower(p point) blockID {
	p = point{tree: p.tree, read: p.read, join: true}
	if id, ok := b.memo[p]; ok {
		return id
	}
	next := b.enter(p.tree+1, p.read)
	if b.hidesPaths() {
		b.memo[p] = b.straight(next, minimum()...)
		return b.memo[p]
	}
	keep := b.straight(next, asm.Mov.Reg32(regLeaf, regValue))
	id := b.add(block{
		jump:  jump{op: asm.JLT, dst: regLeaf, reg: true, src: regValue},
		taken: next, next: keep,
	})
	b.memo[p] = id
	return id
}

// enter goes to a tree, unless a rule has been found that stands before all of the
// tree's; after the last tree to that of the audit rules, and then settles.
func (b *body) enter(tree int, read bool) blockID {
	switch trees := len(b.graph.Trees); {
	case tree == trees && b.audit:
		return b.at(point{tree: tree, read: read, node: b.graph.Audit, atNode: true})
	case tree >= trees:
		return b.settled
	}
	p := point{tree: tree, read: read}
	if id, ok := b.memo[p]; ok {
		return id
	}
	id := b.add(block{
		jump:  jump{op: asm.JLT, dst: regLeaf, imm: int32(b.first[tree] << leafShift)},
		taken: b.enter(tree+1, read),
		next:  b.straight(b.at(point{tree: tree, read: read, node: b.graph.Trees[tree], atNode: true}), b.forgetPath()...),
	})
	b.memo[p] = id
	return id
}

// hidesPaths reports whether a tree must not show the kernel's verifier which way
// the trees before it went. The verifier follows every path; what it knows of the
// path would multiply the leaves of one tree with the paths of the next.
func (b *body) hidesPaths() bool { return b.target == Linux && len(b.graph.Trees) > 1 }

// forgetPath loads the variables again: comparisons have narrowed what the
// verifier knows of their registers.
func (b *body) forgetPath() asm.Instructions {
	if !b.hidesPaths() {
		return nil
	}
	return b.loadHomes(asm.R2, asm.R9)
}

// noRule sets regLeaf to the default, as a number that the verifier knows nothing
// of.
func (b *body) noRule() asm.Instructions {
	if !b.hidesPaths() {
		return nil
	}
	return append(b.connection.hiddenZero(regLeaf, regValue), asm.Add.Imm32(regLeaf, leafValue(b.policy, len(b.policy.Rules))))
}

// hiddenZero sets a register to a 0 that the verifier does not know for one: it takes two
// loads of one word for different numbers.
func (c connection) hiddenZero(dst, scratch asm.Register) asm.Instructions {
	at := c.remote.ip + c.ipv4
	return asm.Instructions{
		asm.LoadMem(dst, c.base, at, asm.Word),
		asm.LoadMem(scratch, c.base, at, asm.Word),
		asm.Sub.Reg(dst, scratch),
	}
}

// minimum sets regLeaf to the smaller of it and regValue, in numbers that are never
// negative, without a jump.
func minimum() asm.Instructions {
	return asm.Instructions{
		asm.Sub.Reg(regLeaf, regValue),
		asm.Mov.Reg(regConst, regLeaf),
		asm.ArSh.Imm(regConst, 63),
		asm.And.Reg(regLeaf, regConst),
		asm.Add.Reg32(regLeaf, regValue),
	}
}

// firstRules gives the lowest rule that each tree can lead to.
func firstRules(g *compiler.Graph) []int {
	lowest := make([]int, len(g.Nodes))
	of := func(n compiler.NodeID) int {
		if rule, leaf := n.Rule(); leaf {
			return rule
		}
		return lowest[n]
	}
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		lowest[i] = math.MaxInt
		for _, k := range g.Nodes[i].Kids {
			lowest[i] = min(lowest[i], of(k))
		}
	}
	var first []int
	for _, root := range g.Trees {
		first = append(first, of(root))
	}
	return first
}
