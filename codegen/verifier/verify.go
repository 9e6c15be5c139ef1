// Package verifier checks programs for the authorization hook of eBPF for Windows
// before a host does: by abstract interpretation with bounds and known bits, it makes
// sure that a program reads nothing that was not written, stays inside the context,
// its stack and the values of its maps, gives helpers what they want, ends, and
// returns 0, 1 or 2. The rules are those that the verifier of eBPF for Windows
// (PREVAIL) was seen to enforce, and those that it leaves to the compiler.
package verifier

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/hopgate/hopgate/codegen"
)

// Limits on a program.
const (
	maxInstructions = codegen.MaxWindowsInstructions
	maxDepth        = 8         // functions that call each other
	maxIterations   = 100_000   // of a loop
	maxSteps        = 2_000_000 // instructions looked at, over all paths
)

// Problem is why a program is refused.
type Problem struct {
	Function string // the entry point
	Slot     int    // of the instruction, counted in 8-byte slots from the entry point
	Text     string // of the instruction
	Reason   string
	Source   string   // the place in the policy or source that it comes from, or ""
	Path     []string // the last jumps on the way there, such as "4 -> 9"
	Complex  bool     // the program may be right, but was not looked at to its end
}

// Unwrap tells programs that are too large from those that are wrong.
func (p *Problem) Unwrap() error {
	if p.Complex {
		return codegen.ErrTooLarge
	}
	return nil
}

func (p *Problem) Error() string {
	at := ""
	if p.Source != "" {
		at = " (" + p.Source + ")"
	}
	text := fmt.Sprintf("%s: instruction %d%s: `%s`: %s", p.Function, p.Slot, at, p.Text, p.Reason)
	if len(p.Path) > 0 {
		text += "; path: " + strings.Join(p.Path, ", ")
	}
	return text
}

// Result is what was looked at.
type Result struct {
	Functions []FunctionResult
	Others    []string // sections of programs that are for no layer of the hook: nothing is said of them
}

// FunctionResult is what was looked at of an entry point.
type FunctionResult struct {
	Section    string
	Slots      int // length of the program with its local functions
	Steps      int // instructions looked at
	Iterations int // of the longest loop
}

// Verify checks every function for a layer of the hook, whether it is attached there or
// called from there. The error is a *Problem, of the first function that is refused.
func Verify(p *codegen.Program) (*Result, error) {
	r := &Result{}
	if p.Target != codegen.Windows {
		return nil, fmt.Errorf("programs for target %s are verified by its kernel, not here", p.Target)
	}
	for i := range p.Functions {
		f := &p.Functions[i]
		attach, ok := codegen.LayerOf(f.Section)
		if !ok {
			r.Others = append(r.Others, f.Section)
			continue
		}
		v := newVerification(p, f, attach)
		err := v.run()
		r.Functions = append(r.Functions, FunctionResult{f.Section, len(v.code), v.steps, v.iterations})
		if err != nil {
			return r, err
		}
	}
	if len(r.Functions) == 0 {
		return r, fmt.Errorf("no function of the object is for a layer of the hook")
	}
	return r, nil
}

// verification is that of one entry point.
type verification struct {
	function *codegen.Function
	attach   codegen.AttachType
	maps     []*ebpf.MapSpec    // those of the program, then those found in maps of maps
	inner    map[int32]int32    // by number of a map of maps: that of the maps in it
	code     []*asm.Instruction // by slot; nil for the second half of a constant
	entries  map[string]int     // slots of local functions
	loops    map[int]int        // by slot where a loop starts: its last slot

	queue      queue
	steps      int
	iterations int
}

func newVerification(p *codegen.Program, f *codegen.Function, attach codegen.AttachType) *verification {
	v := &verification{function: f, attach: attach, maps: slices.Clone(p.Maps), inner: map[int32]int32{}, entries: map[string]int{}, loops: map[int]int{}}
	for i, m := range p.Maps {
		if m.InnerMap != nil {
			v.inner[int32(i)] = int32(len(v.maps))
			v.maps = append(v.maps, m.InnerMap)
		}
	}
	for i := range f.Instructions {
		ins := &f.Instructions[i]
		if name := ins.Symbol(); name != "" {
			v.entries[name] = len(v.code)
		}
		v.code = append(v.code, ins)
		if ins.Width() == 2 {
			v.code = append(v.code, nil)
		}
	}
	return v
}

