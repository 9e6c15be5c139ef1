package vm

import "errors"

// Machine runs programs, one at a time; use one in each goroutine. A run
// allocates no memory. Machines that run at the same time should have different
// CPUs, or programs that count in per-CPU maps without atomic instructions lose
// counts.
type Machine struct {
	CPU uint // modulo CPUs: the value of per-CPU maps that programs see

	reg      [16]uint64
	stack    [maxFrames * frameSpace]byte
	frames   [maxFrames]frame // what calls return to
	depth    int              // frames in use, but for the first
	tail     int              // tail calls so far
	steps    uint64           // of the last run
	work     uint64           // of the helper that runs, in steps
	maps     []*Map           // of the program that runs
	readOnly bool
	context  []byte
	state    any
	print    func(string)
	key      [maxKeySize]byte
	scratch  []byte
	inner    []*Map // maps that this run found in maps of maps
}

// frame is a suspended function.
type frame struct {
	program *Program
	pc      int
	saved   [4]uint64 // r6 to r9
}

// NewMachine makes a machine of CPU 0.
func NewMachine() *Machine { return new(Machine) }

// State is what the caller gave Run, for helpers.
func (m *Machine) State() any { return m.state }

// Context is the context of the run.
func (m *Machine) Context() []byte { return m.context }

// IsContext says whether an address is that of the context.
func (m *Machine) IsContext(address uint64) bool { return address == contextAddress() }

// Steps is how many instructions the last run executed, and what its helpers did
// beyond one each: one for every 64 bytes they moved.
func (m *Machine) Steps() uint64 { return m.steps }

// Run runs a program and returns its r0. At the start r1 points to the context,
// r10 to the end of a stack frame of 512 bytes, all of them 0, and every other
// register is 0. State is for helpers. An error is a *Fault.
func (m *Machine) Run(p *Program, context []byte, state any) (uint64, error) {
	m.CPU %= CPUs
	m.context, m.state = context, state
	m.depth, m.tail = 0, 0
	m.inner = m.inner[:0]
	r0, steps, fault := m.run(p)
	m.steps = steps
	m.context, m.state, m.maps, m.print = nil, nil, nil, nil
	if fault != nil {
		return 0, fault
	}
	return r0, nil
}

// enter makes a program the one that runs, in the current frame.
func (m *Machine) enter(p *Program) {
	m.use(p)
	m.reg = [16]uint64{1: contextAddress(), 10: frameAddress(m.depth)}
	m.clearFrame()
}

func (m *Machine) use(p *Program) { m.maps, m.readOnly, m.print = p.maps, p.readOnly, p.print }

func (m *Machine) clearFrame() {
	at := m.depth * frameSpace
	clear(m.stack[at : at+frameBytes])
}

func (m *Machine) fault(p *Program, pc int, err error) *Fault {
	return &Fault{Program: p.name, Index: pc, Err: err}
}

var errDepth = errors.New("calls nest deeper than 8 frames")

// run is the interpreter: it returns r0 and the number of instructions executed.
func (m *Machine) run(p *Program) (uint64, uint64, *Fault) {
	m.enter(p)
	r := &m.reg
	pc, steps := 0, uint64(0)
	for limit := p.maxSteps; ; {
		pc, steps = m.fast(p.code, pc, steps, limit)
		if steps >= limit {
			return 0, steps, m.fault(p, pc, ErrSteps)
		}
		in := &p.code[pc]
		pc, steps = pc+1, steps+1
		var err error
		switch in.op {
		case opCall:
			if m.depth == maxFrames-1 {
				return 0, steps, m.fault(p, pc-1, errDepth)
			}
			m.frames[m.depth] = frame{p, pc, [4]uint64(r[6:10])}
			m.depth++
			m.clearFrame()
			r[10] = frameAddress(m.depth)
			pc = int(in.off)
		case opExit:
			if m.depth == 0 {
				return r[0], steps, nil
			}
			m.depth--
			f := &m.frames[m.depth]
			p, pc = f.program, f.pc
			m.use(p)
			copy(r[6:10], f.saved[:])
			r[10] = frameAddress(m.depth)
		case opHelper:
			r[0], err = p.helpers[in.imm](m, r[1], r[2], r[3], r[4], r[5])
			steps, m.work = steps+m.work, 0
		case opTailCall:
			var target *Program
			target, err = m.tailCall(r[1], r[2], r[3])
			if target != nil {
				p, pc = target, 0
				m.enter(p)
			} else {
				r[0] = ENOENT.result()
			}
		default:
			err = m.access(in)
		}
		if err != nil {
			return 0, steps, m.fault(p, pc-1, err)
		}
	}
}
