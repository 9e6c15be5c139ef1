package codegen

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/asm"
)

// textSection holds local functions: libbpf and bpf2c look for them nowhere else.
const textSection = ".text"

// codeSection is an executable section of an object.
type codeSection struct {
	name        string
	functions   []placedFunction
	data        []byte
	relocations []relocation // by offset in data
}

// placedFunction is an entry point or a local function and where it stands in its
// section, in bytes.
type placedFunction struct {
	name         string
	instructions asm.Instructions
	data         []byte
	relocations  []relocation // by offset in the function
	kernel       []coreRelocation
	local        bool
	offset       uint64
}

// relocation asks a loader to put the address of a symbol into an instruction.
type relocation struct {
	offset uint64
	symbol string
	kind   uint32
}

// coreRelocation asks a loader to adapt an instruction to its kernel.
type coreRelocation struct {
	offset uint64 // in the function, in bytes
	kernelReference
}

// visibility tells libbpf to let the verifier take a static function with its
// caller; the binding stays global for loaders that find functions by name.
func (f *placedFunction) visibility() elf.SymVis {
	if f.local && f.globalType() == nil {
		return elf.STV_HIDDEN
	}
	return elf.STV_DEFAULT
}

// placeFunctions puts entry points into their attach sections, in order, and local
// functions into .text, those that two entry points have in common once.
func placeFunctions(p *Program) ([]*codeSection, error) {
	var sections []*codeSection
	section := func(name string) *codeSection {
		for _, s := range sections {
			if s.name == name {
				return s
			}
		}
		sections = append(sections, &codeSection{name: name})
		return sections[len(sections)-1]
	}
	text := &codeSection{name: textSection}
	placed := map[string]placedFunction{}
	for i := range p.Functions {
		f := &p.Functions[i]
		if f.Section == "" || f.Section == textSection {
			return nil, fmt.Errorf("function `%s` has no attach section", f.Name)
		}
		parts := f.split()
		local := map[string]bool{}
		for _, part := range parts[1:] {
			local[part.name] = true
		}
		for n, part := range parts {
			if !isIdentifier(part.name) {
				return nil, fmt.Errorf("function name `%s` is no C identifier", part.name)
			}
			old, known := placed[part.name]
			if known && n > 0 && old.local && old.callsOnly(local) && slices.Equal(old.instructions, part.instructions) {
				continue // which spares encoding it again
			}
			if err := part.encode(p, local); err != nil {
				return nil, fmt.Errorf("function `%s`: %w", part.name, err)
			}
			switch {
			case n == 0 && known, known && !old.same(&part):
				return nil, fmt.Errorf("two functions are called `%s`", part.name)
			case n == 0:
				section(f.Section).append(part)
			case !known:
				text.append(part)
			}
			placed[part.name] = part
		}
	}
	if len(text.functions) > 0 {
		sections = append(sections, text)
	}
	return sections, nil
}

