package codegen

import (
	"slices"

	"github.com/cilium/ebpf/asm"

	"github.com/hopgate/hopgate/compiler"
)

// membership looks the value up in the set's table.
func (b *body) membership(p point, n *compiler.Node) blockID {
	if b.connection.fromContext(n.Var.Field) && !p.read {
		return b.readContext(p)
	}
	ipv6 := b.graph == &b.diagram.IPv6 && n.Var.Set.Field == compiler.RemoteAddress
	parts, lookup := []compiler.Part{compiler.Whole}, narrowLookup
	switch {
	case ipv6:
		parts, lookup = []compiler.Part{compiler.High64, compiler.Low64}, wideLookup
	case n.Var.Set.Field == compiler.RemoteAddress:
		parts = []compiler.Part{compiler.Word32}
	}
	var code asm.Instructions
	for i, part := range parts {
		code = append(code, b.connection.load(compiler.Var{Field: n.Var.Field, Part: part}, asm.R2+asm.Register(i))...)
	}
	number := SetKey(slices.Index(b.policy.Sets, n.Var.Set), ipv6)
	code = append(code, asm.Mov.Imm(asm.R1, int32(number)), callLocal(lookup))

	found := b.branch(asm.JEq, asm.R0, 0, b.to(p, toNode(n.Kids[0])), b.to(p, toNode(n.Kids[1])))
	return b.branch(asm.JEq, asm.R0, setBroken, b.broken, found, code...)
}

// calls reports whether the code refers to a function.
func calls(code asm.Instructions, name string) bool {
	return slices.ContainsFunc(code, func(ins asm.Instruction) bool { return ins.Reference() == name })
}

// withLookups adds the local functions that the code looks sets up with.
func withLookups(code asm.Instructions, target Target) (asm.Instructions, error) {
	for _, name := range []string{narrowLookup, wideLookup} {
		if !calls(code, name) {
			continue
		}
		lookup, err := lookupFunction(name, target)
		if err != nil {
			return nil, err
		}
		code = append(code, lookup...)
	}
	return code, nil
}
