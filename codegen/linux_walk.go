package codegen

import (
	"errors"
	"fmt"
	"math"

	"github.com/cilium/ebpf/asm"
)

// The kernel's verifier follows every path of a function, and ends one where it has
// been before in a state that allowed no less. Programs whose paths take it more than
// a million steps in all, or leave more than 8 192 branches to come back to at once, it
// refuses. KernelWalk walks as it does (kernel/bpf/verifier.c, is_state_visited), but
// knows of registers only their bounds, and of memory nothing.

// Limits of the kernel's verifier (BPF_COMPLEXITY_LIMIT_INSNS and _JMP_SEQ).
const (
	MaxKernelSteps   = 1_000_000
	MaxKernelWaiting = 8192
)

// KernelWalk is what the kernel's verifier takes for a program, by estimate.
type KernelWalk struct {
	Steps   int // instructions on all paths
	Waiting int // branches to come back to, at most at once
}

// walkTo is where a walk that is too long ends.
const walkTo = MaxKernelSteps + 1

// KernelWalk estimates what the kernel's verifier takes for the function and those it
// calls, each of which it walks once.
func (f *Function) KernelWalk() KernelWalk { return walkAll(f.Instructions, nil) }

// walkAll walks an entry point and its local functions, but for those whose walk is known.
func walkAll(code asm.Instructions, known map[string]KernelWalk) KernelWalk {
	var all KernelWalk
	for start := 0; start < len(code); {
		end := start + 1
		for end < len(code) && code[end].Symbol() == "" {
			end++
		}
		one, ok := known[code[start].Symbol()]
		if !ok {
			one = walkOf(code[start:end], walkTo)
		}
		all.Steps += one.Steps
		all.Waiting = max(all.Waiting, one.Waiting)
		start = end
	}
	return all
}

// fits is an error for a stage that the verifier refuses.
func (w KernelWalk) fits(policy, stage string) error {
	switch {
	case w.Steps > MaxKernelSteps:
		return fmt.Errorf("policy `%s` is %w for target linux: on all paths of %s together the kernel's verifier would walk more than %d instructions, its limit [too-large]: %s",
			policy, ErrTooLarge, stage, MaxKernelSteps, HelpsKernel)
	case w.Waiting > MaxKernelWaiting:
		return fmt.Errorf("policy `%s` is %w for target linux: on a path of %s the kernel's verifier would leave %d branches to come back to, its limit is %d [too-large]: %s",
			policy, ErrTooLarge, stage, w.Waiting, MaxKernelWaiting, HelpsKernel)
	}
	return nil
}

// HelpsKernel says what makes a policy fit the kernel's verifier.
const HelpsKernel = "use --form table, --no-counters, fewer tests of dynamic sets, or rules that overlap less"

// ErrTooLarge says that a target, or form table, cannot take a policy.
var ErrTooLarge = errors.New("too large")

// walkOf walks one function, for so many steps at most.
func walkOf(code asm.Instructions, most int) KernelWalk {
	w := newWalker(code)
	w.most = most
	w.walk()
	return KernelWalk{w.steps, w.waiting}
}

// walker walks one function.
type walker struct {
	code    asm.Instructions
	target  []int  // by instruction: of a jump
	meeting []bool // by instruction: where states are kept and compared
	kept    [][]*keptState
	stack   []walkState

	most, steps, waiting int
	jumps                int
	lastSteps, lastJumps int // when a state was kept last
}

// walkState is a path's state before an instruction.
type walkState struct {
	at      int
	regs    [11]bounds
	parent  *keptState
	written uint16 // registers, since the parent
}

// bounds are those of a register; all of its values if nothing is known.
type bounds struct{ low, high uint64 }

var unbounded = bounds{0, math.MaxUint64}

// keptState is a state that later ones are compared with, in the registers on whose
// bounds a jump after it has depended.
type keptState struct {
	regs         [11]bounds
	parent       *keptState
	written      uint16 // between the parent and here
	precise      uint16
	branches     int // not yet walked to their end
	hits, misses int
}

