package runtime

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// engine reports whether the program is the engine of form table.
func (l *loaded) engine() bool { return l.Maps[codegen.TableMap] != nil }

func (l *loaded) tables() kernelTables {
	return kernelTables{l.Maps[codegen.TableMap], l.Maps[codegen.SetsMap], codegen.Linux}
}

// counters is the map that has the counters, the caller's to close; nil where nothing
// is counted.
func (l *loaded) counters() *ebpf.Map {
	var m *ebpf.Map
	if l.engine() {
		m, _ = l.tables().inner(compiler.Connect)
	} else if counters := l.Maps[codegen.CountersMap]; counters != nil {
		m, _ = counters.Clone()
	}
	return m
}

// generation is that of the table in force; 0 of form code.
func (l *loaded) generation() uint32 {
	if !l.engine() {
		return 0
	}
	g, _ := l.tables().Generation(compiler.Connect)
	return g
}

// current is the program with what is known of the policy in force, which another
// process may have loaded.
func (l *loaded) current() *codegen.Program {
	if l.means == nil {
		return l.program
	}
	return l.means(uint8(l.generation()))
}

// meaning remembers the policies that the engine has had.
func (l *loaded) meaning() func(generation uint8) *codegen.Program {
	if !l.engine() {
		return nil
	}
	var mu sync.Mutex
	known := map[uint8]*codegen.Program{}
	return func(generation uint8) *codegen.Program {
		mu.Lock()
		defer mu.Unlock()
		if p := known[generation]; p != nil {
			return p
		}
		value, err := l.tables().Table(compiler.Connect)
		if err == nil && value != nil {
			if t, _, err := codegen.ParseTableValue(value); err == nil {
				if p, err := describedBy(l.program, t); err == nil {
					now := uint8(codegen.TableGeneration(value))
					delete(known, now+128) // so that it is read anew when it comes round again
					known[now] = p
				}
			}
		}
		if p := known[generation]; p != nil {
			return p
		}
		return l.program
	}
}

// LoadTable puts a policy in force by its table: by one update, if the engine runs, and
// else by putting the engine in the place of the program. When it fails the old policy is
// in force.
func (k *Kernel) LoadTable(t *codegen.Table) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return ErrClosed
	}
	if !k.now.engine() {
		engine, err := codegen.GenerateEngine(codegen.Linux)
		if err != nil {
			return err
		}
		return k.replace(engine, t)
	}
	unlock, err := lockPins(k.opts.Pin)
	if err != nil {
		return err
	}
	defer unlock()
	k.noticeTable()
	about, err := t.Description()
	if err != nil {
		return err
	}
	k.now.current() // whose events may yet come
	old := k.now.counters()
	if old != nil {
		defer old.Close()
	}
	if err := k.putTable(k.now, t, about.Sets); err != nil {
		return err
	}
	k.pinned.carry(k.pinned.Rules, decisions(old, len(k.pinned.Rules)))
	k.pinned.describe(about.Policy, about.Rules, about.Sets, tableStarts(t, about.Sets))
	k.generation = k.now.generation()
	if k.opts.Pin != "" {
		return k.pin()
	}
	return nil
}

// noticeTable takes note of a table that another process has loaded.
func (k *Kernel) noticeTable() {
	if k.now == nil || k.opts.Pin == "" || k.now.generation() == k.generation {
		return
	}
	pinned, counters, err := readPinned(k.opts.Pin)
	if err != nil {
		k.problem(err)
		return
	}
	if counters != nil {
		_ = counters.Close()
	}
	k.pinned, k.generation = *pinned, k.now.generation()
}

// putTable loads a table into an engine, with the sets that the policies before have had.
func (k *Kernel) putTable(l *loaded, t *codegen.Table, sets []codegen.Set) error {
	before, base, err := k.setsInForce()
	if err != nil {
		return err
	}
	if before != nil {
		defer before.Close()
	}
	with, err := loading(t, k.state.Network, k.problem)
	if err != nil {
		return err
	}
	with.Sets, err = keptTables(t, sets, &k.pinned, before, base)
	if err != nil {
		return err
	}
	if err := LoadTable(l.tables(), t, with); err != nil {
		return fmt.Errorf("%w: the policy's table: %w", ErrKernel, err)
	}
	k.bound = with.Interfaces
	return nil
}

