package codegen

import (
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// ReadObject reads an eBPF object: hopgate's own, or one that clang made from C.
// Name stands in error messages. Static functions follow the function that calls
// them; .rodata, .data and .bss become array maps with contents; program arrays
// keep the names of their functions as contents.
//
// The target is the one hopgate recorded. Without a record it is Windows if a
// section is one that only eBPF for Windows has, Linux if a section is one that it
// has not, else Windows.
func ReadObject(name string, data []byte) (*Program, error) {
	p, err := readObject(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

func readObject(data []byte) (p *Program, err error) {
	// Both parsers below are other people's, and the data may be hostile.
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("damaged object: %v", r)
		}
	}()
	o, err := openObject(data)
	if err != nil {
		return nil, err
	}
	var rec *record
	p = &Program{}
	if s := o.Section(recordSection); s != nil {
		if rec, err = parseRecord(o.contents(s)); err != nil {
			return nil, fmt.Errorf("section %s: %w", recordSection, err)
		}
		p.Target = rec.Target
	} else {
		p.Target = o.target()
	}
	if p.Target == Windows {
		if data, err = o.linuxMapsOfMaps(); err != nil {
			return nil, err
		}
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("damaged or unsupported object: %w", err)
	}
	if len(spec.Programs) == 0 {
		return nil, errors.New("no program in the object")
	}
	p.Functions = o.functions(p.Target, spec.Programs)
	if p.Maps, err = o.maps(p.Target, spec.Maps); err != nil {
		return nil, err
	}
	if rec != nil {
		var contents []byte
		if s := o.Section(contentsSection); s != nil {
			contents = o.contents(s)
		}
		if err := rec.apply(p, contents); err != nil {
			return nil, fmt.Errorf("section %s: %w", recordSection, err)
		}
	}
	return p, nil
}

// object is an ELF file that is safe to hand to a parser: everything in it lies
// inside the file, and nothing small in it grows large.
type object struct {
	*elf.File
	data    []byte
	symbols []elf.Symbol
	place   map[string]place // of functions and maps
}

// place is a stretch of a section, in bytes. It orders functions and maps as the
// object does.
type place struct {
	section     int
	offset, end uint64
}

func (a place) compare(b place) int {
	return cmp.Or(cmp.Compare(a.section, b.section), cmp.Compare(a.offset, b.offset))
}

// contents gives the bytes of a section that is in the file and not compressed.
func (o *object) contents(s *elf.Section) []byte {
	if s.Type == elf.SHT_NOBITS {
		return nil
	}
	return o.data[s.Offset : s.Offset+s.FileSize]
}

// windowsSections and sharedSections are prefixes of the sections that eBPF for
// Windows knows; Linux has the shared ones, too.
var (
	windowsSections = []string{"bind", "cgroup/connect_authorization", "cgroup/recv_accept", "cgroup/listen", "sample_ext", "xdp_test"}
	sharedSections  = []string{"cgroup/bind4", "cgroup/bind6", "cgroup/connect4", "cgroup/connect6", "sockops", "xdp", textSection}
)

// target is the platform that the attach sections belong to.
func (o *object) target() Target {
	target := Windows
	for _, s := range o.Sections {
		if s.Flags&elf.SHF_EXECINSTR == 0 || s.Size == 0 {
			continue
		}
		isPrefix := func(prefix string) bool { return strings.HasPrefix(s.Name, prefix) }
		if slices.ContainsFunc(windowsSections, isPrefix) {
			return Windows
		}
		if !slices.ContainsFunc(sharedSections, isPrefix) {
			target = Linux
		}
	}
	return target
}

// functions orders the programs, and the local functions of each, as the object
// has them.
func (o *object) functions(target Target, programs map[string]*ebpf.ProgramSpec) []Function {
	var list []Function
	for name, spec := range programs {
		f := Function{Name: name, Section: spec.SectionName, Instructions: spec.Instructions}
		parts := f.split()
		slices.SortStableFunc(parts[1:], func(a, b placedFunction) int { return o.place[a.name].compare(o.place[b.name]) })
		f.Instructions = make(asm.Instructions, 0, len(spec.Instructions))
		for _, part := range parts {
			for _, ins := range part.instructions {
				if ins.IsBuiltinCall() && ins.Constant >= 0 {
					ins.Constant = int64(joinPlatform(target, uint32(ins.Constant)))
				}
				f.Instructions = append(f.Instructions, withSource(ins, sourceOf(&ins)))
			}
		}
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b Function) int { return o.place[a.Name].compare(o.place[b.Name]) })
	return list
}

// maps orders the maps as the object has them and gives them the target's types.
func (o *object) maps(target Target, specs map[string]*ebpf.MapSpec) ([]*ebpf.MapSpec, error) {
	var list []*ebpf.MapSpec
	for name, spec := range specs {
		m := spec.Copy()
		m.Name = name
		for inner := m; inner != nil; inner = inner.InnerMap {
			if inner.Type>>platformShift != 0 {
				return nil, fmt.Errorf("map `%s`: no such type: %#x", name, uint32(inner.Type))
			}
			if target == Windows {
				windowsMapOfMaps(inner)
			}
			inner.Type = ebpf.MapType(joinPlatform(target, uint32(inner.Type)))
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b *ebpf.MapSpec) int { return o.place[a.Name].compare(o.place[b.Name]) })
	if target == Windows {
		return list, o.windowsRecords(list)
	}
	return list, nil
}
