package codegen

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"slices"
)

// License is what programs declare to the kernel. Linux gives its GPL-only helpers
// and kfuncs to programs under this one; eBPF for Windows does not look.
const License = "Dual BSD/GPL"

// machineBPF is EM_BPF and relocation types are those of the Linux kernel's
// Documentation/bpf/llvm_reloc.rst.
const (
	machineBPF = 247

	relocation64 = 1  // R_BPF_64_64: the constant of an lddw
	relocation32 = 10 // R_BPF_64_32: the constant of a call
)

// WriteELF writes the program as a relocatable eBPF object, as clang would have
// compiled it from C: eBPF for Windows, libbpf, bpftool and cilium/ebpf load it.
// Map types have the target's own numbers. The same program gives the same bytes.
//
// The error says what of the program cannot be expressed: a jump that leaves its
// function, a reference to nothing, a name that is no C identifier.
func (p *Program) WriteELF(w io.Writer) error {
	maps, err := p.mapDefinitions()
	if err != nil {
		return err
	}
	code, err := placeFunctions(p)
	if err != nil {
		return err
	}
	types, ext, err := marshalBTF(code, maps)
	if err != nil {
		return err
	}
	record, contents, err := p.marshalRecord()
	if err != nil {
		return err
	}

	f := elfFile{sections: make([]elfSection, 1), symbols: make([]elfSymbol, 1)}
	for _, s := range code {
		index := f.section(s.name, elf.SHT_PROGBITS, elf.SHF_ALLOC|elf.SHF_EXECINSTR, 8, s.data)
		for _, fn := range s.functions {
			f.symbol(fn.name, elf.STT_FUNC, fn.visibility(), index, fn.offset, uint64(len(fn.data)))
		}
	}
	if len(maps.vars.Vars) > 0 {
		index := f.section(mapsSection, elf.SHT_PROGBITS, elf.SHF_ALLOC|elf.SHF_WRITE, 8, make([]byte, maps.vars.Size))
		for i, v := range maps.vars.Vars {
			f.symbol(maps.names[i], elf.STT_OBJECT, elf.STV_DEFAULT, index, uint64(v.Offset), uint64(v.Size))
		}
	}
	for _, name := range kernelFunctionsCalled(code) {
		f.symbol(name, elf.STT_NOTYPE, elf.STV_DEFAULT, int(elf.SHN_UNDEF), 0, 0)
	}
	for i, s := range code {
		f.relocations(".rel"+s.name, i+1, s.relocations)
	}
	f.section("license", elf.SHT_PROGBITS, elf.SHF_ALLOC|elf.SHF_WRITE, 1, []byte(License+"\x00"))
	f.section(".BTF", elf.SHT_PROGBITS, 0, 4, types)
	f.section(".BTF.ext", elf.SHT_PROGBITS, 0, 4, ext)
	f.section(recordSection, elf.SHT_PROGBITS, 0, 1, record)
	if len(contents) > 0 {
		f.section(contentsSection, elf.SHT_PROGBITS, 0, 1, contents)
	}
	_, err = w.Write(f.bytes())
	return err
}

// elfFile is an object being written. The first section and the first symbol are
// the null ones of the format.
type elfFile struct {
	sections []elfSection
	symbols  []elfSymbol
}

type elfSection struct {
	name string
	head elf.Section64 // Name, Off and Size are set when written
	data []byte
}

type elfSymbol struct {
	name string
	elf.Sym64
}

func (f *elfFile) section(name string, kind elf.SectionType, flags elf.SectionFlag, align uint64, data []byte) int {
	f.sections = append(f.sections, elfSection{name, elf.Section64{Type: uint32(kind), Flags: uint64(flags), Addralign: align}, data})
	return len(f.sections) - 1
}

func (f *elfFile) symbol(name string, kind elf.SymType, visibility elf.SymVis, section int, value, size uint64) {
	f.symbols = append(f.symbols, elfSymbol{name, elf.Sym64{
		Info:  elf.ST_INFO(elf.STB_GLOBAL, kind),
		Other: byte(visibility),
		Shndx: uint16(section),
		Value: value,
		Size:  size,
	}})
}

// relocations adds the relocations of a section, if there are any.
func (f *elfFile) relocations(name string, section int, relocations []relocation) {
	if len(relocations) == 0 {
		return
	}
	indices := make(map[string]uint32, len(f.symbols))
	for i, s := range f.symbols {
		indices[s.name] = uint32(i)
	}
	var data []byte
	for _, r := range relocations {
		data = binary.LittleEndian.AppendUint64(data, r.offset)
		data = binary.LittleEndian.AppendUint64(data, elf.R_INFO(indices[r.symbol], r.kind))
	}
	index := f.section(name, elf.SHT_REL, 0, 8, data)
	f.sections[index].head.Info = uint32(section)
	f.sections[index].head.Entsize = 16
}

// bytes gives the file: header, contents of the sections, section headers and
// nothing after them.
func (f *elfFile) bytes() []byte {
	f.tables()
	var header elf.Header64
	var file bytes.Buffer
	file.Write(make([]byte, binary.Size(header)))
	pad := func(align uint64) {
		for uint64(file.Len())%align != 0 {
			file.WriteByte(0)
		}
	}
	for i := range f.sections[1:] {
		s := &f.sections[i+1]
		pad(s.head.Addralign)
		s.head.Off, s.head.Size = uint64(file.Len()), uint64(len(s.data))
		file.Write(s.data)
	}
	pad(8)

	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	header.Type = uint16(elf.ET_REL)
	header.Machine = machineBPF
	header.Version = uint32(elf.EV_CURRENT)
	header.Ehsize = uint16(binary.Size(header))
	header.Shoff = uint64(file.Len())
	header.Shentsize = uint16(binary.Size(elf.Section64{}))
	header.Shnum = uint16(len(f.sections))
	header.Shstrndx = uint16(len(f.sections) - 1)

	out := file.Bytes()
	for i := range f.sections {
		out = encode(out, &f.sections[i].head)
	}
	copy(out, encode(nil, &header))
	return out
}

// tables adds the symbol table and the string table, which names both the
// symbols and the sections, as the last two sections.
func (f *elfFile) tables() {
	symtab := f.section(".symtab", elf.SHT_SYMTAB, 0, 8, nil)
	strtab := f.section(".strtab", elf.SHT_STRTAB, 0, 1, nil)

	names := []byte{0}
	name := func(s string) uint32 {
		if s == "" {
			return 0
		}
		at := uint32(len(names))
		names = append(append(names, s...), 0)
		return at
	}
	var symbols []byte
	for _, s := range f.symbols {
		s.Name = name(s.name)
		symbols = encode(symbols, &s.Sym64)
	}
	for i := range f.sections {
		s := &f.sections[i]
		s.head.Name = name(s.name)
		if elf.SectionType(s.head.Type) == elf.SHT_REL {
			s.head.Link = uint32(symtab)
		}
	}
	f.sections[symtab].data = symbols
	f.sections[symtab].head.Link = uint32(strtab)
	f.sections[symtab].head.Info = 1 // the first global symbol
	f.sections[symtab].head.Entsize = elf.Sym64Size
	f.sections[strtab].data = names
}

// encode appends the little-endian form of a fixed-size value.
func encode(to []byte, value any) []byte {
	out, err := binary.Append(slices.Grow(to, binary.Size(value)), binary.LittleEndian, value)
	if err != nil {
		panic("codegen: " + err.Error()) // not of a fixed size
	}
	return out
}