// kernelFunctionsCalled lists the kfuncs that the code calls, sorted.
func kernelFunctionsCalled(code []*codeSection) []string {
	var names []string
	for _, s := range code {
		for _, r := range s.relocations {
			if kernelFunctions[r.symbol] > 0 {
				names = append(names, r.symbol)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (s *codeSection) append(f placedFunction) {
	f.offset = uint64(len(s.data))
	for _, r := range f.relocations {
		r.offset += f.offset
		s.relocations = append(s.relocations, r)
	}
	s.data = append(s.data, f.data...)
	s.functions = append(s.functions, f)
}

// split gives the entry point and then its local functions.
func (f *Function) split() []placedFunction {
	parts := []placedFunction{{name: f.Name}}
	start := 0
	for i := range f.Instructions {
		if name := f.Instructions[i].Symbol(); name != "" && i > 0 {
			parts[len(parts)-1].instructions = f.Instructions[start:i]
			parts = append(parts, placedFunction{name: name, local: true})
			start = i
		}
	}
	parts[len(parts)-1].instructions = f.Instructions[start:]
	return parts
}

func (f *placedFunction) same(g *placedFunction) bool {
	return f.local && g.local && bytes.Equal(f.data, g.data) && slices.Equal(f.relocations, g.relocations)
}

// callsOnly reports whether the function calls only functions of the kernel and such
// local ones.
func (f *placedFunction) callsOnly(local map[string]bool) bool {
	return !slices.ContainsFunc(f.relocations, func(r relocation) bool {
		return r.kind == relocation32 && kernelFunctions[r.symbol] == 0 && !local[r.symbol]
	})
}

// encode sets data and relocations. Local are the functions that may be called.
func (f *placedFunction) encode(p *Program, local map[string]bool) error {
	if len(f.instructions) == 0 {
		return fmt.Errorf("is empty")
	}
	var out bytes.Buffer
	out.Grow(int(f.instructions.Size()))
	for i, ins := range f.instructions {
		offset, reference := uint64(out.Len()), ins.Reference()
		switch {
		case ins.IsLoadFromMap():
			if ins.Src != asm.PseudoMapFD || p.mapNamed(reference) == nil {
				return fmt.Errorf("instruction %d loads no map of the program: `%s`", i, reference)
			}
			f.relocations = append(f.relocations, relocation{offset, reference, relocation64})
			ins.Src, ins.Constant = asm.R0, 0 // what clang leaves for the loader to fill in
		case ins.IsFunctionCall() && kernelFunctions[reference] > 0:
			f.relocations = append(f.relocations, relocation{offset, reference, relocation32})
		case ins.IsFunctionCall():
			if !local[reference] {
				return fmt.Errorf("instruction %d calls no local function: `%s`", i, reference)
			}
			f.relocations = append(f.relocations, relocation{offset, reference, relocation32})
			ins.Constant = -1
		case reference != "":
			return fmt.Errorf("instruction %d has an unresolved reference to `%s`", i, reference)
		case ins.IsBuiltinCall():
			target, id := splitPlatform(uint32(ins.Constant))
			if target != p.Target {
				return fmt.Errorf("instruction %d calls a helper of target %s in a program for %s", i, target, p.Target)
			}
			// Marshal takes only helpers of the system it runs on.
			call := [asm.InstructionSize]byte{byte(ins.OpCode)}
			binary.LittleEndian.PutUint32(call[4:], id)
			out.Write(call[:])
			continue
		}
		if r, ok := kernelReferenceOf(&ins); ok {
			f.kernel = append(f.kernel, coreRelocation{offset, r})
		}
		ins = withAtomicConstant(ins)
		if _, err := ins.Marshal(&out, binary.LittleEndian); err != nil {
			return fmt.Errorf("instruction %d: %w", i, err)
		}
	}
	f.data = out.Bytes()
	return f.checkJumps()
}

// withAtomicConstant sets the constant that tells atomic operations apart.
// cilium/ebpf 0.22 keeps the operation in the opcode and forgets it when it encodes
// an instruction made by AtomicOp.Mem: each becomes an addition.
func withAtomicConstant(ins asm.Instruction) asm.Instruction {
	if op := ins.OpCode.AtomicOp(); op != asm.InvalidAtomic {
		ins.Constant = int64(op >> 8)
	}
	return ins
}

// checkJumps makes sure that every jump ends on an instruction of the function.
func (f *placedFunction) checkJumps() error {
	starts := make([]bool, f.instructions.Size()/asm.InstructionSize) // by slot
	for iter := f.instructions.Iterate(); iter.Next(); {
		starts[iter.Offset] = true
	}
	for iter := f.instructions.Iterate(); iter.Next(); {
		distance, jumps := jumpDistance(iter.Ins)
		slot := int64(iter.Offset) + 1 + distance
		if jumps && (slot < 0 || slot >= int64(len(starts)) || !starts[slot]) {
			return fmt.Errorf("instruction %d jumps out of the function", iter.Index)
		}
	}
	return nil
}

// jumpDistance gives how many instruction slots a jump goes past the next
// instruction; false if the instruction is no jump within its function.
func jumpDistance(ins *asm.Instruction) (int64, bool) {
	if !ins.OpCode.Class().IsJump() {
		return 0, false
	}
	switch op := ins.OpCode.JumpOp(); {
	case op == asm.Call, op == asm.Exit:
		return 0, false
	case op == asm.Ja && ins.OpCode.Class() == asm.Jump32Class:
		return ins.Constant, true
	}
	return int64(ins.Offset), true
}

// isIdentifier reports whether the name is a C identifier.
func isIdentifier(name string) bool {
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// platformShift is where cilium/ebpf keeps the platform in the number of a helper
// or a map type: 0 for Linux, 1 for Windows.
const platformShift = 28

// splitPlatform takes a helper or map type of cilium/ebpf apart into platform and
// the platform's own number.
func splitPlatform(n uint32) (Target, uint32) {
	if n>>platformShift == 1 {
		return Windows, n &^ (1 << platformShift)
	}
	return Linux, n
}

// joinPlatform is the reverse of splitPlatform.
func joinPlatform(t Target, n uint32) uint32 {
	if t == Windows {
		return n | 1<<platformShift
	}
	return n
}
