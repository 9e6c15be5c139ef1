package codegen

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// Limits on an object, far above any real one, so that a hostile one cannot take
// all memory.
const (
	maxObject = 256 << 20 // bytes of the file
	maxData   = 64 << 20  // bytes of .bss and the like, which take no room in the file

	// Each program takes a copy of the functions it calls: programs times
	// instructions.
	maxLinked = 16 << 20
)

// openObject checks the file as a whole.
func openObject(data []byte) (*object, error) {
	if err := checkHeader(data); err != nil {
		return nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("damaged object: %w", err)
	}
	o := &object{File: f, data: data, place: map[string]place{}}
	for _, s := range f.Sections {
		if err := o.checkSection(s); err != nil {
			return nil, fmt.Errorf("damaged object: section `%s` %w", s.Name, err)
		}
	}
	if f.Section(mapsSection) != nil && f.Section(".BTF") == nil {
		return nil, errors.New("section `.maps` needs the types in `.BTF`: compile with -g")
	}
	if o.symbols, err = f.Symbols(); err != nil {
		return nil, fmt.Errorf("damaged object: %w", err)
	}
	if err := o.checkSymbols(); err != nil {
		return nil, fmt.Errorf("damaged object: %w", err)
	}
	return o, nil
}

func checkHeader(data []byte) error {
	switch {
	case len(data) == 0:
		return errors.New("empty file")
	case !bytes.HasPrefix(data, []byte(elf.ELFMAG)):
		return errors.New("not an ELF object file")
	case len(data) < binary.Size(elf.Header64{}):
		return errors.New("ELF header is cut short")
	case len(data) > maxObject:
		return fmt.Errorf("file has %d bytes; the limit is %d", len(data), maxObject)
	}
	var h elf.Header64
	if _, err := binary.Decode(data, binary.LittleEndian, &h); err != nil {
		return err
	}
	class, order := elf.Class(h.Ident[elf.EI_CLASS]), elf.Data(h.Ident[elf.EI_DATA])
	switch {
	case class != elf.ELFCLASS64:
		return fmt.Errorf("object is %s; eBPF objects are 64-bit", class)
	case order != elf.ELFDATA2LSB:
		return fmt.Errorf("object is %s; only little-endian eBPF is supported: compile with -target bpfel", order)
	case elf.Machine(h.Machine) != elf.EM_BPF && elf.Machine(h.Machine) != elf.EM_NONE:
		return fmt.Errorf("object is for another machine (%s); compile with -target bpf", elf.Machine(h.Machine))
	case elf.Type(h.Type) != elf.ET_REL:
		return fmt.Errorf("file is %s, no relocatable object", elf.Type(h.Type))
	}
	return nil
}

func (o *object) checkSection(s *elf.Section) error {
	switch {
	case s.Type == elf.SHT_NULL:
		return nil
	case s.Type == elf.SHT_NOBITS:
		if s.Size > maxData {
			return fmt.Errorf("has %d bytes; the limit is %d", s.Size, maxData)
		}
		return nil
	case s.Flags&elf.SHF_COMPRESSED != 0 && !strings.HasPrefix(s.Name, ".debug"):
		return errors.New("is compressed")
	case s.Offset > uint64(len(o.data)) || s.FileSize > uint64(len(o.data))-s.Offset:
		return errors.New("is cut short")
	}
	return nil
}

// checkSymbols makes sure that the symbols of a section do not overlap, because
// each becomes a copy of its bytes, and notes their places.
func (o *object) checkSymbols() error {
	type span struct {
		place
		name string
	}
	var spans []span
	for _, s := range o.symbols {
		if int(s.Section) >= len(o.Sections) || s.Section == elf.SHN_UNDEF || s.Name == "" {
			continue
		}
		section := o.Sections[s.Section]
		kind := elf.ST_TYPE(s.Info)
		label := kind == elf.STT_NOTYPE && elf.ST_BIND(s.Info) == elf.STB_LOCAL && section.Flags&elf.SHF_EXECINSTR != 0
		if kind != elf.STT_FUNC && kind != elf.STT_OBJECT && kind != elf.STT_NOTYPE || label {
			continue
		}
		if s.Value > section.Size || s.Size > section.Size-s.Value {
			return fmt.Errorf("symbol `%s` goes past the end of section `%s`", s.Name, section.Name)
		}
		at := place{int(s.Section), s.Value, s.Value + s.Size}
		spans = append(spans, span{at, s.Name})
		o.place[s.Name] = at
	}
	for i, s := range o.Sections {
		if _, known := o.place[s.Name]; !known {
			o.place[s.Name] = place{section: i} // of the map that a data section becomes
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return a.place.compare(b.place) })
	var programs, instructions uint64
	for i, s := range spans {
		if i > 0 && s.section == spans[i-1].section && s.offset != spans[i-1].offset && s.offset < spans[i-1].end {
			return fmt.Errorf("symbols `%s` and `%s` overlap", spans[i-1].name, s.name)
		}
		if section := o.Sections[s.section]; section.Flags&elf.SHF_EXECINSTR != 0 {
			instructions += (s.end - s.offset) / 8
			if section.Name != textSection {
				programs++
			}
		}
	}
	if programs*instructions > maxLinked {
		return fmt.Errorf("%d programs over %d instructions are too many", programs, instructions)
	}
	return nil
}

// Fields of ebpf_map_definition_in_file_t (ebpf_structs.h of eBPF for Windows),
// the record of a legacy maps section, all u32.
const (
	recordInnerIndex = 16
	recordPinning    = 20
	recordID         = 24
	recordInnerID    = 28
	recordSize       = 32
)

// windowsRecords reads the tail of the legacy map records, which cilium/ebpf takes
// for those of libbpf: a fifth word that is flags there is the index of the
// inner map's record here.
func (o *object) windowsRecords(maps []*ebpf.MapSpec) error {
	type legacy struct {
		*ebpf.MapSpec
		index, innerIndex, id, innerID uint32
	}
	var all []legacy
	for _, m := range maps {
		at := o.place[m.Name]
		section := o.Sections[at.section]
		if section.Name != "maps" && !strings.HasPrefix(section.Name, "maps/") {
			continue
		}
		m.Flags, m.Extra = 0, nil
		var words [recordSize]byte
		copy(words[:], o.contents(section)[at.offset:at.end])
		word := func(offset int) uint32 { return binary.LittleEndian.Uint32(words[offset:]) }
		m.Pinning = ebpf.PinType(word(recordPinning))
		all = append(all, legacy{m, uint32(len(all)), word(recordInnerIndex), word(recordID), word(recordInnerID)})
	}
	for _, outer := range all {
		if outer.Type != ebpf.WindowsArrayOfMaps && outer.Type != ebpf.WindowsHashOfMaps {
			continue
		}
		i := slices.IndexFunc(all, func(inner legacy) bool {
			if outer.innerID != 0 {
				return inner.id == outer.innerID
			}
			return inner.index == outer.innerIndex
		})
		if i < 0 || all[i].Name == outer.Name {
			return fmt.Errorf("map `%s` names no inner map", outer.Name)
		}
		outer.InnerMap = all[i].MapSpec.Copy()
	}
	return nil
}
