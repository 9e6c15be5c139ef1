package runtime

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// adopt takes over the engine that is pinned, where that is the one to load: it goes on
// judging, and gets its next table as if this process had loaded it.
func (k *Kernel) adopt(program *codegen.Program) (adopted bool, err error) {
	if k.opts.Table == nil || k.pinned.Engine == "" || k.pinned.Hook != k.opts.Table.Hook {
		return false, nil
	}
	collection := &ebpf.Collection{Maps: map[string]*ebpf.Map{}}
	defer func() {
		if !adopted {
			collection.Close()
		}
	}()
	for _, name := range []string{codegen.TableMap, codegen.SetsMap, codegen.EventsMap} {
		m, err := ebpf.LoadPinnedMap(k.pinPath(name), nil)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("%w: pinned map %s: %w", ErrKernel, k.pinPath(name), err)
		}
		collection.Maps[name] = m
	}
	// A process that was killed may have pinned some of its own, or may have put a table in
	// force without a note of it.
	identity, err := engineIdentity(program, k.stages, collection.Maps[codegen.TableMap])
	if err != nil || identity != k.pinned.Engine {
		return false, err
	}
	noted, err := isInForce(collection.Maps[codegen.TableMap], k.pinned.Hook, k.before)
	if err != nil || !noted {
		return false, err
	}
	if k.now, err = newLoaded(program, collection, &k.opts); err != nil {
		return false, fmt.Errorf("%w: events: %w", ErrKernel, err)
	}
	_ = k.before.Close()
	k.before = nil
	k.noteTable()
	return true, nil
}

// engineIdentity tells an engine that is attached, and its maps, from others.
func engineIdentity(engine *codegen.Program, stages []stage, tables *ebpf.Map) (string, error) {
	hash := sha256.New()
	if err := engine.WriteELF(hash); err != nil {
		return "", err
	}
	table, err := mapID(tables)
	if err != nil {
		return "", err
	}
	identity := fmt.Sprintf("%x table %d", hash.Sum(nil), table)
	for _, s := range stages {
		info, err := s.Info()
		if err != nil {
			return "", fmt.Errorf("%w: link %s: %w", ErrKernel, s.attach.Section(), err)
		}
		identity += fmt.Sprintf(" %s %d", s.attach.Section(), info.Program)
	}
	return identity, nil
}

// isInForce reports whether the table in force for a hook is in a map.
func isInForce(tables *ebpf.Map, hook compiler.Hook, m *ebpf.Map) (bool, error) {
	inner, err := kernelTables{tables: tables}.inner(hook)
	if inner == nil || m == nil {
		return false, err
	}
	defer inner.Close()
	present, err := mapID(inner)
	if err != nil {
		return false, err
	}
	other, err := mapID(m)
	return present == other, err
}

func mapID(m *ebpf.Map) (ebpf.MapID, error) {
	info, err := m.Info()
	if err != nil {
		return 0, fmt.Errorf("%w: what a map is: %w", ErrKernel, err)
	}
	id, _ := info.ID()
	return id, nil
}
