package codegen

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"

	"github.com/cilium/ebpf"
)

// Numbers of maps of maps on Linux (linux/bpf.h).
const (
	linuxArrayOfMaps = uint32(ebpf.ArrayOfMaps)
	linuxHashOfMaps  = uint32(ebpf.HashOfMaps)
)

// Kinds of BTF types (Documentation/bpf/btf.rst).
const (
	btfInt      = 1
	btfPointer  = 2
	btfArray    = 3
	btfStruct   = 4
	btfUnion    = 5
	btfEnum     = 6
	btfFunction = 13 // FUNC_PROTO
	btfVar      = 14
	btfDatasec  = 15
	btfDeclTag  = 17
	btfEnum64   = 19
)

// btfType is the head of a type; what follows depends on the kind.
type btfType struct {
	Name, Info, Type uint32
}

func (t btfType) kind() uint32 { return t.Info >> 24 & 0x1f }

// tail is how many bytes follow the head.
func (t btfType) tail() int {
	n := int(t.Info & 0xffff)
	switch t.kind() {
	case btfInt, btfVar, btfDeclTag:
		return 4
	case btfArray:
		return 12
	case btfEnum, btfFunction:
		return 8 * n
	case btfStruct, btfUnion, btfDatasec, btfEnum64:
		return 12 * n
	}
	return 0
}

var errBTF = errors.New("damaged object: section `.BTF` does not hold BTF")

// linuxMapsOfMaps gives the object with the Linux numbers of those BTF-defined maps
// that hold maps: cilium/ebpf compares with no other ones when it reads their
// `values`. windowsMapOfMaps takes the numbers back.
func (o *object) linuxMapsOfMaps() ([]byte, error) {
	index := -1
	for i, s := range o.Sections {
		if s.Name == ".BTF" {
			index = i
		}
	}
	if index < 0 {
		return o.data, nil
	}
	raw := o.contents(o.Sections[index])
	var header btfHeader
	if _, err := binary.Decode(raw, binary.LittleEndian, &header); err != nil {
		return nil, errBTF
	}
	types, ok1 := cut(raw, header.Length, header.TypesOffset, header.TypesLength)
	names, ok2 := cut(raw, header.Length, header.StringsOffset, header.StringsLength)
	if !ok1 || !ok2 {
		return nil, errBTF
	}
	changed, err := renumberMapsOfMaps(bytes.Clone(types), names)
	if err != nil || len(changed) == len(types) {
		return o.data, err
	}

	header.Length, header.TypesOffset, header.TypesLength = uint32(binary.Size(header)), 0, uint32(len(changed))
	header.StringsOffset = header.TypesLength
	data := bytes.Clone(o.data)
	var file elf.Header64
	if _, err := binary.Decode(data, binary.LittleEndian, &file); err != nil {
		return nil, err
	}
	place := data[file.Shoff+uint64(index)*uint64(file.Shentsize)+24:] // sh_offset, sh_size
	binary.LittleEndian.PutUint64(place, uint64(len(data)))
	binary.LittleEndian.PutUint64(place[8:], uint64(binary.Size(header)+len(changed)+len(names)))
	return append(append(encode(data, header), changed...), names...), nil
}

func cut(raw []byte, base, offset, length uint32) ([]byte, bool) {
	from := uint64(base) + uint64(offset)
	if from+uint64(length) > uint64(len(raw)) {
		return nil, false
	}
	return raw[from : from+uint64(length)], true
}

// renumberMapsOfMaps gives structs with a member `values` a type of their own for
// their member `type`, int (*)[NUMBER], where the number is that of a map of maps.
func renumberMapsOfMaps(types, names []byte) ([]byte, error) {
	at := []int{0} // offsets of the types by id; 0 is void
	head := func(offset int) (t btfType) {
		binary.Decode(types[offset:], binary.LittleEndian, &t)
		return t
	}
	for offset := 0; offset < len(types); {
		if offset+12 > len(types) || offset+12+head(offset).tail() > len(types) {
			return nil, errBTF
		}
		at = append(at, offset)
		offset += 12 + head(offset).tail()
	}
	isNamed := func(offset uint32, name string) bool {
		return uint64(offset) <= uint64(len(names)) && bytes.HasPrefix(names[offset:], append([]byte(name), 0))
	}
	follow := func(id uint32, kind uint32) (int, bool) {
		return at[min(int(id), len(at)-1)], id > 0 && int(id) < len(at) && head(at[id]).kind() == kind
	}
	for _, offset := range at[1:] {
		t := head(offset)
		if t.kind() != btfStruct {
			continue
		}
		kindMember, hasValues := -1, false
		for m := offset + 12; m < offset+12+t.tail(); m += 12 {
			name := binary.LittleEndian.Uint32(types[m:])
			if isNamed(name, "type") {
				kindMember = m
			}
			hasValues = hasValues || isNamed(name, "values")
		}
		if kindMember < 0 || !hasValues {
			continue
		}
		pointer, ok := follow(binary.LittleEndian.Uint32(types[kindMember+4:]), btfPointer)
		if !ok {
			continue
		}
		array, ok := follow(head(pointer).Type, btfArray)
		if !ok {
			continue
		}
		renumbered := bytes.Clone(types[array : array+24])
		number := renumbered[20:]
		switch ebpf.MapType(joinPlatform(Windows, binary.LittleEndian.Uint32(number))) {
		case ebpf.WindowsArrayOfMaps:
			binary.LittleEndian.PutUint32(number, linuxArrayOfMaps)
		case ebpf.WindowsHashOfMaps:
			binary.LittleEndian.PutUint32(number, linuxHashOfMaps)
		default:
			continue
		}
		id := uint32(len(at)) // of the new pointer; its target is the next
		binary.LittleEndian.PutUint32(types[kindMember+4:], id)
		at = append(at, len(types), len(types)+12)
		types = append(encode(types, btfType{Info: btfPointer << 24, Type: id + 1}), renumbered...)
	}
	return types, nil
}

// windowsMapOfMaps is the reverse of linuxMapsOfMaps for the type of a map.
func windowsMapOfMaps(m *ebpf.MapSpec) {
	switch {
	case m.InnerMap == nil:
	case m.Type == ebpf.ArrayOfMaps:
		m.Type = ebpf.WindowsArrayOfMaps
	case m.Type == ebpf.HashOfMaps:
		m.Type = ebpf.WindowsHashOfMaps
	}
}
