package runtime

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime/vm"
)

// TableMaps are the maps of an engine that runs somewhere.
type TableMaps interface {
	Target() codegen.Target
	// Table is the table in force for a hook, sheet by sheet; nil for none.
	Table(hook compiler.Hook) ([]byte, error)
	// Generation is that of the table in force; 0 for none.
	Generation(hook compiler.Hook) (uint32, error)
	// Switch puts another table in force, by one update: every decision uses the
	// old one or the new one.
	Switch(hook compiler.Hook, table []codegen.TablePart) error
	// PutSets puts tables of sets in their places, from a key on.
	PutSets(base uint32, sets []codegen.TableSetTable) error
}

// ErrNoTable says that an engine has no policy and so denies everything.
var ErrNoTable = errors.New("the engine has no policy")

// LoadTable puts a policy in force in a running engine, with the interfaces that the
// host has looked up. On an error the old one still is. Two loads must not run at the
// same time.
func LoadTable(maps TableMaps, t *codegen.Table, with codegen.TableLoading) error {
	if t.Target != maps.Target() {
		return fmt.Errorf("the policy's table is for target %s, the engine for %s", t.Target, maps.Target())
	}
	old, err := maps.Generation(t.Hook)
	if err != nil {
		return err
	}
	// The sets of the policy before the old one make room: decisions that still use
	// the old one must find its sets.
	with.Generation = old + 1
	sets := with.Sets
	if sets == nil {
		sets = t.SetTables
	}
	if err := maps.PutSets(codegen.TableSetBase(t.Hook, with.Generation), sets); err != nil {
		return fmt.Errorf("dynamic sets: %w", err)
	}
	return maps.Switch(t.Hook, t.Parts(&with))
}

// ReadTable reads the policy in force for a hook, with its decisions by rule. The
// error is ErrNoTable, or says what is wrong with the table.
func ReadTable(maps TableMaps, hook compiler.Hook) (*codegen.Table, []uint64, error) {
	value, err := maps.Table(hook)
	if err != nil {
		return nil, nil, err
	}
	if value == nil {
		return nil, nil, ErrNoTable
	}
	return codegen.ParseTableSheets(value)
}

// LoadTable puts a policy in force in an instance of an engine. Eval judges by the
// hook of the policy that was loaded last.
func (i *Instance) LoadTable(t *codegen.Table) error {
	maps, err := i.TableMaps()
	if err != nil {
		return err
	}
	about, err := t.Description()
	if err != nil {
		return err
	}
	i.mu.Lock() // counters and rules change with the table
	defer i.mu.Unlock()
	if err := LoadTable(maps, t, codegen.TableLoading{}); err != nil {
		return err
	}
	program := *i.program
	program.Policy, program.Rules, program.Sets = about.Policy, about.Rules, about.Sets
	i.program, i.hook = &program, t.Hook
	i.counters = counters{values: maps.(instanceTables).inner(t.Hook), from: codegen.TableCounters, seen: make([]uint64, len(about.Rules))}
	generation, err := maps.Generation(t.Hook)
	i.setBase = codegen.TableSetBase(t.Hook, generation)
	return err
}

// JudgeBy makes Eval judge by the policy of a hook, of an engine that has entry points
// for both; an error for another program.
func (i *Instance) JudgeBy(hook compiler.Hook) error {
	if _, err := i.TableMaps(); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hook = hook
	return nil
}

// TableMaps are the maps of an instance of an engine; an error for another program.
func (i *Instance) TableMaps() (TableMaps, error) {
	m := instanceTables{i.maps[codegen.TableMap], i.maps[codegen.SetsMap]}
	if m.tables == nil || m.sets == nil {
		return nil, errNoEngine
	}
	return m, nil
}

var errNoEngine = errors.New("the program is no engine of form table")

// instanceTables are the maps of an engine in process.
type instanceTables struct{ tables, sets *vm.Map }

func mapKey(key uint32) []byte { return binary.LittleEndian.AppendUint32(nil, key) }

// inner is the map of the first sheet of the table in force.
func (m instanceTables) inner(hook compiler.Hook) *vm.Map {
	return m.tables.Inner(mapKey(uint32(hook)))
}

func (instanceTables) Target() codegen.Target { return codegen.Windows }

func (m instanceTables) Table(hook compiler.Hook) ([]byte, error) {
	value, err := readSheet(m.inner(hook))
	generation := codegen.TableGeneration(value)
	for n := 1; n < codegen.MaxTableSheets && err == nil; n++ {
		var next []byte
		next, err = readSheet(m.tables.Inner(mapKey(codegen.TableSheetKey(hook, generation, n))))
		value = append(value, next...)
	}
	return value, err
}

// readSheet reads the map of a sheet; nil for none.
func readSheet(m *vm.Map) (value []byte, err error) {
	if m == nil {
		return nil, nil
	}
	for n := range m.Spec().MaxEntries {
		page, err := m.Lookup(mapKey(n))
		if err != nil {
			return nil, err
		}
		value = append(value, page...)
	}
	return value, nil
}

func (m instanceTables) Generation(hook compiler.Hook) (uint32, error) {
	value, err := readSheet(m.inner(hook))
	return codegen.TableGeneration(value), err
}

func (m instanceTables) Switch(hook compiler.Hook, table []codegen.TablePart) error {
	sheets := codegen.TableSheets(table)
	generation := codegen.TableGeneration(table[0].Data)
	for n := codegen.MaxTableSheets - 1; n >= 0; n-- { // the first one leads to the others
		var inner *vm.Map
		if n < len(sheets) {
			var err error
			if inner, err = sheetMap(sheets[n]); err != nil {
				return err
			}
		}
		if err := m.tables.SetMap(mapKey(codegen.TableSheetKey(hook, generation, n)), inner); err != nil {
			return err
		}
	}
	return nil
}

func sheetMap(sheet []codegen.TablePart) (*vm.Map, error) {
	inner, err := vm.NewMap(codegen.TableValueMap(codegen.Windows))
	if err != nil {
		return nil, err
	}
	for n, page := range codegen.TablePages(sheet) {
		if err := inner.Update(mapKey(n), page, vm.Any); err != nil {
			return nil, err
		}
	}
	return inner, nil
}

func (m instanceTables) PutSets(base uint32, sets []codegen.TableSetTable) error {
	for _, s := range sets {
		table, err := vm.NewMap(codegen.SetTableMap(s.Blocks, codegen.Windows))
		if err != nil {
			return err
		}
		if err := m.sets.SetMap(mapKey(base+s.Key), table); err != nil {
			return err
		}
	}
	return nil
}
