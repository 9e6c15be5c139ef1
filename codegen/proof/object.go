package proof

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"

	"github.com/hopgate/hopgate/codegen"
)

// instruction is one instruction as it stands in the object (RFC 9669), a 64-bit
// constant with both of its slots.
type instruction struct {
	code     uint8
	dst, src uint8
	offset   int16
	imm      int64
	mapName  string // of a load that a relocation points at a map
	callee   string // of a call that a relocation points at a function of the object
}

// function is an entry point of the object, or a decision of one for target linux. Code
// is indexed by slot; the second slot of a 64-bit constant is left empty.
type function struct {
	attach   codegen.AttachType
	decision *decision // nil of an entry point
	code     []instruction
}

func (f *function) name() string {
	if f.decision != nil {
		return f.decision.name
	}
	return f.attach.Section()
}

func (f *function) ipv6() bool {
	if f.decision != nil {
		return f.decision.ipv6
	}
	switch f.attach {
	case codegen.AttachConnectAuthorization6, codegen.AttachRecvAccept6, codegen.AttachConnect6:
		return true
	}
	return false
}

// localSection has the functions that programs call.
const localSection = ".text"

// readFunctions decodes the attach sections from the bytes of the file.
func readFunctions(data []byte) ([]*function, error) {
	file, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	symbols, err := file.Symbols()
	if err != nil {
		return nil, err
	}
	var list []*function
	for i, s := range file.Sections {
		if s.Flags&elf.SHF_EXECINSTR == 0 || s.Name == localSection || s.Size == 0 {
			continue
		}
		attach, ok := codegen.AttachTypeOf(s.Name)
		if !ok {
			return nil, fmt.Errorf("section %s: a program that no policy has", s.Name)
		}
		for _, sym := range symbols {
			if int(sym.Section) == i && elf.ST_TYPE(sym.Info) == elf.STT_FUNC && sym.Value != 0 {
				return nil, fmt.Errorf("section %s: more than one function", s.Name)
			}
		}
		f := &function{attach: attach}
		if f.code, err = readCode(file, i, symbols, 0, s.Size); err != nil {
			return nil, fmt.Errorf("section %s: %w", s.Name, err)
		}
		list = append(list, f)
	}
	return list, nil
}

const loadConstant = 0x18

// readCode decodes a stretch of a section.
func readCode(file *elf.File, index int, symbols []elf.Symbol, from, size uint64) ([]instruction, error) {
	data, err := file.Sections[index].Data()
	if err != nil {
		return nil, err
	}
	if from > uint64(len(data)) || size > uint64(len(data))-from || from%8 != 0 || size%8 != 0 || size == 0 {
		return nil, fmt.Errorf("%d bytes are no instructions", size)
	}
	data = data[from : from+size]
	names, err := references(file, index, symbols)
	if err != nil {
		return nil, err
	}
	code := make([]instruction, len(data)/8)
	for i := 0; i < len(code); i++ {
		b := data[8*i:]
		in := &code[i]
		*in = instruction{
			code: b[0], dst: b[1] & 15, src: b[1] >> 4,
			offset: int16(binary.LittleEndian.Uint16(b[2:])),
			imm:    int64(int32(binary.LittleEndian.Uint32(b[4:]))),
		}
		if in.dst > 10 || in.src > 10 || !in.clean() {
			return nil, fmt.Errorf("instruction %d is malformed", i)
		}
		if in.code != loadConstant {
			if in.code == classJump|opCall {
				in.callee = names[from+uint64(8*i)]
			}
			continue
		}
		if i+1 == len(code) || binary.LittleEndian.Uint32(data[8*i+8:]) != 0 || in.offset != 0 {
			return nil, fmt.Errorf("instruction %d: half a constant", i)
		}
		in.imm = int64(uint64(uint32(in.imm)) | uint64(binary.LittleEndian.Uint32(b[12:]))<<32)
		if in.mapName = names[from+uint64(8*i)]; in.mapName == "" && in.src != 0 {
			return nil, fmt.Errorf("instruction %d loads the address of nothing", i)
		}
		i++
	}
	return code, nil
}

