package runtime

import (
	"errors"
	"fmt"
	"path/filepath"

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

// PinnedTables are the maps of an engine that runs in the kernel, found where it is
// pinned.
type PinnedTables struct {
	TableMaps
	maps []*ebpf.Map
}

// OpenTables opens the maps that are pinned in a directory. The error says which
// is not there.
func OpenTables(dir string) (*PinnedTables, error) {
	p := new(PinnedTables)
	for _, name := range []string{codegen.TableMap, codegen.TableSetsMap} {
		m, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), nil)
		if err != nil {
			_ = p.Close()
			return nil, fmt.Errorf("no engine of form table is pinned in `%s`: %w", dir, err)
		}
		p.maps = append(p.maps, m)
	}
	p.TableMaps = KernelTables(p.maps[0], p.maps[1])
	return p, nil
}

// Close lets go of the maps; they go on.
func (p *PinnedTables) Close() error {
	var errs []error
	for _, m := range p.maps {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
