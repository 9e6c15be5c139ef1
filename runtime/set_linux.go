package runtime

import (
	"encoding/binary"
	"errors"
	"fmt"
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
	return changeSet(k.now.program.Sets, k.now.Maps[codegen.SetsMap], k.now.Maps[codegen.StateMap], name, change, literals)
}

// ChangePinnedSet changes a dynamic set of the program that is pinned in a
// directory, whether the process that did so still runs or not.
func ChangePinnedSet(dir, name string, change compiler.SetChange, literals []string) error {
	lock, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return &fs.PathError{Op: "flock", Path: dir, Err: err}
	}
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
	return changeSet(pinned.Sets, sets, state, name, change, literals)
}

func changeSet(known []codegen.Set, sets, state *ebpf.Map, name string, change compiler.SetChange, literals []string) error {
	number, set, err := findSet(known, name)
	if err != nil {
		return err
	}
	ranges, err := compiler.SetRanges(set.Field, literals)
	if err != nil {
		return err
	}
	for _, ipv6 := range setFamilies(set) {
		key := codegen.SetKey(number, ipv6)
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

// readKernelTable gives what the table at a key holds; no table holds nothing.
func readKernelTable(sets *ebpf.Map, key uint32, ipv6 bool) ([]compiler.Range, error) {
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
	if _, err := memory.ReadAt(blocks, 0); err != nil {
		return nil, err
	}
	_, ranges, err := codegen.TableRanges(blocks, ipv6)
	return ranges, err
}

// putKernelTable makes a table and then puts it in the place of the one at a key. The
// kernel returns when no program uses that one any more.
func putKernelTable(sets *ebpf.Map, key uint32, blocks []byte) error {
	spec := codegen.SetTableMap(blocks, codegen.Linux)
	spec.Contents = nil
	table, err := ebpf.NewMap(spec)
	if err != nil {
		return err
	}
	defer table.Close()
	memory, err := table.Memory()
	if err != nil {
		return err
	}
	if _, err := memory.WriteAt(blocks, 0); err != nil {
		return err
	}
	return sets.Put(key, uint32(table.FD()))
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
