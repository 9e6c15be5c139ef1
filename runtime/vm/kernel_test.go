//go:build linux

package vm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// These tests hold the machine to the kernel's own: the same code is run by
// BPF_PROG_TEST_RUN as a socket filter and here, on the same memory, and that
// memory and r0 are compared. Memory is the one value of an array map.

// kernelMap makes that map; the test is skipped, but not in CI, where the kernel
// lets us make none.
func kernelMap(t *testing.T, size uint32) *ebpf.Map {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "conformance", Type: ebpf.Array, KeySize: 4, ValueSize: size, MaxEntries: 1})
	if errors.Is(err, os.ErrPermission) && os.Getenv("CI") != "true" {
		t.Skipf("the kernel lets this user make no BPF map: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

// pair is one program, loaded twice.
type pair struct {
	t       *testing.T
	machine *Machine
	here    *Program
	kernel  *ebpf.Program
	memory  *Map
	shared  *ebpf.Map
	name    string // what it tries
}

// newPair loads code; nil if it is too complex for the kernel's verifier.
func newPair(t *testing.T, shared *ebpf.Map, code []byte) *pair {
	t.Helper()
	p := &pair{t: t, machine: NewMachine(), shared: shared}
	var err error
	p.memory, err = NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: shared.ValueSize(), MaxEntries: 1})
	require.NoError(t, err)
	p.here = mustLoad(t, &Environment{Maps: map[string]*Map{"m": p.memory}}, code)

	insns, err := asm.AppendInstructions(nil, bytes.NewReader(code), binary.LittleEndian, "linux")
	require.NoError(t, err)
	for i := range insns { // what mapValue made
		if insns[i].OpCode.IsDWordLoad() && insns[i].Src == srcMapValue {
			insns[i].Src = asm.PseudoMapValue
			insns[i].Constant = int64(shared.FD())
		}
	}
	p.kernel, err = ebpf.NewProgramWithOptions(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, Instructions: insns, License: "MIT"},
		ebpf.ProgramOptions{LogDisabled: true})
	if errors.Is(err, unix.E2BIG) { // more than a million instructions walked
		return nil
	}
	require.NoError(t, err, "code %x", code)
	info, err := p.kernel.Info()
	require.NoError(t, err)
	_, err = info.JitedSize()
	require.NoError(t, err, "the kernel interprets; want its JIT")
	return p
}

// run runs both on the memory and compares what they leave.
func (p *pair) run(memory []byte) (after []byte) {
	p.t.Helper()
	zero := u32(0)
	require.NoError(p.t, p.shared.Put(zero, memory))
	require.NoError(p.t, p.memory.Update(zero, memory, Any))
	want, err := p.kernel.Run(&ebpf.RunOptions{Data: make([]byte, 64)})
	require.NoError(p.t, err)
	got, err := p.machine.Run(p.here, nil, nil)
	require.NoError(p.t, err)
	require.Equal(p.t, want, uint32(got))
	wanted, err := p.shared.LookupBytes(zero)
	require.NoError(p.t, err)
	after, err = p.memory.Lookup(zero)
	require.NoError(p.t, err)
	if !bytes.Equal(wanted, after) {
		for i := 0; i < len(after); i += 8 {
			w, g := binary.LittleEndian.Uint64(wanted[i:]), binary.LittleEndian.Uint64(after[i:])
			if w != g {
				p.t.Fatalf("%s: at %d the kernel has %#x, the machine %#x", p.name, i, w, g)
			}
		}
	}
	return after
}

func (p *pair) close() { p.kernel.Close() }

// kernelForm is one form of an instruction, to be tried on all pairs of edges. Its code
// for the pair i, j finds them in r1 and r2, leaves results in r3 and r4, and may use r0 and 64
// bytes of scratch memory at r6. It is nil where the kernel's verifier refuses the
// pair.
type kernelForm struct {
	name string
	code func(i, j int) []byte
}

// TestKernelOperands runs every form of every instruction on all pairs of edges,
// one program for each form.
func TestKernelOperands(t *testing.T) {
	const scratch, out = 512, 1024
	n := len(edges)
	require.LessOrEqual(t, 8*n, scratch)
	memory := make([]byte, out+16*n*n)
	for i, e := range edges {
		binary.LittleEndian.PutUint64(memory[8*i:], e)
	}
	shared := kernelMap(t, uint32(len(memory)))
	forms := append(aluCode(), jumpCode()...)
	for place, address := range map[string][]byte{
		"map":   join(slot(0xbf, 6, 9, 0, 0), slot(0x07, 6, 0, 0, scratch)),
		"stack": join(slot(0xbf, 6, 10, 0, 0), slot(0x07, 6, 0, 0, -64)),
	} {
		for _, f := range memoryCode(place == "stack") {
			forms = append(forms, kernelForm{f.name + " on the " + place, func(i, j int) []byte { return join(address, f.code(i, j)) }})
		}
	}
	var steps uint64
	for _, f := range forms {
		code := mapValue(9)
		for i := range n {
			for j := range n {
				one := f.code(i, j)
				if one == nil {
					continue
				}
				at := int16(out + 16*(n*i+j))
				code = append(code, join(
					slot(0x79, 1, 9, int16(8*i), 0), slot(0x79, 2, 9, int16(8*j), 0), slot(0xb7, 3, 0, 0, 0), slot(0xb7, 4, 0, 0, 0),
					one, slot(0x7b, 9, 3, at, 0), slot(0x7b, 9, 4, at+8, 0))...)
			}
		}
		p := newPair(t, shared, join(code, slot(0xb7, 0, 0, 0, 0), exit))
		require.NotNil(t, p, f.name)
		p.name = f.name
		p.run(memory)
		steps += p.machine.Steps()
		p.close()
	}
	t.Logf("%d forms, %d instructions", len(forms), steps)
}

