package proof

import (
	"bytes"
	"cmp"
	"debug/elf"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// What a program for Linux does around its decisions does not depend on the rules: what
// stages are shown, how they tell what a packet is, what they remember. It is compared
// with what hopgate makes around the object's own decisions, which some stages have copies
// of in them.

// stretch is code of an object: an entry point or a local function.
type stretch struct {
	bytes []byte
	names map[uint64]string // of the maps and functions that instructions refer to, by offset
}

func (s *stretch) calls(name string) bool {
	return slices.Contains(slices.Collect(maps.Values(s.names)), name)
}

// linuxObject is the code of a program for Linux.
type linuxObject struct {
	stages    map[string]*stretch // by section
	functions map[string]*stretch // that they call, by name, but for the decisions
	decisions []*function
	layouts   map[string][]string // of structures, by name, as the object describes them
}

// readLinux reads the code of an object for Linux.
func readLinux(data []byte) (*linuxObject, error) {
	file, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	symbols, err := file.Symbols()
	if err != nil {
		return nil, err
	}
	o := &linuxObject{stages: map[string]*stretch{}, functions: map[string]*stretch{}}
	for i, s := range file.Sections {
		if s.Flags&elf.SHF_EXECINSTR == 0 || s.Name == localSection || s.Size == 0 {
			continue
		}
		if o.stages[s.Name] != nil {
			return nil, fmt.Errorf("section %s: there are two of that name", s.Name)
		}
		if o.stages[s.Name], err = readStretch(file, i, symbols, 0, s.Size); err != nil {
			return nil, fmt.Errorf("section %s: %w", s.Name, err)
		}
	}
	for _, s := range symbols {
		if int(s.Section) >= len(file.Sections) || elf.ST_TYPE(s.Info) != elf.STT_FUNC || file.Sections[s.Section].Name != localSection {
			continue
		}
		if _, _, ok := codegen.SetLookupCode(s.Name, codegen.Linux); ok {
			continue // of decisions: checkLookups
		}
		if !strings.HasPrefix(s.Name, decisionPrefix) {
			o.functions[s.Name], err = readStretch(file, int(s.Section), symbols, s.Value, s.Size)
		} else {
			f := &function{decision: &decision{name: s.Name, early: strings.HasPrefix(s.Name, earlyPrefix), ipv6: strings.HasSuffix(s.Name, "6")}}
			f.code, err = readCode(file, int(s.Section), symbols, s.Value, s.Size)
			f.decision.network = asksNetwork(f)
			o.decisions = append(o.decisions, f)
		}
		if err != nil {
			return nil, fmt.Errorf("function %s: %w", s.Name, err)
		}
	}
	if o.layouts, err = readLayouts(data); err != nil {
		return nil, err
	}
	for _, f := range o.decisions {
		for _, s := range o.stages {
			f.decision.split = f.decision.split || s.calls(f.decision.name) && s.calls(f.decision.other())
		}
	}
	return o, nil
}

func readStretch(file *elf.File, index int, symbols []elf.Symbol, from, size uint64) (*stretch, error) {
	data, err := file.Sections[index].Data()
	if err != nil {
		return nil, err
	}
	if from > uint64(len(data)) || size > uint64(len(data))-from {
		return nil, fmt.Errorf("no %d bytes", size)
	}
	names, err := references(file, index, symbols)
	if err != nil {
		return nil, err
	}
	s := &stretch{bytes: slices.Clone(data[from : from+size]), names: map[uint64]string{}}
	for at, name := range names {
		if at < from || at >= from+size {
			continue
		}
		s.names[at-from] = name
		if name == "bpf_rdonly_cast" && at-from >= 8 {
			clear(s.bytes[at-from-4 : at-from]) // the number of a type in this object: sameKernelReferences
		}
	}
	return s, nil
}

// asksNetwork reports whether a decision loads something of the network context in the way
// that hopgate's do. One that does it otherwise is not shown it.
func asksNetwork(f *function) bool {
	const flow = 6 // its register
	return slices.ContainsFunc(f.code, func(in instruction) bool {
		return in.code&7 == classLoad && in.src == flow && in.offset >= codegen.FlowContext
	})
}

// compareStages compares the program, but for its decisions, with one of hopgate's.
func (c *checker) compareStages(o *linuxObject) error {
	has := func(name string) bool {
		return slices.ContainsFunc(c.maps, func(m mapInfo) bool { return m.name == name })
	}
	opts := &codegen.Options{Target: codegen.Linux, NoCounters: !c.counters, LeaveReplies: has(codegen.PeersMap), DeviceMap: has(codegen.DevicesMap)}
	calls := codegen.Calls{EarlyAlike: true, Alike: true, Decisions: decisionsOf(c.program)}
	for _, s := range o.stages {
		calls.EarlyAlike = calls.EarlyAlike && !(s.calls(earlyPrefix+"4") && s.calls(earlyPrefix+"6"))
		calls.Alike = calls.Alike && !(s.calls(decisionPrefix+"4") && s.calls(decisionPrefix+"6"))
	}
	for _, f := range o.decisions {
		switch d := f.decision; {
		case d.early || !d.network:
		case d.ipv6:
			calls.Network6 = true
			calls.Network4 = calls.Network4 || calls.Alike
		default:
			calls.Network4 = true
		}
	}
	program, err := codegen.Stages(c.policy, opts, calls)
	if err != nil {
		return err
	}
	var object bytes.Buffer
	if err := program.WriteELF(&object); err != nil { // for what the object's decisions are
		return &errWrong{reason: err.Error()}
	}
	want, err := readLinux(object.Bytes())
	if err != nil {
		return err
	}
	if !slices.EqualFunc(o.decisions, want.decisions, func(f, w *function) bool { return f.name() == w.name() && slices.Equal(f.code, w.code) }) {
		return &errWrong{reason: "decisions are not what they are read as"} // and so may not be the copies that are compared
	}
	if err := sameStretches(o.stages, want.stages); err != nil {
		return err
	}
	if err := sameStretches(o.functions, want.functions); err != nil {
		return err
	}
	if program, err = codegen.ReadObject("stages", object.Bytes()); err != nil {
		return err
	}
	return cmp.Or(sameKernelReferences(c.program, program), sameStructures(o.layouts, want.layouts), c.sameMaps(program))
}

// decisionsOf gives the functions of a program that decide.
func decisionsOf(p *codegen.Program) []asm.Instructions {
	found := map[string]asm.Instructions{}
	for i := range p.Functions {
		name, of := "", map[string]asm.Instructions{}
		for _, ins := range p.Functions[i].Instructions {
			if s := ins.Symbol(); s != "" {
				name = s
			}
			if strings.HasPrefix(name, decisionPrefix) {
				of[name] = append(of[name], ins)
			}
		}
		maps.Copy(found, of)
	}
	var list []asm.Instructions
	for _, name := range slices.Sorted(maps.Keys(found)) {
		list = append(list, found[name])
	}
	return list
}

func sameStretches(got, want map[string]*stretch) error {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] == nil {
			return &errWrong{reason: fmt.Sprintf("%s is missing", name)}
		}
		if !bytes.Equal(got[name].bytes, want[name].bytes) || !maps.Equal(got[name].names, want[name].names) {
			return &errWrong{reason: fmt.Sprintf("%s is not what this hopgate makes around decisions", name)}
		}
	}
	if len(got) > len(want) {
		return &errWrong{reason: "there are functions that no program of hopgate has"}
	}
	return nil
}

