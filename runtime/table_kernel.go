package runtime

import (
	"errors"

	"github.com/cilium/ebpf"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// KernelTables are the maps of an engine that a kernel runs: codegen.TableMap and
// codegen.TableSetsMap.
func KernelTables(tables, sets *ebpf.Map) TableMaps { return kernelTables{tables, sets} }

type kernelTables struct{ tables, sets *ebpf.Map }

// Table is nil for an entry without a map.
func (m kernelTables) Table(hook compiler.Hook) ([]byte, error) {
	var inner *ebpf.Map
	err := m.tables.Lookup(uint32(hook), &inner)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer inner.Close()
	return inner.LookupBytes(uint32(0))
}

func (m kernelTables) Switch(hook compiler.Hook, value []byte) error {
	spec := codegen.TableValueMap(codegen.Windows)
	if m.tables.Type() == ebpf.ArrayOfMaps {
		spec.Type = ebpf.Array
	}
	inner, err := ebpf.NewMap(spec)
	if err != nil {
		return err
	}
	defer inner.Close()
	if err := inner.Put(uint32(0), value); err != nil {
		return err
	}
	return m.tables.Put(uint32(hook), inner)
}

// SetKeys reads the keys one after the other: a trie gives no batches on every
// kernel.
func (m kernelTables) SetKeys() ([][]byte, error) {
	var keys [][]byte
	for key, err := m.sets.NextKeyBytes(nil); key != nil || err != nil; key, err = m.sets.NextKeyBytes(key) {
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (m kernelTables) PutSet(key, value []byte) error { return m.sets.Put(key, value) }
func (m kernelTables) DeleteSet(key []byte) error     { return m.sets.Delete(key) }
