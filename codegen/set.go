package codegen

import (
	"encoding/binary"
	"fmt"
	mathbits "math/bits"

	"github.com/cilium/ebpf"

	"github.com/hopgate/hopgate/compiler"
)

// A set's values stand in a table (settable.go), or two of them for addresses. All
// of a program's tables are reached by way of one map of maps, so that another table
// takes the place of one all at once: a lookup is made in the old or in the new
// one. A set that was never filled has no table, and denies.

// SetsMap is the map of maps that leads to the tables of sets: that of the set i
// of Program.Sets at key 2*i, and its table of IPv6 addresses at 2*i + 1.
const SetsMap = "hopgate_tables"

// Set is what a program knows of a set, for whoever changes it while it runs.
type Set struct {
	Name  string         `json:"name"`
	Field compiler.Field `json:"field"` // as in compiler.Set
}

// SetKey is the key in SetsMap of a table of the set of an index in Program.Sets.
func SetKey(set int, ipv6 bool) uint32 {
	if ipv6 {
		return uint32(2*set + 1)
	}
	return uint32(2 * set)
}

// SetFamilies says which tables a set of the field has: false is IPv4's, or that of
// both families.
func SetFamilies(f compiler.Field) []bool {
	if f == compiler.RemoteAddress {
		return []bool{false, true}
	}
	return []bool{false}
}

// windowsSetBlocks is the room a table has at least for eBPF for Windows, where
// tables that take its place are as large: a megabyte, some 100 000 prefixes.
const windowsSetBlocks = 16384

// SetMapName is the map of a set's table, for an address family, when the program
// starts; sets of other things than addresses have one, for IPv4 and IPv6 alike.
func SetMapName(s *compiler.Set, ipv6 bool) string {
	if s.Field == compiler.RemoteAddress && ipv6 {
		return "set6_" + cIdentifier(s.Name)
	}
	return "set_" + cIdentifier(s.Name)
}

// SetBytes is the size of the tables that a set starts with.
func (p *Program) SetBytes(s *compiler.Set) int {
	n := 0
	for _, m := range p.Maps {
		if m.Name == SetMapName(s, false) || m.Name == SetMapName(s, true) {
			n += int(m.MaxEntries * m.ValueSize)
		}
	}
	return n
}

// cIdentifier spells a name of the language as a C identifier; different names
// stay different.
func cIdentifier(name string) string {
	var b []byte
	for _, c := range []byte(name) {
		switch c {
		case '-':
			b = append(b, "__"...)
		case '_':
			b = append(b, "_u"...)
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

// setMaps are the tables that a policy starts with and the map of maps, if there are
// sets.
func setMaps(sets []*compiler.Set, target Target) ([]*ebpf.MapSpec, error) {
	if len(sets) == 0 {
		return nil, nil
	}
	var tables []*ebpf.MapSpec
	var largest uint32
	outer := &ebpf.MapSpec{
		Name: SetsMap, Type: target.mapType(ebpf.WindowsArrayOfMaps),
		KeySize: 4, ValueSize: 4, MaxEntries: uint32(2 * len(sets)),
	}
	for i, s := range sets {
		for _, ipv6 := range SetFamilies(s.Field) {
			blocks, err := SetTable(s.Field, s.Ranges, ipv6)
			if err != nil {
				return nil, fmt.Errorf("set `%s`: %w", s.Name, err)
			}
			table := SetTableMap(blocks, target)
			table.Name = SetMapName(s, ipv6)
			largest = max(largest, table.MaxEntries)
			tables = append(tables, table)
			key := binary.LittleEndian.AppendUint32(nil, SetKey(i, ipv6))
			outer.Contents = append(outer.Contents, ebpf.MapKV{Key: key, Value: table.Name})
		}
	}
	if target == Windows { // its maps in a map of maps are of one length
		for _, t := range tables {
			t.MaxEntries = largest
		}
	}
	outer.InnerMap = tables[0].Copy()
	outer.InnerMap.Name, outer.InnerMap.Contents = "", nil
	return append(tables, outer), nil
}

// SetTableMap describes the map of a table, with the table in it. On Windows it has
// windowsSetBlocks at least.
func SetTableMap(blocks []byte, target Target) *ebpf.MapSpec {
	spec := &ebpf.MapSpec{
		Type: target.mapType(ebpf.WindowsArray), KeySize: 4, ValueSize: tableBlock,
		MaxEntries: uint32(len(blocks) / tableBlock),
	}
	if target == Linux {
		spec.Flags = linuxInnerMap | linuxMmapable
	} else {
		spec.MaxEntries = max(spec.MaxEntries, windowsSetBlocks)
	}
	keys := make([]byte, len(blocks)/tableBlock*4)
	for i := 0; i < len(blocks); i += tableBlock {
		key, block := keys[i/16:][:4:4], blocks[i:][:tableBlock:tableBlock]
		binary.LittleEndian.PutUint32(key, uint32(i/tableBlock))
		spec.Contents = append(spec.Contents, ebpf.MapKV{Key: key, Value: block})
	}
	return spec
}

// setKeyBytes is the length of a value of the field.
func setKeyBytes(f compiler.Field, ipv6 bool) uint32 {
	switch f {
	case compiler.RemoteAddress, compiler.LocalAddress:
		if ipv6 {
			return 16
		}
		return 4
	case compiler.NextHop, compiler.Interface:
		return 8
	}
	return 4
}

func trailingZeros(v compiler.Value) int {
	if v.Lo != 0 {
		return mathbits.TrailingZeros64(v.Lo)
	}
	return 64 + mathbits.TrailingZeros64(v.Hi)
}

func lowBits(n int) uint64 { return 1<<n - 1 }
