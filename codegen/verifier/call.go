package verifier

import (
	"math"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// platformBit is what cilium/ebpf adds to the numbers of Windows' helpers.
const platformBit = 1 << 28

// helper finds the helper that an instruction calls.
func (v *verification) helper(slot int, s *state, ins *asm.Instruction) (helper, error) {
	if ins.OpCode.Source() == asm.RegSource || ins.Src != 0 {
		return helper{}, v.problem(slot, s, "calls through a register, or what is no helper")
	}
	id := uint32(ins.Constant) &^ platformBit
	h, ok := prototype(id)
	if !ok {
		return h, v.problem(slot, s, "there is no helper %d at %s", id, v.attach.Section())
	}
	return h, nil
}

// callHelper checks the arguments of a helper and notes what it leaves.
func (v *verification) callHelper(slot int, s *state, ins *asm.Instruction) error {
	h, err := v.helper(slot, s, ins)
	if err != nil {
		return err
	}
	id := uint32(ins.Constant) &^ platformBit
	var m *ebpf.MapSpec
	var mapID int32
	for i, want := range h.arguments {
		if want == none {
			break
		}
		r := asm.R1 + asm.Register(i)
		x, err := v.read(slot, s, r)
		if err != nil {
			return err
		}
		switch want {
		case contextPtr:
			if x.kind != context || x.from != 0 || x.to != 0 {
				return v.problem(slot, s, "%s wants the context in r%d, which holds %s", h.name, r, x.kind)
			}
		case mapPtr, programsPtr:
			if x.kind != handle || x.null != notNull {
				return v.problem(slot, s, "%s wants a map in r%d, which holds %s", h.name, r, x.kind)
			}
			m, mapID = v.maps[x.id], x.id
			if x.from != x.to {
				return v.problem(slot, s, "r%d holds one map or one found in it", r)
			}
			if x.from == innerMap {
				mapID, m = v.inner[x.id], m.InnerMap
			}
			if m == nil || !takes(id, m) {
				return v.problem(slot, s, "%s does not work on this map", h.name)
			}
		case key, element:
			n := m.KeySize
			if want == element {
				n = m.ValueSize
			}
			reads := id < 17 // pop and peek write it
			if err := v.memory(slot, s, h.name, r, number{max: uint64(n), min: uint64(n)}, reads); err != nil {
				return err
			}
		case readable, readableOrNull, writable:
			length, err := v.length(slot, s, h, i)
			if err != nil {
				return err
			}
			if null, known := x.n.constant(); want == readableOrNull && x.kind == scalar && known && null == 0 {
				continue
			}
			if err := v.memory(slot, s, h.name, r, length, want != writable); err != nil {
				return err
			}
		}
	}
	result := numberOf(anyNumber)
	if h.lookup {
		result = value{kind: mapped, id: mapID, size: int64(m.ValueSize), null: maybeNull, site: int32(slot)}
		if m.InnerMap != nil {
			result = value{kind: handle, id: mapID, from: innerMap, to: innerMap, null: maybeNull, site: int32(slot)}
		}
	}
	s.registers[0] = result
	for r := 1; r <= 5; r++ {
		s.registers[r] = value{}
	}
	// A check of what an earlier pass over this call found says nothing of this one.
	v.forgetSite(s, int32(slot))
	return nil
}

// innerMap is the offset of a handle to a map that was found in the map it names.
const innerMap = 1

// forgetSite makes older results of a lookup in a loop unusable until checked.
func (v *verification) forgetSite(s *state, site int32) {
	forget := func(x *value) {
		if x.kind >= mapped && x.null == maybeNull && x.site == site {
			*x = value{kind: mixed}
		}
	}
	for r := 1; r < 10; r++ {
		forget(&s.registers[r])
	}
	s.kept(forget)
}

// length is the size argument that follows a memory argument.
func (v *verification) length(slot int, s *state, h helper, i int) (number, error) {
	r := asm.R1 + asm.Register(i+1)
	x, err := v.read(slot, s, r)
	if err != nil {
		return number{}, err
	}
	if x.kind != scalar {
		return number{}, v.problem(slot, s, "%s wants a size in r%d, which holds %s", h.name, r, x.kind)
	}
	if h.arguments[i+1] == size && x.n.min == 0 {
		return number{}, v.problem(slot, s, "%s wants a size above 0 in r%d, which holds %s", h.name, r, x.n)
	}
	if x.n.max > math.MaxInt32 {
		return number{}, v.problem(slot, s, "the size in r%d for %s has no bound", r, h.name)
	}
	return x.n, nil
}

// memory checks a memory argument: on the stack or in a map's value, and written if
// the helper reads it.
func (v *verification) memory(slot int, s *state, helper string, r asm.Register, length number, reads bool) error {
	x := &s.registers[r]
	if x.kind != stack && x.kind != mapped {
		return v.problem(slot, s, "%s wants memory of the stack or of a map's value in r%d, which holds %s", helper, r, x.kind)
	}
	from, to, err := v.inside(slot, s, x, 0, int64(length.max))
	if err != nil || x.kind == mapped || length.max == 0 {
		return err
	}
	f := s.frames[x.id]
	if reads {
		if !f.isWritten(from, to+int64(length.max)) {
			return v.problem(slot, s, "%s reads bytes of the stack, %d to %d from r10, that are not written on every path",
				helper, from-stackSize, to+int64(length.max)-1-stackSize)
		}
		if f.addresses(from, to+int64(length.max)) {
			return v.problem(slot, s, "%s would show an address to others", helper)
		}
		return nil
	}
	f.forget(from, to+int64(length.max))
	if from == to {
		f.write(from, from+int64(length.min))
	}
	return nil
}
