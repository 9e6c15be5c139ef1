package codegen

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// WriteASM writes the program as assembly, in llvm-objdump's notation with
// labels and the names of maps, functions and helpers. A line that starts with `;`
// says where in the policy the instructions after it come from. Functions that
// two entry points have in common are listed once.
func (p *Program) WriteASM(w io.Writer) error {
	out := bufio.NewWriter(w) // keeps the first error
	fmt.Fprintf(out, "; policy %s, target %s\n", p.Policy, p.Target)
	for _, m := range p.Maps {
		fmt.Fprintf(out, "; map %s: %s\n", m.Name, describeMap(m))
	}
	listed := map[string]bool{}
	for i := range p.Functions {
		f := &p.Functions[i]
		for n, part := range f.split() {
			if n > 0 && listed[part.name] {
				continue
			}
			listed[part.name] = true
			section := f.Section
			if part.local {
				section = textSection
			}
			fmt.Fprintf(out, "\n; section %s\n%s:\n", section, part.name)
			writeFunction(out, part.instructions)
		}
	}
	return out.Flush()
}

func describeMap(m *ebpf.MapSpec) string {
	text := mapTypeName(m.Type)
	if m.KeySize > 0 || m.ValueSize > 0 {
		text += fmt.Sprintf(", key %d, value %d", m.KeySize, m.ValueSize)
	}
	if m.InnerMap != nil {
		text += fmt.Sprintf(" (%s)", describeMap(m.InnerMap))
	}
	return text + fmt.Sprintf(", %d entries", m.MaxEntries)
}

func mapTypeName(t ebpf.MapType) string { return strings.TrimPrefix(t.String(), "Windows") }

// writeFunction lists instructions by their slot; a jump's target gets a label.
func writeFunction(out io.Writer, insns asm.Instructions) {
	labels := map[int64]string{}
	for iter := insns.Iterate(); iter.Next(); {
		if distance, jumps := jumpDistance(iter.Ins); jumps {
			slot := int64(iter.Offset) + 1 + distance
			labels[slot] = fmt.Sprintf("L%d", slot)
		}
	}
	for iter := insns.Iterate(); iter.Next(); {
		slot := int64(iter.Offset)
		if label := labels[slot]; label != "" {
			fmt.Fprintf(out, "%s:\n", label)
		}
		if s := sourceOf(iter.Ins); s != (SourceLine{}) {
			s.Text = strings.TrimSpace(s.Text)
			fmt.Fprintf(out, "; %s\n", s)
		}
		text := disassemble(iter.Ins)
		if distance, jumps := jumpDistance(iter.Ins); jumps {
			text += fmt.Sprintf(" <%s>", labels[slot+1+distance])
		}
		fmt.Fprintf(out, "%8d:  %s\n", slot, text)
	}
}

// disassemble gives an instruction in llvm-objdump's notation.
func disassemble(ins *asm.Instruction) string {
	op := ins.OpCode
	switch class := op.Class(); {
	case ins.IsLoadFromMap() && ins.Src == asm.PseudoMapValue:
		return fmt.Sprintf("r%d = map[%s] value + %d", ins.Dst, ins.Reference(), uint64(ins.Constant)>>32)
	case ins.IsLoadFromMap():
		return fmt.Sprintf("r%d = map[%s]", ins.Dst, ins.Reference())
	case op.IsDWordLoad() && ins.Src == asm.PseudoFunc:
		return fmt.Sprintf("r%d = function %s", ins.Dst, ins.Reference())
	case op.IsDWordLoad():
		return fmt.Sprintf("r%d = %d ll", ins.Dst, ins.Constant)
	case class.IsJump():
		return disassembleJump(ins)
	case class.IsALU():
		return disassembleALU(ins)
	case class == asm.StXClass && op.Mode() == asm.AtomicMode:
		return disassembleAtomic(ins)
	case class == asm.LdXClass && op.Mode() == asm.MemMode:
		return fmt.Sprintf("r%d = *(u%d *)%s", ins.Dst, bits(op), memory(ins.Src, ins.Offset))
	case class == asm.LdXClass && op.Mode() == asm.MemSXMode:
		return fmt.Sprintf("r%d = *(s%d *)%s", ins.Dst, bits(op), memory(ins.Src, ins.Offset))
	case class == asm.StXClass && op.Mode() == asm.MemMode:
		return fmt.Sprintf("*(u%d *)%s = r%d", bits(op), memory(ins.Dst, ins.Offset), ins.Src)
	case class == asm.StClass && op.Mode() == asm.MemMode:
		return fmt.Sprintf("*(u%d *)%s = %d", bits(op), memory(ins.Dst, ins.Offset), ins.Constant)
	}
	return unknown(ins)
}

func unknown(ins *asm.Instruction) string {
	return fmt.Sprintf("unknown: opcode %#x, dst %d, src %d, offset %d, constant %d", uint32(ins.OpCode), ins.Dst, ins.Src, ins.Offset, ins.Constant)
}

func bits(op asm.OpCode) int { return op.Size().Sizeof() * 8 }

func memory(base asm.Register, offset int16) string {
	if offset < 0 {
		return fmt.Sprintf("(r%d - %d)", base, -int(offset))
	}
	return fmt.Sprintf("(r%d + %d)", base, offset)
}

// register names a register, or its low half where the operation has 32 bits.
func register(r asm.Register, wide bool) string {
	if wide {
		return fmt.Sprintf("r%d", r)
	}
	return fmt.Sprintf("w%d", r)
}

var aluSymbols = map[asm.ALUOp]string{
	asm.Add: "+=", asm.Sub: "-=", asm.Mul: "*=", asm.Div: "/=", asm.Mod: "%=",
	asm.Or: "|=", asm.And: "&=", asm.Xor: "^=", asm.LSh: "<<=", asm.RSh: ">>=",
	asm.ArSh: "s>>=", asm.SDiv: "s/=", asm.SMod: "s%=", asm.Mov: "=",
}

