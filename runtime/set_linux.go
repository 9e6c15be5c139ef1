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
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

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
	return changeSet(k.now.current().Sets, k.now.Maps[codegen.SetsMap], k.now.setBase(), k.now.Maps[codegen.StateMap], name, change, literals)
}

// setBase is the key of the first set of the policy in force.
func (l *loaded) setBase() uint32 {
	if !l.engine() {
		return 0
	}
	return codegen.TableSetBase(compiler.Connect, l.generation())
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
	if _, _, err := findSet(pinned.Sets, name); err != nil {
		return err
	}
	sets, err := ebpf.LoadPinnedMap(filepath.Join(dir, codegen.SetsMap), nil)
	if err != nil {
		return err
	}
	defer sets.Close()
	state, err := ebpf.LoadPinnedMap(filepath.Join(dir, codegen.StateMap), nil)
	if err != nil {
		return err
	}
	defer state.Close()
	base, err := pinnedSetBase(dir)
	if err != nil {
		return err
	}
	return changeSet(pinned.Sets, sets, base, state, name, change, literals)
}

// pinnedSetBase is setBase of the program that is pinned in a directory.
func pinnedSetBase(dir string) (uint32, error) {
	tables, err := ebpf.LoadPinnedMap(filepath.Join(dir, codegen.TableMap), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // form code
	}
	if err != nil {
		return 0, err
	}
	defer tables.Close()
	generation, err := kernelTables{tables: tables}.Generation(compiler.Connect)
	return codegen.TableSetBase(compiler.Connect, generation), err
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

// lockPins keeps other processes from changing what is pinned in a directory; "" is
// none.
func lockPins(dir string) (unlock func(), err error) {
	if dir == "" {
		return func() {}, nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, &fs.PathError{Op: "flock", Path: dir, Err: err}
	}
	return func() { _ = f.Close() }, nil
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
			var id ebpf.MapID
			if err := before.Lookup(base+codegen.SetKey(was, ipv6), &id); err != nil {
				return fmt.Errorf("set `%s`: %w", set.Name, err)
			}
			table, err := ebpf.NewMapFromID(id)
			if err == nil {
				err = next.Maps[codegen.SetsMap].Put(codegen.SetKey(number, ipv6), uint32(table.FD()))
				_ = table.Close()
			}
			if err != nil {
				return fmt.Errorf("set `%s`: %w", set.Name, err)
			}
		}
	}
	return nil
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
			copied, err := m.Clone()
			return copied, k.now.setBase(), err
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
		return nil, 0, err
	}
	base, err := pinnedSetBase(k.opts.Pin)
	return m, base, err
}

// setStart tells the values that a set starts with in a policy from others.
func setStart(program *codegen.Program, number int) string {
	tables := map[string]*ebpf.MapSpec{}
	for _, m := range program.Maps {
		tables[m.Name] = m
	}
	hash := sha256.New()
	for _, ipv6 := range codegen.SetFamilies(program.Sets[number].Field) {
		key := binary.NativeEndian.AppendUint32(nil, codegen.SetKey(number, ipv6))
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
	memory, err := table.Memory()
	if err != nil {
		return nil, err
	}
	blocks := make([]byte, int(table.MaxEntries())*int(table.ValueSize()))
	_, err = memory.ReadAt(blocks, 0)
	return blocks, err
}

// putKernelTable makes a table and then puts it in the place of the one at a key. The
// kernel returns when no program uses that one any more.
func putKernelTable(sets *ebpf.Map, key uint32, blocks []byte) error {
	return kernelTables{tables: sets, sets: sets}.PutSets(key, []codegen.TableSetTable{{Blocks: blocks}})
}

// forgetDecisions makes programs judge everything anew: it gives the state map a
// generation that no process counts up to by chance.
func forgetDecisions(state *ebpf.Map) error {
	value, err := state.LookupBytes(uint32(0))
	if err != nil || len(value) < 4 {
		return err
	}
	binary.NativeEndian.PutUint32(value, rand.Uint32())
	return state.Put(uint32(0), value)
}

// takeGeneration goes on from the generation that the state map has, which a change
// of a set by another process may have made.
func (k *Kernel) takeGeneration() {
	if value, err := k.now.Maps[codegen.StateMap].LookupBytes(uint32(0)); err == nil && len(value) >= 4 {
		k.state.Generation = binary.NativeEndian.Uint32(value)
	}
}
