package runtime

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/runtime/vm"
)

// Instance is a program that is loaded in process: its functions, ready to run,
// and the maps they share. Any number of goroutines may use it; runs are made one
// by one.
type Instance struct {
	program   *codegen.Program
	hook      compiler.Hook
	setBase   uint32 // key of the first set in codegen.SetsMap
	maps      map[string]*vm.Map
	functions map[codegen.AttachType][]*function

	mu       sync.Mutex
	machine  *vm.Machine
	call     invocation // of Eval
	counters counters
}

// function is one entry point of an instance.
type function struct {
	instance *Instance
	name     string
	code     *vm.Program
}

// Load makes the maps of a program and loads every function whose section names
// an attach type; there has to be one. Other functions are loaded where a map
// names them, for tail calls.
func Load(program *codegen.Program) (*Instance, error) {
	i := &Instance{
		program:   program,
		functions: map[codegen.AttachType][]*function{},
		machine:   vm.NewMachine(),
	}
	var err error
	if i.maps, err = vm.NewMaps(program.Maps); err != nil {
		return nil, err
	}
	for k := range program.Functions {
		if err := i.loadFunction(&program.Functions[k]); err != nil {
			return nil, err
		}
	}
	i.hook = compiler.Accept
	for at := range i.functions {
		if !layerOf(at).accept {
			i.hook = compiler.Connect
		}
	}
	if len(i.functions) == 0 {
		return nil, errors.New("no function of the program is for a layer of the hook")
	}
	for _, spec := range program.Maps {
		if err := i.link(spec); err != nil {
			return nil, fmt.Errorf("map `%s`: %w", spec.Name, err)
		}
	}
	i.counters = countersOf(program, i.maps)
	return i, nil
}

func (i *Instance) loadFunction(f *codegen.Function) error {
	at, ok := codegen.AttachTypeOf(f.Section)
	if !ok {
		return nil
	}
	code, err := i.load(f)
	if err != nil {
		return err
	}
	i.functions[at] = append(i.functions[at], &function{i, f.Name, code})
	return nil
}

func (i *Instance) load(f *codegen.Function) (*vm.Program, error) {
	code, err := vm.Load(f.Instructions, &vm.Environment{Maps: i.maps, Helpers: helpers()})
	if err != nil {
		return nil, fmt.Errorf("function `%s`: %w", f.Name, err)
	}
	return code, nil
}

// link puts the functions and maps that the contents of a map name into it.
func (i *Instance) link(spec *ebpf.MapSpec) error {
	for _, kv := range spec.Contents {
		name, ok := kv.Value.(string)
		if !ok {
			continue
		}
		key, err := binary.Append(nil, binary.LittleEndian, kv.Key)
		if err != nil {
			return err
		}
		if inner := i.maps[name]; inner != nil {
			if err := i.maps[spec.Name].SetMap(key, inner); err != nil {
				return err
			}
			continue
		}
		if err := i.setProgram(spec.Name, key, name); err != nil {
			return err
		}
	}
	return nil
}

func (i *Instance) setProgram(array string, key []byte, name string) error {
	for k := range i.program.Functions {
		f := &i.program.Functions[k]
		if f.Name != name {
			continue
		}
		code, err := i.load(f)
		if err != nil {
			return err
		}
		if len(key) != 4 {
			return fmt.Errorf("a key of %d bytes for function `%s`", len(key), name)
		}
		return i.maps[array].SetProgram(binary.LittleEndian.Uint32(key), code)
	}
	return fmt.Errorf("there is no function or map `%s`", name)
}

// Program is what was loaded; of an engine with a table, with the policy's rules.
func (i *Instance) Program() *codegen.Program {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.program
}

// Map finds a map by name, nil for none.
func (i *Instance) Map(name string) *vm.Map { return i.maps[name] }

// Hook is the hook that the program judges connections for; Connect if it is for
// both.
func (i *Instance) Hook() compiler.Hook {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.hook
}

// Counters gives the number of decisions by index in Program.Rules; nil where the
// program counts none.
func (i *Instance) Counters() []uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.counters.sums()
}

// Events takes the events out of the program's ring buffer, oldest first. The
// error is that of the first record that is no event.
func (i *Instance) Events() ([]codegen.Event, error) {
	m := i.maps[codegen.EventsMap]
	if m == nil {
		return nil, nil
	}
	var events []codegen.Event
	var first error
	for _, record := range m.Drain() {
		e, err := codegen.DecodeEvent(record)
		if err == nil {
			events = append(events, e)
		} else if first == nil {
			first = err
		}
	}
	return events, first
}

// Eval judges one request by the program alone, at the authorization layer of its
// hook: the fast way, which allocates nothing. Rule and Audit are -1 where the
// program counts nothing. With an error, which is that of a program that cannot be
// run, the verdict is Deny.
func (i *Instance) Eval(r *compiler.Request) (compiler.Decision, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	at := AuthorizationLayer(i.hook, r)
	if len(i.functions[at]) == 0 {
		return compiler.Decision{Rule: -1, Audit: -1}, fmt.Errorf("the program has no function for %s", at.Section())
	}
	if err := i.call.describe(at, r); err != nil {
		return compiler.Decision{Rule: -1, Audit: -1}, err
	}
	r0, rule, audit, err := i.run(i.functions[at][0].code, &i.call)
	return compiler.Decision{Verdict: verdictOf(r0), Rule: rule, Audit: audit}, err
}

// Steps is how many instructions the last run executed.
func (i *Instance) Steps() uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.machine.Steps()
}

// verdictOf is how the hook takes what a program returned: anything but the three
// verdicts is a reject.
func verdictOf(r0 uint32) lang.Verdict {
	if r0 > uint32(lang.AllowHard) {
		return lang.Deny
	}
	return lang.Verdict(r0)
}

// invoke runs a function, and names the rules whose counters moved, and the program whose
// rules they are.
func (f *function) invoke(call *invocation) (program *codegen.Program, r0 uint32, rule, audit int, err error) {
	f.instance.mu.Lock()
	defer f.instance.mu.Unlock()
	r0, rule, audit, err = f.instance.run(f.code, call)
	return f.instance.program, r0, rule, audit, err
}

// run runs a program. The result is the low half of r0: the hook's function
// returns an int. Rule is the one whose counter moved, and audit the audit rule
// whose counter did, or -1.
func (i *Instance) run(code *vm.Program, call *invocation) (r0 uint32, rule, audit int, err error) {
	i.counters.read(i.machine.CPU) // somebody may have set them
	result, err := i.machine.Run(code, call.context[:], call)
	if err != nil {
		return uint32(lang.Deny), -1, -1, err
	}
	i.counters.read(i.machine.CPU)
	rule, audit = -1, -1
	for _, k := range i.counters.moved {
		if i.program.Rules[k].Audit {
			audit = int(k)
		} else {
			rule = int(k)
		}
	}
	return uint32(result), rule, audit, nil
}