func disassembleALU(ins *asm.Instruction) string {
	wide := ins.OpCode.Class() == asm.ALU64Class
	dst := register(ins.Dst, wide)
	source := fmt.Sprint(ins.Constant)
	if ins.OpCode.Source() == asm.RegSource {
		source = register(ins.Src, wide)
	}
	switch op := ins.OpCode.ALUOp(); op {
	case asm.Neg:
		return fmt.Sprintf("%s = -%s", dst, dst)
	case asm.Swap:
		order := "le"
		switch {
		case wide:
			order = "bswap"
		case ins.OpCode.Endianness() == asm.BE:
			order = "be"
		}
		return fmt.Sprintf("r%d = %s%d r%d", ins.Dst, order, ins.Constant, ins.Dst)
	case asm.MovSX8:
		return fmt.Sprintf("%s = (s8)%s", dst, source)
	case asm.MovSX16:
		return fmt.Sprintf("%s = (s16)%s", dst, source)
	case asm.MovSX32:
		return fmt.Sprintf("%s = (s32)%s", dst, source)
	default:
		if symbol, ok := aluSymbols[op]; ok {
			return fmt.Sprintf("%s %s %s", dst, symbol, source)
		}
	}
	return unknown(ins)
}

var jumpSymbols = map[asm.JumpOp]string{
	asm.JEq: "==", asm.JNE: "!=", asm.JSet: "&",
	asm.JGT: ">", asm.JGE: ">=", asm.JLT: "<", asm.JLE: "<=",
	asm.JSGT: "s>", asm.JSGE: "s>=", asm.JSLT: "s<", asm.JSLE: "s<=",
}

func disassembleJump(ins *asm.Instruction) string {
	wide := ins.OpCode.Class() == asm.JumpClass
	switch op := ins.OpCode.JumpOp(); {
	case op == asm.Exit:
		return "exit"
	case op == asm.Call && ins.IsFunctionCall():
		return "call " + ins.Reference()
	case ins.IsBuiltinCall():
		return "call " + helperName(ins.Constant)
	case op == asm.Call:
		return fmt.Sprintf("call src %d, %d", ins.Src, ins.Constant)
	case op == asm.Ja && wide:
		return fmt.Sprintf("goto %+d", ins.Offset)
	case op == asm.Ja:
		return fmt.Sprintf("gotol %+d", ins.Constant)
	case op == asm.JCOND:
		return fmt.Sprintf("may_goto %+d", ins.Offset)
	default:
		source := fmt.Sprint(ins.Constant)
		if ins.OpCode.Source() == asm.RegSource {
			source = register(ins.Src, wide)
		}
		if symbol, ok := jumpSymbols[op]; ok {
			return fmt.Sprintf("if %s %s %s goto %+d", register(ins.Dst, wide), symbol, source, ins.Offset)
		}
	}
	return unknown(ins)
}

func disassembleAtomic(ins *asm.Instruction) string {
	at := memory(ins.Dst, ins.Offset)
	n := bits(ins.OpCode)
	src := register(ins.Src, n == 64)
	lock := func(operator string) string {
		return fmt.Sprintf("lock *(u%d *)%s %s r%d", n, at, operator, ins.Src)
	}
	fetch := func(name string) string {
		return fmt.Sprintf("%s = atomic_fetch_%s((u%d *)%s, %s)", src, name, n, at, src)
	}
	switch ins.OpCode.AtomicOp() {
	case asm.AddAtomic:
		return lock("+=")
	case asm.AndAtomic:
		return lock("&=")
	case asm.OrAtomic:
		return lock("|=")
	case asm.XorAtomic:
		return lock("^=")
	case asm.FetchAdd:
		return fetch("add")
	case asm.FetchAnd:
		return fetch("and")
	case asm.FetchOr:
		return fetch("or")
	case asm.FetchXor:
		return fetch("xor")
	case asm.Xchg:
		return fmt.Sprintf("%s = xchg_%d%s", src, n, strings.Replace(at, ")", ", "+src+")", 1))
	case asm.CmpXchg:
		r0 := register(asm.R0, n == 64)
		return fmt.Sprintf("%s = cmpxchg_%d%s", r0, n, strings.Replace(at, ")", ", "+r0+", "+src+")", 1))
	}
	return unknown(ins)
}

// windowsHelpers are the helpers of sock_addr programs (ebpf_nethooks.h), which
// cilium/ebpf does not name.
var windowsHelpers = map[uint32]string{
	HelperCurrentPidTgidOld:  "bpf_sock_addr_get_current_pid_tgid",
	HelperSetRedirectContext: "bpf_sock_addr_set_redirect_context",
	HelperNetworkContext:     "bpf_sock_addr_get_network_context",
}

// helperName gives the C name of a helper, such as bpf_map_lookup_elem, or its
// number where it has none.
func helperName(constant int64) string {
	target, id := splitPlatform(uint32(constant))
	if name, ok := windowsHelpers[id]; ok && target == Windows {
		return name
	}
	name := asm.BuiltinFunc(constant).String() // FnMapLookupElem, WindowsFnMapLookupElem or BuiltinFunc(77)
	_, camel, named := strings.Cut(name, "Fn")
	if !named || constant < 0 {
		return fmt.Sprint(id)
	}
	snake := strings.Builder{}
	snake.WriteString("bpf")
	for _, c := range camel {
		if c >= 'A' && c <= 'Z' {
			snake.WriteByte('_')
			c += 'a' - 'A'
		}
		snake.WriteRune(c)
	}
	return snake.String()
}
