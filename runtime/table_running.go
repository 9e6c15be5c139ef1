//go:build linux || windows

package runtime

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"

	"github.com/cilium/ebpf"

	"github.com/hopgate/hopgate/codegen"
)

// engine reports whether the program is the engine of form table.
func (l *loaded) engine() bool { return l.Maps[codegen.TableMap] != nil }

func (l *loaded) tables() kernelTables {
	return kernelTables{l.Maps[codegen.TableMap], l.Maps[codegen.SetsMap], l.program.Target}
}

// counters is the map that has the counters, the caller's to close; nil where nothing
// is counted.
func (l *loaded) counters() (*ebpf.Map, error) {
	if l.engine() {
		return l.tables().inner(l.hook)
	}
	if counters := l.Maps[codegen.CountersMap]; counters != nil {
		return counters.Clone()
	}
	return nil, nil
}

// generation is that of the table in force; 0 of form code.
func (l *loaded) generation() (uint32, error) {
	if !l.engine() {
		return 0, nil
	}
	g, err := l.tables().Generation(l.hook)
	if err != nil {
		err = fmt.Errorf("%w: the generation of the policy's table: %w", ErrKernel, err)
	}
	return g, err
}

// policyOf is an engine with the policy of a generation of its table.
type policyOf struct {
	generation uint32
	program    *codegen.Program
}

// current is the program with what is known of the policy in force, which another
// process may have loaded.
func (l *loaded) current() (*codegen.Program, error) {
	if !l.engine() {
		return l.program, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	generation, err := l.generation()
	if err != nil {
		return nil, err
	}
	if p, ok := l.known[uint8(generation)]; ok && p.generation == generation {
		return p.program, nil
	}
	return l.learn()
}

// meaning is the program with the policy that an event is of.
func (l *loaded) meaning(generation uint8) (*codegen.Program, error) {
	if !l.engine() {
		return l.program, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if p, ok := l.known[generation]; ok {
		return p.program, nil
	}
	_, err := l.learn()
	if p, ok := l.known[generation]; ok {
		return p.program, nil
	}
	return nil, cmp.Or(err, errors.New("one of a policy that another has followed already"))
}

// learn reads the policy in force from its table.
func (l *loaded) learn() (*codegen.Program, error) {
	value, err := l.tables().Table(l.hook)
	if err != nil {
		return nil, err
	}
	t, _, err := codegen.ParseTableSheets(value)
	if err != nil {
		return nil, err
	}
	p, err := describedBy(l.program, t)
	if err != nil {
		return nil, err
	}
	l.remember(codegen.TableGeneration(value), p)
	return p, nil
}

// know remembers the policy whose table has been loaded, so that its events are known when
// another process has loaded the next.
func (l *loaded) know(program *codegen.Program) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	generation, err := l.generation()
	if err == nil {
		l.remember(generation, program)
	}
	return err
}

func (l *loaded) remember(generation uint32, program *codegen.Program) {
	maps.DeleteFunc(l.known, func(_ uint8, p policyOf) bool { return generation-p.generation > 128 }) // before what events have comes round again
	l.known[uint8(generation)] = policyOf{generation, program}
}

// LoadTable puts a policy in force by its table, by one update of a map; on Linux it puts
// the engine in the place of a program of form code first. When it fails the old policy is in force.
func (k *Kernel) LoadTable(t *codegen.Table) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.closed:
		return ErrClosed
	case !k.now.engine():
		return k.becomeEngine(t)
	case t.Hook != k.now.hook:
		return fmt.Errorf("the engine is attached at hook %s, the policy is for hook %s", k.now.hook, t.Hook)
	}
	unlock, err := lockPins(k.opts.Pin)
	if err != nil {
		return err
	}
	defer unlock()
	if err := k.inForce(); err != nil {
		return err // what is pinned is another's
	}
	k.noticeTable()
	program, err := describedBy(k.now.program, t)
	if err != nil {
		return err
	}
	_, err = k.now.current() // whose events may yet come
	k.problem(err)
	old, err := k.now.counters()
	k.problem(err)
	if old != nil {
		defer old.Close()
	}
	if err := k.putTable(k.now, t, program); err != nil {
		return err
	}
	k.opts.Table = t
	k.pinned.carry(k.pinned.Rules, decisions(old, len(k.pinned.Rules)))
	k.pinned.describe(program.Policy, program.Rules, program.Sets, tableStarts(t, program.Sets))
	k.noteTable()
	return k.pin()
}

// noteTable notes that k.pinned describes the table in force. Where it cannot be told which
// that is noticeTable reads the description again.
func (k *Kernel) noteTable() {
	generation, err := k.now.generation()
	if err != nil {
		k.problem(err)
		return
	}
	k.generation = generation
}

// noticeTable takes note of a table that another process has loaded, and reports whether
// there is one.
func (k *Kernel) noticeTable() bool {
	if k.now == nil || k.opts.Pin == "" {
		return false
	}
	generation, err := k.now.generation()
	if err == nil && generation == k.generation {
		return false
	}
	k.problem(err)
	pinned, counters, err := readPinned(k.opts.Pin)
	if err != nil {
		k.problem(err)
		return true
	}
	if counters != nil {
		_ = counters.Close()
	}
	if k.before != nil { // whose decisions the other process has carried over
		_ = k.before.Close()
		k.before = nil
	}
	k.pinned, k.generation = *pinned, pinned.Table // the one before, if the other process has not noted its own yet
	return true
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

// LoadPinnedTable puts a policy in force in the engine that is pinned in a directory,
// whether the process that did so still runs or not.
func LoadPinnedTable(dir string, t *codegen.Table) error {
	unlock, err := lockPins(dir)
	if err != nil {
		return err
	}
	defer unlock()
	maps, err := OpenTables(dir)
	if err != nil {
		return err
	}
	defer maps.Close()
	with, err := loadingHere(t)
	if err != nil {
		return err
	}
	p, counters, err := readPinned(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return LoadTable(maps, t, with) // whoever pinned it keeps no account of it
	}
	if err != nil {
		return err
	}
	if counters != nil {
		defer counters.Close()
	}
	if err := p.isInForce(dir); err != nil {
		return err
	}
	if p.Hook != t.Hook {
		return fmt.Errorf("the engine is attached at hook %s, the policy is for hook %s", p.Hook, t.Hook)
	}
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
	if err := p.notePinnedTable(dir, maps, t, counters); err != nil {
		return fmt.Errorf("%w: %w", ErrNotPinned, err)
	}
	return nil
}

// notePinnedTable writes down what has been put in force in place of the policy with the
// counters.
func (p *pinnedProgram) notePinnedTable(dir string, maps *PinnedTables, t *codegen.Table, counters *ebpf.Map) error {
	about, err := t.Description()
	if err != nil {
		return err
	}
	p.carry(p.Rules, decisions(counters, len(p.Rules)))
	p.describe(about.Policy, about.Rules, about.Sets, tableStarts(t, about.Sets))
	if p.Table, err = maps.Generation(t.Hook); err != nil {
		return err
	}
	inner, err := maps.inner(t.Hook)
	if err != nil {
		return err
	}
	defer inner.Close()
	if err := pinAt(path.Join(dir, codegen.CountersMap), inner); err != nil {
		return err
	}
	return p.pinIn(dir)
}
