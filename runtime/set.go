package runtime

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime/vm"
)

// ChangeSet changes a dynamic set of the program by literals of the policy language.
// A decision sees the set of before or that of after, not some of each.
func (i *Instance) ChangeSet(name string, change compiler.SetChange, literals []string) error {
	i.mu.Lock() // another table has other sets
	defer i.mu.Unlock()
	number, set, err := findSet(i.program.Sets, name)
	if err != nil {
		return err
	}
	ranges, err := compiler.SetRanges(set.Field, literals)
	if err != nil {
		return err
	}
	outer := i.maps[codegen.SetsMap]
	if outer == nil {
		return fmt.Errorf("the program has no map `%s`", codegen.SetsMap)
	}
	for _, ipv6 := range codegen.SetFamilies(set.Field) {
		key := binary.LittleEndian.AppendUint32(nil, i.setBase+codegen.SetKey(number, ipv6))
		before, err := readTable(outer.Inner(key), ipv6)
		if err != nil {
			return err
		}
		blocks, err := codegen.SetTable(set.Field, change.Apply(before, ranges), ipv6)
		if err != nil {
			return fmt.Errorf("set `%s`: %w", name, err)
		}
		table, err := vm.NewMap(codegen.SetTableMap(blocks, i.program.Target))
		if err != nil {
			return err
		}
		if err := outer.SetMap(key, table); err != nil {
			return fmt.Errorf("set `%s`: %w", name, err)
		}
	}
	return nil
}

// readTable gives what a set's table holds; no table holds nothing.
func readTable(m *vm.Map, ipv6 bool) ([]compiler.Range, error) {
	if m == nil {
		return nil, nil
	}
	var blocks []byte
	for n := range m.Spec().MaxEntries {
		block, err := m.Lookup(binary.LittleEndian.AppendUint32(nil, n))
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, block...)
	}
	_, ranges, err := codegen.TableRanges(blocks, ipv6)
	return ranges, err
}

// findSet finds a dynamic set of a program, and its number.
func findSet(sets []codegen.Set, name string) (int, codegen.Set, error) {
	i := slices.IndexFunc(sets, func(s codegen.Set) bool { return s.Name == name })
	if i < 0 {
		return 0, codegen.Set{}, fmt.Errorf("the policy has no dynamic set `%s`", name)
	}
	return i, sets[i], nil
}