// references gives the symbols that relocations refer to, by offset in the section.
func references(file *elf.File, index int, symbols []elf.Symbol) (map[uint64]string, error) {
	const (
		relocation64 = 1  // R_BPF_64_64: of a 64-bit constant
		relocation32 = 10 // R_BPF_64_32: of a call
	)
	names := map[uint64]string{}
	for _, r := range file.Sections {
		if r.Type != elf.SHT_REL || int(r.Info) != index {
			continue
		}
		code, err := file.Sections[index].Data()
		if err != nil {
			return nil, err
		}
		data, err := r.Data()
		if err != nil {
			return nil, err
		}
		for ; len(data) >= 16; data = data[16:] {
			at, info := binary.LittleEndian.Uint64(data), binary.LittleEndian.Uint64(data[8:])
			symbol := int(elf.R_SYM64(info)) - 1 // Symbols leaves out the null one
			if at >= uint64(len(code)) || symbol < 0 || symbol >= len(symbols) {
				return nil, fmt.Errorf("a relocation of nothing")
			}
			kind := uint32(relocation64)
			if code[at] == classJump|opCall {
				kind = relocation32
			}
			if elf.R_TYPE64(info) != kind {
				return nil, fmt.Errorf("a relocation of another kind")
			}
			names[at] = symbols[symbol].Name
		}
	}
	return names, nil
}

// checkLookup compares a function that the object calls with the one that looks sets
// up.
func checkLookup(object []byte, name string, target codegen.Target) error {
	file, err := elf.NewFile(bytes.NewReader(object))
	if err != nil {
		return err
	}
	symbols, err := file.Symbols()
	if err != nil {
		return err
	}
	want, at, ok := codegen.SetLookupCode(name, target)
	if !ok {
		return &errWrong{reason: fmt.Sprintf("calls `%s`, which is not known", name)}
	}
	for _, s := range symbols {
		if s.Name != name || int(s.Section) >= len(file.Sections) {
			continue
		}
		data, err := file.Sections[s.Section].Data()
		if err != nil {
			return err
		}
		if s.Size != uint64(len(want)) || s.Value+s.Size > uint64(len(data)) || !bytes.Equal(data[s.Value:s.Value+s.Size], want) {
			break
		}
		names, err := references(file, int(s.Section), symbols)
		if err != nil {
			return err
		}
		for offset, symbol := range names {
			if offset >= s.Value && offset < s.Value+s.Size && (offset != s.Value+at || symbol != codegen.SetsMap) {
				return &errWrong{reason: fmt.Sprintf("function `%s` refers to something else", name)}
			}
		}
		if names[s.Value+at] == codegen.SetsMap {
			return nil
		}
		break
	}
	return &errWrong{reason: fmt.Sprintf("function `%s` is not the one that looks sets up", name)}
}

// clean reports whether the fields that the instruction does not use are zero, as RFC
// 9669 wants them.
func (in *instruction) clean() bool {
	noOffset, noImmediate := in.offset == 0, in.imm == 0
	class, op := in.code&7, in.code&0xf0
	register := in.code&sourceRegister != 0
	switch class {
	case classLoad:
		return noImmediate
	case classStoreRegister:
		return noImmediate || in.code&0xe0 == modeAtomic
	case classStore:
		return in.src == 0
	case classALU32, classALU64:
		if op == opSwap {
			return noOffset && in.src == 0 && (in.imm == 16 || in.imm == 32 || in.imm == 64)
		}
		return (register && noImmediate || !register && in.src == 0) && in.dst != 10
	case classJump, classJump32:
		switch op {
		case opCall:
			return noOffset && in.dst == 0 && in.src <= 2 && class == classJump && !register
		case opExit:
			return noOffset && noImmediate && in.dst == 0 && in.src == 0 && class == classJump && !register
		case jumpAlways:
			return in.dst == 0 && in.src == 0 && !register && (class == classJump && noImmediate || class == classJump32 && noOffset)
		}
		known := op < opCall || jumpLess <= op && op <= jumpSignedLessEqual
		return known && (register && noImmediate || !register && in.src == 0)
	}
	return true
}
