package runtime

import (
	"errors"
	"fmt"
	"path"

	"github.com/cilium/ebpf"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// KernelTables are the maps of an engine that a kernel runs: codegen.TableMap and
// codegen.SetsMap. What they hold is for target.
func KernelTables(tables, sets *ebpf.Map, target codegen.Target) TableMaps {
	return kernelTables{tables, sets, target}
}

type kernelTables struct {
	tables, sets *ebpf.Map
	target       codegen.Target
}

func (m kernelTables) Target() codegen.Target { return m.target }

// inMemory reports whether the kernel's maps can be mapped into memory.
func (m kernelTables) inMemory() bool { return m.tables.Type() == ebpf.ArrayOfMaps }

// inner is the map of the first sheet of the table in force; nil for none.
func (m kernelTables) inner(hook compiler.Hook) (*ebpf.Map, error) { return m.sheet(uint32(hook)) }

// sheet is the map of a sheet; nil for none.
func (m kernelTables) sheet(key uint32) (*ebpf.Map, error) {
	var sheet *ebpf.Map
	err := m.tables.Lookup(key, &sheet)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, nil
	}
	return sheet, err
}

func (m kernelTables) Table(hook compiler.Hook) (value []byte, err error) {
	for n := range codegen.MaxTableSheets {
		sheet, err := m.sheet(codegen.TableSheetKey(hook, codegen.TableGeneration(value), n))
		if sheet == nil {
			return value, err
		}
		read, err := readTableValue(sheet, 0, codegen.TableValueSize)
		if err := errors.Join(err, sheet.Close()); err != nil {
			return nil, err
		}
		value = append(value, read...)
	}
	return value, nil
}

func (m kernelTables) Generation(hook compiler.Hook) (uint32, error) {
	inner, err := m.inner(hook)
	if inner == nil {
		return 0, err
	}
	defer inner.Close()
	header, err := readTableValue(inner, 0, codegen.TableGenerationAt+4)
	return codegen.TableGeneration(header), err
}

// readTableValue reads some bytes of the sheet that a map holds, from memory where that
// can be had, else by pages.
func readTableValue(m *ebpf.Map, at, length int) ([]byte, error) {
	value := make([]byte, 0, length)
	if m.Type() == ebpf.Array {
		memory, err := m.Memory()
		if err != nil {
			return nil, err
		}
		_, err = memory.ReadAt(value[:length], int64(at))
		return value[:length], err
	}
	for len(value) < length {
		place := at + len(value)
		page, err := m.LookupBytes(uint32(place / codegen.TablePage))
		if err != nil {
			return nil, err
		}
		rest := page[place%codegen.TablePage:]
		value = append(value, rest[:min(len(rest), length-len(value))]...)
	}
	return value, nil
}

func (m kernelTables) Switch(hook compiler.Hook, table []codegen.TablePart) error {
	sheets := codegen.TableSheets(table)
	generation := codegen.TableGeneration(table[0].Data)
	var keys []uint32
	var maps []*ebpf.Map
	for n, sheet := range sheets {
		inner, err := m.fill(sheet)
		if err != nil {
			return err
		}
		defer inner.Close()
		keys, maps = append(keys, codegen.TableSheetKey(hook, generation, n)), append(maps, inner)
	}
	for n := len(sheets); n < codegen.MaxTableSheets; n++ { // that a policy of these keys has left
		key := codegen.TableSheetKey(hook, generation, n)
		left, err := m.sheet(key)
		if left == nil && err == nil {
			break
		}
		if err == nil {
			err = errors.Join(left.Close(), m.tables.Delete(key))
		}
		if err != nil {
			return err
		}
	}
	if err := m.putAll(m.tables, keys[1:], maps[1:]); err != nil {
		return err
	}
	return m.tables.Put(keys[0], maps[0])
}