// sameKernelReferences compares what instructions outside of decisions mean of structures
// of the kernel.
func sameKernelReferences(got, want *codegen.Program) error {
	list := func(p *codegen.Program) map[string]string {
		all := map[string]string{}
		for i := range p.Functions {
			name, at := "", 0
			for _, ins := range p.Functions[i].Instructions {
				if s := ins.Symbol(); s != "" {
					name, at = s, 0
				}
				if r := kernelReference(&ins); r != "" {
					all[fmt.Sprintf("%s %d", name, at)] = r
				}
				at++
			}
		}
		return all
	}
	if !maps.Equal(list(got), list(want)) {
		return &errWrong{reason: "the program reads other structures of the kernel than hopgate's do"}
	}
	return nil
}

// readLayouts lists the members of the structures that an object describes.
func readLayouts(data []byte) (map[string][]string, error) {
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	layouts := map[string][]string{}
	for t, err := range spec.All() {
		if err != nil {
			return nil, err
		}
		if s, ok := t.(*btf.Struct); ok {
			layouts[s.Name] = append(layouts[s.Name], layout(s))
		}
	}
	for _, list := range layouts {
		slices.Sort(list)
	}
	return layouts, nil
}

// layout is what a structure's members are: a reference tells which of them it means by
// their number here, and loaders look for that name in the kernel's structure. A structure
// within it has a name and a layout of its own.
func layout(s *btf.Struct) string {
	text := fmt.Sprintf("%d {", s.Size)
	for _, m := range s.Members {
		text += fmt.Sprintf(" %d:%d %s %s;", m.Offset, m.BitfieldSize, m.Name, m.Type)
	}
	return text + " }"
}

// sameStructures compares the structures that both objects describe.
func sameStructures(got, want map[string][]string) error {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !slices.Equal(got[name], want[name]) {
			return &errWrong{reason: fmt.Sprintf("structure `%s` is not what this hopgate takes it for", name)}
		}
	}
	return nil
}

func kernelReference(ins *asm.Instruction) string {
	r := btf.CORERelocationMetadata(ins)
	if r == nil {
		return ""
	}
	text, _, _ := strings.Cut(r.String(), ", local_id")
	return text
}

// sameMaps compares the maps that stages use.
func (c *checker) sameMaps(want *codegen.Program) error {
	for _, m := range want.Maps {
		found := false
		for _, n := range c.program.Maps {
			found = found || n.Name == m.Name && n.Type == m.Type && n.KeySize == m.KeySize && n.ValueSize == m.ValueSize && n.MaxEntries == m.MaxEntries && n.Flags == m.Flags
		}
		if !found {
			return &errWrong{reason: fmt.Sprintf("map `%s` is not what this hopgate makes", m.Name)}
		}
	}
	return nil
}

// named are the interfaces of a policy that the host looks up.
func named(p *compiler.Policy) []*compiler.NamedInterface {
	return slices.DeleteFunc(slices.Clone(p.Interfaces), func(i *compiler.NamedInterface) bool { return i.Bound })
}
