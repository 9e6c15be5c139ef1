package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/hopgate/hopgate/codegen"
)

// openPins takes over what is pinned.
func (k *Kernel) openPins() error {
	if k.opts.Pin == "" {
		return nil
	}
	for _, stage := range stageOrder {
		l, err := link.LoadPinnedLink(k.pinPath(stage), nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%w: pinned link %s: %w", ErrKernel, k.pinPath(stage), err)
		}
		k.links[stage] = l
		info, err := l.Info()
		if err != nil {
			return fmt.Errorf("%w: pinned link %s: %w", ErrKernel, k.pinPath(stage), err)
		}
		switch c := info.Cgroup(); {
		case c == nil || c.CgroupId == 0:
			// The cgroup has gone, and with it what was in force.
			_ = l.Unpin()
			_ = l.Close()
			delete(k.links, stage)
		case c.CgroupId != k.cgroup:
			return fmt.Errorf("what is pinned in %s is attached to another cgroup than %s: pin elsewhere, or end it by `hopgate unpin --pin %s`", k.opts.Pin, k.opts.Cgroup, k.opts.Pin)
		}
	}
	for _, name := range keptMaps {
		m, err := ebpf.LoadPinnedMap(k.pinPath(name), nil)
		if err == nil {
			k.kept[name] = m
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	pinned, counters, err := readPinned(k.opts.Pin)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	k.pinned, k.before, k.beforeIDs = *pinned, counters, pinned.Rules
	return nil
}

func (k *Kernel) pinPath(name string) string { return filepath.Join(k.opts.Pin, name) }

// pin keeps the program that is in force now beyond the end of the process.
func (k *Kernel) pin() error {
	if k.opts.Pin == "" {
		return nil
	}
	if err := k.pinAll(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotPinned, err)
	}
	return nil
}

func (k *Kernel) pinAll() error {
	for _, stage := range stageOrder { // whoever is killed here leaves none or one that judges all
		l := k.links[stage]
		if l == nil {
			continue
		}
		if _, err := os.Stat(k.pinPath(stage)); err == nil {
			continue
		}
		if err := l.Pin(k.pinPath(stage)); err != nil {
			return fmt.Errorf("%w: pinning %s: %w", ErrKernel, stage, err)
		}
	}
	counters, err := k.now.counters()
	if err != nil {
		return fmt.Errorf("%w: counters: %w", ErrKernel, err)
	}
	if counters != nil {
		defer counters.Close()
	}
	for name, m := range map[string]*ebpf.Map{
		codegen.CountersMap: counters,
		codegen.StateMap:    k.now.Maps[codegen.StateMap],
		codegen.TableMap:    k.now.Maps[codegen.TableMap],
		codegen.SetsMap:     k.now.Maps[codegen.SetsMap],
		codegen.SocketsMap:  k.kept[codegen.SocketsMap],
		codegen.PeersMap:    k.kept[codegen.PeersMap],
		codegen.DevicesMap:  k.kept[codegen.DevicesMap],
	} {
		if err := pinAt(k.pinPath(name), m); err != nil {
			return err
		}
	}
	pinned := k.pinned // who reads it has not the counters of the program before
	pinned.carry(k.beforeIDs, decisions(k.before, len(k.beforeIDs)))
	pinned.Table = k.generation
	if pinned.Program, err = attachedProgram(k.opts.Pin); err != nil {
		return err
	}
	return pinned.pinIn(k.opts.Pin)
}

// attachedProgram is the one at egress, the first to be attached, by a pinned link.
func attachedProgram(dir string) (ebpf.ProgramID, error) {
	l, err := link.LoadPinnedLink(filepath.Join(dir, stageOrder[0]), nil)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	info, err := l.Info()
	if err != nil {
		return 0, fmt.Errorf("%w: %s: %w", ErrKernel, stageOrder[0], err)
	}
	return info.Program, nil
}

// isInForce gives an error if another policy is in force than the one described, as when
// a start, a reload or a load of a table has been killed halfway.
func (p *pinnedProgram) isInForce(dir string) error {
	table, err := pinnedGeneration(dir, p.Hook)
	if err != nil {
		return err
	}
	program, err := attachedProgram(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // status says that it is not attached
	case err != nil:
		return err
	case p.Program != 0 && p.Program != program, p.Table != 0 && p.Table != table:
		return fmt.Errorf("another policy is in force than the one that is pinned in %s: what put it there failed or was killed halfway; `hopgate run --pin %s` again", dir, dir)
	}
	return nil
}