// loading looks up the interfaces that a table names, and tells of those that cannot be
// had here.
func loading(t *codegen.Table, network uint64, problem func(error)) (with codegen.TableLoading, err error) {
	if !t.NamesInterfaces() {
		return with, nil
	}
	about, err := t.Description()
	if err != nil {
		return with, err
	}
	with.Network = network
	if with.Interfaces, err = findInterfaces(about.Interfaces); err != nil {
		problem(err)
	}
	return with, nil
}

// keptTables are the tables of a policy's sets: of those that start with the same values
// as in the policy before, what has become of them since.
func keptTables(t *codegen.Table, sets []codegen.Set, p *pinnedProgram, before *ebpf.Map, base uint32) ([]codegen.TableSetTable, error) {
	tables := make([]codegen.TableSetTable, len(t.SetTables))
	copy(tables, t.SetTables)
	if before == nil {
		return tables, nil
	}
	starts := tableStarts(t, sets)
	for i := range tables {
		number := int(tables[i].Key / 2)
		if number >= len(sets) {
			return nil, fmt.Errorf("the table has a set of number %d, of %d", number, len(sets))
		}
		was, ok := p.same(sets[number], starts[sets[number].Name])
		if !ok {
			continue
		}
		blocks, err := readBlocks(before, base+codegen.SetKey(was, tables[i].Key&1 == 1))
		if err != nil {
			return nil, fmt.Errorf("set `%s`: %w", sets[number].Name, err)
		}
		if blocks != nil {
			tables[i].Blocks = blocks
		}
	}
	return tables, nil
}

// bindTable writes the interfaces of the table in force.
func (l *loaded) bindTable(found []uint32) error {
	inner, err := l.tables().inner(compiler.Connect)
	if inner == nil {
		return err
	}
	defer inner.Close()
	var parts []codegen.TablePart
	for i, index := range found {
		parts = append(parts, codegen.TablePart{At: codegen.TableIfindexAt(i), Data: binary.LittleEndian.AppendUint32(nil, index)})
	}
	return writeParts(inner, parts)
}

// LoadPinnedTable puts a policy in force in the engine that is pinned in a directory,
// whether the process that did so still runs or not.
func LoadPinnedTable(dir string, t *codegen.Table) error {
	maps, err := OpenTables(dir)
	if err != nil {
		return err
	}
	defer maps.Close()
	unlock, err := lockPins(dir)
	if err != nil {
		return err
	}
	defer unlock()
	network, err := networkCookie()
	if err != nil {
		return err
	}
	var problem error
	with, err := loading(t, network, func(err error) { problem = err })
	if err := errors.Join(err, problem); err != nil {
		return err
	}
	p, counters, err := readPinned(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return LoadTable(maps, t, with) // whoever pinned it keeps no account of it
	}
	if err != nil {
		return err
	}
	defer counters.Close()
	if len(t.SetTables) > 0 {
		about, err := t.Description()
		if err != nil {
			return err
		}
		generation, err := maps.Generation(t.Hook)
		if err != nil {
			return err
		}
		with.Sets, err = keptTables(t, about.Sets, p, maps.maps[1], codegen.TableSetBase(t.Hook, generation))
		if err != nil {
			return err
		}
	}
	if err := LoadTable(maps, t, with); err != nil {
		return err
	}
	return p.notePinnedTable(dir, t, counters)
}

// notePinnedTable writes down what has been put in force in place of the policy with the
// counters.
func (p *pinnedProgram) notePinnedTable(dir string, t *codegen.Table, counters *ebpf.Map) error {
	about, err := t.Description()
	if err != nil {
		return err
	}
	p.carry(p.Rules, decisions(counters, len(p.Rules)))
	p.describe(about.Policy, about.Rules, about.Sets, tableStarts(t, about.Sets))
	maps, err := OpenTables(dir)
	if err != nil {
		return err
	}
	defer maps.Close()
	inner, err := maps.TableMaps.(kernelTables).inner(t.Hook)
	if err != nil {
		return err
	}
	defer inner.Close()
	if err := pinAt(filepath.Join(dir, codegen.CountersMap), inner); err != nil {
		return err
	}
	return p.pinIn(dir)
}
