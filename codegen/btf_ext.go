package codegen

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// SourceLine is where in a policy an instruction comes from; attach it with
// asm.Instruction.WithSource. Objects keep it as BTF line info.
type SourceLine struct {
	Text   string // what stands there: `rule no-smb`
	File   string
	Line   int // from 1
	Column int // from 1
}

// String gives `rule no-smb: corp.hop:12:3`, or the text alone where no file is
// known.
func (s SourceLine) String() string {
	if s.File == "" {
		return s.Text
	}
	return fmt.Sprintf("%s: %s:%d:%d", s.Text, s.File, s.Line, s.Column)
}

// Limits of struct bpf_line_info (linux/bpf.h): the line has 22 bits and the column
// 10. A place beyond them is written as 0:0, unknown.
const (
	maxLine   = 1<<22 - 1
	maxColumn = 1<<10 - 1
)

// sourceOf gives the source of an instruction; all but Text is zero where it is
// only a comment.
func sourceOf(ins *asm.Instruction) SourceLine {
	switch s := ins.Source().(type) {
	case nil:
		return SourceLine{}
	case SourceLine:
		return s
	case *btf.Line:
		return SourceLine{s.Line(), s.FileName(), int(s.LineNumber()), int(s.LineColumn())}
	default:
		return SourceLine{Text: s.String()}
	}
}

// withSource is the reverse of sourceOf.
func withSource(ins asm.Instruction, s SourceLine) asm.Instruction {
	switch s {
	case SourceLine{}:
		return ins.WithSource(nil)
	case SourceLine{Text: s.Text}:
		return ins.WithSource(asm.Comment(s.Text))
	}
	return ins.WithSource(s)
}

// btfHeader is the header of .BTF (Documentation/bpf/btf.rst, section 2).
type btfHeader struct {
	Magic                        uint16
	Version, Flags               uint8
	Length                       uint32
	TypesOffset, TypesLength     uint32
	StringsOffset, StringsLength uint32
}

// btfExtHeader is the header of .BTF.ext (section 4.2 there).
type btfExtHeader struct {
	Magic                            uint16
	Version, Flags                   uint8
	Length                           uint32
	FunctionsOffset, FunctionsLength uint32
	LinesOffset, LinesLength         uint32
	CoreOffset, CoreLength           uint32
}

const btfMagic = 0xeb9f

// marshalExt gives .BTF.ext, in which every function and every policy line has its
// instruction, and .BTF with the names that takes. Line info covers the first
// instruction of each function, as eBPF for Windows and Linux ask, if need be with
// an empty line. ids are the types of the functions, section by section, and
// structures those of kernel structures.
func marshalExt(types []byte, code []*codeSection, ids [][]btf.TypeID, structures map[string]btf.TypeID) ([]byte, []byte, error) {
	var header btfHeader
	if _, err := binary.Decode(types, binary.LittleEndian, &header); err != nil {
		return nil, nil, err
	}
	known := map[string]uint32{"": 0}
	name := func(s string) uint32 {
		if _, ok := known[s]; !ok {
			known[s] = header.StringsLength
			types = append(append(types, s...), 0)
			header.StringsLength += uint32(len(s)) + 1
		}
		return known[s]
	}

	functions := encode(nil, uint32(8)) // sizes of a record
	lines := encode(nil, uint32(16))
	core := encode(nil, uint32(16))
	for i, s := range code {
		functions = encode(functions, [2]uint32{name(s.name), uint32(len(s.functions))})
		for j, f := range s.functions {
			functions = encode(functions, [2]uint32{uint32(f.offset), uint32(ids[i][j])})
		}
		var records [][4]uint32
		for _, f := range s.functions {
			for iter := f.instructions.Iterate(); iter.Next(); {
				at := sourceOf(iter.Ins)
				if at == (SourceLine{}) && iter.Index > 0 {
					continue
				}
				if strings.ContainsRune(at.Text+at.File, 0) {
					return nil, nil, fmt.Errorf("function `%s`: zero byte in the source of instruction %d", f.name, iter.Index)
				}
				place := uint32(at.Line)<<10 | uint32(at.Column)
				if at.Line > maxLine || at.Column > maxColumn {
					place = 0
				}
				records = append(records, [4]uint32{uint32(f.offset + iter.Offset.Bytes()), name(at.File), name(at.Text), place})
			}
		}
		lines = encode(lines, [2]uint32{name(s.name), uint32(len(records))})
		lines = encode(lines, records)
		records = nil
		for _, f := range s.functions {
			for _, r := range f.kernel {
				records = append(records, [4]uint32{uint32(f.offset + r.offset), uint32(structures[r.structure]), name(r.access()), r.kind})
			}
		}
		if len(records) > 0 {
			core = encode(core, [2]uint32{name(s.name), uint32(len(records))})
			core = encode(core, records)
		}
	}
	if len(structures) == 0 {
		core = nil
	}

	ext := encode(nil, btfExtHeader{
		Magic: btfMagic, Version: 1, Length: uint32(binary.Size(btfExtHeader{})),
		FunctionsLength: uint32(len(functions)),
		LinesOffset:     uint32(len(functions)), LinesLength: uint32(len(lines)),
		CoreOffset: uint32(len(functions) + len(lines)), CoreLength: uint32(len(core)),
	})
	copy(types, encode(nil, header))
	return types, slices.Concat(ext, functions, lines, core), nil
}