// putAll puts maps into a map of maps. Linux is given all at once: it returns when no
// program uses what they replace, and waits for that once.
func (m kernelTables) putAll(into *ebpf.Map, keys []uint32, maps []*ebpf.Map) error {
	if !m.inMemory() {
		for i, key := range keys {
			if err := into.Put(key, maps[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if len(keys) == 0 {
		return nil
	}
	values := make([]uint32, len(maps))
	for i, inner := range maps {
		values[i] = uint32(inner.FD())
	}
	_, err := into.BatchUpdate(keys, values, nil)
	return err
}

// fill makes a map of a sheet. It writes only what is not zero.
func (m kernelTables) fill(value []codegen.TablePart) (*ebpf.Map, error) {
	spec := codegen.TableValueMap(m.target)
	if m.inMemory() { // tests run the engine for Windows on Linux, too
		spec.Type, spec.Flags = ebpf.Array, codegen.TableValueMap(codegen.Linux).Flags
	}
	inner, err := ebpf.NewMap(spec)
	if err != nil {
		return nil, err
	}
	if m.inMemory() {
		err = writeParts(inner, value)
	} else {
		err = putPages(inner, value)
	}
	if err != nil {
		_ = inner.Close()
		return nil, err
	}
	return inner, nil
}

func writeParts(to *ebpf.Map, parts []codegen.TablePart) error {
	memory, err := to.Memory()
	if err != nil {
		return err
	}
	for _, p := range parts {
		if _, err := memory.WriteAt(p.Data, int64(p.At)); err != nil {
			return err
		}
	}
	return nil
}

func putPages(to *ebpf.Map, parts []codegen.TablePart) error {
	for n, page := range codegen.TablePages(parts) {
		if err := to.Put(n, page); err != nil {
			return err
		}
	}
	return nil
}

func (m kernelTables) PutSets(base uint32, sets []codegen.TableSetTable) error {
	var keys []uint32
	var maps []*ebpf.Map
	for _, s := range sets {
		table, err := m.setTable(base+s.Key, s.Blocks)
		if err != nil {
			return err
		}
		defer table.Close()
		keys, maps = append(keys, base+s.Key), append(maps, table)
	}
	return m.putAll(m.sets, keys, maps)
}

// setTable makes the map of a set's table for a key.
func (m kernelTables) setTable(key uint32, blocks []byte) (*ebpf.Map, error) {
	if !m.inMemory() {
		spec := codegen.SetTableMap(blocks, codegen.Windows)
		room, err := m.setRoom(key)
		if err != nil {
			return nil, err
		}
		if len(spec.Contents) > int(room) {
			return nil, fmt.Errorf("%d bytes, of which there is room for %d; a policy that starts with a larger set makes more", len(blocks), room*spec.ValueSize)
		}
		spec.MaxEntries = room
		return ebpf.NewMap(spec)
	}
	spec := codegen.SetTableMap(blocks, codegen.Linux)
	spec.Contents = nil
	table, err := ebpf.NewMap(spec)
	if err != nil {
		return nil, err
	}
	if err := writeParts(table, []codegen.TablePart{{Data: blocks}}); err != nil {
		_ = table.Close()
		return nil, err
	}
	return table, nil
}

// setRoom is how many blocks a set's table has on Windows: as many as the one before.
func (m kernelTables) setRoom(key uint32) (uint32, error) {
	var before *ebpf.Map
	err := m.sets.Lookup(key, &before)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return codegen.SetTableMap(nil, codegen.Windows).MaxEntries, nil
	}
	if err != nil {
		return 0, err
	}
	defer before.Close()
	return before.MaxEntries(), nil
}

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
	for _, name := range []string{codegen.TableMap, codegen.SetsMap} {
		m, err := ebpf.LoadPinnedMap(path.Join(dir, name), nil)
		if err != nil {
			_ = p.Close()
			return nil, fmt.Errorf("no engine of form table is pinned in `%s`: %w", dir, err)
		}
		p.maps = append(p.maps, m)
	}
	target := codegen.Windows
	if p.maps[0].Type() == ebpf.ArrayOfMaps {
		target = codegen.Linux
	}
	p.TableMaps = KernelTables(p.maps[0], p.maps[1], target)
	return p, nil
}

func (p *PinnedTables) inner(hook compiler.Hook) (*ebpf.Map, error) {
	return p.TableMaps.(kernelTables).inner(hook)
}

// Close lets go of the maps; they go on.
func (p *PinnedTables) Close() error {
	var errs []error
	for _, m := range p.maps {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
