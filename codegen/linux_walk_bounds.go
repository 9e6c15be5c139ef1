package codegen

import (
	"math"

	"github.com/cilium/ebpf/asm"
)

// apply does to the bounds what an instruction that is no jump does.
func (s *walkState) apply(ins *asm.Instruction) {
	class := ins.OpCode.Class()
	switch {
	case class == asm.LdXClass:
		s.set(ins.Dst, ofSize(ins.OpCode.Size()))
	case ins.IsConstantLoad(asm.DWord):
		s.set(ins.Dst, exactly(uint64(ins.Constant)))
	case class == asm.LdClass:
		s.set(ins.Dst, unbounded)
	case class == asm.ALUClass, class == asm.ALU64Class:
		b := s.compute(ins)
		if class == asm.ALUClass && ins.OpCode.ALUOp() != asm.Swap && b.high > math.MaxUint32 {
			b = bounds{0, math.MaxUint32}
		}
		s.set(ins.Dst, b)
	}
}

func ofSize(size asm.Size) bounds {
	if n := size.Sizeof(); n < 8 {
		return bounds{0, 1<<(8*n) - 1}
	}
	return unbounded
}

func exactly(n uint64) bounds { return bounds{n, n} }

func (b bounds) exact() bool { return b.low == b.high }

// compute gives the bounds of what an instruction computes.
func (s *walkState) compute(ins *asm.Instruction) bounds {
	dst, src := s.regs[ins.Dst], exactly(uint64(ins.Constant))
	if ins.OpCode.Class() == asm.ALUClass {
		src = exactly(uint64(uint32(ins.Constant)))
	}
	if ins.OpCode.Source() == asm.RegSource && ins.OpCode.ALUOp() != asm.Swap {
		src = s.regs[ins.Src]
	}
	known := dst.exact() && src.exact()
	switch ins.OpCode.ALUOp() {
	case asm.Mov:
		return src
	case asm.Swap:
		return bounds{0, math.MaxUint64 >> (64 - ins.Constant)}
	case asm.And:
		return bounds{0, min(dst.high, src.high)}
	case asm.RSh:
		if src.exact() {
			return bounds{dst.low >> src.low, dst.high >> src.low}
		}
	case asm.Add:
		if known {
			return exactly(dst.low + src.low)
		}
	}
	return unbounded
}

// branch goes on one way, and puts off the other if that can be gone too.
func (w *walker) branch(s *walkState, ins *asm.Instruction) {
	yes, no, both := s.sides(ins)
	if w.target[s.at] <= s.at {
		s.at++
		return
	}
	if !both {
		s.depend(ins.Dst)
		if ins.OpCode.Source() == asm.RegSource {
			s.depend(ins.Src)
		}
	}
	if both {
		other := *s
		other.at = w.target[s.at]
		other.regs[ins.Dst] = yes
		if s.parent != nil {
			s.parent.branches++
		}
		w.stack = append(w.stack, other)
		w.waiting = max(w.waiting, len(w.stack))
	}
	if !both && yes != none {
		s.at, s.regs[ins.Dst] = w.target[s.at], yes
		return
	}
	s.at++
	s.regs[ins.Dst] = no
}

// none are the bounds of no value.
var none = bounds{1, 0}

// sides gives the bounds of the register that a jump compares, where it jumps and where
// not, and whether it may do both.
func (s *walkState) sides(ins *asm.Instruction) (yes, no bounds, both bool) {
	b := s.regs[ins.Dst]
	n := uint64(ins.Constant)
	if ins.OpCode.Source() == asm.RegSource {
		if !s.regs[ins.Src].exact() {
			return b, b, true
		}
		n = s.regs[ins.Src].low
	}
	if ins.OpCode.Class() == asm.Jump32Class {
		if b.high > math.MaxUint32 {
			return b, b, true
		}
		n = uint64(uint32(n))
	}
	switch ins.OpCode.JumpOp() {
	case asm.JEq:
		yes, no = b.at(n), b.not(n)
	case asm.JNE:
		yes, no = b.not(n), b.at(n)
	case asm.JLT:
		yes, no = b.below(n), b.from(n)
	case asm.JGE:
		yes, no = b.from(n), b.below(n)
	case asm.JLE:
		if n == math.MaxUint64 {
			return b, none, false
		}
		yes, no = b.below(n+1), b.from(n+1)
	case asm.JGT:
		if n == math.MaxUint64 {
			return none, b, false
		}
		yes, no = b.from(n+1), b.below(n+1)
	default:
		return b, b, true
	}
	return yes, no, yes != none && no != none
}

func (b bounds) at(n uint64) bounds {
	if n < b.low || n > b.high {
		return none
	}
	return exactly(n)
}

func (b bounds) not(n uint64) bounds {
	switch {
	case b == exactly(n):
		return none
	case n == b.low:
		return bounds{b.low + 1, b.high}
	case n == b.high:
		return bounds{b.low, b.high - 1}
	}
	return b
}

func (b bounds) below(n uint64) bounds {
	if n <= b.low {
		return none
	}
	return bounds{b.low, min(b.high, n-1)}
}

func (b bounds) from(n uint64) bounds {
	if n > b.high {
		return none
	}
	return bounds{max(b.low, n), b.high}
}
