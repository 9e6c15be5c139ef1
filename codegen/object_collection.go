package codegen

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// linuxSections are the program and attach types of the sections that programs for
// Linux use.
var linuxSections = map[string]struct {
	kind   ebpf.ProgramType
	attach ebpf.AttachType
}{
	"cgroup/connect4":    {ebpf.CGroupSockAddr, ebpf.AttachCGroupInet4Connect},
	"cgroup/connect6":    {ebpf.CGroupSockAddr, ebpf.AttachCGroupInet6Connect},
	"cgroup/sendmsg4":    {ebpf.CGroupSockAddr, ebpf.AttachCGroupUDP4Sendmsg},
	"cgroup/sendmsg6":    {ebpf.CGroupSockAddr, ebpf.AttachCGroupUDP6Sendmsg},
	"cgroup_skb/egress":  {ebpf.CGroupSKB, ebpf.AttachCGroupInetEgress},
	"cgroup_skb/ingress": {ebpf.CGroupSKB, ebpf.AttachCGroupInetIngress},
	"sockops":            {ebpf.SockOps, ebpf.AttachCGroupSockOps},
}

// CollectionSpec gives the program as cilium/ebpf loads it, maps and programs by
// name. It shares nothing that loading changes with the program.
func (p *Program) CollectionSpec() (*ebpf.CollectionSpec, error) {
	if p.refersToKernel() {
		return p.relocatable()
	}
	spec := &ebpf.CollectionSpec{
		Maps:      map[string]*ebpf.MapSpec{},
		Programs:  map[string]*ebpf.ProgramSpec{},
		ByteOrder: binary.LittleEndian,
	}
	for _, m := range p.Maps {
		spec.Maps[m.Name] = m.Copy()
	}
	for i := range p.Functions {
		f := &p.Functions[i]
		kind, attach, err := p.Target.attachment(f.Section)
		if err != nil {
			return nil, fmt.Errorf("function `%s`: %w", f.Name, err)
		}
		spec.Programs[f.Name] = &ebpf.ProgramSpec{
			Name:         f.Name,
			Type:         kind,
			AttachType:   attach,
			SectionName:  f.Section,
			License:      License,
			ByteOrder:    binary.LittleEndian,
			Instructions: f.annotated(),
		}
	}
	return spec, nil
}

// refersToKernel reports whether instructions mean structures or functions of the
// kernel.
func (p *Program) refersToKernel() bool {
	for i := range p.Functions {
		for j := range p.Functions[i].Instructions {
			ins := &p.Functions[i].Instructions[j]
			if _, ok := kernelReferenceOf(ins); ok || kernelFunctions[ins.Reference()] > 0 {
				return true
			}
		}
	}
	return false
}

// relocatable goes by way of the object, which is how cilium/ebpf comes to know
// what to adapt to the kernel.
func (p *Program) relocatable() (*ebpf.CollectionSpec, error) {
	var object bytes.Buffer
	if err := p.WriteELF(&object); err != nil {
		return nil, err
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object.Bytes()))
	if err != nil {
		return nil, err
	}
	for _, m := range p.Maps {
		spec.Maps[m.Name].Contents = slices.Clone(m.Contents)
	}
	return spec, nil
}

func (t Target) attachment(section string) (ebpf.ProgramType, ebpf.AttachType, error) {
	if t == Windows {
		if a, ok := AttachTypeOf(section); ok {
			attach, err := ebpf.AttachTypeForPlatform("windows", uint32(a))
			return ebpf.WindowsCGroupSockAddr, attach, err
		}
	} else if s, ok := linuxSections[section]; ok {
		return s.kind, s.attach, nil
	}
	return 0, 0, fmt.Errorf("section `%s` is no attach point of target %s", section, t)
}

// annotated gives a copy of the instructions whose functions have types and, as
// the kernel demands of all or none, a source on their first instruction.
func (f *Function) annotated() asm.Instructions {
	integer := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	insns := make(asm.Instructions, 0, len(f.Instructions))
	for _, part := range f.split() {
		for i, ins := range part.instructions {
			ins = withAtomicConstant(ins)
			if i == 0 {
				ins = ins.WithSymbol(part.name)
				if btf.FuncMetadata(&ins) == nil {
					ins = btf.WithFuncMetadata(ins, functionType(&part, integer))
				}
				if ins.Source() == nil {
					ins = ins.WithSource(asm.Comment(""))
				}
			}
			insns = append(insns, ins)
		}
	}
	return insns
}
