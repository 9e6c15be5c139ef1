// Package vm runs eBPF programs in process: the whole instruction set of RFC 9669
// and the maps that programs use.
//
// Load checks and decodes a program; a Machine runs it. Whatever a program does,
// it reaches only its stack, its context and the values of its maps: any other
// access ends the run with a Fault that names the instruction. Pointers that a
// program sees are numbers that mean nothing outside the run.
//
// Helpers are numbered as in eBPF for Windows, whose hook the in-process one
// models.
package vm

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf/asm"
)

// Environment is what a program is loaded into. The zero value has no maps and
// the general helpers only.
type Environment struct {
	Maps            map[string]*Map
	Helpers         map[int32]Helper // by number; they go before the general ones
	ReadOnlyContext bool             // a store to the context is a fault
	MaxSteps        uint64           // instructions a run may execute; 0 means DefaultMaxSteps
	Print           func(string)     // receives what programs print; nil drops it
}

// DefaultMaxSteps ends a loop after about a tenth of a second.
const DefaultMaxSteps = 10_000_000

// Program is a loaded program. It does not change; any number of machines may run
// it at once.
type Program struct {
	name     string
	code     []insn
	maps     []*Map // by number, the order of their names
	names    []string
	helpers  []Helper
	readOnly bool
	maxSteps uint64
	print    func(string)
}

// Load checks and decodes a program. Its first instruction is the entry point;
// functions that it calls follow. Jumps and calls may refer to symbols or be
// resolved, maps are referred to by name.
func Load(insns asm.Instructions, env *Environment) (*Program, error) {
	p, err := newProgram(env)
	if err != nil {
		return nil, err
	}
	if len(insns) > 0 {
		p.name = insns[0].Symbol()
	}
	numbers := make(map[string]int)
	for i, name := range p.names {
		numbers[name] = i
	}
	slots, err := rawInstructions(insns, numbers)
	if err != nil {
		return nil, err
	}
	return p.decode(slots, env)
}

// LoadBytes is Load for little-endian machine code. Its 64-bit constants of kind 5
// and 6 refer to maps by number, in the order of their names.
func LoadBytes(code []byte, env *Environment) (*Program, error) {
	p, err := newProgram(env)
	if err != nil {
		return nil, err
	}
	slots, err := rawBytes(code)
	if err != nil {
		return nil, err
	}
	return p.decode(slots, env)
}

func newProgram(env *Environment) (*Program, error) {
	if len(env.Maps) > maxMaps {
		return nil, fmt.Errorf("%d maps, more than %d", len(env.Maps), maxMaps)
	}
	p := &Program{readOnly: env.ReadOnlyContext, maxSteps: env.MaxSteps, print: env.Print}
	if p.maxSteps == 0 {
		p.maxSteps = DefaultMaxSteps
	}
	for _, name := range slices.Sorted(maps.Keys(env.Maps)) {
		m := env.Maps[name]
		if m == nil {
			return nil, fmt.Errorf("map `%s` is nil", name)
		}
		p.names = append(p.names, name)
		p.maps = append(p.maps, m)
	}
	return p, nil
}

// ErrSteps is the fault of a run that took too many steps.
var ErrSteps = errors.New("too many instructions executed")

// Fault is why a run ended without a result.
type Fault struct {
	Program string // symbol of the program's first instruction; may be empty
	Index   int    // of the instruction, counted in 8-byte slots
	Err     error
}

func (f *Fault) Error() string {
	if f.Program == "" {
		return fmt.Sprintf("instruction %d: %v", f.Index, f.Err)
	}
	return fmt.Sprintf("instruction %d of `%s`: %v", f.Index, f.Program, f.Err)
}

func (f *Fault) Unwrap() error { return f.Err }
