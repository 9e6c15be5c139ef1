package codegen

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Programs for Linux read structures of the kernel, whose layout differs between
// kernels, and call kernel functions (kfuncs). The instructions say which member or
// function they mean, an object keeps that as CO-RE relocations and external
// symbols (Documentation/bpf/btf.rst, llvm_reloc.rst), and every loader puts the
// offsets and ids of its own kernel in their place.

// kernelStructure is what programs use of a structure of the kernel.
type kernelStructure struct {
	name    string
	members []kernelMember
}

type kernelMember struct {
	name string // "nd_net.net" is a member of a member
	size asm.Size
	bits int // of a bit field
}

const (
	pointer = asm.DWord
	text    = asm.InvalidSize // an array of letters
)

// kernelStructures have members of the same size on every kernel since 6.2.
var kernelStructures = []kernelStructure{
	{"sk_buff", []kernelMember{{name: "dev", size: pointer}, {name: "sk", size: pointer}}},
	{"sock", []kernelMember{{name: "sk_dst_cache", size: pointer}, {name: "sk_socket", size: pointer}, {name: "sk_kern_sock", size: asm.Byte, bits: 1}, {name: "sk_type", size: asm.Half}, {name: "sk_protocol", size: asm.Half}, {name: "sk_lock.owned", size: asm.Word}, {name: "__sk_common.skc_state", size: asm.Byte}, {name: "sk_bpf_storage", size: pointer}}},
	{"dst_entry", []kernelMember{{name: "dev", size: pointer}}},
	{"net_device", []kernelMember{
		{name: "ifindex", size: asm.Word}, {name: "type", size: asm.Half}, {name: "rtnl_link_ops", size: pointer},
		{name: "nd_net.net", size: pointer}, {name: "dev.type", size: pointer},
	}},
	{"net", []kernelMember{{name: "net_cookie", size: asm.DWord}}},
	{"rtnl_link_ops", []kernelMember{{name: "kind", size: pointer}}},
	{"device_type", []kernelMember{{name: "name", size: pointer}}},
	{"task_struct", []kernelMember{{name: "comm", size: text}}},
	{"timespec64", nil},
}

// Kinds of CO-RE relocations (enum bpf_core_relo_kind).
const (
	coreByteOffset   = 0
	coreShiftLeft    = 4
	coreTypeIDTarget = 7
)

// kernelReference is what an instruction means: something about a member of a
// structure, or about the structure itself where there is no member.
type kernelReference struct {
	structure string
	member    string
	kind      uint32
}

type kernelReferenceKey struct{}

func withKernelReference(ins asm.Instruction, r kernelReference) asm.Instruction {
	ins.Metadata.Set(kernelReferenceKey{}, r)
	return ins
}

func kernelReferenceOf(ins *asm.Instruction) (kernelReference, bool) {
	r, ok := ins.Metadata.Get(kernelReferenceKey{}).(kernelReference)
	return r, ok
}

// find gives the structure and the index of the member.
func (r kernelReference) find() (*kernelStructure, int) {
	i := slices.IndexFunc(kernelStructures, func(s kernelStructure) bool { return s.name == r.structure })
	s := &kernelStructures[i]
	return s, slices.IndexFunc(s.members, func(m kernelMember) bool { return m.name == r.member })
}

// access is the path to the member as CO-RE spells it: indices of members.
func (r kernelReference) access() string {
	_, member := r.find()
	if member < 0 {
		return "0"
	}
	path := fmt.Sprintf("0:%d", member)
	return path + strings.Repeat(":0", strings.Count(r.member, "."))
}

// localSlot is the room that a member has in an object's own idea of a structure.
const localSlot = 8

// loadMember loads a member of a kernel structure.
func loadMember(dst, src asm.Register, structure, member string) asm.Instruction {
	r := kernelReference{structure, member, coreByteOffset}
	s, i := r.find()
	return withKernelReference(asm.LoadMem(dst, src, int16(localSlot*i), s.members[i].size), r)
}

// loadBit loads a bit field of one bit.
func loadBit(dst, src asm.Register, structure, member string) asm.Instructions {
	return asm.Instructions{
		loadMember(dst, src, structure, member),
		withKernelReference(asm.LSh.Imm(dst, 63), kernelReference{structure, member, coreShiftLeft}),
		asm.RSh.Imm(dst, 63),
	}
}

// loadTypeID puts the kernel's number of a structure into r2, where kfuncs take it.
func loadTypeID(structure string) asm.Instruction {
	return withKernelReference(asm.Mov.Imm(asm.R2, 0), kernelReference{structure: structure, kind: coreTypeIDTarget})
}

// localType is an object's own idea of a structure: the members it uses, each in a
// slot.
func (s *kernelStructure) localType() *btf.Struct {
	t := &btf.Struct{Name: s.name, Size: max(localSlot, uint32(localSlot*len(s.members)))}
	for i, m := range s.members {
		names := strings.Split(m.name, ".")
		slices.Reverse(names)
		kind := m.localType()
		for _, outer := range names[1:] {
			kind = &btf.Struct{Name: outer, Size: localSlot, Members: []btf.Member{{Name: names[0], Type: kind}}}
			names = names[1:]
		}
		t.Members = append(t.Members, btf.Member{
			Name: names[0], Type: kind, Offset: btf.Bits(8 * localSlot * i), BitfieldSize: btf.Bits(m.bits),
		})
	}
	return t
}

func (m *kernelMember) localType() btf.Type {
	switch m.size {
	case asm.Byte:
		return &btf.Int{Name: "u8", Size: 1}
	case asm.Half:
		return &btf.Int{Name: "u16", Size: 2}
	case asm.Word:
		return &btf.Int{Name: "u32", Size: 4}
	case text:
		return &btf.Array{Index: &btf.Int{Name: "u32", Size: 4}, Type: &btf.Int{Name: "char", Size: 1, Encoding: btf.Char}, Nelems: localSlot}
	}
	if strings.HasSuffix(m.name, "cookie") {
		return &btf.Int{Name: "u64", Size: 8}
	}
	return &btf.Pointer{Target: &btf.Void{}}
}

// kernelFunctions are the kfuncs that programs call, by name, with the number of
// their arguments. All take and return pointers; a second argument is the number
// of a type.
var kernelFunctions = map[string]int{
	"bpf_cast_to_kern_ctx": 1, // void *(void *ctx): the kernel's own form of a context; since 6.2
	"bpf_rdonly_cast":      2, // void *(const void *, u32 type): a pointer to read through, which cannot fault; since 6.2
}

// callKernel calls a kfunc.
func callKernel(name string) asm.Instruction { return callLocal(name) }

// callLocal calls a local function.
func callLocal(name string) asm.Instruction {
	return asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Src: asm.PseudoCall, Constant: -1}.WithReference(name)
}

// kernelFunctionTypes declares the kfuncs that the code calls.
func kernelFunctionTypes(called []string) *btf.Datasec {
	section := &btf.Datasec{Name: ".ksyms"}
	for _, name := range called {
		proto := &btf.FuncProto{
			Return: &btf.Pointer{Target: &btf.Void{}},
			Params: []btf.FuncParam{{Name: "from", Type: &btf.Pointer{Target: &btf.Void{}}}},
		}
		if kernelFunctions[name] > 1 {
			proto.Params = append(proto.Params, btf.FuncParam{Name: "type", Type: &btf.Int{Name: "u32", Size: 4}})
		}
		section.Vars = append(section.Vars, btf.VarSecinfo{Type: &btf.Func{Name: name, Type: proto, Linkage: btf.ExternFunc}})
	}
	return section
}