func (v *verification) problem(slot int, s *state, format string, args ...any) *Problem {
	p := &Problem{Function: v.function.Section, Slot: slot, Reason: fmt.Sprintf(format, args...)}
	if slot < len(v.code) && v.code[slot] != nil {
		p.Text = fmt.Sprint(*v.code[slot])
	}
	for i := min(slot, len(v.code)-1); i >= 0 && p.Source == ""; i-- {
		if v.code[i] != nil && v.code[i].Source() != nil {
			p.Source = strings.TrimSpace(v.code[i].Source().String())
		}
	}
	if s != nil {
		for _, step := range s.path.steps() {
			p.Path = append(p.Path, fmt.Sprintf("%d -> %d", step.slot, step.to))
		}
	}
	return p
}

func (v *verification) run() error {
	if len(v.code) > maxInstructions {
		return v.problem(maxInstructions, nil, "the program has %d instructions, the limit is %d", len(v.code), maxInstructions)
	}
	if err := v.survey(); err != nil {
		return err
	}
	first := &state{frames: []*frame{newFrame()}}
	first.registers[1] = value{kind: context}
	first.registers[10] = value{kind: stack, from: stackSize, to: stackSize}
	v.queue.add(place{0}, first)
	for {
		at, s, ok := v.queue.next()
		if !ok {
			return nil
		}
		if err := v.straight(at, s); err != nil {
			return err
		}
	}
}

// survey checks every helper and jump, in code that nothing reaches too, since a host
// resolves them all. It finds the jumps that go back: a loop is from where one leads
// to where the last jump back to there stands.
func (v *verification) survey() error {
	for slot, ins := range v.code {
		if ins == nil {
			continue
		}
		if ins.OpCode.Class().IsJump() && ins.OpCode.JumpOp() == asm.Call && !ins.IsFunctionCall() {
			if _, err := v.helper(slot, nil, ins); err != nil {
				return err
			}
		}
		target, jumps := jumpTarget(ins, slot)
		if !jumps {
			continue
		}
		if target < 0 || target >= len(v.code) || v.code[target] == nil {
			return v.problem(slot, nil, "jumps to no instruction")
		}
		if target <= slot {
			v.loops[target] = max(v.loops[target], slot)
		}
	}
	return nil
}

// jumpTarget is the slot that a jump leads to.
func jumpTarget(ins *asm.Instruction, slot int) (int, bool) {
	class := ins.OpCode.Class()
	if !class.IsJump() {
		return 0, false
	}
	switch op := ins.OpCode.JumpOp(); {
	case op == asm.Call || op == asm.Exit:
		return 0, false
	case op == asm.Ja && class == asm.Jump32Class:
		return slot + 1 + int(ins.Constant), true
	}
	return slot + 1 + int(ins.Offset), true
}

// straight follows the code from a place to the next jump, call or join.
func (v *verification) straight(at place, s *state) error {
	for {
		slot := at.slot()
		if v.steps++; v.steps > maxSteps {
			p := v.problem(slot, s, "the program is too complex: more than %d instructions on all paths, or a loop that may not end", maxSteps)
			p.Complex = true
			return p
		}
		if slot >= len(v.code) {
			return v.problem(slot, s, "the code runs past its end")
		}
		ins := v.code[slot]
		if ins == nil {
			return v.problem(slot, s, "the middle of a 64-bit constant is no instruction")
		}
		if ins.OpCode.Class().IsJump() {
			return v.jump(at, s, ins)
		}
		if err := v.execute(slot, s, ins); err != nil {
			return err
		}
		next, err := v.follow(at, s, slot+int(ins.Width()))
		if err != nil {
			return err
		}
		if v.isEntered(next.slot()) {
			v.queue.add(next, s)
			return nil
		}
		at = next
	}
}