func newWalker(code asm.Instructions) *walker {
	w := &walker{code: code, target: make([]int, len(code)), meeting: make([]bool, len(code)), kept: make([][]*keptState, len(code))}
	at := make(map[int]int, len(code)) // slot -> index
	slot := 0
	slots := make([]int, len(code))
	for i := range code {
		slots[i], at[slot] = slot, i
		slot += int(code[i].Size() / asm.InstructionSize)
	}
	for i := range code {
		ins := &code[i]
		op := ins.OpCode.JumpOp()
		if !ins.OpCode.Class().IsJump() || op == asm.Exit || op == asm.Call {
			continue
		}
		offset := int(ins.Offset)
		if op == asm.Ja && ins.OpCode.Class() == asm.Jump32Class {
			offset = int(ins.Constant)
		}
		w.target[i] = at[slots[i]+1+offset]
		w.meeting[w.target[i]] = true
		if op != asm.Ja {
			w.meeting[i] = true
		}
	}
	return w
}

func (w *walker) walk() {
	s := walkState{}
	for r := range s.regs {
		s.regs[r] = unbounded
	}
	w.path(s)
	for len(w.stack) > 0 && w.steps < w.most {
		s := w.stack[len(w.stack)-1]
		w.stack = w.stack[:len(w.stack)-1]
		w.path(s)
	}
}

// path follows a path to its end, and puts off the other way at each jump.
func (w *walker) path(s walkState) {
	for w.steps < w.most {
		w.steps++ // also where the path ends: do_check counts first
		if w.meeting[s.at] && w.seen(&s) {
			break
		}
		ins := &w.code[s.at]
		if !ins.OpCode.Class().IsJump() {
			s.apply(ins)
			s.at++
			continue
		}
		w.jumps++
		switch ins.OpCode.JumpOp() {
		case asm.Exit:
			w.end(s.parent)
			return
		case asm.Call:
			for r := asm.R0; r <= asm.R5; r++ {
				s.set(r, unbounded)
			}
			s.at++
		case asm.Ja:
			if w.target[s.at] <= s.at { // a lookup's loop, which the verifier goes round a time or two
				w.end(s.parent)
				return
			}
			s.at = w.target[s.at]
		default:
			w.branch(&s, ins)
		}
	}
	w.end(s.parent)
}

// end tells the states that a path came by that it has ended.
func (w *walker) end(k *keptState) {
	for ; k != nil; k = k.parent {
		if k.branches--; k.branches > 0 {
			return
		}
	}
}

// seen reports whether the path may end here, and else may keep its state.
func (w *walker) seen(s *walkState) bool {
	keep := w.jumps-w.lastJumps >= 2 && w.steps-w.lastSteps >= 8
	list := w.kept[s.at]
	left := list[:0]
	for i, k := range list {
		if k.branches == 0 && k.allows(s) {
			k.hits++
			for r := range asm.Register(11) {
				if k.precise>>r&1 != 0 {
					s.depend(r)
				}
			}
			w.kept[s.at] = append(left, list[i:]...)
			return true
		}
		if keep {
			k.misses++
		}
		if k.misses <= 3*k.hits+3 {
			left = append(left, k)
		}
	}
	if w.kept[s.at] = left; !keep {
		return false
	}
	w.lastJumps, w.lastSteps = w.jumps, w.steps
	k := &keptState{regs: s.regs, parent: s.parent, written: s.written, branches: 1}
	w.kept[s.at] = append(left, k)
	s.parent, s.written = k, 0
	return false
}

// allows reports whether everything that can come of the path was walked from k.
func (k *keptState) allows(s *walkState) bool {
	for r, b := range s.regs {
		if k.precise>>r&1 != 0 && (b.low < k.regs[r].low || b.high > k.regs[r].high) {
			return false
		}
	}
	return true
}

// depend notes that what comes now depends on the bounds of a register.
func (s *walkState) depend(r asm.Register) {
	written := s.written
	for k := s.parent; k != nil && written>>r&1 == 0 && k.precise>>r&1 == 0; k = k.parent {
		k.precise |= 1 << r
		written = k.written
	}
}

func (s *walkState) set(r asm.Register, b bounds) {
	s.regs[r] = b
	s.written |= 1 << r
}
