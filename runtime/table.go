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
	// Table is the value of the table in force for a hook; nil for none.
	Table(hook compiler.Hook) ([]byte, error)
	// Switch puts another table in force, by one update: every decision uses the
	// old one or the new one.
	Switch(hook compiler.Hook, value []byte) error
	SetKeys() ([][]byte, error) // all keys of the sets' map
	PutSet(key, value []byte) error
	DeleteSet(key []byte) error
}

// ErrNoTable says that an engine has no policy and so denies everything.
var ErrNoTable = errors.New("the engine has no policy")

// LoadTable puts a policy in force in a running engine. On an error the old one
// still is. Two loads must not run at the same time.
func LoadTable(maps TableMaps, t *codegen.Table) error {
	old, err := maps.Table(t.Hook)
	if err != nil {
		return err
	}
	// The sets of the policy before the old one make room: decisions that still use
	// the old one must find its sets.
	generation := codegen.TableGeneration(old) + 1
	base := codegen.TableSetBase(t.Hook, generation)
	keys, err := maps.SetKeys()
	if err != nil {
		return err
	}
	for _, key := range keys {
		if codegen.IsTableSetKey(key, base) {
			if err := maps.DeleteSet(key); err != nil {
				return err
			}
		}
	}
	for _, kv := range t.SetContents(generation) {
		if err := maps.PutSet(kv.Key.([]byte), kv.Value.([]byte)); err != nil {
			return fmt.Errorf("dynamic sets: %w", err)
		}
	}
	value, err := t.Value(generation)
	if err != nil {
		return err
	}
	return maps.Switch(t.Hook, value)
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
	return codegen.ParseTableValue(value)
}

// LoadTable puts a policy in force in an instance of an engine. Eval judges by the
// hook of the policy that was loaded last.
func (i *Instance) LoadTable(t *codegen.Table) error {
	maps, err := i.TableMaps()
	if err != nil {
		return err
	}
	i.mu.Lock() // counters and rules change with the table
	defer i.mu.Unlock()
	if err := LoadTable(maps, t); err != nil {
		return err
	}
	program := *i.program
	program.Policy, program.Rules = t.Policy, t.Rules
	i.program, i.hook = &program, t.Hook
	i.counters = counters{values: maps.(instanceTables).inner(t.Hook), from: codegen.TableCounters, seen: make([]uint64, len(t.Rules))}
	return nil
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
	m := instanceTables{i.maps[codegen.TableMap], i.maps[codegen.TableSetsMap]}
	if m.tables == nil || m.sets == nil {
		return nil, errors.New("the program is no engine of form table")
	}
	return m, nil
}

// instanceTables are the maps of an engine in process.
type instanceTables struct{ tables, sets *vm.Map }

func hookKey(hook compiler.Hook) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(hook)) }

func (m instanceTables) inner(hook compiler.Hook) *vm.Map { return m.tables.Inner(hookKey(hook)) }

func (m instanceTables) Table(hook compiler.Hook) ([]byte, error) {
	inner := m.inner(hook)
	if inner == nil {
		return nil, nil
	}
	return inner.Lookup(hookKey(0))
}

func (m instanceTables) Switch(hook compiler.Hook, value []byte) error {
	inner, err := vm.NewMap(codegen.TableValueMap(codegen.Windows))
	if err != nil {
		return err
	}
	if err := inner.Update(hookKey(0), value, vm.Any); err != nil {
		return err
	}
	return m.tables.SetMap(hookKey(hook), inner)
}

func (m instanceTables) SetKeys() ([][]byte, error)     { return m.sets.Keys(), nil }
func (m instanceTables) PutSet(key, value []byte) error { return m.sets.Update(key, value, vm.Any) }
func (m instanceTables) DeleteSet(key []byte) error     { return m.sets.Delete(key) }
