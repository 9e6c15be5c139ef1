package verifier

import (
	"math"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/hopgate/hopgate/codegen"
)

// read gives a register that holds something.
func (v *verification) read(slot int, s *state, r asm.Register) (*value, error) {
	if r > asm.R10 {
		return nil, v.problem(slot, s, "there is no r%d", r)
	}
	x := &s.registers[r]
	if x.kind == unset || x.kind == mixed {
		return nil, v.problem(slot, s, "r%d holds %s", r, x.kind)
	}
	return x, nil
}

func (v *verification) write(slot int, s *state, r asm.Register, x value) error {
	if r >= asm.R10 {
		return v.problem(slot, s, "r10 is read-only")
	}
	s.registers[r] = x
	return nil
}

// execute follows an instruction that does not jump.
func (v *verification) execute(slot int, s *state, ins *asm.Instruction) error {
	switch class := ins.OpCode.Class(); class {
	case asm.ALUClass, asm.ALU64Class:
		return v.compute(slot, s, ins)
	case asm.LdClass:
		return v.loadConstant(slot, s, ins)
	case asm.LdXClass:
		return v.load(slot, s, ins)
	case asm.StClass, asm.StXClass:
		return v.store(slot, s, ins)
	}
	return v.problem(slot, s, "there is no such instruction")
}

func (v *verification) loadConstant(slot int, s *state, ins *asm.Instruction) error {
	if !ins.OpCode.IsDWordLoad() {
		return v.problem(slot, s, "packet loads do not exist here")
	}
	reference := ins.Reference()
	if ins.Src == 0 && reference == "" {
		return v.write(slot, s, ins.Dst, numberOf(exactly(uint64(ins.Constant))))
	}
	for i, m := range v.maps {
		if m.Name != reference {
			continue
		}
		switch ins.Src {
		case asm.PseudoMapFD, 0:
			return v.write(slot, s, ins.Dst, value{kind: handle, id: int32(i)})
		case asm.PseudoMapValue:
			at := int64(uint64(ins.Constant) >> 32)
			return v.write(slot, s, ins.Dst, value{kind: mapped, id: int32(i), size: int64(m.ValueSize), from: at, to: at})
		}
	}
	return v.problem(slot, s, "loads the address of `%s`, which is no map of the object", reference)
}

// inside checks that bytes from an address are in the memory that it points into.
func (v *verification) inside(slot int, s *state, x *value, offset, length int64) (from, to int64, err error) {
	from, to = x.from+offset, x.to+offset
	limit := int64(0)
	switch x.kind {
	case context:
		limit = codegen.SockAddrSize
	case stack:
		limit = stackSize
	case mapped:
		if x.null != notNull {
			return 0, 0, v.problem(slot, s, "the address may be null: check what was looked up first")
		}
		limit = x.size
	default:
		return 0, 0, v.problem(slot, s, "%s is no address", x.kind)
	}
	if from < 0 || length < 0 || to > limit-length {
		shown := func(n int64) int64 {
			if x.kind == stack {
				return n - stackSize
			}
			return n
		}
		return 0, 0, v.problem(slot, s, "reaches outside of memory: %d bytes at %d to %d from %s of %d bytes",
			length, shown(from), shown(to), x.kind, limit)
	}
	return from, to, nil
}

func (v *verification) load(slot int, s *state, ins *asm.Instruction) error {
	mode := ins.OpCode.Mode()
	if mode != asm.MemMode && mode != asm.MemSXMode {
		return v.problem(slot, s, "there is no such load")
	}
	base, err := v.read(slot, s, ins.Src)
	if err != nil {
		return err
	}
	n := int64(ins.OpCode.Size().Sizeof())
	from, to, err := v.inside(slot, s, base, int64(ins.Offset), n)
	if err != nil {
		return err
	}
	loaded := numberOf(upTo(math.MaxUint64 >> (64 - 8*n)))
	if base.kind == stack {
		if loaded, err = v.loadStack(slot, s, s.frames[base.id], from, to, n); err != nil {
			return err
		}
	}
	if base.kind == mapped && v.isMapOfMaps(base.id) {
		return v.problem(slot, s, "reads a value of a map of maps")
	}
	if mode == asm.MemSXMode {
		if loaded.kind != scalar {
			return v.problem(slot, s, "extends the sign of %s", loaded.kind)
		}
		loaded.n = signExtend(loaded.n, int(8*n))
	}
	return v.write(slot, s, ins.Dst, loaded)
}

func signExtend(n number, width int) number {
	if n.max < 1<<(width-1) {
		return n
	}
	if k, known := n.constant(); known {
		return exactly(uint64(int64(k<<(64-width)) >> (64 - width)))
	}
	return anyNumber
}

