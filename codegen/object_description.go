package codegen

import "github.com/cilium/ebpf"

// Description says what is in a program or an object, for people and, as JSON, for
// programs.
type Description struct {
	Target    Target                `json:"target"`
	Policy    string                `json:"policy,omitempty"` // empty if hopgate did not make it
	Build     Build                 `json:"build,omitzero"`
	Functions []FunctionDescription `json:"functions"`
	Maps      []MapDescription      `json:"maps"`
	Rules     []Rule                `json:"rules,omitempty"`
}

// FunctionDescription is an entry point. Instructions are counted in slots of 8
// bytes, local functions included.
type FunctionDescription struct {
	Name         string   `json:"name"`
	Section      string   `json:"section"`
	AttachType   uint32   `json:"attach_type,omitempty"` // on Windows; 0 if the section is no attach point
	GUID         string   `json:"attach_guid,omitempty"`
	Instructions uint64   `json:"instructions"`
	Local        []string `json:"local,omitempty"` // the local functions it calls
}

// MapDescription is a map; sizes are in bytes.
type MapDescription struct {
	Name       string          `json:"name"`
	Type       string          `json:"type"` // as cilium/ebpf spells it: PerCPUArray
	KeySize    uint32          `json:"key_size"`
	ValueSize  uint32          `json:"value_size"`
	MaxEntries uint32          `json:"max_entries"`
	Flags      uint32          `json:"flags,omitempty"`
	Contents   int             `json:"contents,omitempty"` // entries it starts with
	Inner      *MapDescription `json:"inner,omitempty"`    // of a map of maps
}

// Describe gives the description of the program.
func (p *Program) Describe() *Description {
	d := &Description{
		Target: p.Target, Policy: p.Policy, Build: p.Build, Rules: p.Rules,
		Functions: []FunctionDescription{}, Maps: []MapDescription{},
	}
	for i := range p.Functions {
		f := &p.Functions[i]
		fd := FunctionDescription{Name: f.Name, Section: f.Section, Instructions: f.Instructions.Size() / 8}
		if a, ok := AttachTypeOf(f.Section); ok && p.Target == Windows {
			fd.AttachType, fd.GUID = uint32(a), a.GUID()
		}
		for _, part := range f.split()[1:] {
			fd.Local = append(fd.Local, part.name)
		}
		d.Functions = append(d.Functions, fd)
	}
	for _, m := range p.Maps {
		d.Maps = append(d.Maps, *newMapDescription(m))
	}
	return d
}

func newMapDescription(m *ebpf.MapSpec) *MapDescription {
	d := &MapDescription{
		Name: m.Name, Type: mapTypeName(m.Type),
		KeySize: m.KeySize, ValueSize: m.ValueSize, MaxEntries: m.MaxEntries,
		Flags: m.Flags, Contents: len(m.Contents),
	}
	if m.InnerMap != nil {
		d.Inner = newMapDescription(m.InnerMap)
	}
	return d
}