// isEntered reports whether jumps lead to the slot.
func (v *verification) isEntered(slot int) bool {
	if v.queue.entered == nil {
		v.queue.entered = make([]bool, len(v.code)+1)
		for i, ins := range v.code {
			if ins != nil {
				if target, jumps := jumpTarget(ins, i); jumps && target < len(v.code) {
					v.queue.entered[target] = true
				}
			}
		}
	}
	return slot < len(v.queue.entered) && v.queue.entered[slot]
}

// follow is the place that control goes on to in the same function.
func (v *verification) follow(at place, s *state, to int) (place, error) {
	next, iteration := at.to(to, v.loops)
	if iteration > maxIterations {
		return nil, v.problem(at.slot(), s, "the loop may run more than %d times", maxIterations)
	}
	v.iterations = max(v.iterations, iteration)
	return next, nil
}

// jump follows a jump, a call or an exit.
func (v *verification) jump(at place, s *state, ins *asm.Instruction) error {
	slot := at.slot()
	switch op := ins.OpCode.JumpOp(); {
	case op == asm.Exit:
		return v.exit(at, s)
	case ins.IsFunctionCall():
		return v.callFunction(at, s, ins)
	case op == asm.Call:
		if err := v.callHelper(slot, s, ins); err != nil {
			return err
		}
		return v.goOn(at, s, slot+1)
	case op == asm.Ja:
		target, _ := jumpTarget(ins, slot)
		return v.goOn(at, s, target)
	}
	return v.branch(at, s, ins)
}

func (v *verification) goOn(at place, s *state, to int) error {
	next, err := v.follow(at, s, to)
	if err != nil {
		return err
	}
	s.path = &step{s.path, at.slot(), to}
	if to <= at.slot() && v.queue.stuck(next, s) {
		return v.problem(at.slot(), s, "the loop may not end: nothing changes from one turn to the next")
	}
	v.queue.add(next, s)
	return nil
}

func (v *verification) exit(at place, s *state) error {
	slot := at.slot()
	if caller, ok := at.caller(); ok {
		last := s.frames[len(s.frames)-1]
		s.frames = s.frames[:len(s.frames)-1]
		copy(s.registers[6:10], last.saved[:])
		for r := 1; r <= 5; r++ {
			s.registers[r] = value{}
		}
		depth := int32(len(s.frames) - 1)
		s.registers[10] = value{kind: stack, id: depth, from: stackSize, to: stackSize}
		if r0 := &s.registers[0]; r0.kind == stack && r0.id > depth {
			return v.problem(slot, s, "returns an address of its own stack")
		}
		s.kept(func(x *value) {
			if x.kind == stack && x.id > depth { // what it points to is gone
				*x = value{kind: mixed}
			}
		})
		return v.goOn(caller, s, caller.slot()+1)
	}
	r0 := &s.registers[0]
	if r0.kind != scalar {
		return v.problem(slot, s, "r0 holds %s at exit", r0.kind)
	}
	if n := r0.n.low(32); n.max > 2 {
		return v.problem(slot, s, "r0 may be %s at exit, a verdict is 0, 1 or 2", n)
	}
	return nil
}

func (v *verification) callFunction(at place, s *state, ins *asm.Instruction) error {
	slot := at.slot()
	entry, ok := v.entries[ins.Reference()]
	if !ok {
		return v.problem(slot, s, "calls `%s`, which is not there", ins.Reference())
	}
	if len(s.frames) == maxDepth {
		return v.problem(slot, s, "calls a function more than %d deep", maxDepth)
	}
	f := newFrame()
	copy(f.saved[:], s.registers[6:10])
	s.frames = append(s.frames, f)
	s.registers[0] = value{}
	for r := 6; r < 10; r++ {
		s.registers[r] = value{}
	}
	s.registers[10] = value{kind: stack, id: int32(len(s.frames) - 1), from: stackSize, to: stackSize}
	s.path = &step{s.path, slot, entry}
	v.queue.add(at.call(entry), s)
	return nil
}

func (a number) String() string {
	if a.min == a.max {
		return fmt.Sprint(a.min)
	}
	return fmt.Sprintf("%d to %d", a.min, a.max)
}
