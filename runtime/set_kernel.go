//go:build linux || windows

package runtime

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"math/rand/v2"
	"path"

	"github.com/cilium/ebpf"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// ChangeSet changes a dynamic set of the program in force by literals of the policy
// language. A lookup is made in the set of before or in that of after.
func (k *Kernel) ChangeSet(name string, change compiler.SetChange, literals []string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return ErrClosed
	}
	unlock, err := lockPins(k.opts.Pin)
	if err != nil {
		return err
	}
	defer unlock()
	if err := k.inForce(); err != nil {
		return err
	}
	policy, err := k.now.current()
	if err != nil {
		return err
	}
	base, err := k.now.setBase()
	if err != nil {
		return err
	}
	return changeSet(policy.Sets, k.now.Maps[codegen.SetsMap], base, k.now.Maps[codegen.StateMap], name, change, literals)
}

// setBase is the key of the first set of the policy in force.
func (l *loaded) setBase() (uint32, error) {
	if !l.engine() {
		return 0, nil
	}
	generation, err := l.generation()
	return codegen.TableSetBase(l.hook, generation), err
}

// ChangePinnedSet changes a dynamic set of the program that is pinned in a
// directory, whether the process that did so still runs or not.
func ChangePinnedSet(dir, name string, change compiler.SetChange, literals []string) error {
	unlock, err := lockPins(dir)
	if err != nil {
		return err
	}
	defer unlock()
	pinned, counters, err := readPinned(dir)
	if err != nil {
		return err
	}
	if counters != nil {
		defer counters.Close()
	}
	if err := pinned.isInForce(dir); err != nil {
		return err
	}
	if _, _, err := findSet(pinned.Sets, name); err != nil {
		return err
	}
	sets, err := ebpf.LoadPinnedMap(path.Join(dir, codegen.SetsMap), nil)
	if err != nil {
		return err
	}
	defer sets.Close()
	state, err := ebpf.LoadPinnedMap(path.Join(dir, codegen.StateMap), nil)
	if err == nil {
		defer state.Close()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	base, err := pinnedSetBase(dir, pinned.Hook)
	if err != nil {
		return err
	}
	return changeSet(pinned.Sets, sets, base, state, name, change, literals)
}

// pinnedSetBase is setBase of the program that is pinned in a directory.
func pinnedSetBase(dir string, hook compiler.Hook) (uint32, error) {
	generation, err := pinnedGeneration(dir, hook)
	if generation == 0 {
		return 0, err // form code
	}
	return codegen.TableSetBase(hook, generation), err
}

// pinnedGeneration is that of the table in the engine that is pinned in a directory; 0
// of form code.
func pinnedGeneration(dir string, hook compiler.Hook) (uint32, error) {
	tables, err := ebpf.LoadPinnedMap(path.Join(dir, codegen.TableMap), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer tables.Close()
	return kernelTables{tables: tables}.Generation(hook)
}

func changeSet(known []codegen.Set, sets *ebpf.Map, base uint32, state *ebpf.Map, name string, change compiler.SetChange, literals []string) error {
	number, set, err := findSet(known, name)
	if err != nil {
		return err
	}
	ranges, err := compiler.SetRanges(set.Field, literals)
	if err != nil {
		return err
	}
	for _, ipv6 := range codegen.SetFamilies(set.Field) {
		key := base + codegen.SetKey(number, ipv6)
		var before []compiler.Range
		if change != compiler.ReplaceSet {
			if before, err = readKernelTable(sets, key, ipv6); err != nil {
				return fmt.Errorf("set `%s`: %w", name, err)
			}
		}
		blocks, err := codegen.SetTable(set.Field, change.Apply(before, ranges), ipv6)
		if err == nil {
			err = putKernelTable(sets, key, blocks)
		}
		if err != nil {
			return fmt.Errorf("set `%s`: %w", name, err)
		}
	}
	return forgetDecisions(state)
}

// keepSets gives the next program the sets of the one in force: those that start
// with the same values in both policies, and so may have been changed since.
func (k *Kernel) keepSets(next *loaded) error {
	before, base, err := k.setsInForce()
	if err != nil || before == nil {
		return err
	}
	defer before.Close()
	for number, set := range next.program.Sets {
		was, ok := k.pinned.same(set, setStart(next.program, number))
		if !ok {
			continue
		}
		for _, ipv6 := range codegen.SetFamilies(set.Field) {
			err := keepTable(next.Maps[codegen.SetsMap], codegen.SetKey(number, ipv6), before, base+codegen.SetKey(was, ipv6))
			if err != nil {
				return fmt.Errorf("set `%s`: %w", set.Name, err)
			}
		}
	}
	return nil
}

// keepTable puts the table of a set at a key of another map, on Windows a copy: there
// maps of maps take tables of their own length.
func keepTable(to *ebpf.Map, toKey uint32, from *ebpf.Map, key uint32) error {
	if from.Type() != ebpf.ArrayOfMaps {
		blocks, err := readBlocks(from, key)
		if err != nil {
			return err
		}
		return putKernelTable(to, toKey, blocks)
	}
	var id ebpf.MapID
	if err := from.Lookup(key, &id); err != nil {
		return err
	}
	table, err := ebpf.NewMapFromID(id)
	if err != nil {
		return err
	}
	defer table.Close()
	return to.Put(toKey, uint32(table.FD()))
}

// same gives the number of a set that the policy has already, with the same start.
func (p *pinnedProgram) same(set codegen.Set, start string) (was int, ok bool) {
	was, known, err := findSet(p.Sets, set.Name)
	return was, err == nil && known == set && p.Starts[set.Name] == start
}

// setsInForce is the map of sets of the program in force, nil for none, and the key of
// the first one.
func (k *Kernel) setsInForce() (*ebpf.Map, uint32, error) {
	if k.now != nil {
		if m := k.now.Maps[codegen.SetsMap]; m != nil {
			base, err := k.now.setBase()
			if err != nil {
				return nil, 0, err
			}
			copied, err := m.Clone()
			return copied, base, err
		}
		return nil, 0, nil
	}
	if k.opts.Pin == "" {
		return nil, 0, nil
	}
	m, err := ebpf.LoadPinnedMap(k.pinPath(codegen.SetsMap), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%w: dynamic sets: %w", ErrKernel, err)
	}
	base, err := pinnedSetBase(k.opts.Pin, k.pinned.Hook)
	if err != nil {
		_ = m.Close()
		return nil, 0, fmt.Errorf("%w: dynamic sets: %w", ErrKernel, err)
	}
	return m, base, nil
}

// setStart tells the values that a set starts with in a policy from others.
func setStart(program *codegen.Program, number int) string {
	tables := map[string]*ebpf.MapSpec{}
	for _, m := range program.Maps {
		tables[m.Name] = m
	}
	hash := sha256.New()
	for _, ipv6 := range codegen.SetFamilies(program.Sets[number].Field) {
		key := binary.LittleEndian.AppendUint32(nil, codegen.SetKey(number, ipv6))
		for _, entry := range tables[codegen.SetsMap].Contents {
			if bytes.Equal(entry.Key.([]byte), key) {
				for _, block := range tables[entry.Value.(string)].Contents {
					hash.Write(block.Value.([]byte))
				}
			}
		}
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// tableStarts is setStart for the sets of a table, by name.
func tableStarts(t *codegen.Table, sets []codegen.Set) map[string]string {
	hashes := make([]hash.Hash, len(sets))
	for i := range hashes {
		hashes[i] = sha256.New()
	}
	for _, table := range t.SetTables {
		if number := int(table.Key / 2); number < len(sets) {
			hashes[number].Write(table.Blocks)
		}
	}
	starts := map[string]string{}
	for i, s := range sets {
		starts[s.Name] = hex.EncodeToString(hashes[i].Sum(nil))
	}
	return starts
}

// readKernelTable gives what the table at a key holds; no table holds nothing.
func readKernelTable(sets *ebpf.Map, key uint32, ipv6 bool) ([]compiler.Range, error) {
	blocks, err := readBlocks(sets, key)
	if blocks == nil {
		return nil, err
	}
	_, ranges, err := codegen.TableRanges(blocks, ipv6)
	return ranges, err
}

// readBlocks gives the blocks of the table at a key; nil for none.
func readBlocks(sets *ebpf.Map, key uint32) ([]byte, error) {
	var id uint32
	err := sets.Lookup(key, &id)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	table, err := ebpf.NewMapFromID(ebpf.MapID(id))
	if err != nil {
		return nil, err
	}
	defer table.Close()
	if table.Type() != ebpf.Array {
		return readBlocksByKey(table)
	}
	memory, err := table.Memory()
	if err != nil {
		return nil, err
	}
	blocks := make([]byte, int(table.MaxEntries())*int(table.ValueSize()))
	_, err = memory.ReadAt(blocks, 0)
	return blocks, err
}

// readBlocksByKey reads a table where it cannot be mapped into memory, up to the first
// block that is not used: the others are not all zeros.
func readBlocksByKey(table *ebpf.Map) ([]byte, error) {
	var blocks []byte
	unused := make([]byte, table.ValueSize())
	for n := range table.MaxEntries() {
		block, err := table.LookupBytes(n)
		if err != nil {
			return nil, err
		}
		if bytes.Equal(block, unused) {
			break
		}
		blocks = append(blocks, block...)
	}
	return blocks, nil
}

// putKernelTable makes a table and then puts it in the place of the one at a key. The
// kernel returns when no program uses that one any more.
func putKernelTable(sets *ebpf.Map, key uint32, blocks []byte) error {
	return kernelTables{tables: sets, sets: sets}.PutSets(key, []codegen.TableSetTable{{Blocks: blocks}})
}

// forgetDecisions makes programs judge everything anew: it gives the state map a
// generation that no process counts up to by chance.
func forgetDecisions(state *ebpf.Map) error {
	if state == nil {
		return nil // nothing is remembered
	}
	value, err := state.LookupBytes(uint32(0))
	if err != nil || len(value) < 4 {
		return err
	}
	binary.NativeEndian.PutUint32(value, rand.Uint32())
	return state.Put(uint32(0), value)
}