func aluCode() []kernelForm {
	var forms []kernelForm
	constants := immediates()
	for _, f := range aluForms {
		for class, width := range map[uint8]int32{classAlu64: 64, classAlu32: 32} {
			name := fmt.Sprintf("%s%d", f.name, width)
			forms = append(forms, kernelForm{name, func(_, _ int) []byte {
				return join(slot(0xbf, 3, 1, 0, 0), slot(f.code|class|sourceRegister, 3, 2, f.off, 0))
			}}, kernelForm{name + " constant", func(_, j int) []byte {
				divides := f.code == 0x30 || f.code == 0x90
				shifts := f.code == 0x60 || f.code == 0x70 || f.code == 0xc0
				if j >= len(constants) || divides && constants[j] == 0 || shifts && uint32(constants[j]) >= uint32(width) {
					return nil
				}
				return join(slot(0xbf, 3, 1, 0, 0), slot(f.code|class, 3, 0, f.off, constants[j]))
			}})
		}
	}
	for _, f := range unaryForms {
		forms = append(forms, kernelForm{f.name, func(_, j int) []byte {
			return join(slot(0xbf, 3, 1, 0, 0), slot(f.code, 3, min(f.src, 1), f.off, f.imm))
		}})
	}
	return forms
}

func jumpCode() []kernelForm {
	var forms []kernelForm
	constants := immediates()
	for _, f := range jumpForms {
		for _, class := range []uint8{classJump, classJump32} {
			name := fmt.Sprintf("%s class %d", f.name, class)
			forms = append(forms, kernelForm{name, func(_, _ int) []byte {
				return join(slot(f.code|class|sourceRegister, 1, 2, 1, 0), slot(0xb7, 3, 0, 0, 1))
			}}, kernelForm{name + " constant", func(_, j int) []byte {
				if j >= len(constants) {
					return nil
				}
				return join(slot(f.code|class, 1, 0, 1, constants[j]), slot(0xb7, 3, 0, 0, 1))
			}})
		}
	}
	return forms
}

// memoryCode lists loads, stores and atomic instructions. The verifier wants the
// stack accessed in alignment.
func memoryCode(aligned bool) []kernelForm {
	var forms []kernelForm
	constants := immediates()
	for _, size := range memorySizes {
		offset := func(i, j int) int16 {
			if aligned {
				return int16((i + j) % 2 * int(size.bytes))
			}
			return int16((i + j) % 9)
		}
		fill := join(slot(0x7b, 6, 1, 0, 0), slot(0x7b, 6, 2, 8, 0), slot(0x7b, 6, 1, 16, 0))
		add := func(name string, code func(i, j int) []byte) {
			forms = append(forms, kernelForm{fmt.Sprintf("%s of %d bytes", name, size.bytes), func(i, j int) []byte {
				one := code(i, j)
				if one == nil {
					return nil
				}
				return join(fill, one)
			}})
		}
		results := join(slot(0x79, 3, 6, 0, 0), slot(0x79, 4, 6, 8, 0))
		add("load", func(i, j int) []byte { return slot(0x61|size.field, 3, 6, offset(i, j), 0) })
		if size.bytes < 8 {
			add("sign-extending load", func(i, j int) []byte { return slot(0x81|size.field, 3, 6, offset(i, j), 0) })
		}
		add("store", func(i, j int) []byte { return join(slot(0x63|size.field, 6, 2, offset(i, j), 0), results) })
		add("store of a constant", func(i, j int) []byte {
			if j >= len(constants) {
				return nil
			}
			return join(slot(0x62|size.field, 6, 0, offset(i, j), constants[j]), results)
		})
		add("load-acquire", func(i, j int) []byte { return slot(0xc3|size.field, 3, 6, 8, atomicLoad) })
		add("store-release", func(i, j int) []byte { return join(slot(0xc3|size.field, 6, 2, 8, atomicStore), results) })
		if size.bytes < 4 {
			continue
		}
		at := int16(size.bytes)
		for _, f := range atomicForms {
			add(f.name, func(_, _ int) []byte {
				return join(slot(0xc3|size.field, 6, 2, at, f.imm), slot(0x79, 3, 6, at&^7, 0), slot(0xbf, 4, 2, 0, 0))
			})
		}
		add("compare and exchange, equal or not", func(i, j int) []byte {
			return join(slot(0xbf, 0, 2, 0, 0), slot(0xbf, 4, 2, 0, 0), slot(0xa7, 4, 0, 0, -1),
				slot(0xc3|size.field, 6, 4, at, atomicCompare), slot(0x79, 3, 6, at&^7, 0), slot(0xbf, 4, 0, 0, 0))
		})
	}
	return forms
}