func (v *verification) isMapOfMaps(id int32) bool {
	t := v.maps[id].Type
	return t == ebpf.WindowsArrayOfMaps || t == ebpf.WindowsHashOfMaps
}

func (v *verification) loadStack(slot int, s *state, f *frame, from, to, n int64) (value, error) {
	if !f.isWritten(from, to+n) {
		return value{}, v.problem(slot, s, "reads bytes of the stack, %d to %d from r10, that are not written on every path", from-stackSize, to+n-1-stackSize)
	}
	if from == to {
		if c, ok := f.cells[int16(from)]; ok && int64(c.size) == n {
			if c.v.kind == mixed {
				return value{}, v.problem(slot, s, "reads from the stack what is %s", c.v.kind)
			}
			return c.v, nil
		}
	}
	if f.addresses(from, to+n) {
		return value{}, v.problem(slot, s, "reads part of an address from the stack")
	}
	return numberOf(upTo(math.MaxUint64 >> (64 - 8*n))), nil
}

func (v *verification) store(slot int, s *state, ins *asm.Instruction) error {
	base, err := v.read(slot, s, ins.Dst)
	if err != nil {
		return err
	}
	n := int64(ins.OpCode.Size().Sizeof())
	stored := numberOf(exactly(uint64(ins.Constant)).low(int(8 * n)))
	if ins.OpCode.Class() == asm.StXClass {
		x, err := v.read(slot, s, ins.Src)
		if err != nil {
			return err
		}
		stored = *x
	}
	switch ins.OpCode.Mode() {
	case asm.MemMode:
	case asm.AtomicMode:
		return v.atomic(slot, s, ins, base, stored, n)
	default:
		return v.problem(slot, s, "there is no such store")
	}
	from, to, err := v.inside(slot, s, base, int64(ins.Offset), n)
	if err != nil {
		return err
	}
	if base.kind == context && v.readOnly() {
		return v.problem(slot, s, "writes to the context, which is read-only at %s", v.attach.Section())
	}
	if base.kind != stack {
		if stored.kind != scalar {
			return v.problem(slot, s, "stores %s outside of the stack", stored.kind)
		}
		if base.kind == mapped && v.isMapOfMaps(base.id) {
			return v.problem(slot, s, "writes to a map of maps")
		}
		return nil
	}
	if stored.kind != scalar && n != 8 {
		return v.problem(slot, s, "stores part of an address")
	}
	f := s.frames[base.id]
	f.forget(from, to+n)
	if from != to {
		if stored.kind != scalar {
			return v.problem(slot, s, "stores an address at an unknown place in the stack")
		}
		return nil // some of the bytes are written, nobody knows which
	}
	f.write(from, from+n)
	if stored.kind == scalar {
		stored.n = stored.n.low(int(8 * n))
	}
	f.cells[int16(from)] = cell{int16(n), stored}
	return nil
}

// readOnly reports whether programs of the attach type must not change the context.
func (v *verification) readOnly() bool {
	return v.attach == codegen.AttachConnectAuthorization4 || v.attach == codegen.AttachConnectAuthorization6
}

func (v *verification) atomic(slot int, s *state, ins *asm.Instruction, base *value, operand value, n int64) error {
	from, to, err := v.inside(slot, s, base, int64(ins.Offset), n)
	if err != nil {
		return err
	}
	op := ins.OpCode.AtomicOp()
	switch {
	case n < 4 || op == asm.InvalidAtomic:
		return v.problem(slot, s, "there is no such atomic operation")
	case base.kind == context:
		return v.problem(slot, s, "changes the context atomically")
	case operand.kind != scalar:
		return v.problem(slot, s, "adds %s to memory", operand.kind)
	}
	if base.kind == stack {
		f := s.frames[base.id]
		if !f.isWritten(from, to+n) || f.addresses(from, to+n) {
			return v.problem(slot, s, "changes bytes of the stack that hold no number on every path")
		}
		f.forget(from, to+n)
	}
	fetched := numberOf(upTo(math.MaxUint64 >> (64 - 8*n)))
	switch op {
	case asm.CmpXchg:
		if s.registers[0].kind != scalar {
			return v.problem(slot, s, "compares r0, which holds %s", s.registers[0].kind)
		}
		return v.write(slot, s, asm.R0, fetched)
	case asm.FetchAdd, asm.FetchAnd, asm.FetchOr, asm.FetchXor, asm.Xchg:
		return v.write(slot, s, ins.Src, fetched)
	}
	return nil
}
